//! What the codec promises: bit-exact values, bounded times, and an answer to any bytes.

use proptest::prelude::*;

use super::*;

fn point() -> impl Strategy<Value = Point> {
    let status = prop_oneof![
        8 => Just(Status::GOOD),
        1 => (0u32..64, 0u32..9).prop_map(|(code, text)| Status { code, text }),
        1 => (any::<u32>(), any::<u32>()).prop_map(|(code, text)| Status { code, text }),
    ];
    let value = prop_oneof![
        4 => (0i32..5000).prop_map(|n| f64::from(n) / 100.0 + 273.15),
        1 => any::<u64>().prop_map(f64::from_bits),
    ];
    let tick = prop_oneof![8 => 0u64..1 << 50, 1 => any::<u64>()];
    (tick, value, status).prop_map(|(tick, value, status)| Point { tick, value, status })
}

fn same(a: &Point, b: &Point, step: u64) -> bool {
    a.tick / step * step == b.tick && a.value.to_bits() == b.value.to_bits() && a.status == b.status
}

#[test]
fn a_polled_bath_takes_two_bytes_a_reading_and_any_flipped_bit_is_named() {
    let points: Vec<Point> = (0..4096u64)
        .map(|n| {
            let jitter = n * 7919 % 5_000_000;
            let celsius = (2500 + (n * 31 % 11) as i32 - 5) as f64 / 100.0;
            Point::good(n * 500_000_000 + jitter, celsius + 273.15)
        })
        .collect();
    let bytes = encode(&points, TimeStep::Millisecond, None);
    assert!(bytes.len() < 2 * points.len(), "{}", bytes.len());
    let back = decode(&bytes).unwrap();
    assert!(points.iter().zip(&back).all(|(a, b)| same(a, b, 1_000_000)));
    for at in 0..bytes.len() {
        let mut broken = bytes.clone();
        broken[at] ^= 0x10;
        assert!(matches!(decode(&broken), Err(CodecError::Checksum { .. })), "byte {at}");
    }
    for end in 0..bytes.len() {
        assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn what_a_header_says_is_not_allocated() {
    for (count, error) in [(u64::MAX, true), (COUNT_MAX as u64 + 1, true), (3, true)] {
        let mut bytes = vec![FORMAT];
        put_varint(&mut bytes, count);
        seal(&mut bytes);
        assert_eq!(decode(&bytes).is_err(), error);
        let mut loose_bytes = vec![6];
        put_varint(&mut loose_bytes, count);
        assert!(loose(&mut Cursor::new(&loose_bytes)).is_err());
    }
    let mut newer = vec![9, 0];
    seal(&mut newer);
    assert_eq!(decode(&newer), Err(CodecError::Format(9)));
    assert_eq!(decode_buckets(&newer), Err(CodecError::Format(9)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn points_come_back(points in prop::collection::vec(point(), 0..200)) {
        for step in [TimeStep::Nanosecond, TimeStep::Microsecond, TimeStep::Millisecond] {
            let back = decode(&encode(&points, step, None)).unwrap();
            prop_assert_eq!(back.len(), points.len());
            for (a, b) in points.iter().zip(&back) {
                prop_assert!(same(a, b, step.nanoseconds()), "{:?} {:?}", a, b);
            }
            let mut tail = Vec::new();
            put_loose(&mut tail, &points, step);
            let mut cursor = Cursor::new(&tail);
            let back = loose(&mut cursor).unwrap();
            prop_assert!(cursor.left() == 0 && back.len() == points.len());
            for (a, b) in points.iter().zip(&back) {
                prop_assert!(same(a, b, step.nanoseconds()), "{:?} {:?}", a, b);
            }
        }
    }

    #[test]
    fn buckets_come_back(
        points in prop::collection::vec(point(), 1..300), size in 1usize..12,
    ) {
        let buckets: Vec<Bucket> = points.chunks(size).map(Bucket::of).collect();
        let back = decode_buckets(&encode_buckets(&buckets, None)).unwrap();
        // NaN equals nothing, its text does.
        prop_assert_eq!(format!("{back:?}"), format!("{buckets:?}"));
    }

    #[test]
    fn random_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300), format in 1u8..5) {
        let _ = decode(&bytes);
        let mut body = vec![format];
        body.extend(bytes);
        let _ = decode_body(&body);
        let _ = decode_buckets_body(&body);
        let _ = loose(&mut Cursor::new(&body));
    }

    #[test]
    fn a_block_changed_behind_its_checksum_gets_an_answer(
        points in prop::collection::vec(point(), 1..120),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for bytes in [
            encode(&points, TimeStep::Millisecond, None),
            encode_buckets(&[Bucket::of(&points); 30], None),
        ] {
            let mut body = unseal(&bytes).unwrap().to_vec();
            for (at, byte) in &changes {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            if let Ok(points) = decode_body(&body) {
                prop_assert!(points.len() <= COUNT_MAX);
            }
            let _ = decode_buckets_body(&body);
        }
    }
}
