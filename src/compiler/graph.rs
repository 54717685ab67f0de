//! The compiled graph: what the engine runs, the scheduler times and `labloop graph` prints.
//!
//! A graph is a tree of *blocks* whose children form a directed acyclic graph among themselves: a
//! block (group, parallel, repeat, for_each, branch) starts when its predecessors in its own
//! parent are done, and is done when its children are. Edges therefore only ever join siblings
//! (same parent, same slot), loops are bounded regions rather than back edges, and one step has
//! one stable path whatever the loop count: `run/steady[2]/spectrum`.
//!
//! Architecture invariant: nothing here knows live state, time or any wire.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::analysis::Returned;
use crate::expr::{Expr, Value};

/// Index of a node in [`Graph::nodes`]. Durable records use the node's path, never this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u32);

/// A protocol compiled for one lab and one set of parameters.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Graph {
    /// Name of the protocol.
    pub protocol: String,
    /// SHA-256 (hex) over the canonical JSON of everything but `hash` and the places in files.
    pub hash: String,
    /// Values the run was compiled with.
    pub parameters: BTreeMap<String, Value>,
    /// `derived:` values, evaluated.
    pub derived: BTreeMap<String, Value>,
    /// Role -> instrument of the lab.
    pub roles: BTreeMap<String, String>,
    /// Conditions that must hold before the first step.
    pub require: Vec<Condition>,
    /// All nodes; a parent stands before its children. Node 0 is the root group of `steps`.
    pub nodes: Vec<Node>,
    /// Order and lags between siblings.
    pub edges: Vec<Edge>,
    /// Root group of `finally`, if the protocol has one.
    pub finally: Option<NodeId>,
    /// The only values a campaign may optimise or constrain, in the order written.
    pub results: Vec<ResultSpec>,
    /// Instruments that the run may start (heat, pump, move, power), in the order their safe
    /// state is sent.
    pub started_instruments: Vec<String>,
    /// Room in places of the lab that a run keeps from its start to its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<PlaceClaim>,
    /// Where holding a run leads an instrument, where the definition or the type says so. Of all
    /// others, what the run started that pumps, moves or pressurises is brought to its safe state.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hold_states: BTreeMap<String, HoldState>,
    /// What the run takes from and gives to the stock of the lab, at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stock: BTreeMap<String, StockUse>,
    /// Longest time without an engine after which the run goes on by itself; beyond it a person
    /// decides. `None`: no limit.
    #[serde(with = "optional_seconds", default, skip_serializing_if = "Option::is_none")]
    pub resume_within: Option<Duration>,
}

/// Where holding a run leads an instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldState {
    /// To the `hold_state` of its definition.
    Declared,
    /// To its safe state.
    Safe,
    /// Nowhere: it stays as it is, watched.
    Stays,
}

/// Room in one place of the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceClaim {
    /// Place.
    pub place: String,
    /// Samples of this run that stand there at one time, at most.
    pub samples: u32,
    /// How many fit.
    pub capacity: u32,
}

/// What a run takes from a stock and gives to it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct StockUse {
    /// Taken, in SI units of what the stock is counted in.
    pub drawn: f64,
    /// Given.
    pub delivered: f64,
}

/// A boolean expression with its source text and place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// Typed and folded expression.
    pub expr: Expr,
    /// As written.
    pub text: String,
    /// Where.
    pub place: Place,
}

/// `file:line:column` of something in a YAML document.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Place {
    /// Path as given on the command line.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

/// One operation or block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Own index.
    pub id: NodeId,
    /// Last part of the path: the step's `id:`, or `action#n` when it has none.
    pub name: String,
    /// Path without loop counters, `run/steady/spectrum`.
    pub path: String,
    /// Enclosing block; `None` for the two roots.
    pub parent: Option<NodeId>,
    /// Which list of the parent this stands in: 0 for bodies, the branch number of a parallel,
    /// 0 = then and 1 = else of a branch.
    pub slot: u32,
    /// What it does.
    pub kind: NodeKind,
    /// Instruments claimed while it runs, sorted.
    pub claims: Vec<String>,
    /// Predicted duration for timetables; zero where unknown.
    #[serde(with = "seconds")]
    pub expected: Duration,
    /// At the latest after this the step has failed. Blocks have none of their own.
    #[serde(with = "optional_seconds", default)]
    pub deadline: Option<Duration>,
    /// Attempts after the first.
    pub retry: Option<Retry>,
    /// What a failure does to the run.
    pub on_error: OnError,
    /// Steps whose samples or values are used here, and must not be older than this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fresh: Vec<Fresh>,
    /// Where it is written.
    pub place: Place,
}

/// `expires:` of an earlier step, at a step that uses what it made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fresh {
    /// The earlier step.
    pub of: NodeId,
    /// This step starts at most so long after the earlier one ended.
    #[serde(with = "seconds")]
    pub within: Duration,
}

