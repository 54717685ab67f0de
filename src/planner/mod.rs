//! The planner: proposes the next experiments from what was measured.
//!
//! Pure: no clock, no I/O; randomness comes from the seed of the problem. The same problem, the
//! same tells and the same pending suggestions give the same next suggestions, bit for bit.
mod fit;
mod gauss;
mod gp;
mod insight;
mod linalg;
mod model;
mod problem;
mod search;
mod sobol;
mod space;
mod state;

pub use insight::{Best, Calibration, Recommendation};
pub use problem::{
    Constraint, Limit, Objective, Observation, Outcome, Parameter, ParameterKind, ParameterValue,
    PlannerError, Point, Prediction, Problem, Suggestion,
};
pub use state::Planner;
