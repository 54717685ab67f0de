//! The straight line through points by least squares.

/// A line `y = intercept + slope x` with what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub slope: f64,
    pub intercept: f64,
    pub slope_sd: f64,
    pub intercept_sd: f64,
    /// Covariance of slope and intercept.
    pub covariance: f64,
    /// Standard deviation of the residuals, n - 2 degrees of freedom.
    pub residual_sd: f64,
    /// Part of the variance of y that the line explains.
    pub r2: f64,
    /// Weighted: sqrt(chi² / (n - 2)), near 1 where the standard deviations given are right.
    pub birge_ratio: Option<f64>,
}

/// Fits a line. With `sds` (of each y) points are weighted by 1 / sd² and the standard deviations
/// of the line follow from those given; without, from the scatter around the line.
///
/// Sums are taken about the means, so that large offsets cost no digits.
///
/// Errors: fewer than 3 points (2 where `sds` are given), lists of different lengths, no two
/// different x, a standard deviation that is not above zero.
/// Source: Draper and Smith, Applied Regression Analysis, 3rd ed., chapter 1; weighted: Bevington
/// and Robinson, Data Reduction and Error Analysis, 3rd ed., section 6.3. Checked against the
/// certified values of the NIST Statistical Reference Datasets.
pub(super) fn fit(x: &[f64], y: &[f64], sds: Option<&[f64]>) -> Result<Line, String> {
    let n = x.len();
    if y.len() != n || sds.is_some_and(|sds| sds.len() != n) {
        return Err("the lists differ in length".to_owned());
    }
    let least = if sds.is_some() { 2 } else { 3 };
    if n < least {
        return Err(format!("a line needs at least {least} points, there are {n}"));
    }
    if sds.is_some_and(|sds| sds.iter().any(|sd| *sd <= 0.0)) {
        return Err("a standard deviation must be greater than zero".to_owned());
    }
    // Weights relative to the best point; `unit` brings their scale back.
    let unit = sds.map_or(1.0, |sds| sds.iter().copied().fold(f64::INFINITY, f64::min));
    let weights: Vec<f64> = match sds {
        Some(sds) => sds.iter().map(|sd| (unit / sd).powi(2)).collect(),
        None => vec![1.0; n],
    };
    let total: f64 = weights.iter().sum();
    let mean = |values: &[f64]| {
        let rough = values.iter().zip(&weights).map(|(v, w)| v * w).sum::<f64>() / total;
        rough + values.iter().zip(&weights).map(|(v, w)| (v - rough) * w).sum::<f64>() / total
    };
    let (x_mean, y_mean) = (mean(x), mean(y));
    let (mut sxx, mut sxy, mut syy) = (0.0, 0.0, 0.0);
    for ((x, y), w) in x.iter().zip(y).zip(&weights) {
        let (dx, dy) = (x - x_mean, y - y_mean);
        sxx += w * dx * dx;
        sxy += w * dx * dy;
        syy += w * dy * dy;
    }
    let size = x.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    if sxx <= total * (1e-14 * size).powi(2) {
        return Err("all points have the same abscissa".to_owned());
    }
    let slope = sxy / sxx;
    let intercept = y_mean - slope * x_mean;
    let left: f64 = x
        .iter()
        .zip(y)
        .zip(&weights)
        .map(|((x, y), w)| w * (y - y_mean - slope * (x - x_mean)).powi(2))
        .sum();
    let free = n as f64 - 2.0;
    let scatter = if free > 0.0 { left / free } else { 0.0 };
    let variance = if sds.is_some() { unit * unit } else { scatter };
    let plain: f64 =
        x.iter().zip(y).map(|(x, y)| (y - y_mean - slope * (x - x_mean)).powi(2)).sum();
    Ok(Line {
        slope,
        intercept,
        slope_sd: (variance / sxx).sqrt(),
        intercept_sd: (variance * (1.0 / total + x_mean * x_mean / sxx)).sqrt(),
        covariance: -variance * x_mean / sxx,
        residual_sd: if free > 0.0 { (plain / free).sqrt() } else { 0.0 },
        // A flat line through equal values leaves nothing to explain.
        r2: if syy > 0.0 { (1.0 - left / syy).max(0.0) } else { 1.0 },
        birge_ratio: sds.filter(|_| free > 0.0).map(|_| scatter.sqrt() / unit),
    })
}

impl Line {
    /// Why the line is to be used with care.
    pub(super) fn doubts(&self, count: usize) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.slope.abs() <= 3.0 * self.slope_sd {
            doubts.push("the slope is within three standard deviations of zero".to_owned());
        }
        let free = count as f64 - 2.0;
        if let Some(ratio) = self.birge_ratio
            && ratio > 1.0 + 2.0 / (2.0 * free).sqrt()
        {
            doubts.push(format!(
                "the points scatter {ratio:.1} times as much as their standard deviations say"
            ));
        }
        doubts
    }
}
