//! Frames byte by byte.

use proptest::prelude::*;

use super::super::checksum::{Checksum, From, Sum, Written};
use super::super::forms::Packed;
use super::*;

fn lines(start: &[u8], end: &[u8]) -> TextCodec {
    TextCodec {
        prefix: "1".to_owned(),
        end: b"\r".to_vec(),
        reply_start: start.to_vec(),
        reply_end: ReplyEnd::Bytes(vec![end.to_vec()]),
        longest: 32,
        ..TextCodec::plain()
    }
}

fn frame(codec: &TextCodec, bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    Ok(codec.take(&mut bytes.to_vec())?.map(|taken| taken.frame))
}

#[test]
fn noise_and_cut_answers_before_an_answer_are_dropped() {
    let codec = lines(b"\x02", b"\x03");
    for bytes in [&b"garbage\x0201S\x03"[..], b"\x0201I1.\x0201S\x03"] {
        assert_eq!(frame(&codec, bytes), Ok(Some(b"01S".to_vec())), "{bytes:?}");
    }
    assert!(codec.take(&mut vec![b'x'; 40]).is_err());
    assert!(codec.take(&mut [b"\x02", vec![b'x'; 40].as_slice()].concat()).is_err());
}

#[test]
fn an_answer_may_arrive_byte_by_byte() {
    let codec = lines(b"\x02", b"\x03");
    let mut arrived = Vec::new();
    for byte in b"\x0201S" {
        arrived.push(*byte);
        assert_eq!(codec.take(&mut arrived), Ok(None));
    }
    arrived.push(3);
    assert_eq!(codec.take(&mut arrived).unwrap().unwrap().frame, b"01S");
    assert!(arrived.is_empty());
}

#[test]
fn a_message_cannot_hold_its_own_end() {
    assert_eq!(lines(b"\x02", b"\x03").frame("RUN").unwrap(), b"1RUN\r");
    assert!(lines(b"\x02", b"\x03").frame("RUN\rRUN").is_err());
    assert!(lines(b"\x02", b"\x03").frame("\u{20ac}").is_err());
}

#[test]
fn binary_frames_carry_length_and_sum() {
    let sum = Checksum {
        sum: Sum::Add { bits: 16 },
        written: Written::Little(2),
        from: From::Start,
        over_end: false,
        replies: true,
    };
    let codec = TextCodec {
        start: vec![0xCC],
        prefix: "\u{1}".to_owned(),
        end: Vec::new(),
        checksum: Some(sum),
        reply_start: vec![0xCC],
        reply_end: ReplyEnd::Length(7),
        reply_prefix: "\u{1}".to_owned(),
        ..TextCodec::plain()
    };
    let sent = codec.frame("\u{44}\u{2}\u{0}\u{dd}").unwrap();
    assert_eq!(sent, [0xCC, 1, 0x44, 2, 0, 0xDD, 0xF0, 0x01]);
    // A byte like the start may be data, and noise before the frame is dropped.
    let answer = [0x55, 0xCC, 1, 0, 0xCC, 0, 0xDD, 0x76, 0x02];
    let taken = frame(&codec, &answer).unwrap().unwrap();
    assert_eq!(codec.read(&taken, false).unwrap().unwrap().data, "\u{0}\u{cc}\u{0}\u{dd}");
    let mut wrong = answer;
    wrong[4] = 0xCD;
    let taken = frame(&codec, &wrong).unwrap().unwrap();
    assert!(codec.read(&taken, false).unwrap_err().message.contains("check sum"));
}

#[test]
fn a_length_field_says_where_a_frame_ends() {
    // New Era safe mode: the length counts itself, address and data, check sum and the last byte.
    let sum = Checksum {
        sum: Sum::named("crc16_xmodem").unwrap(),
        written: Written::Big(2),
        from: From::Address,
        over_end: false,
        replies: true,
    };
    let byte = Packed::parse("u8").unwrap();
    let codec = TextCodec {
        start: vec![2],
        size: Some((byte, 4)),
        prefix: "00".to_owned(),
        end: vec![3],
        checksum: Some(sum),
        reply_start: vec![2],
        reply_end: ReplyEnd::Size { at: 1, form: byte, add: 1, tail: vec![3] },
        reply_prefix: "00".to_owned(),
        ..TextCodec::plain()
    };
    let bytes = codec.frame("S").unwrap();
    assert_eq!(bytes[..2], [2, 7]);
    assert_eq!((bytes.len(), bytes[7]), (8, 3));
    let taken = frame(&codec, &bytes).unwrap().unwrap();
    assert_eq!(codec.read(&taken, false).unwrap().unwrap().data, "S");
    assert_eq!(frame(&codec, &bytes[..6]), Ok(None));
    assert!(frame(&codec, b"\x02\x0700SABx").is_err());
    assert!(frame(&codec, b"\x02\xff00").is_err());
}