/// What a node does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// One action of one instrument.
    Action {
        /// Role it was written with.
        role: String,
        /// Instrument that plays it.
        instrument: String,
        /// Action of the definition.
        action: String,
        /// Arguments; literals where the compiler could fold them.
        args: BTreeMap<String, Expr>,
        /// What happens when it is sent twice.
        effect: Effect,
        /// Proof of whether it happened.
        witness: Option<Witness>,
        /// What it starts that goes on after it: heats, pumps, moves...
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        starts: Vec<String>,
        /// It ends what the instrument does.
        #[serde(default, skip_serializing_if = "is_false")]
        stops: bool,
        /// Its definition says how to cancel it while it is under way.
        #[serde(default, skip_serializing_if = "is_false")]
        cancels: bool,
    },
    /// Let lab time pass.
    Wait {
        /// A time, zero or more.
        duration: Expr,
    },
    /// Wait for a condition on live signals.
    WaitUntil {
        /// Boolean.
        condition: Condition,
        /// How long it must hold without a break.
        #[serde(with = "seconds")]
        stable_for: Duration,
    },
    /// Turn data into a result with a function of `analysis`, or a program.
    Analyse {
        /// Name of the function, `process` for a program.
        function: String,
        /// Inputs by name.
        inputs: BTreeMap<String, Expr>,
        /// The program.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        process: Option<Box<Process>>,
    },
    /// Values worked out once, when the run gets here: arguments and results of a called protocol.
    Values {
        /// By name.
        values: BTreeMap<String, Expr>,
    },
    /// Ask a person.
    Ask {
        /// Text, may hold expressions already formatted as one text expression.
        question: Expr,
        /// Answers to choose from.
        options: Vec<String>,
        /// The answer taken at the deadline; `None` fails the step.
        on_timeout: Option<String>,
    },
    /// Write a line into the journal.
    Log {
        /// Text expression.
        message: Expr,
    },
    /// A sequence or small graph of steps, optionally keeping instruments.
    Group {
        /// Instruments held from start to end, sorted.
        hold: Vec<String>,
    },
    /// Branches that overlap; slot = branch number.
    Parallel {
        /// Names of the branches, in order.
        branches: Vec<String>,
        /// First commands of all branches leave within this window.
        #[serde(with = "optional_seconds", default)]
        start_together: Option<Duration>,
    },
    /// Body until a condition holds, at most `max_times`.
    Repeat {
        /// Bound.
        max_times: u32,
        /// Checked after each round; `None` = always `max_times` rounds.
        until: Option<Condition>,
    },
    /// Body once for each value of a list.
    ForEach {
        /// Name of the variable.
        variable: String,
        /// Values in order.
        values: Vec<Value>,
    },
    /// `then` (slot 0) or `else` (slot 1).
    Branch {
        /// Boolean.
        condition: Condition,
    },
}

/// A program that turns data into results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Files it is given, by their path in its folder.
    pub scripts: BTreeMap<String, Script>,
    /// Most memory it may take, in bytes.
    pub memory: u64,
    /// What it gives.
    pub returns: BTreeMap<String, Returned>,
}

/// A file of a program. Its text is kept beside the journal by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// SHA-256 of the text, hexadecimal.
    pub sha256: String,
    /// The text; only in a graph fresh from the compiler, so that it is kept once for all runs.
    #[serde(skip)]
    pub source: Arc<str>,
}

/// What happens when an action is sent twice (language rule 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// No effect on the world.
    Read,
    /// Absolute: sending it again gives the same state.
    Repeatable,
    /// Not repeatable, but a witness proves whether it happened.
    Verifiable,
    /// Never sent again by the machine.
    Once,
}

/// How to prove whether a verifiable action happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Witness {
    /// Property to read before and after.
    pub property: String,
    /// The property rises by the value of this argument when the action happens.
    pub counts: Option<String>,
    /// The property equals the value of this argument when the action has happened.
    pub equals: Option<String>,
    /// A command may still take effect for this long after it was sent.
    #[serde(with = "seconds")]
    pub settle: Duration,
    /// A restart of the instrument makes the witness worthless.
    pub void_if_rebooted: bool,
}

/// Attempts after the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// How many more.
    pub times: u32,
    /// Pause before the first of them.
    #[serde(with = "seconds")]
    pub wait: Duration,
    /// Each further pause is so many times as long as the one before.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub factor: f64,
    /// No pause is longer than this.
    #[serde(with = "optional_seconds", default, skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<Duration>,
    /// Only for these kinds of failure; empty = all that may be retried.
    pub only: Vec<FailureKind>,
}

/// Longest pause before another attempt that has no `max_wait` of its own: a pause that doubles
/// would soon outlast the sample.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(3600);

