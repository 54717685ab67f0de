//! The keys of a protocol.

use super::process::{PROCESS, RETURNED};
use crate::spec::shared;
use crate::spec::table::{CONDITION, NAME, QUANTITY, Table, Takes, VALUE, key};

/// Most rounds of a loop; a longer one is a campaign.
pub(super) const MAX_ROUNDS: u64 = 100_000;
/// Most attempts after the first.
pub(super) const MAX_RETRIES: u32 = 100;
/// Most that a pause before an attempt may grow: ten times is far past any use.
pub(super) const MAX_FACTOR: f64 = 10.0;

/// Kinds of failure that `retry: {if: [...]}` may name, as the engine reports them.
pub const FAILURE_KINDS: &[&str] = &[
    "timeout",
    "bad_reply",
    "refused",
    "busy",
    "alarm",
    "link",
    "gate",
    "lag",
    "condition",
    "no_value",
    "person",
    "internal",
];

static RETURNED_ENTRY: Takes = Takes::Object(&RETURNED);
static UNATTENDED: &[&str] = &["allowed", "forbidden"];

/// The keys of a protocol.
pub(in crate::spec) static PROTOCOL: Table = Table {
    what: "a protocol",
    doc: "What to do, in roles, not machines",
    keys: &[
        key("schema", Takes::Text, "Kind and version of this document")
            .required("labloop/protocol/v1"),
        key("name", Takes::Name, "Name of the protocol").required("my-protocol"),
        key("doc", Takes::Text, "What it does, for people"),
        key("unattended", Takes::Word(UNATTENDED), "Whether it may run with nobody nearby"),
        key(
            "parameters",
            Takes::Map(&PARAMETER),
            "Values set by a campaign, the command line or the web form",
        ),
        key("derived", Takes::Map(&VALUE), "Values computed from parameters"),
        key(
            "roles",
            Takes::Map(&ROLE_ENTRY),
            "The instruments it needs; the lab says who plays them",
        ),
        key(
            "samples",
            Takes::Map(&SAMPLE_ENTRY),
            "What it works on, and where each stands when a run begins",
        ),
        key("require", Takes::List(&CONDITION), "Conditions that must hold before the first step"),
        key(
            "resume",
            Takes::Object(&RESUME),
            "When a run may go on by itself after an interruption",
        ),
        key("steps", Takes::List(&STEP_ENTRY), "The recipe, in the order written")
            .required("\n  - wait: 1 s"),
        key("finally", Takes::List(&STEP_ENTRY), "Steps for success, failure and abort"),
        key(
            "results",
            Takes::Map(&RESULT_ENTRY),
            "The only values a campaign may optimise or constrain",
        ),
    ],
};

static PARAMETER: Takes = Takes::Object(&shared::PARAMETER);
static ROLE_ENTRY: Takes = Takes::Object(&ROLE);
static SAMPLE_ENTRY: Takes = Takes::Object(&SAMPLE);
static RESULT_ENTRY: Takes = Takes::Object(&RESULT);
static STEP_ENTRY: Takes = Takes::Object(&STEP);
static STEPS_ENTRY: Takes = Takes::List(&STEP_ENTRY);

pub(super) static ROLE: Table = Table {
    what: "a role",
    doc: "A part that an instrument plays",
    keys: &[
        key("type", Takes::Name, "Type of instrument that can play it").required("syringe_pump"),
        key("ports", Takes::List(&NAME), "Ports a valve must have"),
        key("doc", Takes::Text, "What it is for"),
    ],
};

pub(super) static SAMPLE: Table = Table {
    what: "a sample",
    doc: "Something the protocol works on",
    keys: &[
        key("labware", Takes::Name, "What it is in or on; a place may hold only one kind"),
        key("at", Takes::Name, "Place of the lab where it stands when a run begins")
            .required("rack"),
        key("doc", Takes::Text, "What it is"),
    ],
};

pub(super) static RESULT: Table = Table {
    what: "a result",
    doc: "A named value that a run gives",
    keys: &[
        key("value", Takes::Value, "Its value, when the last step is done")
            .required("\"${ steps.measure.value }\""),
        key("unit", Takes::Unit, "Unit it is reported in"),
        key("doc", Takes::Text, "What it means"),
    ],
};

pub(super) static RETRY: Table = Table {
    what: "`retry`",
    doc: "Attempts after the first",
    keys: &[
        key("times", Takes::Count(1, MAX_RETRIES as u64), "How many more attempts").required("2"),
        key("wait", Takes::TimeExpression, "Pause before each"),
        key(
            "factor",
            Takes::Number,
            "Each pause is so many times the one before: 1 to 10; 1 unless given",
        ),
        key("max_wait", Takes::TimeExpression, "No pause is longer; an hour unless given"),
        key("if", Takes::OneOrList(&FAILURE_WORD), "Only for these kinds of failure"),
    ],
};
static FAILURE_WORD: Takes = Takes::Word(FAILURE_KINDS);

