//! Fixed windows without allocation: a ring in order of arrival, and one kept sorted.

/// The last `N` values in order of arrival.
#[derive(Clone, Debug)]
pub(super) struct Ring<T: Copy + Default, const N: usize> {
    items: [T; N],
    head: usize,
    len: usize,
}

impl<T: Copy + Default, const N: usize> Ring<T, N> {
    pub(super) fn new() -> Self {
        Self { items: [T::default(); N], head: 0, len: 0 }
    }

    /// Adds a value; gives back the oldest if the ring was full.
    pub(super) fn push(&mut self, item: T) -> Option<T> {
        let full = self.len == N;
        let mut out = None;
        if let Some(slot) = self.items.get_mut(self.head) {
            if full {
                out = Some(*slot);
            }
            *slot = item;
        }
        self.head = if self.head + 1 >= N { 0 } else { self.head + 1 };
        self.len = (self.len + 1).min(N);
        out
    }

    pub(super) fn clear(&mut self) {
        self.head = 0;
        self.len = 0;
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let (new, old) = self.items.split_at(self.head.min(N));
        let old = if self.len == N { old } else { &[] };
        let skip = if self.len == N { 0 } else { self.head - self.len };
        old.iter().chain(new.iter().skip(skip))
    }

    pub(super) fn newest(&self) -> Option<&T> {
        let at = if self.head == 0 { N - 1 } else { self.head - 1 };
        if self.len == 0 { None } else { self.items.get(at) }
    }
}

/// The last `N` values, sorted: median in constant time, insertion in at most `N` moves.
#[derive(Clone, Debug)]
pub(super) struct Sorted<const N: usize> {
    arrival: Ring<f64, N>,
    sorted: [f64; N],
    len: usize,
}

impl<const N: usize> Sorted<N> {
    pub(super) fn new() -> Self {
        Self { arrival: Ring::new(), sorted: [0.0; N], len: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.arrival.clear();
        self.len = 0;
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == N
    }

    /// Adds a finite value and drops the oldest of a full window.
    pub(super) fn push(&mut self, value: f64) {
        if let Some(old) = self.arrival.push(value) {
            // One pass: the gap left by `old` moves to where `value` belongs.
            let mut at = self.sorted.iter().position(|v| *v == old).unwrap_or(N - 1);
            while let Some(right) = self.sorted.get(at + 1).copied() {
                if right >= value {
                    break;
                }
                self.set(at, right);
                at += 1;
            }
            while at > 0 {
                let left = self.sorted.get(at - 1).copied().unwrap_or(value);
                if left <= value {
                    break;
                }
                self.set(at, left);
                at -= 1;
            }
            self.set(at, value);
        } else {
            let mut at = self.len;
            while at > 0 {
                let left = self.sorted.get(at - 1).copied().unwrap_or(value);
                if left <= value {
                    break;
                }
                self.set(at, left);
                at -= 1;
            }
            self.set(at, value);
            self.len += 1;
        }
    }

    fn set(&mut self, at: usize, value: f64) {
        if let Some(slot) = self.sorted.get_mut(at) {
            *slot = value;
        }
    }

    /// The middle value (the upper middle one of an even number); zero when empty.
    pub(super) fn median(&self) -> f64 {
        self.sorted.get(self.len / 2).copied().unwrap_or(0.0)
    }

    /// Difference of the upper and the lower quartile.
    pub(super) fn quartile_range(&self) -> f64 {
        let low = self.sorted.get(self.len / 4).copied().unwrap_or(0.0);
        let high = self.sorted.get(self.len * 3 / 4).copied().unwrap_or(0.0);
        high - low
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_sorted_window_is_the_sorted_tail(values in prop::collection::vec(-50i32..50, 1..60)) {
            let mut window = Sorted::<7>::new();
            let mut ring = Ring::<f64, 7>::new();
            for (n, v) in values.iter().enumerate() {
                window.push(f64::from(*v));
                ring.push(f64::from(*v));
                let tail: Vec<f64> =
                    values[(n + 1).saturating_sub(7)..=n].iter().map(|v| f64::from(*v)).collect();
                prop_assert_eq!(ring.iter().copied().collect::<Vec<_>>(), tail.clone());
                prop_assert_eq!(ring.newest().copied(), tail.last().copied());
                let mut tail = tail;
                tail.sort_by(f64::total_cmp);
                prop_assert_eq!(window.median(), tail[tail.len() / 2]);
            }
        }
    }
}
