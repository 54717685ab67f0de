//! Parts of one stage as a part of the next.

use rusqlite::Connection;

use super::codec;
use super::parts::{self, Summary};
use super::point::Bucket;
use super::reader::{buckets_of, points_of};
use super::schema::{FULL, HOURS, MINUTES};

const MINUTE_NS: u64 = 60_000_000_000;
pub(super) const HOUR_NS: u64 = 60 * MINUTE_NS;

/// Puts buckets of the next stage in the place of parts, unless those are the smaller: a signal
/// that is read once a minute is not made larger. How many parts could not be read; their summary
/// stands for them.
pub(super) fn thin(
    connection: &Connection,
    signal: u32,
    slice: &[Summary],
) -> Result<u64, rusqlite::Error> {
    let next = if slice.iter().any(|s| s.stage == FULL) { MINUTES } else { HOURS };
    let step = if next == MINUTES { MINUTE_NS } else { HOUR_NS };
    let mut buckets: Vec<Bucket> = Vec::new();
    let (mut damaged, mut bytes) = (0, 0);
    for summary in slice {
        bytes += parts::bytes(connection, summary)?;
        let finest = match points_of(connection, summary)? {
            Ok(Some(points)) => Ok(points.iter().map(|p| Bucket::of([p])).collect()),
            Ok(None) => buckets_of(connection, summary)?,
            Err(why) => Err(why),
        };
        let finest = finest.unwrap_or_else(|_| {
            damaged += 1;
            vec![summary.bucket]
        });
        for bucket in &finest {
            match buckets.last_mut() {
                Some(last) if last.first_tick / step == bucket.first_tick / step => {
                    last.merge(bucket);
                }
                _ => buckets.push(*bucket),
            }
        }
    }
    for buckets in buckets.chunks(codec::COUNT_MAX) {
        let fine = codec::encode_buckets(buckets, None);
        if fine.len() as u64 >= bytes && damaged == 0 {
            for summary in slice {
                parts::restage(connection, signal, summary, next)?;
            }
            return Ok(0);
        }
        let mut all = Bucket::EMPTY;
        buckets.iter().for_each(|bucket| all.merge(bucket));
        parts::insert(connection, signal, next, &all, &fine, None)?;
    }
    for summary in slice {
        parts::remove(connection, signal, summary)?;
    }
    Ok(damaged)
}
