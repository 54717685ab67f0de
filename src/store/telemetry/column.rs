//! Columns of numbers: what all parts of a block are made of.
//!
//! ```text
//! whole numbers   0  zigzag varints
//!                 1  all equal: the number
//!                 2  pco (pcodec) of i64
//! doubles         0  eight bytes each
//!                 1  all equal: eight bytes
//!                 2  pco of f64
//!                 3  decimal: places, factor, offset, exceptions, column of whole numbers
//! ```
//! The count is not in the column: the block has it, and checks it against its limit first.

use pco::ChunkConfig;
use pco::standalone::{simple_compress_into, simple_decompress_into};

use super::bytes::{Cursor, put_varint, unzigzag, zigzag};
use super::decimal::{Decimal, Scale};
use super::error::CodecError;

/// Below this pco's own header costs more than it saves.
const PACK_MIN: usize = 24;
/// One value in so many may be an exception of the decimal form.
const EXCEPTIONS: usize = 8;
fn malformed(what: &'static str, why: impl Into<String>) -> CodecError {
    CodecError::Malformed { what, why: why.into() }
}

fn pack<T: pco::data_types::Number>(values: &[T], out: &mut Vec<u8>) -> bool {
    let config = ChunkConfig::default();
    let start = out.len();
    match simple_compress_into(values, &config, &mut *out) {
        Ok(_) => true,
        // Not reachable with this configuration; the plain form always works.
        Err(_) => {
            out.truncate(start);
            false
        }
    }
}

fn unpack<T: pco::data_types::Number>(
    bytes: &[u8],
    values: &mut [T],
    what: &'static str,
) -> Result<(), CodecError> {
    let progress =
        simple_decompress_into(bytes, values).map_err(|e| malformed(what, e.to_string()))?;
    match progress.n_processed == values.len() && progress.finished {
        true => Ok(()),
        false => Err(malformed(what, "it holds another number of values than the block says")),
    }
}

/// Appends a column of whole numbers.
pub(super) fn put_whole(out: &mut Vec<u8>, values: &[i64]) {
    if let Some(first) = values.first()
        && values.iter().all(|value| value == first)
    {
        out.push(1);
        return put_varint(out, zigzag(*first));
    }
    let start = out.len();
    if values.len() >= PACK_MIN {
        out.push(2);
        if pack(values, out) && out.len() - start <= values.len() * 8 {
            return;
        }
        out.truncate(start);
    }
    out.push(0);
    values.iter().for_each(|value| put_varint(out, zigzag(*value)));
}

/// Reads all of `bytes` as a column of whole numbers.
pub(super) fn whole(
    bytes: &[u8],
    count: usize,
    what: &'static str,
) -> Result<Vec<i64>, CodecError> {
    let mut cursor = Cursor::new(bytes);
    match cursor.byte(what)? {
        0 => {
            if cursor.left() < count {
                return Err(CodecError::Truncated(what));
            }
            let mut values = Vec::with_capacity(count);
            for _ in 0..count {
                values.push(unzigzag(cursor.varint(what)?));
            }
            match cursor.left() {
                0 => Ok(values),
                left => Err(CodecError::Trailing(left)),
            }
        }
        1 => Ok(vec![unzigzag(cursor.varint(what)?); count]),
        2 => {
            let mut values = vec![0; count];
            unpack(cursor.take(cursor.left(), what)?, &mut values, what)?;
            Ok(values)
        }
        tag => Err(malformed(what, format!("{tag} is no way to pack whole numbers"))),
    }
}

