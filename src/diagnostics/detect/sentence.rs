//! Words for what was found: made only when somebody reads them.

use std::fmt;

use super::face::{Evidence, Symptom};

/// One sentence on one symptom, formatted when displayed.
#[derive(Clone, Copy, Debug)]
pub struct Sentence<'a> {
    evidence: &'a Evidence,
    signal: &'a str,
    unit: &'a str,
}

impl Symptom {
    /// The symptom in words; `signal` is its name and `unit` the unit of its values.
    #[must_use]
    pub const fn sentence<'a>(&'a self, signal: &'a str, unit: &'a str) -> Sentence<'a> {
        Sentence { evidence: &self.evidence, signal, unit }
    }
}

/// A number with four significant digits and no tail of zeros.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        if size == 0.0 {
            return f.write_str("0");
        }
        if !(1e-4..1e6).contains(&size) {
            return write!(f, "{:.2e}", self.0);
        }
        let digits = (3 - size.log10().floor() as i32).max(0) as usize;
        let text = format!("{:.digits$}", self.0);
        let text = if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.')
        } else {
            &text
        };
        f.write_str(text)
    }
}

/// Seconds in the unit people would use.
struct Span(f64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            s if s < 1.0 => write!(f, "{} ms", Short(s * 1e3)),
            s if s < 120.0 => write!(f, "{} s", Short(s)),
            s if s < 7200.0 => write!(f, "{} min", Short(s / 60.0)),
            s => write!(f, "{} h", Short(s / 3600.0)),
        }
    }
}

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = (self.signal, self.unit);
        match *self.evidence {
            Evidence::Limit { value, limit, above } => {
                let side = if above { "above" } else { "below" };
                write!(
                    f,
                    "{name} is {} {unit}, {side} its limit of {} {unit}",
                    Short(value),
                    Short(limit)
                )
            }
            Evidence::Rate { per_second, limit, window_s } => write!(
                f,
                "{name} changes by {} {unit}/min (over {}); at most {} {unit}/min is expected",
                Short(per_second * 60.0),
                Span(window_s),
                Short(limit * 60.0)
            ),
            Evidence::Stuck { value, repeats, usual } => write!(
                f,
                "{name} has read {} {unit} {repeats} times in a row; it never repeated more than {usual} times",
                Short(value)
            ),
            Evidence::Unmoved { value, actuator_moved, for_s } => write!(
                f,
                "{name} stays at {} {unit} though its actuator moved by {} for {}",
                Short(value),
                Short(actuator_moved),
                Span(for_s)
            ),
            Evidence::Spike { value, median, spread } => write!(
                f,
                "{name} jumped to {} {unit} and back; its neighbours are at {} {unit} within {} {unit}",
                Short(value),
                Short(median),
                Short(spread)
            ),
            Evidence::Noise { ratio, usual_sd } => {
                let word = if ratio > 1.0 { "grew" } else { "fell" };
                write!(
                    f,
                    "noise of {name} {word} to {} times the usual {} {unit} from sample to sample",
                    Short(ratio),
                    Short(usual_sd)
                )
            }
            Evidence::Drift { off, spread, for_s } => write!(
                f,
                "{name} has wandered {} {unit} off its usual course in {} (usual scatter {} {unit})",
                Short(off),
                Span(for_s),
                Short(spread)
            ),
            Evidence::NoProgress { value, set_point, for_s } => write!(
                f,
                "{name} is {} {unit} and has come no nearer to its set point {} {unit} for {}",
                Short(value),
                Short(set_point),
                Span(for_s)
            ),
            Evidence::Left { value, set_point, excess, for_s } => write!(
                f,
                "{name} is {} {unit}, off its set point {} {unit} for {} ({} {unit} s outside its band)",
                Short(value),
                Short(set_point),
                Span(for_s),
                Short(excess)
            ),
            Evidence::Steady { value, ratio } => write!(
                f,
                "{name} is steady at {} {unit} (variance ratio {})",
                Short(value),
                Short(ratio)
            ),
            Evidence::Oscillation { amplitude, period_s, half_periods } => write!(
                f,
                "{name} swings by {} {unit} either way every {}; {half_periods} half-periods seen",
                Short(amplitude),
                Span(period_s)
            ),
            Evidence::Saturation { value, end, for_s } => write!(
                f,
                "{name} has been at {} {unit}, the end of its range ({} {unit}), for {}",
                Short(value),
                Short(end),
                Span(for_s)
            ),
            Evidence::Disagreement { first, second, usual, allowed } => write!(
                f,
                "{name} read {} and {} {unit}; they usually differ by {} {unit}, at most {} {unit} off that is allowed",
                Short(first),
                Short(second),
                Short(usual),
                Short(allowed)
            ),
            Evidence::PeriodicLoss { period_s, losses, coherence } => write!(
                f,
                "{name} loses messages every {} ({losses} losses, {} in step)",
                Span(period_s),
                Short(coherence)
            ),
            Evidence::ReplyTime { now_s, usual_s } => {
                write!(f, "{name} answers in {}; usually it takes {}", Span(now_s), Span(usual_s))
            }
            Evidence::ErrorRate { recent, usual, in_a_row } => write!(
                f,
                "{name} fails {} % of its exchanges, usually {} %; the last {in_a_row} failed in a row",
                Short(recent * 100.0),
                Short(usual * 100.0)
            ),
            Evidence::ClockSkew { ppm, over_s } => {
                let word = if ppm > 0.0 { "behind" } else { "ahead" };
                write!(
                    f,
                    "the clock of {name} falls {word} by {} s a day (seen over {})",
                    Short(ppm.abs() * 0.0864),
                    Span(over_s)
                )
            }
            Evidence::ClockStep { step_s } => {
                let word = if step_s > 0.0 { "back" } else { "forward" };
                write!(f, "the clock of {name} jumped {word} by {}", Span(step_s.abs()))
            }
            Evidence::Volume { pumped, weighed, uncertainty, evaporation } => write!(
                f,
                "{name} pumped {} {unit} but {} {unit} arrived on the balance (uncertainty {} {unit}, evaporation up to {} {unit})",
                Short(pumped),
                Short(weighed),
                Short(uncertainty),
                Short(evaporation)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::face::Kind;
    use super::*;

    #[test]
    fn a_symptom_reads_as_one_sentence() {
        let symptom = Symptom {
            kind: Kind::Limit,
            since: 0,
            size: 20.0,
            evidence: Evidence::Limit { value: 140.0, limit: 120.0, above: true },
        };
        assert_eq!(
            symptom.sentence("mono.temperature", "degC").to_string(),
            "mono.temperature is 140 degC, above its limit of 120 degC"
        );
        assert_eq!(Short(0.012_34).to_string(), "0.01234");
        assert_eq!(Span(1800.0).to_string(), "30 min");
    }
}
