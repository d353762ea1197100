//! The end of a frame, told from bytes that come in any pieces.

use clerk_gate::upstream::frames::{self, Frames, Sender};
use proptest::prelude::*;

/// A frame on the wire, and where its payload begins.
#[derive(Clone, Debug)]
struct Written {
    bytes: Vec<u8>,
}

/// Any frame: every opcode and reserved bit, every form of length (also longer ones than it needs),
/// masked or not.
fn frame() -> impl Strategy<Value = Written> {
    let length = prop_oneof![0..=300_usize, 65_530..=65_545_usize];
    (
        any::<u8>(),
        length,
        any::<Option<[u8; 4]>>(),
        0..3_u8,
        any::<u8>(),
    )
        .prop_map(|(first, length, key, form, fill)| {
            let mask = if key.is_some() { 0x80 } else { 0 };
            let mut bytes = vec![first];
            match (form, length) {
                (0, 0..=125) => bytes.push(mask | u8::try_from(length).unwrap()),
                (0 | 1, 0..=0xffff) => {
                    bytes.push(mask | 0x7e);
                    bytes.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
                }
                _ => {
                    bytes.push(mask | 0x7f);
                    bytes.extend_from_slice(&u64::try_from(length).unwrap().to_be_bytes());
                }
            }
            bytes.extend(key.into_iter().flatten());
            bytes.resize(bytes.len() + length, fill);
            Written { bytes }
        })
}

/// Where the frames in `bytes` end, read one after the other from the whole: the reference.
fn ends(bytes: &[u8]) -> Vec<usize> {
    let (mut at, mut found) = (0, Vec::new());
    loop {
        let Some(second) = bytes.get(at + 1) else {
            return found;
        };
        let (wide, short) = match second & 0x7f {
            126 => (2, None),
            127 => (8, None),
            short => (0, Some(usize::from(short))),
        };
        let Some(written) = bytes.get(at + 2..at + 2 + wide) else {
            return found;
        };
        let length = short.unwrap_or_else(|| {
            let digits = written.iter();
            digits.fold(0, |sum, digit| sum * 256 + usize::from(*digit))
        });
        let key = if *second >= 0x80 { 4 } else { 0 };
        at += 2 + wide + key + length;
        if at > bytes.len() {
            return found;
        }
        found.push(at);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_end_of_each_frame_is_known_whatever_pieces_it_comes_in(
        written in prop::collection::vec(frame(), 1..6),
        sizes in prop::collection::vec(1..5000_usize, 1..40),
        missing in 0..20_usize,
    ) {
        let mut bytes: Vec<u8> = written.iter().flat_map(|one| one.bytes.clone()).collect();
        bytes.truncate(bytes.len().saturating_sub(missing));
        let ends = ends(&bytes);
        let (mut stepping, mut passing) = (Frames::default(), Frames::default());
        let (mut found, mut at) = (Vec::new(), 0);
        let mut sizes = sizes.iter().cycle();
        while at < bytes.len() {
            let size = *sizes.next().unwrap();
            let piece = &bytes[at..bytes.len().min(at + size)];
            passing.pass(piece);
            let mut rest = piece;
            while !rest.is_empty() {
                let passed = stepping.pass_one(rest);
                prop_assert!(passed > 0 && passed <= rest.len());
                at += passed;
                rest = &rest[passed..];
                if stepping.at_boundary() {
                    found.push(at);
                }
            }
            prop_assert_eq!(passing.at_boundary(), stepping.at_boundary());
        }
        prop_assert_eq!(found, ends);
    }

    #[test]
    fn a_frame_that_closes_is_known_once_it_is_whole(
        before in prop::collection::vec(frame(), 0..3),
        code in 1000..5000_u16,
        reason in "[a-z-]{0,140}",
        key in any::<Option<[u8; 4]>>(),
    ) {
        let mut frames = Frames::default();
        for one in &before {
            frames.pass(&one.bytes);
        }
        let sender = key.map_or(Sender::Server, Sender::Client);
        let close = frames::close(sender, code, &reason);
        prop_assert_eq!(ends(&close), vec![close.len()]);
        prop_assert!(close.len() <= 125 + 6, "a control frame is short");
        let (last, begun) = close.split_last().unwrap();
        frames.pass(begun);
        prop_assert!(!frames.has_closed());
        frames.pass(&[*last]);
        prop_assert!(frames.has_closed());
    }
}

#[test]
fn a_length_beyond_all_bounds_is_followed_without_any_room() {
    let mut frames = Frames::default();
    frames.pass(&[
        0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4,
    ]);
    assert!(!frames.at_boundary());
    assert_eq!(frames.pass_one(&[0; 100]), 100);
    assert!(!frames.at_boundary());
    assert!(size_of::<Frames>() <= 40);
}
