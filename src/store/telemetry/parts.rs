//! Parts and their summaries as rows.

use rusqlite::{Connection, Row, Statement, params};

use super::codec::{self, TimeStep};
use super::decimal::Scale;
use super::point::{Bucket, Point, Status};
use super::schema::{FULL, whole};

/// Readings of one bucket of `fine`.
pub(super) const FINE: usize = 512;

/// A row of `summary`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Summary {
    pub(super) stage: i64,
    pub(super) part: i64,
    pub(super) bucket: Bucket,
}

/// Columns of a [`Summary`], in its order.
pub(super) const COLUMNS: &str = "stage, part, first, last, count, used, first_value, last_value, \
                                  least, greatest, total, worst";

impl Summary {
    pub(super) fn from_row(row: &Row<'_>) -> Result<Summary, rusqlite::Error> {
        let unsigned = |at| -> Result<u64, rusqlite::Error> {
            Ok(u64::try_from(row.get::<_, i64>(at)?).unwrap_or(0))
        };
        // SQLite keeps NaN as NULL.
        let double = |at| -> Result<f64, rusqlite::Error> {
            Ok(row.get::<_, Option<f64>>(at)?.unwrap_or(f64::NAN))
        };
        let bucket = Bucket {
            first_tick: unsigned(2)?,
            last_tick: unsigned(3)?,
            count: unsigned(4)?,
            used: unsigned(5)?,
            first: double(6)?,
            last: double(7)?,
            min: double(8)?,
            max: double(9)?,
            sum: double(10)?,
            worst: Status::from_word(row.get::<_, i64>(11)?.cast_unsigned()),
        };
        Ok(Summary { stage: row.get(0)?, part: row.get(1)?, bucket })
    }
}

/// Writes a part and its summary. Makes the longest span of the signal at least that of the part:
/// a search for a window must begin so much before it.
pub(super) fn insert(
    connection: &Connection,
    signal: u32,
    stage: i64,
    bucket: &Bucket,
    fine: &[u8],
    body: Option<&[u8]>,
) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("INSERT INTO part (fine, body) VALUES (?1, ?2)")?
        .execute(params![fine, body])?;
    let part = connection.last_insert_rowid();
    connection
        .prepare_cached(
            "INSERT INTO summary (signal, stage, first, part, last, count, used, first_value, \
             last_value, least, greatest, total, worst) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            signal,
            stage,
            whole(bucket.first_tick),
            part,
            whole(bucket.last_tick),
            whole(bucket.count),
            whole(bucket.used),
            bucket.first,
            bucket.last,
            bucket.min,
            bucket.max,
            bucket.sum,
            bucket.worst.word().cast_signed(),
        ])?;
    let span = whole(bucket.last_tick.saturating_sub(bucket.first_tick));
    connection
        .prepare_cached("UPDATE signal SET span = ?2 WHERE id = ?1 AND span < ?2")?
        .execute(params![signal, span])?;
    Ok(())
}

/// Writes readings as a full part; their times are those that the block keeps.
pub(super) fn insert_points(
    connection: &Connection,
    signal: u32,
    points: &[Point],
    step: TimeStep,
    scale: Option<Scale>,
) -> Result<(), rusqlite::Error> {
    let rounded = |point: &Point| {
        let tick = point.tick / step.nanoseconds() * step.nanoseconds();
        Point { tick, ..*point }
    };
    let fine: Vec<Bucket> = points
        .chunks(FINE)
        .map(|chunk| {
            let mut bucket = Bucket::EMPTY;
            chunk.iter().for_each(|point| bucket.push(&rounded(point)));
            bucket
        })
        .collect();
    let mut all = Bucket::EMPTY;
    fine.iter().for_each(|bucket| all.merge(bucket));
    let body = codec::encode(points, step, scale);
    // One bucket would say what the summary says.
    let fine = match fine.len() {
        0 | 1 => Vec::new(),
        _ => codec::encode_buckets(&fine, scale),
    };
    insert(connection, signal, FULL, &all, &fine, Some(&body))
}

/// Finds summaries of a stage that overlap a window; parameters: signal, stage, span, from, to.
pub(super) fn overlapping(connection: &Connection) -> Result<Statement<'_>, rusqlite::Error> {
    connection.prepare(&format!(
        "SELECT {COLUMNS} FROM summary WHERE signal = ?1 AND stage = ?2 AND first >= ?4 - ?3 \
         AND first <= ?5 AND last >= ?4 ORDER BY first, part"
    ))
}

/// Removes a part and its summary.
pub(super) fn remove(
    connection: &Connection,
    signal: u32,
    summary: &Summary,
) -> Result<(), rusqlite::Error> {
    connection.prepare_cached("DELETE FROM part WHERE id = ?1")?.execute([summary.part])?;
    connection
        .prepare_cached(
            "DELETE FROM summary WHERE signal = ?1 AND stage = ?2 AND first = ?3 AND part = ?4",
        )?
        .execute(params![signal, summary.stage, whole(summary.bucket.first_tick), summary.part])?;
    Ok(())
}

/// Bytes of a part.
pub(super) fn bytes(connection: &Connection, summary: &Summary) -> Result<u64, rusqlite::Error> {
    let bytes: i64 = connection
        .prepare_cached(
            "SELECT coalesce(sum(length(fine) + coalesce(length(body), 0)), 0) FROM part \
             WHERE id = ?1",
        )?
        .query_row([summary.part], |row| row.get(0))?;
    Ok(bytes.cast_unsigned())
}

/// Makes a part one of another stage, as it is.
pub(super) fn restage(
    connection: &Connection,
    signal: u32,
    summary: &Summary,
    stage: i64,
) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "UPDATE summary SET stage = ?5 \
             WHERE signal = ?1 AND stage = ?2 AND first = ?3 AND part = ?4",
        )?
        .execute(params![
            signal,
            summary.stage,
            whole(summary.bucket.first_tick),
            summary.part,
            stage
        ])?;
    Ok(())
}
