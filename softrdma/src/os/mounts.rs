// SPDX-License-Identifier: BSD-3-Clause

//! Of what kind the file system of a file is, as the kernel's list of mounts says. Unlike with `statfs(2)`, no server of
//! a file system is asked: it may not answer.

use super::private_fd::PrivateFd;
use crate::Result;

/// How much text the list may have: some 10,000 mounts.
const MOST_TEXT: usize = 2 << 20;
/// File systems whose pages come from disks of this host. Huge pages (`hugetlbfs`) may not be there, and an access to
/// pages of others may wait for a server. Btrfs is not among them: what the kernel says of its files in the table of
/// mappings does not tell the files of two subvolumes from each other.
const LOCAL: [&[u8]; 8] = [
    b"ext2", b"ext3", b"ext4", b"xfs", b"f2fs", b"overlay", b"ramfs", b"zfs",
];

/// The mounts that the calling thread sees. To be read with a table of descriptors of its own.
pub(super) struct Mounts(Vec<u8>);

/// A line: `36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
struct Mount<'a> {
    number: u64,
    device: (u32, u32),
    kind: &'a [u8],
}

impl Mounts {
    pub(super) fn read() -> Result<Self> {
        let mut text = Vec::new();
        PrivateFd::open(c"/proc/thread-self/mountinfo", libc::O_RDONLY)?
            .read_to_end(&mut text, MOST_TEXT)?;
        Ok(Self(text))
    }

    fn all(&self) -> impl Iterator<Item = Mount<'_>> {
        self.0.split(|&byte| byte == b'\n').filter_map(parse)
    }

    /// Whether the mount with this number is of a disk of this host.
    pub(super) fn is_on_disk(&self, number: u64) -> bool {
        let mount = self.mount(number);
        mount.is_some_and(|mount| LOCAL.contains(&mount.kind))
    }

    /// Whether it is an overlay: a file there may be another one when it is opened for writing, with the same number.
    pub(super) fn is_overlay(&self, number: u64) -> bool {
        let mount = self.mount(number);
        mount.is_some_and(|mount| mount.kind == b"overlay")
    }

    fn mount(&self, number: u64) -> Option<Mount<'_>> {
        self.all().find(|mount| mount.number == number)
    }

    /// Whether the file system of this device is known, and one that may wait for a server.
    pub(super) fn may_wait(&self, device: (u32, u32)) -> bool {
        let mount = self.all().find(|mount| mount.device == device);
        mount.is_some_and(|mount| mount.kind != b"tmpfs" && !LOCAL.contains(&mount.kind))
    }
}

fn parse(line: &[u8]) -> Option<Mount<'_>> {
    let mut fields = line.split(|&byte| byte == b' ');
    let (number, _parent, device) = (fields.next()?, fields.next()?, fields.next()?);
    fields.find(|field| *field == b"-")?;
    let text = std::str::from_utf8(device).ok()?;
    let (major, minor) = text.split_once(':')?;
    Some(Mount {
        number: std::str::from_utf8(number).ok()?.parse().ok()?,
        device: (major.parse().ok()?, minor.parse().ok()?),
        kind: fields.next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"21 1 254:0 / / rw,relatime - ext4 /dev/root rw\n\
        30 21 0:40 / /a\\040b rw shared:4 master:2 - fuse.sshfs host:/ rw,user_id=0\n\
        31 21 0:41 / /dev/shm rw - tmpfs tmpfs rw\n\
        32 21 0:42 /s /sub rw - btrfs /dev/sda rw\n\
        33 21 x:42 / /bad rw - ext4 /dev/sda rw\n\
        34 21 0:43 / /short rw -\n\
        35 21 0:44 / /over rw - overlay overlay rw,lowerdir=/a\n";

    #[test]
    fn only_disks_of_the_host_are_known_not_to_wait() {
        let mounts = Mounts(MOUNTS.to_vec());
        let disks = (0..40).filter(|&number| mounts.is_on_disk(number));
        assert_eq!(disks.collect::<Vec<_>>(), [21, 35]);
        let overlays = (0..40).filter(|&number| mounts.is_overlay(number));
        assert_eq!(overlays.collect::<Vec<_>>(), [35]);
        let may_wait = (38..46).filter(|&minor| mounts.may_wait((0, minor)));
        assert_eq!(may_wait.collect::<Vec<_>>(), [40, 42]);
        // Memory files are on none.
        assert!(!mounts.may_wait((0, 1)) && !mounts.may_wait((254, 0)));
    }

    #[test]
    fn the_root_is_mounted() {
        let mounts = Mounts::read().map(|mounts| mounts.all().count());
        assert!(mounts.is_ok_and(|count| count > 0));
    }
}
