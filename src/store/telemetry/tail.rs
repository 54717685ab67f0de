//! Rows of the tail: what was committed and is not in parts yet.
//!
//! ```text
//! groups of: signal | number of its first reading | part: readings (not packed) ; CRC-32C
//! ```

use std::collections::BTreeMap;

use super::bytes::{Cursor, put_part, put_varint, seal, unseal};
use super::codec::{TimeStep, loose, put_loose};
use super::error::CodecError;
use super::point::Point;

/// Readings of one signal in a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) signal: u32,
    /// How many readings of this signal came before the first of these.
    pub(super) number: u64,
    pub(super) points: Vec<Point>,
}

/// Writes a row.
#[derive(Debug, Default)]
pub(super) struct Row {
    body: Vec<u8>,
    group: Vec<u8>,
    ticks: Option<(u64, u64)>,
}

impl Row {
    pub(super) fn put(&mut self, signal: u32, number: u64, points: &[Point], step: TimeStep) {
        if points.is_empty() {
            return;
        }
        put_varint(&mut self.body, u64::from(signal));
        put_varint(&mut self.body, number);
        self.group.clear();
        put_loose(&mut self.group, points, step);
        put_part(&mut self.body, &self.group);
        for point in points {
            let (first, last) = self.ticks.unwrap_or((point.tick, point.tick));
            self.ticks = Some((first.min(point.tick), last.max(point.tick)));
        }
    }

    /// Earliest tick, latest tick, bytes; `None` if nothing was put in.
    pub(super) fn finish(mut self) -> Option<(u64, u64, Vec<u8>)> {
        let (first, last) = self.ticks?;
        seal(&mut self.body);
        Some((first, last, self.body))
    }
}

/// Reads the groups of a row that are wanted.
pub(super) fn groups(row: &[u8], wanted: impl Fn(u32) -> bool) -> Result<Vec<Group>, CodecError> {
    let mut cursor = Cursor::new(unseal(row)?);
    let mut groups = Vec::new();
    while cursor.left() > 0 {
        let signal = cursor.varint("signal")?;
        let signal = u32::try_from(signal).map_err(|_| CodecError::Malformed {
            what: "signal",
            why: format!("{signal} is no number of a signal"),
        })?;
        let number = cursor.varint("number")?;
        let part = cursor.part("readings")?;
        if wanted(signal) {
            let mut cursor = Cursor::new(part);
            let points = loose(&mut cursor)?;
            if cursor.left() > 0 {
                return Err(CodecError::Trailing(cursor.left()));
            }
            groups.push(Group { signal, number, points });
        }
    }
    Ok(groups)
}

/// Readings of a group that are not in parts yet, when `sealed` are.
pub(super) fn unsealed(group: &Group, sealed: u64) -> &[Point] {
    let skip = usize::try_from(sealed.saturating_sub(group.number)).unwrap_or(usize::MAX);
    group.points.get(skip..).unwrap_or_default()
}

/// Readings of all signals that are not in parts yet, and what is wrong with rows that cannot be
/// read. `sealed` says how many readings of each signal are in parts.
pub(super) fn recover(
    rows: impl IntoIterator<Item = Vec<u8>>,
    sealed: &BTreeMap<u32, u64>,
) -> (BTreeMap<u32, Vec<Point>>, Vec<CodecError>) {
    let mut open: BTreeMap<u32, Vec<Point>> = BTreeMap::new();
    let mut damaged = Vec::new();
    for row in rows {
        // A signal that is not known any more has nobody to ask for it.
        match groups(&row, |signal| sealed.contains_key(&signal)) {
            Ok(groups) => {
                for group in groups {
                    if let Some(sealed) = sealed.get(&group.signal) {
                        let points = unsealed(&group, *sealed);
                        open.entry(group.signal).or_default().extend_from_slice(points);
                    }
                }
            }
            Err(error) => damaged.push(error),
        }
    }
    (open, damaged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_in_parts_is_not_recovered_again() {
        let points: Vec<Point> = (0..10).map(|n| Point::good(n * 1_000_000, n as f64)).collect();
        let mut row = Row::default();
        row.put(3, 100, &points, TimeStep::Millisecond);
        row.put(4, 0, &points[..2], TimeStep::Millisecond);
        row.put(9, 0, &points, TimeStep::Millisecond);
        let (first, last, body) = row.finish().unwrap();
        assert_eq!((first, last), (0, 9_000_000));
        let mut torn = body.clone();
        torn.truncate(body.len() / 2);
        let (open, damaged) = recover([torn, body], &[(3, 104), (4, 7)].into());
        assert_eq!(open[&3], points[4..]);
        assert!(open[&4].is_empty() && !open.contains_key(&9));
        assert_eq!(damaged.len(), 1);
        assert!(Row::default().finish().is_none());
    }

    proptest! {
        #[test]
        fn random_rows_get_an_answer(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = groups(&bytes, |_| true);
            seal(&mut bytes);
            let _ = groups(&bytes, |_| true);
        }
    }
}
