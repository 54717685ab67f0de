//! The linear algebra the planner needs, and the only file that names faer.
#![expect(
    clippy::indexing_slicing,
    reason = "indices run over the dimension the matrices and vectors of this file share"
)]

use faer::Side;
use faer::linalg::solvers::{DenseSolveCore, Llt};
use faer::{Mat, Par};

/// Added to the diagonal, relative to its mean, one after the other until the factor exists.
const JITTERS: [f64; 5] = [0.0, 1e-10, 1e-8, 1e-6, 1e-4];

/// A matrix that is not positive definite within rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("matrix is not positive definite")]
pub(super) struct NotPositiveDefinite;

/// Cholesky factor L of a symmetric positive definite matrix, rows of the lower triangle.
#[derive(Debug, Clone)]
pub(super) struct Factor {
    n: usize,
    llt: Llt<f64>,
    lower: Mat<f64>,
}

impl Factor {
    /// Factors the n by n matrix `entry(i, j)`, read for `j <= i`.
    ///
    /// Cost: n^3 / 3 multiply-adds. Errors: [`NotPositiveDefinite`] after the last jitter.
    pub(super) fn new(
        n: usize,
        entry: impl Fn(usize, usize) -> f64,
    ) -> Result<Factor, NotPositiveDefinite> {
        // One thread: sums in a fixed order, so that results do not depend on the machine's load.
        faer::set_global_parallelism(Par::Seq);
        let mut matrix = Mat::<f64>::zeros(n, n);
        let mut trace = 0.0;
        for i in 0..n {
            for j in 0..=i {
                let value = entry(i, j);
                matrix[(i, j)] = value;
                matrix[(j, i)] = value;
            }
            trace += matrix[(i, i)];
        }
        if !trace.is_finite() {
            return Err(NotPositiveDefinite);
        }
        let mut added = 0.0;
        for jitter in JITTERS {
            let extra = jitter * trace / n.max(1) as f64;
            for i in 0..n {
                matrix[(i, i)] += extra - added;
            }
            added = extra;
            if let Ok(llt) = matrix.llt(Side::Lower) {
                let lower = llt.L().to_owned();
                if (0..n).all(|i| lower[(i, i)].is_finite() && lower[(i, i)] > 0.0) {
                    return Ok(Factor { n, llt, lower });
                }
            }
        }
        Err(NotPositiveDefinite)
    }

    /// Solves `L x = b`.
    pub(super) fn half_solve(&self, b: &[f64]) -> Vec<f64> {
        let mut x = b.to_vec();
        // Column by column, as the factor lies in memory.
        for j in 0..self.n {
            let pivot = x[j] / self.lower[(j, j)];
            x[j] = pivot;
            let column = self.lower.col(j);
            for i in j + 1..self.n {
                x[i] -= column[i] * pivot;
            }
        }
        x
    }

    /// Solves `L^T x = b`.
    pub(super) fn half_solve_transposed(&self, b: &[f64]) -> Vec<f64> {
        let mut x = b.to_vec();
        for j in (0..self.n).rev() {
            let column = self.lower.col(j);
            let mut sum = x[j];
            for i in j + 1..self.n {
                sum -= column[i] * x[i];
            }
            x[j] = sum / self.lower[(j, j)];
        }
        x
    }

    /// Solves `A x = b`.
    pub(super) fn solve(&self, b: &[f64]) -> Vec<f64> {
        self.half_solve_transposed(&self.half_solve(b))
    }

    /// The inverse of the matrix.
    pub(super) fn inverse(&self) -> Mat<f64> {
        self.llt.inverse()
    }

    /// Logarithm of the determinant of the matrix.
    pub(super) fn log_determinant(&self) -> f64 {
        2.0 * (0..self.n).map(|i| self.lower[(i, i)].ln()).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(i: usize, j: usize) -> f64 {
        if i == j { 2.0 + i as f64 } else { 1.0 / (1.0 + i as f64 + j as f64) }
    }

    #[test]
    fn solutions_inverse_and_determinant_agree_with_the_matrix() {
        let factor = Factor::new(7, entry).unwrap();
        let b: Vec<f64> = (0..7).map(|i| (i as f64).sin() + 1.0).collect();
        let x = factor.solve(&b);
        let inverse = factor.inverse();
        for i in 0..7 {
            let row: f64 = (0..7).map(|j| entry(i, j) * x[j]).sum();
            assert!((row - b[i]).abs() < 1e-12);
            let same: f64 = (0..7).map(|j| inverse[(i, j)] * b[j]).sum();
            assert!((same - x[i]).abs() < 1e-12);
        }
        let two = Factor::new(2, |i, j| if i == j { 3.0 } else { 1.0 }).unwrap();
        assert!((two.log_determinant() - 8.0_f64.ln()).abs() < 1e-14);
    }

    #[test]
    fn a_singular_matrix_gets_jitter_and_an_indefinite_one_an_error() {
        assert!(Factor::new(4, |_, _| 1.0).is_ok());
        assert!(Factor::new(2, |i, j| if i == j { 1.0 } else { 5.0 }).is_err());
        assert!(Factor::new(2, |_, _| f64::NAN).is_err());
    }
}