#[test]
fn doubled_escapes_are_data() {
    let codec = TextCodec {
        start: vec![0x10, 0x02],
        end: vec![0x10, 0x03],
        escape: Some(0x10),
        reply_start: vec![0x10, 0x02],
        reply_end: ReplyEnd::Bytes(vec![vec![0x10, 0x03]]),
        ..TextCodec::plain()
    };
    let sent = codec.frame("a\u{10}\u{3}b").unwrap();
    assert_eq!(sent, b"\x10\x02a\x10\x10\x03b\x10\x03");
    assert_eq!(frame(&codec, &sent), Ok(Some(b"a\x10\x03b".to_vec())));
}

#[test]
fn a_sum_may_follow_the_end() {
    let sum = Checksum {
        sum: Sum::Xor,
        written: Written::Big(1),
        from: From::Start,
        over_end: true,
        replies: true,
    };
    let codec = TextCodec {
        start: vec![2],
        end: vec![3],
        checksum: Some(sum),
        reply_start: vec![2],
        reply_end: ReplyEnd::Bytes(vec![vec![3]]),
        ..TextCodec::plain()
    };
    let sent = codec.frame("AB").unwrap();
    assert_eq!(sent, [2, b'A', b'B', 3, 2 ^ b'A' ^ b'B' ^ 3]);
    assert_eq!(frame(&codec, &sent[..4]), Ok(None));
    let taken = frame(&codec, &sent).unwrap().unwrap();
    assert_eq!(codec.read(&taken, false).unwrap().unwrap().data, "AB");
}

#[test]
fn several_lines_end_with_the_one_that_says_so() {
    let codec = TextCodec {
        reply_end: ReplyEnd::Lines {
            end: b"\r\n".to_vec(),
            last: vec![b"ok".to_vec(), b"error:".to_vec()],
        },
        ..TextCodec::plain()
    };
    assert_eq!(frame(&codec, b"$0=10\r\n$1=25\r\n"), Ok(None));
    let whole = b"$0=10\r\n$1=25\r\nok\r\n";
    assert_eq!(frame(&codec, whole), Ok(Some(whole[..whole.len() - 2].to_vec())));
    assert_eq!(frame(&codec, b"error:9\r\n"), Ok(Some(b"error:9".to_vec())));
    assert!(frame(&codec, &[b'x'; 80]).is_err());
}

#[test]
fn flow_control_characters_are_dropped() {
    let codec = TextCodec { drop: vec![0x11, 0x13], ..TextCodec::plain() };
    assert_eq!(frame(&codec, b"\x1125\x13.0\r\n"), Ok(Some(b"25.0".to_vec())));
}

proptest! {
    #[test]
    fn what_is_framed_is_taken_back_whole(body: Vec<u8>, noise in "[a-z]{0,8}") {
        let codec = TextCodec {
            start: vec![0x10, 0x02],
            end: vec![0x10, 0x03],
            escape: Some(0x10),
            reply_start: vec![0x10, 0x02],
            reply_end: ReplyEnd::Bytes(vec![vec![0x10, 0x03]]),
            longest: 4096,
            ..TextCodec::plain()
        };
        let text = crate::wire::printable::text_of(&body);
        let mut arrived = noise.into_bytes();
        arrived.extend(codec.frame(&text).unwrap());
        prop_assert_eq!(codec.take(&mut arrived).unwrap().unwrap().frame, body);
        prop_assert!(arrived.is_empty());
    }

    #[test]
    fn no_bytes_of_any_framing_panic(bytes: Vec<u8>, kind in 0..5_u8) {
        let end = match kind {
            0 => ReplyEnd::Length(7),
            1 => ReplyEnd::Size {
                at: 1,
                form: Packed::parse("h2").unwrap(),
                add: 3,
                tail: vec![3],
            },
            2 => ReplyEnd::Lines { end: b"\n".to_vec(), last: vec![b"ok".to_vec()] },
            3 => ReplyEnd::Idle(std::time::Duration::from_millis(10)),
            _ => ReplyEnd::Bytes(vec![vec![3], vec![4, 5]]),
        };
        let codec = TextCodec { reply_end: end, reply_start: vec![2], ..TextCodec::plain() };
        let mut arrived = bytes;
        for _ in 0..4 {
            let _ = codec.take(&mut arrived);
        }
        let _ = codec.take_idle(&mut arrived);
    }
}
