// SPDX-License-Identifier: BSD-3-Clause

//! The way between two processes of one host and one user: bytes go through shared memory. A local socket between
//! them wakes whoever sleeps, and tells of the end.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::door::Neighbour;
use super::memory::Span;
use super::process::Process;
use super::rings::{Glance, Rings};
use super::socket::Socket;
use crate::Result;

pub(crate) struct Local {
    bell: Socket,
    rings: Rings,
    /// The process that made the other end of the bell.
    process: Option<Arc<Process>>,
    /// The peer sends no more than what is there.
    ended: bool,
    /// How far the peer has read, and since when.
    unread: Option<u64>,
    unread_since: Option<Instant>,
    is_urged: bool,
}

/// How long a side that polls leaves something unread, when it runs.
const PATIENCE: Duration = Duration::from_micros(30);

impl Local {
    /// The end of the side that makes the memory. The other side gets it along with this message.
    pub(crate) fn offer(to: Neighbour, message: &[u8]) -> Result<Self> {
        let (rings, memory) = Rings::new()?;
        match to.socket.send_with_descriptor(message, &memory)? {
            sent if sent == message.len() => Ok(Self::end(to, rings)),
            _ => Err(libc::EMSGSIZE),
        }
    }

    /// The end of the side that was sent the memory.
    pub(crate) fn of_offer(from: Neighbour, memory: &OwnedFd) -> Result<Self> {
        Ok(Self::end(from, Rings::other_end(memory)?))
    }

    fn end(neighbour: Neighbour, rings: Rings) -> Self {
        Self {
            bell: neighbour.socket,
            process: neighbour.process,
            rings,
            ended: false,
            unread: None,
            unread_since: None,
            is_urged: false,
        }
    }

    /// The process at the other end, unless it is of another process name space.
    pub(crate) fn process(&self) -> Option<&Process> {
        self.process.as_deref()
    }

    /// Both ends, in this process.
    #[cfg(test)]
    pub(crate) fn pair() -> Result<(Self, Self)> {
        let (one, other) = Socket::pair()?;
        let (one, other) = (Neighbour::of(one)?, Neighbour::of(other)?);
        let one = Self::offer(one, &[0])?;
        let (_, memory) = other.socket.receive_with_descriptor(&mut [0])?;
        Ok((one, Self::of_offer(other, &memory)?))
    }

    /// Readable when this side is woken.
    pub(crate) fn bell(&self) -> &Socket {
        &self.bell
    }

    fn ring(&mut self) {
        match self.bell.send(&[Span::from_slice(&[0])]) {
            // With no room in the socket it has been rung often enough.
            Ok(_) | Err(libc::EAGAIN) => {}
            // Better an end than a peer that sleeps for ever.
            Err(_) => {
                self.bell.shut_down();
                // The program may have closed the socket: then nothing else tells of the end.
                self.ended = true;
            }
        }
    }

    /// As a socket sends: what there is room for, or `EAGAIN`. This side is woken when there is room again.
    pub(crate) fn send(&mut self, own: Span<'_>, program: Span<'_>) -> Result<usize> {
        let sent = self.rings.send(own, program);
        if self.rings.reader_sleeps() {
            self.ring();
        }
        if sent == Err(libc::EPROTO) {
            // Nothing can come of this any more, for either side.
            self.bell.shut_down();
        }
        sent
    }

    /// As a socket receives: what there is, `EAGAIN`, or 0 at the end.
    pub(crate) fn receive(&mut self, program: Span<'_>, own: Span<'_>) -> Result<usize> {
        let received = self.rings.receive(program, own);
        if self.rings.writer_waits() {
            self.ring();
        }
        match received {
            Err(libc::EAGAIN) if self.ended => Ok(0),
            received => received,
        }
    }

    pub(crate) fn glance(&self) -> &Arc<Glance> {
        self.rings.glance()
    }

    /// The peer has not read all that was sent.
    pub(crate) fn has_unread(&self) -> bool {
        self.rings.unread_from().is_some()
    }

    /// This side polls for input, and there is none. A peer that said that it polls too, and does not read, is woken
    /// after a while.
    pub(crate) fn urge(&mut self) {
        let unread = self.rings.unread_from();
        if unread.is_none() || unread != self.unread {
            self.unread = unread;
            self.unread_since = None;
            self.is_urged = false;
        } else if !self.is_urged {
            // The time is not looked at for a peer that reads at once.
            let since = *self.unread_since.get_or_insert_with(Instant::now);
            self.is_urged = since.elapsed() > PATIENCE;
            if self.is_urged {
                self.ring();
            }
        }
    }

