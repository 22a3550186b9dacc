// SPDX-License-Identifier: BSD-3-Clause

//! The limits of the device: those of the kernel's rxe, but never less than what network cards have, since
//! programs are written for these. No queue takes memory for entries that are not in it.

pub(crate) const MAX_QP: i32 = 0xfffff;
pub(crate) const MAX_QP_WR: u32 = 0x100000;
pub(crate) const MAX_SGE: u32 = 32;
pub(crate) const MAX_INLINE: u32 = 1024;
pub(crate) const MAX_CQ: i32 = 0xff_ffff;
pub(crate) const MAX_CQE: u32 = (1 << 22) - 1;
pub(crate) const MAX_MR: i32 = 0xff_ffff;
pub(crate) const MAX_PD: i32 = 0x7ffffffc;
pub(crate) const MAX_SRQ: i32 = 0xff_ffff;
pub(crate) const MAX_SRQ_WR: u32 = 0x100000;
pub(crate) const MAX_SRQ_SGE: u32 = 32;
/// RDMA reads that wait for their data, in one direction of a connection.
pub(crate) const MAX_READS: u8 = 128;
/// What a program says that wants as many as there may be.
pub(crate) const ANY_READS: u8 = 0xff;
/// The largest message.
pub(crate) const MAX_MESSAGE: u32 = 1 << 31;

/// Private data of a connect request, of its acceptance and of its rejection.
pub(crate) const REQUEST_PRIVATE_DATA: usize = 56;
pub(crate) const REPLY_PRIVATE_DATA: usize = 196;
pub(crate) const REJECT_PRIVATE_DATA: usize = 148;

/// How many entries a queue of size `n` holds: the next power of two above `n`, minus 1.
pub(crate) fn queue_room(n: u32) -> usize {
    (n as usize + 1).next_power_of_two() - 1
}

#[cfg(test)]
mod tests {
    use super::queue_room;

    #[test]
    fn queues_hold_the_next_power_of_two_above_their_size_minus_one() {
        for (n, room) in [
            (1, 1),
            (2, 3),
            (7, 7),
            (8, 15),
            (10, 15),
            (16, 31),
            (32767, 32767),
            (4194303, 4194303),
        ] {
            assert_eq!(queue_room(n), room);
        }
    }
}
