//! `simulate:`: how a simulator made from the definition behaves.
//!
//! Its expressions see `args` (fields of the messages that were received), `config`, and the
//! simulator's own state by bare names: the properties, and whatever `initial` adds to them.

use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::reader::{Item, NameForm, Reader};
use crate::spec::source::Spanned;
use crate::spec::table::{Table, Takes, VALUE, key};
use crate::spec::value::{Expression, Named};

/// How a simulator behaves.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Simulate {
    /// A model of the simulators that plays this device as part of a plant.
    pub model: Option<Spanned<String>>,
    /// What its state begins with; the first example of a property says the rest.
    pub initial: Vec<Named<Expression>>,
    /// What actions do.
    pub actions: Vec<Named<SimulatedAction>>,
    /// What changes by itself.
    pub signals: Vec<Named<Signal>>,
}

/// What an action does to the state.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SimulatedAction {
    /// How long the device is busy with it; a time.
    pub takes: Option<Expression>,
    /// Set once it is through.
    pub set: Vec<Named<Expression>>,
    /// Set when it begins.
    pub begin: Vec<Named<Expression>>,
    /// The value it answers, where the action returns one.
    pub returns: Option<Expression>,
    /// Added evenly over the time it takes; what is stopped half way has moved half.
    pub add: Vec<Named<Expression>>,
}

/// Something that changes by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// How.
    pub model: Spanned<SignalModel>,
    /// Where it goes; first_order and ramp.
    pub to: Option<Expression>,
    /// Change in a second, or in any time: integrator and ramp.
    pub rate: Option<Expression>,
    /// Time constant of first_order.
    pub time: Option<Expression>,
    /// Standard deviation of what is read.
    pub noise: Option<Expression>,
    /// Least value.
    pub min: Option<Expression>,
    /// Largest value.
    pub max: Option<Expression>,
}

/// How a signal changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalModel {
    /// Exponentially towards `to`, with a time constant.
    FirstOrder,
    /// By `rate`.
    Integrator,
    /// Towards `to`, no faster than `rate`.
    Ramp,
    /// Only noise.
    Steady,
}

static MODELS: &[&str] = &["first_order", "integrator", "ramp", "steady"];

static ACTION_ENTRY: Takes = Takes::Object(&ACTION);
static SIGNAL_ENTRY: Takes = Takes::Object(&SIGNAL);

/// The keys of `simulate:`.
pub(super) static SIMULATE: Table = Table {
    what: "`simulate`",
    doc: "How a simulator made from this definition behaves",
    keys: &[
        key("model", Takes::Text, "A model of the simulators that plays this device in a plant"),
        key("of", Takes::Name, "Short for one signal: the property that changes"),
        key("from", Takes::Value, "Short for one signal: its rate, or where it goes"),
        key("initial", Takes::Map(&VALUE), "What properties and its own variables begin with"),
        key("actions", Takes::Map(&ACTION_ENTRY), "What actions do to them"),
        key("signals", Takes::Map(&SIGNAL_ENTRY), "What changes by itself"),
    ],
};

static ACTION: Table = Table {
    what: "a simulated action",
    doc: "What an action does to the state of the simulator",
    keys: &[
        key("takes", Takes::TimeExpression, "How long the device is busy with it"),
        key("begin", Takes::Map(&VALUE), "Set when it begins"),
        key("returns", Takes::Value, "The value it answers, where the action returns one"),
        key("add", Takes::Map(&VALUE), "Added evenly over the time it takes"),
        key("set", Takes::Map(&VALUE), "Set once it is through"),
    ],
};

static SIGNAL: Table = Table {
    what: "a simulated signal",
    doc: "Something that changes by itself",
    keys: &[
        key("model", Takes::Word(MODELS), "How it changes").required("first_order"),
        key("to", Takes::Value, "Where it goes; first_order and ramp"),
        key("rate", Takes::Value, "Change in some time; integrator and ramp"),
        key("time", Takes::TimeExpression, "Time constant of first_order"),
        key("noise", Takes::Value, "Standard deviation of what is read"),
        key("min", Takes::Value, "Least value"),
        key("max", Takes::Value, "Largest value"),
    ],
};

const WORDS: [(&str, SignalModel); 4] = [
    ("first_order", SignalModel::FirstOrder),
    ("integrator", SignalModel::Integrator),
    ("ramp", SignalModel::Ramp),
    ("steady", SignalModel::Steady),
];

