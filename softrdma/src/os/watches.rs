// SPDX-License-Identifier: BSD-3-Clause

//! Windows of this process's memory that other processes have mapped, with the number of regions that lie in each. A
//! region costs nothing here, and to deregister one takes a look at each window.

use crate::types::region::{Extent, Window};

/// What a window is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WatchName(u64);

struct Watch {
    name: WatchName,
    window: Window,
    regions: usize,
    /// The regions in entries from this one on were not counted yet.
    next: usize,
}

#[derive(Default)]
pub(super) struct Watches {
    all: Vec<Watch>,
    names: u64,
    unused: Vec<WatchName>,
}

impl Watches {
    /// One more window, whose regions are to be counted.
    pub(super) fn begin(&mut self, window: Window) -> WatchName {
        self.names += 1;
        let name = WatchName(self.names);
        self.all.push(Watch {
            name,
            window,
            regions: 0,
            next: 0,
        });
        name
    }

    /// There are so many regions in the entries up to this one that were not counted yet.
    pub(super) fn count(&mut self, name: WatchName, regions: usize, end: usize) {
        let watch = self.all.iter_mut().find(|watch| watch.name == name);
        if let Some(watch) = watch {
            watch.regions += regions;
            watch.next = end;
        }
    }

    /// All were counted. Whether there is one; otherwise the window is not watched any more.
    pub(super) fn end_count(&mut self, name: WatchName) -> bool {
        let at = self.all.iter().position(|watch| watch.name == name);
        let Some(at) = at else { return false };
        self.all[at].next = usize::MAX;
        let is_used = self.all[at].regions > 0;
        if !is_used {
            self.all.swap_remove(at);
        }
        is_used
    }

    pub(super) fn end(&mut self, name: WatchName) {
        self.all.retain(|watch| watch.name != name);
        self.unused.retain(|&unused| unused != name);
    }

    /// The region in this entry is gone. Whether a window has no more regions.
    pub(super) fn removed(&mut self, entry: usize, region: &Extent) -> bool {
        let (before, unused) = (self.unused.len(), &mut self.unused);
        self.all.retain_mut(|watch| {
            if entry >= watch.next || !watch.window.has(region) {
                return true;
            }
            watch.regions = watch.regions.saturating_sub(1);
            // It may be that more are to be counted.
            let is_used = watch.regions > 0 || watch.next < usize::MAX;
            if !is_used {
                unused.push(watch.name);
            }
            is_used
        });
        self.unused.len() > before
    }

    pub(super) fn take_unused(&mut self) -> Vec<WatchName> {
        std::mem::take(&mut self.unused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        from: 100,
        to: 200,
        before: 10,
    };

    fn extent(addr: u64, length: u64, serial: u64) -> Extent {
        Extent {
            addr,
            length,
            serial,
        }
    }

    #[test]
    fn a_window_is_unused_when_the_last_region_of_it_is_gone() {
        let mut watches = Watches::default();
        let name = watches.begin(WINDOW);
        watches.count(name, 2, 1000);
        assert!(watches.end_count(name));
        for other in [
            extent(99, 1, 1),
            extent(199, 2, 1),
            extent(200, 1, 1),
            extent(u64::MAX, 2, 1),
            // Registered later: what is there now is not known.
            extent(100, 8, 10),
        ] {
            assert!(!watches.removed(1, &other), "{other:?}");
        }
        assert!(!watches.removed(1, &extent(100, 100, 9)));
        assert!(watches.take_unused().is_empty());
        assert!(watches.removed(2, &extent(199, 1, 0)));
        assert_eq!(watches.take_unused(), [name]);
        assert!(!watches.removed(3, &extent(100, 1, 1)));
    }

    #[test]
    fn regions_that_go_while_they_are_counted_do_not_count() {
        let mut watches = Watches::default();
        let name = watches.begin(WINDOW);
        let region = extent(100, 1, 1);
        // Before it was counted, and afterwards.
        assert!(!watches.removed(7, &region));
        watches.count(name, 2, 10);
        assert!(!watches.removed(7, &region));
        assert!(!watches.removed(8, &region));
        assert!(!watches.removed(10, &region));
        watches.count(name, 1, 20);
        assert!(watches.end_count(name));
        assert!(watches.removed(10, &region));
    }

    #[test]
    fn a_window_without_regions_is_not_watched() {
        let mut watches = Watches::default();
        let (none, ended) = (watches.begin(WINDOW), watches.begin(WINDOW));
        assert!(!watches.end_count(none));
        watches.count(ended, 1, 1);
        assert!(watches.end_count(ended));
        watches.end(ended);
        assert!(!watches.removed(0, &extent(100, 1, 1)));
    }
}
