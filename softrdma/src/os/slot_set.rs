// SPDX-License-Identifier: BSD-3-Clause

//! A set of numbers of slots. Nothing is allocated to add one that there is room for.

use crate::Result;

#[derive(Debug, Default)]
pub(super) struct SlotSet {
    /// A bit for each number.
    words: Vec<u64>,
    count: usize,
    /// The word that is looked at first, so that high numbers have their turn.
    from: usize,
}

fn place(number: u32) -> (usize, u64) {
    (number as usize / 64, 1 << (number % 64))
}

impl SlotSet {
    /// From now on there is room for all numbers up to this one.
    pub(super) fn make_room(&mut self, number: u32) -> Result<()> {
        let words = place(number).0 + 1;
        if words > self.words.len() {
            let more = words - self.words.len();
            self.words.try_reserve(more).map_err(|_| libc::ENOMEM)?;
            self.words.resize(words, 0);
        }
        Ok(())
    }

    /// Adds a number that there is room for.
    pub(super) fn insert(&mut self, number: u32) {
        let (word, bit) = place(number);
        if let Some(word) = self.words.get_mut(word) {
            self.count += usize::from(*word & bit == 0);
            *word |= bit;
        }
    }

    pub(super) fn remove(&mut self, number: u32) {
        let (word, bit) = place(number);
        if let Some(word) = self.words.get_mut(word) {
            self.count -= usize::from(*word & bit != 0);
            *word &= !bit;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One of them. It stays in the set.
    pub(super) fn next(&mut self) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        let all = self.words.len();
        let (at, word) = (self.from..all).chain(0..self.from).find_map(|at| {
            self.words
                .get(at)
                .filter(|word| **word != 0)
                .map(|word| (at, word))
        })?;
        let number = at as u32 * 64 + word.trailing_zeros();
        self.from = at;
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_there_once_and_has_its_turn() -> Result<()> {
        let mut set = SlotSet::default();
        set.insert(5);
        assert_eq!(set.next(), None);
        set.make_room(1000)?;
        for number in [1000, 5, 700, 5, 64] {
            set.insert(number);
        }
        let mut seen = Vec::new();
        while let Some(number) = set.next() {
            assert_eq!(set.next(), Some(number));
            set.remove(number);
            set.remove(number);
            seen.push(number);
            if number == 700 {
                set.insert(3);
            }
        }
        assert_eq!(seen, [5, 64, 700, 1000, 3]);
        assert!(set.is_empty());
        Ok(())
    }
}