    /// The bell may have been rung, or the peer be gone. To be called before `receive`: what was written before
    /// the end then comes before it.
    pub(crate) fn hear(&mut self) {
        let mut rung = [0; 64];
        match self.bell.receive(&[Span::from_mut(&mut rung)]) {
            Ok(1..) | Err(libc::EAGAIN | libc::EINTR) => {}
            _ => self.ended = true,
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// From now on this side is woken when something comes. Whether there is something already, of which it
    /// will not be told.
    pub(crate) fn sleep(&self) -> bool {
        self.rings.sleep()
    }

    /// This side looks by itself whether something comes.
    pub(crate) fn stay_awake(&self) {
        self.rings.stay_awake();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::os::testing::is_readable_within;

    fn ends() -> (Local, Local) {
        Local::pair().unwrap()
    }

    fn receive(end: &mut Local) -> Result<Vec<u8>> {
        let mut bytes = vec![0; 100];
        let n = end.receive(Span::NONE, Span::from_mut(&mut bytes))?;
        bytes.truncate(n);
        Ok(bytes)
    }

    fn is_rung(end: &Local) -> bool {
        let mut rung = [0; 100];
        end.bell.receive(&[Span::from_mut(&mut rung)]).is_ok()
    }

    #[test]
    fn the_bell_rings_for_who_sleeps_and_for_nobody_else() {
        let (mut server, mut client) = ends();
        client.send(Span::from_slice(b"one"), Span::NONE).unwrap();
        assert!(!is_rung(&server));
        assert_eq!(receive(&mut server).unwrap(), b"one");
        assert!(!server.sleep());
        client.send(Span::from_slice(b"two"), Span::NONE).unwrap();
        client.send(Span::from_slice(b"more"), Span::NONE).unwrap();
        assert!(is_rung(&server));
        assert!(!is_rung(&server));
        assert_eq!(receive(&mut server).unwrap(), b"twomore");
        assert_eq!(receive(&mut server), Err(libc::EAGAIN));
    }

    #[test]
    fn what_was_written_before_the_end_comes_before_it() {
        let (mut server, mut client) = ends();
        client.send(Span::from_slice(b"last"), Span::NONE).unwrap();
        drop(client);
        server.hear();
        assert_eq!(receive(&mut server).unwrap(), b"last");
        assert_eq!(receive(&mut server), Ok(Vec::new()));
    }

    /// Waits until this side is woken. Whether it was.
    fn wait(end: &mut Local) -> bool {
        let woken = is_readable_within(end.bell.raw(), Duration::from_secs(10));
        end.hear();
        woken
    }

    #[test]
    fn nobody_sleeps_for_ever() {
        const BYTES: usize = 8 << 20;
        let (mut server, mut client) = ends();
        let sender = std::thread::spawn(move || {
            let mut left = BYTES;
            let bytes = [3; 997];
            while left > 0 {
                let next = &bytes[..left.min(1 + left % bytes.len())];
                match client.send(Span::from_slice(next), Span::NONE) {
                    Ok(n) => left -= n,
                    Err(errno) => {
                        assert_eq!(errno, libc::EAGAIN);
                        assert!(wait(&mut client), "no word of room");
                    }
                }
            }
        });
        let mut left = BYTES;
        while left > 0 {
            match receive(&mut server) {
                Ok(bytes) => left -= bytes.len(),
                Err(errno) => {
                    assert_eq!(errno, libc::EAGAIN);
                    if !server.sleep() {
                        assert!(wait(&mut server), "no word of bytes");
                    }
                }
            }
        }
        sender.join().unwrap();
    }

    #[test]
    fn only_memory_of_the_right_kind_is_taken() {
        let (one, other) = Socket::pair().unwrap();
        assert_eq!(
            other.receive_with_descriptor(&mut [0]).err(),
            Some(libc::EAGAIN)
        );
        // A byte without a descriptor.
        one.send(&[Span::from_slice(&[0])]).unwrap();
        assert_eq!(
            other.receive_with_descriptor(&mut [0]).err(),
            Some(libc::EBADMSG)
        );
        let file = std::fs::File::open("/dev/zero").unwrap().into();
        one.send_with_descriptor(&[0], &file).unwrap();
        let (_, zeros) = other.receive_with_descriptor(&mut [0]).unwrap();
        let neighbour = Neighbour::of(other).unwrap();
        assert_eq!(Local::of_offer(neighbour, &zeros).err(), Some(libc::EINVAL));
    }
}
