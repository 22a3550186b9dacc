// SPDX-License-Identifier: BSD-3-Clause

//! The way between two processes of one host: bytes go through shared memory. A pair of local sockets wakes
//! whoever sleeps, and tells of the end.

use super::memory::Span;
use super::rings::Rings;
use super::socket::Socket;
use crate::Result;

pub(crate) struct Local {
    bell: Socket,
    rings: Rings,
    /// The peer sends no more than what is there.
    ended: bool,
}

impl Local {
    /// The server's end, and the socket that a client makes its own of.
    pub(crate) fn new() -> Result<(Self, Socket)> {
        let (bell, for_client) = Socket::pair()?;
        let (rings, memory) = Rings::new()?;
        bell.send_descriptor(&memory)?;
        Ok((Self::end(bell, rings), for_client))
    }

    /// The client's end, by the number of that socket in the server.
    pub(crate) fn of_process(pid: i32, fd: i32) -> Result<Self> {
        let bell = Socket::of_process(pid, fd)?;
        let rings = Rings::other_end(&bell.receive_descriptor()?)?;
        Ok(Self::end(bell, rings))
    }

    fn end(bell: Socket, rings: Rings) -> Self {
        Self {
            bell,
            rings,
            ended: false,
        }
    }

    /// Readable when this side is woken.
    pub(crate) fn bell(&self) -> &Socket {
        &self.bell
    }

    fn ring(&self) {
        match self.bell.send(&[Span::from_slice(&[0])]) {
            // With no room in the socket it has been rung often enough.
            Ok(_) | Err(libc::EAGAIN) => {}
            // Better an end than a peer that sleeps for ever.
            Err(_) => self.bell.shut_down(),
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
    use std::time::Duration;

    use super::*;
    use crate::os::testing::is_readable_within;

    fn ends() -> (Local, Local) {
        let (server, for_client) = Local::new().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let client = Local::of_process(own, for_client.raw()).unwrap();
        (server, client)
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
    fn a_socket_without_memory_is_no_way() {
        let (bell, other) = Socket::pair().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(
            Local::of_process(own, other.raw()).err(),
            Some(libc::EAGAIN)
        );
        // A byte without a descriptor.
        bell.send(&[Span::from_slice(&[0])]).unwrap();
        assert_eq!(
            Local::of_process(own, other.raw()).err(),
            Some(libc::EBADMSG)
        );
    }
}