/// Appends a column of doubles; `hint` is the unit that the device speaks, if it is known.
pub(super) fn put_doubles(out: &mut Vec<u8>, values: &[f64], hint: Option<Scale>) {
    if let Some(first) = values.first()
        && values.iter().all(|value| value.to_bits() == first.to_bits())
    {
        out.push(1);
        return out.extend_from_slice(&first.to_le_bytes());
    }
    let start = out.len();
    if values.len() >= PACK_MIN {
        if let Some(decimal) = Decimal::find(values, hint)
            && put_decimal(out, values, decimal)
        {
            return;
        }
        out.truncate(start);
        out.push(2);
        if pack(values, out) && out.len() - start <= values.len() * 8 {
            return;
        }
        out.truncate(start);
    }
    out.push(0);
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

fn put_decimal(out: &mut Vec<u8>, values: &[f64], decimal: Decimal) -> bool {
    let mut exceptions: Vec<(usize, f64)> = Vec::new();
    let mut last = 0;
    let mut numbers = Vec::with_capacity(values.len());
    for (at, value) in values.iter().enumerate() {
        match decimal.whole(*value) {
            Some(number) => last = number,
            // The neighbour stands in: it costs least.
            None => exceptions.push((at, *value)),
        }
        numbers.push(last);
        if exceptions.len() * EXCEPTIONS > values.len() {
            return false;
        }
    }
    out.push(3);
    out.push(decimal.byte());
    out.extend_from_slice(&decimal.scale.factor.to_le_bytes());
    out.extend_from_slice(&decimal.scale.offset.to_le_bytes());
    put_varint(out, exceptions.len() as u64);
    let mut before = 0;
    for (at, value) in exceptions {
        put_varint(out, (at - before) as u64);
        out.extend_from_slice(&value.to_le_bytes());
        before = at;
    }
    put_whole(out, &numbers);
    true
}

/// Reads all of `bytes` as a column of doubles.
pub(super) fn doubles(
    bytes: &[u8],
    count: usize,
    what: &'static str,
) -> Result<Vec<f64>, CodecError> {
    let mut cursor = Cursor::new(bytes);
    match cursor.byte(what)? {
        0 => {
            let (eights, rest) = cursor.take(cursor.left(), what)?.as_chunks::<8>();
            if eights.len() != count || !rest.is_empty() {
                return Err(malformed(what, "it holds another number of values than the block"));
            }
            Ok(eights.iter().map(|eight| f64::from_le_bytes(*eight)).collect())
        }
        1 => {
            let value = cursor.double(what)?;
            match cursor.left() {
                0 => Ok(vec![value; count]),
                left => Err(CodecError::Trailing(left)),
            }
        }
        2 => {
            let mut values = vec![0.0; count];
            unpack(cursor.take(cursor.left(), what)?, &mut values, what)?;
            Ok(values)
        }
        3 => decimal(cursor, count, what),
        tag => Err(malformed(what, format!("{tag} is no way to pack doubles"))),
    }
}

fn decimal(
    mut cursor: Cursor<'_>,
    count: usize,
    what: &'static str,
) -> Result<Vec<f64>, CodecError> {
    let byte = cursor.byte(what)?;
    let scale = Scale { factor: cursor.double(what)?, offset: cursor.double(what)? };
    let decimal = Decimal::from_byte(byte, scale)
        .ok_or_else(|| malformed(what, format!("{byte} is no decimal form")))?;
    let exceptions = cursor.varint(what)?;
    if exceptions > count as u64 {
        return Err(malformed(what, "it has more exceptions than values"));
    }
    let marks = cursor;
    for _ in 0..exceptions {
        cursor.varint(what)?;
        cursor.double(what)?;
    }
    let numbers = whole(cursor.take(cursor.left(), what)?, count, what)?;
    let mut values: Vec<f64> = numbers.into_iter().map(|n| decimal.double(n)).collect();
    let (mut cursor, mut at) = (marks, 0usize);
    for _ in 0..exceptions {
        let further = usize::try_from(cursor.varint(what)?).unwrap_or(usize::MAX);
        at = at.saturating_add(further);
        let value = cursor.double(what)?;
        let place = values.get_mut(at);
        *place.ok_or_else(|| malformed(what, "an exception lies beyond its end"))? = value;
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn back(values: &[f64]) -> (Vec<f64>, usize, u8) {
        let mut out = Vec::new();
        put_doubles(&mut out, values, None);
        (doubles(&out, values.len(), "values").unwrap(), out.len(), out[0])
    }

    fn same(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
    }

    #[test]
    fn each_form_is_chosen_where_it_serves() {
        let noise: Vec<f64> = (0..500).map(|n| (f64::from(n) * 1.7).sin()).collect();
        let mut celsius: Vec<f64> =
            (0..500).map(|n| f64::from(2500 + n % 7) / 100.0 + 273.15).collect();
        celsius[17] = f64::NAN;
        celsius[499] = -0.0;
        for (values, form) in
            [(&noise[..5], 0), (&[2.5; 300][..], 1), (&noise[..], 2), (&celsius[..], 3)]
        {
            let (read, size, tag) = back(values);
            assert!(same(&read, values));
            assert_eq!(tag, form);
            assert!(size <= values.len() * 8 + 1, "{size}");
        }
        assert!(back(&celsius).1 < 300);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_doubles_come_back_bit_for_bit(bits in prop::collection::vec(any::<u64>(), 0..300)) {
            let values: Vec<f64> = bits.into_iter().map(f64::from_bits).collect();
            prop_assert!(same(&back(&values).0, &values));
        }

        #[test]
        fn decimals_with_exceptions_come_back(
            numbers in prop::collection::vec(-100_000i32..100_000, 24..200),
            places in 0i32..6, odd: u64, at: prop::sample::Index,
        ) {
            let mut values: Vec<f64> = numbers
                .iter()
                .map(|n| f64::from(*n) / 10f64.powi(places) + 273.15)
                .collect();
            let at = at.index(values.len());
            values[at] = f64::from_bits(odd);
            prop_assert!(same(&back(&values).0, &values));
        }

        #[test]
        fn whole_numbers_come_back(values in prop::collection::vec(any::<i64>(), 0..200)) {
            let mut out = Vec::new();
            put_whole(&mut out, &values);
            prop_assert_eq!(whole(&out, values.len(), "times").unwrap(), values);
        }

        #[test]
        fn random_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0usize..5_000, tag in 0u8..5,
        ) {
            let mut tagged = vec![tag];
            tagged.extend(bytes);
            let _ = doubles(&tagged, count, "values");
            let _ = whole(&tagged, count, "times");
        }
    }
}
