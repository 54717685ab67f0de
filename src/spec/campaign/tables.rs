//! The keys of a campaign.

use crate::spec::table::{CONDITION, NAME, NUMBER, QUANTITY, Table, Takes, VALUE, key};

/// Most experiments of one campaign.
pub(super) const MAX_EXPERIMENTS: u32 = 1_000_000;
/// Most experiments in flight, proposed at once, or repeated.
pub(super) const MAX_AT_ONCE: u32 = 1_000;
/// Most urgent of runs that compete for instruments.
pub(super) const MAX_PRIORITY: u32 = 9;

/// The keys of a campaign.
pub(in crate::spec) static CAMPAIGN: Table = Table {
    what: "a campaign",
    doc: "What to find out",
    keys: &[
        key("schema", Takes::Text, "Kind and version of this document")
            .required("labloop/campaign/v1"),
        key("name", Takes::Name, "Name of the campaign").required("my-campaign"),
        key("doc", Takes::Text, "What it is for"),
        key("protocol", Takes::Text, "Path of the protocol, relative to this file")
            .required("protocol.yaml"),
        key("lab", Takes::Text, "Path of the lab, relative to this file"),
        key("roles", Takes::Map(&NAME), "Instrument for a role, where it must be this one"),
        key(
            "space",
            Takes::Map(&RANGE),
            "Parameters that are searched; may only narrow the protocol's limits",
        )
        .required("\n  temperature: {from: 40 degC, to: 110 degC}"),
        key("fixed", Takes::Map(&VALUE), "Parameters that stay the same"),
        key("objectives", Takes::List(&OBJECTIVE_ENTRY), "What to reach")
            .required("\n  - {result: yield, goal: maximize}"),
        key(
            "constraints",
            Takes::Object(&CONSTRAINTS),
            "Which points are worth trying, which outcomes good enough",
        ),
        key("planner", Takes::Object(&PLANNER), "How experiments are proposed"),
        key("parallel", Takes::Count(1, MAX_AT_ONCE as u64), "Experiments in flight at once"),
        key(
            "priority",
            Takes::Count(0, MAX_PRIORITY as u64),
            "Whose runs get an instrument first, where several wait for it: larger ones; 0 unless \
             given",
        ),
        key("replicates", Takes::Count(1, MAX_AT_ONCE as u64), "Runs of each point"),
        key("on_failed_run", Takes::Object(&FAILED_RUN), "What a failed run means"),
        key(
            "in_doubt",
            Takes::Word(IN_DOUBT),
            "What to do with a sample when nothing can tell whether it was dosed",
        ),
        key("budget", Takes::Object(&BUDGET), "When it must end").required("{experiments: 60}"),
        key("stop", Takes::Object(&STOP), "When it may end"),
        key("approve", Takes::Word(APPROVE), "What a person must agree to"),
        key(
            "unattended",
            Takes::Word(&["allowed", "forbidden"]),
            "Whether it may run with nobody nearby",
        ),
    ],
};

static IN_DOUBT: &[&str] = &["ask", "discard"];
static APPROVE: &[&str] = &["never", "first_batch", "every"];
static SCALES: &[&str] = &["linear", "log"];
static GOALS: &[&str] = &["maximize", "minimize"];

static RANGE: Takes = Takes::Either(&[Takes::Object(&INTERVAL), Takes::List(&VALUE)]);
static DESCRIPTOR: Takes = Takes::List(&NUMBER);
pub(super) static INTERVAL: Table = Table {
    what: "a range",
    doc: "What is tried of one parameter: `from` and `to`, or `options`",
    keys: &[
        key("from", Takes::Quantity, "Smallest value to try"),
        key("to", Takes::Quantity, "Largest value to try"),
        key("scale", Takes::Word(SCALES), "Search in the logarithm or not; linear unless given"),
        key("step", Takes::Quantity, "Only values this far apart"),
        key("options", Takes::List(&VALUE), "The values to choose from"),
        key(
            "descriptors",
            Takes::Map(&DESCRIPTOR),
            "Numbers for each option that say how alike they are",
        ),
    ],
};

static OBJECTIVE_ENTRY: Takes = Takes::Object(&OBJECTIVE);
pub(super) static OBJECTIVE: Table = Table {
    what: "an objective",
    doc: "A result of the protocol to make large or small",
    keys: &[
        key("result", Takes::Name, "Result of the protocol").required("yield"),
        key("goal", Takes::Word(GOALS), "Whether more or less is better").required("maximize"),
        key("noise", Takes::Name, "Result that gives its standard deviation"),
        key("reference", Takes::Quantity, "The worst value of interest"),
    ],
};

pub(super) static CONSTRAINTS: Table = Table {
    what: "`constraints`",
    doc: "Conditions on points and outcomes",
    keys: &[
        key("inputs", Takes::List(&CONDITION), "Over params: which points are worth trying"),
        key("outcomes", Takes::List(&CONDITION), "Over results: which outcomes are good enough"),
    ],
};

pub(super) static PLANNER: Table = Table {
    what: "`planner`",
    doc: "How experiments are proposed",
    keys: &[
        key(
            "initial",
            Takes::Count(1, MAX_EXPERIMENTS as u64),
            "Experiments before the model is asked",
        ),
        key("batch", Takes::Count(1, MAX_AT_ONCE as u64), "Experiments proposed at once"),
        key(
            "seed",
            Takes::Count(0, u64::MAX),
            "Seed; the same seed and data give the same proposals",
        ),
    ],
};

pub(super) static FAILED_RUN: Table = Table {
    what: "`on_failed_run`",
    doc: "What a failed run means",
    keys: &[
        key(
            "count_as",
            Takes::Word(&["failed", "nothing"]),
            "Told to the planner as failed, or left out",
        ),
        key(
            "pause_after",
            Takes::Count(1, MAX_EXPERIMENTS as u64),
            "Pause after so many failures in a row",
        ),
        key(
            "budget",
            Takes::Count(1, MAX_EXPERIMENTS as u64),
            "Failed experiments allowed in the whole campaign; one more ends it",
        ),
    ],
};

pub(super) static BUDGET: Table = Table {
    what: "`budget`",
    doc: "When the campaign must end; at least one",
    keys: &[
        key("experiments", Takes::Count(1, MAX_EXPERIMENTS as u64), "At most so many experiments"),
        key("time", Takes::Time, "At most so much time"),
        key("stock", Takes::Map(&QUANTITY), "At most so much of each stock"),
    ],
};

pub(super) static STOP: Table = Table {
    what: "`stop`",
    doc: "When the campaign may end, over best, improvement(last: n) and experiments",
    keys: &[
        key("any", Takes::List(&CONDITION), "One of these is enough"),
        key("all", Takes::List(&CONDITION), "All of these are needed"),
    ],
};
