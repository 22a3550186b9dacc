// SPDX-License-Identifier: BSD-3-Clause

//! Frames on their way.

use super::*;

const AT: Range = Range {
    addr: 0x1122_3344_5566_7788,
    length: 8,
    key: 0x99aa_bbcc,
};

fn one_of_each() -> Vec<Frame> {
    vec![
        Frame::Send {
            seq: 7,
            length: 100,
            imm: Some(0x0102_0304),
            solicited: true,
            carriage: Carriage::Inband,
        },
        Frame::Write {
            seq: u64::MAX,
            to: AT,
            imm: None,
            solicited: false,
            carriage: Carriage::ByReference,
        },
        Frame::Write {
            seq: 12,
            to: AT,
            imm: Some(3),
            solicited: false,
            carriage: Carriage::Placed,
        },
        Frame::Write {
            seq: 13,
            to: AT,
            imm: None,
            solicited: false,
            carriage: Carriage::InChunks,
        },
        Frame::Read {
            seq: 1,
            from: AT,
            can_pull: true,
            in_chunks: true,
        },
        Frame::AtomicWrite { seq: 2, to: AT },
        Frame::Flush {
            seq: 3,
            at: AT,
            placement: 2,
            whole_region: true,
        },
        Frame::Ack { seq: 4 },
        Frame::Nak {
            seq: 5,
            reason: Reason::QueuePairGone,
        },
        Frame::ReadData {
            seq: 6,
            length: 9,
            carriage: Carriage::Inband,
        },
        Frame::NotReady { seq: 8 },
        Frame::Ready { seq: 9 },
        Frame::InBand { seq: 10 },
        Frame::ReadInBand { seq: 11, from: AT },
        Frame::Use,
        Frame::ChangesOver,
        Frame::Disconnect,
        Frame::Disconnected,
    ]
}

#[test]
fn frames_survive_the_round_trip() {
    for frame in one_of_each() {
        assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
    }
}

#[test]
fn no_bit_of_a_header_is_ignored() {
    for frame in one_of_each() {
        for bit in 0..8 * HEADER {
            let mut header = frame.encode();
            header[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Frame::decode(&header) {
                assert_eq!(other.encode(), header, "{frame:?} became {other:?}");
            }
        }
    }
}

#[test]
fn bad_frames_are_malformed() {
    let good = Frame::Ack { seq: 1 }.encode();
    for (at, value) in [(0, 0), (0, 99), (40, 1), (2, 1)] {
        let mut bad = good;
        bad[at] = value;
        assert_eq!(Frame::decode(&bad), Err(Malformed));
    }
    let mut atomic = Frame::AtomicWrite { seq: 1, to: AT }.encode();
    atomic[4] = 9;
    assert_eq!(Frame::decode(&atomic), Err(Malformed));
    let mut nak = Frame::Nak {
        seq: 1,
        reason: Reason::RemoteAccess,
    }
    .encode();
    nak[28] = 77;
    assert_eq!(Frame::decode(&nak), Err(Malformed));
    let large = Frame::Send {
        seq: 1,
        length: limits::MAX_MESSAGE + 1,
        imm: None,
        solicited: false,
        carriage: Carriage::Inband,
    };
    assert_eq!(Frame::decode(&large.encode()), Err(Malformed));
    let nothing_left = Frame::Write {
        seq: 1,
        to: AT,
        imm: None,
        solicited: false,
        carriage: Carriage::Placed,
    };
    assert_eq!(Frame::decode(&nothing_left.encode()), Err(Malformed));
    let nobody_copies = Frame::Read {
        seq: 1,
        from: AT,
        can_pull: false,
        in_chunks: true,
    };
    assert_eq!(Frame::decode(&nobody_copies.encode()), Err(Malformed));
}