/// Reads `simulate:`.
pub(super) fn lower(r: &mut Reader<'_>, item: Item<'_>) -> Option<Simulate> {
    let f = r.object(item, &SIMULATE)?;
    let values =
        |r: &mut Reader<'_>, item| r.named(item, NameForm::Identifier, Reader::value_expression);
    let mut simulate = Simulate {
        initial: values(r, f.get("initial")),
        actions: r.named(f.get("actions"), NameForm::Identifier, action),
        signals: r.named(f.get("signals"), NameForm::Identifier, signal),
        model: None,
    };
    let Some(of) = f.get("of").and_then(|item| r.name(item, NameForm::Identifier)) else {
        if let Some(span) = f.key_span("from") {
            let diagnostic = Diagnostic::error(codes::MISSING_KEY, span, "add `of`")
                .label("nothing says what changes")
                .fix("of: dispensed");
            r.push(diagnostic);
        }
        simulate.model = f.get("model").and_then(|item| r.text(item));
        return Some(simulate);
    };
    let from = f.get("from").and_then(|item| rate(r, item));
    let model = f.get("model").and_then(|item| r.word(item, &WORDS))?;
    let (to, rate) = match model.value {
        SignalModel::Integrator => (None, from),
        SignalModel::FirstOrder | SignalModel::Ramp | SignalModel::Steady => (from, None),
    };
    let (time, noise, min, max) = (None, None, None, None);
    simulate
        .signals
        .push(Named { name: of, value: Signal { model, to, rate, time, noise, min, max } });
    Some(simulate)
}

/// `from: rate` names a variable; everywhere else that would be a text.
fn rate(r: &mut Reader<'_>, item: Item<'_>) -> Option<Expression> {
    let mut written = r.value_expression(item)?;
    if let Some(crate::expr::Value::Text(name)) = written.expr.as_literal() {
        written.expr = crate::expr::Expr::path(vec![name.to_string()]);
    }
    Some(written)
}

fn action(r: &mut Reader<'_>, item: Item<'_>) -> Option<SimulatedAction> {
    let f = r.object(item, &ACTION)?;
    let values =
        |r: &mut Reader<'_>, item| r.named(item, NameForm::Identifier, Reader::value_expression);
    Some(SimulatedAction {
        takes: f.get("takes").and_then(|item| r.time_expression(item)),
        begin: values(r, f.get("begin")),
        returns: f.get("returns").and_then(|item| r.value_expression(item)),
        add: values(r, f.get("add")),
        set: values(r, f.get("set")),
    })
}

fn signal(r: &mut Reader<'_>, item: Item<'_>) -> Option<Signal> {
    let f = r.object(item, &SIGNAL)?;
    let model = f.get("model").and_then(|item| r.word(item, &WORDS));
    let signal = Signal {
        model: model?,
        to: f.get("to").and_then(|item| r.value_expression(item)),
        rate: f.get("rate").and_then(|item| r.value_expression(item)),
        time: f.get("time").and_then(|item| r.time_expression(item)),
        noise: f.get("noise").and_then(|item| r.value_expression(item)),
        min: f.get("min").and_then(|item| r.value_expression(item)),
        max: f.get("max").and_then(|item| r.value_expression(item)),
    };
    let needed: &[(&str, bool, &str)] = match signal.model.value {
        SignalModel::FirstOrder => &[
            ("to", signal.to.is_some(), "to: ${ target }"),
            ("time", signal.time.is_some(), "time: 60 s"),
        ],
        SignalModel::Integrator => &[("rate", signal.rate.is_some(), "rate: ${ flow }")],
        SignalModel::Ramp => &[
            ("to", signal.to.is_some(), "to: ${ target }"),
            ("rate", signal.rate.is_some(), "rate: 1 K/s"),
        ],
        SignalModel::Steady => &[],
    };
    for (key, given, example) in needed {
        if !given && !f.has_unknown() {
            let message = format!("add `{key}` to the signal");
            let diagnostic = Diagnostic::error(codes::MISSING_KEY, signal.model.span, message)
                .label("this model needs it")
                .fix((*example).to_owned());
            r.push(diagnostic);
        }
    }
    Some(signal)
}