impl Retry {
    /// Pause before the attempt that follows so many failures (from 1).
    pub fn pause(&self, failures: u32) -> Duration {
        let longest = self.max_wait.unwrap_or(RETRY_WAIT_MAX.max(self.wait));
        let grown = self.factor.max(1.0).powf(f64::from(failures.saturating_sub(1)));
        // Too large for a duration is longer than the longest.
        Duration::try_from_secs_f64(self.wait.as_secs_f64() * grown)
            .map_or(longest, |pause| pause.min(longest))
    }
}

fn one() -> f64 {
    1.0
}

fn is_one(factor: &f64) -> bool {
    *factor <= 1.0
}

/// Why a step failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No answer, or not done, in time.
    Timeout,
    /// The answer could not be read.
    BadReply,
    /// The instrument said no.
    Refused,
    /// The instrument is busy.
    Busy,
    /// The instrument reports an alarm.
    Alarm,
    /// No connection.
    Link,
    /// The gate did not let it pass: interlock, lease, limit.
    Gate,
    /// A time limit between steps was broken.
    Lag,
    /// A condition did not come true in time.
    Condition,
    /// An expression or analysis had no value.
    NoValue,
    /// A person said so.
    Person,
    /// labloop itself: a bug or a resource that ran out.
    Internal,
}

/// What a failure does to the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The run fails and `finally` runs.
    Fail,
    /// Go on; results of the step stay missing.
    Continue,
    /// Ask a person: retry, skip or fail.
    Ask,
    /// Run these steps (a group node), then fail unless they end with success.
    Do(NodeId),
    /// The sample is lost: the run ends as invalid.
    Invalid,
    /// The same action on another instrument that can play the role: a node whose parent is the
    /// failed one. If it ends well, so has the step, with its value; if not, its own `on_error`
    /// says what follows.
    Fallback(NodeId),
}

/// Order and lags between two siblings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Earlier node.
    pub from: NodeId,
    /// Later node.
    pub to: NodeId,
    /// `to` starts at least this long after `from` ended.
    #[serde(with = "seconds")]
    pub min: Duration,
    /// `to` starts at most this long after `from` ended.
    #[serde(with = "optional_seconds", default)]
    pub max: Option<Duration>,
}

/// A named result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultSpec {
    /// Name.
    pub name: String,
    /// Value, evaluated when the last step is done.
    pub value: Expr,
    /// Unit it is reported in, e.g. `%`.
    pub unit: String,
    /// Where.
    pub place: Place,
}

impl Graph {
    /// The node, or `None` if the id is of another graph.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0 as usize)
    }

    /// Children of a block in one slot, in the order written.
    pub fn children(&self, parent: NodeId, slot: u32) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |n| n.parent == Some(parent) && n.slot == slot)
    }
}

impl NodeKind {
    /// Every expression it is made of.
    pub fn expressions(&self) -> Vec<&Expr> {
        match self {
            NodeKind::Action { args: all, .. }
            | NodeKind::Analyse { inputs: all, .. }
            | NodeKind::Values { values: all } => all.values().collect(),
            NodeKind::Wait { duration: one }
            | NodeKind::Ask { question: one, .. }
            | NodeKind::Log { message: one } => vec![one],
            NodeKind::WaitUntil { condition, .. }
            | NodeKind::Branch { condition }
            | NodeKind::Repeat { until: Some(condition), .. } => vec![&condition.expr],
            NodeKind::Repeat { until: None, .. }
            | NodeKind::Group { .. }
            | NodeKind::Parallel { .. }
            | NodeKind::ForEach { .. } => Vec::new(),
        }
    }

    /// Whether the node has children instead of doing something itself.
    pub fn is_block(&self) -> bool {
        matches!(
            self,
            NodeKind::Group { .. }
                | NodeKind::Parallel { .. }
                | NodeKind::Repeat { .. }
                | NodeKind::ForEach { .. }
                | NodeKind::Branch { .. }
        )
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Durations as seconds in JSON, for people and other programs.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(value.as_secs_f64())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// The same for durations that may be absent.
mod optional_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.serialize_some(&value.as_secs_f64()),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        match Option::<f64>::deserialize(from)? {
            None => Ok(None),
            Some(seconds) => {
                Duration::try_from_secs_f64(seconds).map(Some).map_err(serde::de::Error::custom)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_by_their_factor_up_to_the_longest() {
        let second = Duration::from_secs(1);
        let mut retry =
            Retry { times: 9, wait: 5 * second, factor: 2.0, max_wait: None, only: Vec::new() };
        let pauses: Vec<u64> = (1..=4).map(|n| retry.pause(n).as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40]);
        assert_eq!(retry.pause(100), RETRY_WAIT_MAX);
        retry.max_wait = Some(12 * second);
        assert_eq!(retry.pause(3), 12 * second);
        // As journals of before back-off have it.
        let old = r#"{"times":2,"wait":7200.0,"only":[]}"#;
        let old: Retry = serde_json::from_str(old).unwrap();
        assert_eq!((old.pause(1), old.pause(7)), (7200 * second, 7200 * second));
    }
}
