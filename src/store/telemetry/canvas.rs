//! The columns of a picture while they are filled.

use super::point::{Bucket, Point};

/// Columns that one call gives at most; more than any screen has.
pub const COLUMNS_MAX: usize = 16_384;

/// The columns of a picture while they are filled.
pub(super) struct Canvas {
    pub(super) from: u64,
    pub(super) to: u64,
    /// Ticks of the window; 2^64 at most.
    length: u128,
    pub(super) columns: Vec<Bucket>,
}

impl Canvas {
    pub(super) fn new(from: u64, to: u64, columns: usize) -> Canvas {
        let length = u128::from(to.saturating_sub(from)) + 1;
        Canvas { from, to, length, columns: vec![Bucket::EMPTY; columns.clamp(1, COLUMNS_MAX)] }
    }

    /// Whether a bucket is inside the window and at most half a column wide, or of one moment.
    pub(super) fn takes(&self, bucket: &Bucket) -> bool {
        let wide = u128::from(bucket.last_tick.saturating_sub(bucket.first_tick));
        bucket.first_tick >= self.from
            && bucket.last_tick <= self.to
            && (wide == 0 || wide * 2 * self.columns.len() as u128 <= self.length)
    }

    pub(super) const fn misses(&self, bucket: &Bucket) -> bool {
        bucket.last_tick < self.from || bucket.first_tick > self.to
    }

    fn column(&mut self, tick: u64) -> Option<&mut Bucket> {
        let after = tick.clamp(self.from, self.to).saturating_sub(self.from);
        let columns = self.columns.len() as u128;
        // Division of 128 bits is slow, and nearly never needed.
        let column = match u64::try_from(columns * u128::from(after)) {
            Ok(product) if let Ok(length) = u64::try_from(self.length) => product / length,
            _ => (columns * u128::from(after) / self.length) as u64,
        };
        self.columns.get_mut(column as usize)
    }

    pub(super) fn bucket(&mut self, bucket: &Bucket) {
        if let Some(column) = self.column(bucket.middle()) {
            column.merge(bucket);
        }
    }

    pub(super) fn point(&mut self, point: &Point) {
        if (self.from..=self.to).contains(&point.tick)
            && let Some(column) = self.column(point.tick)
        {
            column.push(point);
        }
    }
}