pub(super) static REPEAT: Table = Table {
    what: "`repeat`",
    doc: "Steps again and again, with a bound",
    keys: &[
        key(
            "max_times",
            Takes::Either(&[Takes::Count(1, MAX_ROUNDS), Takes::Text]),
            "At most so many rounds",
        ),
        key("until", Takes::Condition, "Ends when this holds after a round"),
        key("steps", Takes::List(&STEP_ENTRY), "The steps of one round").required("[...]"),
    ],
};

pub(super) static RESUME: Table = Table {
    what: "`resume`",
    doc: "When a run may go on by itself after an interruption",
    keys: &[key(
        "within",
        Takes::Time,
        "Longest time without labloop; after a longer one a person decides",
    )
    .required("30 min")],
};

static ON_ERROR_WORDS: &[&str] = &["fail", "continue", "ask", "invalid", "fallback"];
pub(super) static ON_ERROR: Table = Table {
    what: "`on_error`",
    doc: "Steps for a failure",
    keys: &[
        key("do", Takes::List(&STEP_ENTRY), "Steps to run before the run fails").required("[...]")
    ],
};

/// The words that make a step what it is, with the keys that may stand beside each.
pub(super) const WORDS: &[(&str, &[&str])] = &[
    ("do", &["with", "uses", "consumes", "expires", "timeout", "retry", "on_error"]),
    ("move", &["to", "by", "timeout", "on_error"]),
    ("wait", &[]),
    ("wait_until", &["stable_for", "timeout", "on_error"]),
    ("parallel", &["start_together", "on_error"]),
    ("repeat", &["on_error"]),
    ("for_each", &["steps", "on_error"]),
    ("if", &["then", "else", "on_error"]),
    ("ask", &["options", "timeout", "on_timeout", "on_error"]),
    ("log", &[]),
    ("analyse", &["with", "returns", "timeout", "on_error"]),
    ("call", &["with", "roles", "on_error"]),
    ("steps", &["hold", "on_error"]),
];
/// Keys that may stand in every step.
pub(super) const COMMON: &[&str] = &["id", "doc", "after", "within"];

pub(super) static STEP: Table = Table {
    what: "a step",
    doc: "One line of the recipe: exactly one of do, move, wait, wait_until, parallel, steps, repeat, \
          for_each, if, ask, log, analyse, call",
    keys: &[
        key("id", Takes::Name, "Name by which others refer to it"),
        key("doc", Takes::Text, "What it is for"),
        key("do", Takes::Text, "An action of a role: `role.action`"),
        key("with", Takes::Map(&VALUE), "Arguments"),
        key("consumes", Takes::Map(&QUANTITY), "Stock it uses up"),
        key("expires", Takes::TimeExpression, "What it makes must be used within this time"),
        key("uses", Takes::List(&NAME), "Samples it works on"),
        key("move", Takes::Name, "Take a sample to another place"),
        key("to", Takes::Name, "Place of the lab it goes to"),
        key("by", Takes::Name, "Role that moves it; without it a person is asked to"),
        key("wait", Takes::TimeExpression, "Let time pass"),
        key("wait_until", Takes::Condition, "Wait for a condition; needs a timeout"),
        key(
            "stable_for",
            Takes::TimeExpression,
            "How long the condition must hold without a break",
        ),
        key("parallel", Takes::Map(&STEPS_ENTRY), "Branches that overlap"),
        key(
            "start_together",
            Takes::TimeExpression,
            "First commands of all branches leave within this time",
        ),
        key("steps", Takes::List(&STEP_ENTRY), "Steps of a block"),
        key("hold", Takes::List(&NAME), "Roles that nobody else may take during the block"),
        key("repeat", Takes::Object(&REPEAT), "Steps again and again, with a bound"),
        key("for_each", Takes::Map(&VALUE), "Steps once for each value of a list"),
        key("if", Takes::Condition, "Steps only if a condition holds"),
        key("then", Takes::List(&STEP_ENTRY), "Steps if it holds"),
        key("else", Takes::List(&STEP_ENTRY), "Steps if not"),
        key("ask", Takes::Text, "Ask a person; needs options and a timeout"),
        key("options", Takes::List(&NAME), "Answers to choose from"),
        key("on_timeout", Takes::Name, "The answer taken when nobody answers"),
        key("log", Takes::Text, "Write a line into the journal"),
        key(
            "analyse",
            Takes::Either(&[Takes::Name, Takes::Object(&PROCESS)]),
            "Turn data into a result, by a built-in function or a program of your own",
        ),
        key("returns", Takes::Map(&RETURNED_ENTRY), "What a program of your own gives"),
        key("call", Takes::Text, "Run another protocol as a block"),
        key("roles", Takes::Map(&NAME), "Our role for each role of the called protocol"),
        key("after", Takes::List(&NAME), "Steps of this list that must have ended"),
        key(
            "within",
            Takes::TimeExpression,
            "Starts at most this long after the step before ended",
        ),
        key("timeout", Takes::TimeExpression, "Has failed after this long"),
        key("retry", Takes::Object(&RETRY), "Attempts after the first"),
        key(
            "on_error",
            Takes::Either(&[Takes::Word(ON_ERROR_WORDS), Takes::Object(&ON_ERROR)]),
            "What a failure does",
        ),
    ],
};
