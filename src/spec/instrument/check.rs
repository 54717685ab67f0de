//! What a definition can be checked for on its own.

use std::collections::BTreeMap;

use crate::expr::{self, Type, TypeEnv};
use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::nearest::{listed, nearest};
use crate::spec::reader::{Fields, Reader};
use crate::spec::source::Spanned;
use crate::spec::types::contract;
use crate::spec::value::Expression;
use crate::units::Dimension;

use super::bulk;
use super::lint;
use super::registers;
use super::{
    Action, Ask, Done, EffectClass, ExampleOf, Instrument, Operation, Payload, RegisterType, topic,
};

const STATUS_WORDS: [&str; 4] = ["busy", "ready", "error", "alarm"];

/// Fills in what the type says an action starts or stops, where the definition is silent.
pub(super) fn imply(instrument: &mut Instrument) {
    let Some(contract) = contract(&instrument.kind.value) else { return };
    for action in &mut instrument.actions {
        let name = action.name.value.as_str();
        if action.starts.is_empty() && !action.stops {
            let implied = contract.starts.iter().find(|(known, _)| *known == name);
            action
                .starts
                .extend(implied.map(|(_, hazard)| Spanned::new(*hazard, action.name.span)));
        }
        action.stops |= contract.stops.contains(&name);
    }
}

/// Reports a missing or needless witness.
pub(super) fn witness_presence(
    r: &mut Reader<'_>,
    name: &Spanned<String>,
    effect: Spanned<EffectClass>,
    f: &Fields<'_>,
) {
    match (effect.value, f.key_span("witness")) {
        (EffectClass::Verifiable, None) => r.push(
            Diagnostic::error(
                codes::NO_WITNESS,
                effect.span,
                format!("add a `witness` to `{}`, or call its effect once", name.value),
            )
            .label("what proves that it happened?")
            .reason("after a crash labloop reads the witness instead of sending the command again")
            .fix("witness: {property: dispensed, counts: volume, settle: 300 ms}"),
        ),
        (EffectClass::Read | EffectClass::Repeatable, Some(span)) => r.push(
            Diagnostic::error(
                codes::NEEDLESS_WITNESS,
                span,
                "remove the `witness`, or call the effect verifiable",
            )
            .label("decides nothing")
            .also(effect.span, "this effect needs no proof"),
        ),
        (EffectClass::Once, Some(span)) => r.push(
            Diagnostic::error(
                codes::NEEDLESS_WITNESS,
                span,
                "add `effect: verifiable`: an action with a witness is",
            )
            .label("a witness without `effect: verifiable`")
            .fix("effect: verifiable"),
        ),
        _ => {}
    }
}

/// Everything that needs the whole definition.
pub(super) fn all(r: &mut Reader<'_>, instrument: &Instrument, f: &Fields<'_>) {
    type_contract(r, instrument, f);
    safe_state(r, instrument);
    for action in &instrument.actions {
        witness(r, instrument, action, f);
        action_expressions(r, instrument, action);
        topic::proven(r, action);
        if matches!(action.done, Some(Done::Poll { .. })) && instrument.status.is_none() {
            r.push(
                Diagnostic::error(
                    codes::DONE_FORM,
                    action.name.span,
                    "add a `status` section: `until` waits for a status that no reply has",
                )
                .label("polls for a status"),
            );
        }
    }
    let none = Names::new(instrument, None);
    for operation in instrument
        .identify
        .iter()
        .chain(&instrument.on_connect)
        .chain(instrument.safe_state.iter().flat_map(|safe| &safe.operations))
        .chain(instrument.hold_state.iter().flat_map(|hold| &hold.operations))
    {
        operation_expressions(r, &none, operation);
    }
    for alarm in &instrument.alarms {
        expect(r, &none, &alarm.condition, &Type::Bool);
    }
    for state in instrument.safe_state.iter().chain(&instrument.hold_state) {
        if let Some(confirm) = &state.confirm {
            expect(r, &none, confirm, &Type::Bool);
        }
    }
    for property in &instrument.properties {
        if let Some(value) = &property.value {
            expect(r, &none, value, &property.shape.expr_type());
        }
        if let Some(Ask::Topic { query: Some(query), .. }) = &property.ask {
            operation_expressions(r, &none, query);
        }
    }
    bulk::check_all(r, instrument);
    lint::all(r, instrument);
    registers::all(r, instrument, &mut |r, value, wanted| expect(r, &none, value, wanted));
    topic::of_their_kind(r, instrument);
    examples(r, instrument, f);
}

fn type_contract(r: &mut Reader<'_>, instrument: &Instrument, f: &Fields<'_>) {
    let Some(contract) = contract(&instrument.kind.value) else { return };
    let kind = &instrument.kind;
    for (name, args) in contract.actions {
        let Some(action) = instrument.action(name) else {
            // An entry that could not be read is there all the same.
            if !named(f, "actions", name) {
                r.push(
                    Diagnostic::error(
                        codes::TYPE_CONTRACT,
                        kind.span,
                        format!("add the action `{name}`: every {} has it", kind.value),
                    )
                    .label(format!("promises `{name}`"))
                    .reason("protocols written for this type count on it"),
                );
            }
            continue;
        };
        for (arg, dim) in *args {
            let found = action.args.iter().find(|spec| spec.name.value == *arg);
            let fits = found.is_some_and(|spec| {
                matches!(spec.expr_type(), Type::Quantity { dim: found, .. } if found == *dim)
            });
            if !fits {
                let at = found.map_or(action.name.span, |spec| spec.name.span);
                r.push(
                    Diagnostic::error(
                        codes::TYPE_CONTRACT,
                        at,
                        format!("give `{name}` an argument `{arg}` that is a {}", dim.name()),
                    )
                    .label(if found.is_some() {
                        "of another kind"
                    } else {
                        "the argument is missing"
                    })
                    .also(kind.span, "this type promises it"),
                );
            }
        }
    }
    for (name, dim) in contract.properties {
        let found = instrument.property(name);
        let fits = found.is_some_and(|property| {
            matches!(property.shape.expr_type(), Type::Quantity { dim: found, .. } if found == *dim)
        });
        if !fits && (found.is_some() || !named(f, "properties", name)) {
            r.push(
                Diagnostic::error(
                    codes::TYPE_CONTRACT,
                    found.map_or(kind.span, |property| property.name.span),
                    format!("give it a property `{name}` that is a {}", dim.name()),
                )
                .label(format!("every {} has `{name}`", kind.value)),
            );
        }
    }
}

/// Whether a section has an entry of this name, readable or not.
fn named(f: &Fields<'_>, section: &str, name: &str) -> bool {
    match f.get(section).map(|item| &item.node.kind) {
        Some(crate::spec::tree::NodeKind::Map(entries)) => {
            entries.iter().any(|entry| entry.key.value == name)
        }
        _ => false,
    }
}

fn safe_state(r: &mut Reader<'_>, instrument: &Instrument) {
    let Some(action) = instrument.actions.iter().find(|action| !action.starts.is_empty()) else {
        return;
    };
    let acts = |operation: &Operation| {
        !matches!(operation, Operation::Pause { .. } | Operation::Read { .. })
    };
    let safe = instrument.safe_state.as_ref();
    let empty = safe.is_none_or(|safe| !safe.operations.iter().any(acts));
    if !empty {
        return;
    }
    let at = match &instrument.safe_state {
        Some(safe) => safe.span,
        None => instrument.name.span,
    };
    let hazard = action.starts.first().map_or("acts", |hazard| hazard.value.as_str());
    r.push(
        Diagnostic::error(
            codes::NO_SAFE_STATE,
            at,
            format!(
                "add a `safe_state`: `{}` {hazard}, so it must say how it is made harmless",
                action.name.value
            ),
        )
        .label("no safe state")
        .also(action.name.span, format!("{hazard} after its last reply"))
        .reason("it is sent on an emergency stop, a lost heartbeat and an interlock trip")
        .fix("safe_state: [{send: STP}]"),
    );
}

fn witness(r: &mut Reader<'_>, instrument: &Instrument, action: &Action, f: &Fields<'_>) {
    let Some(witness) = &action.witness else { return };
    let property = instrument.property(&witness.property.value);
    if property.is_none() && !named(f, "properties", &witness.property.value) {
        let names = instrument.properties.iter().map(|p| p.name.value.as_str());
        unknown(r, codes::UNKNOWN_PROPERTY, &witness.property, "property", names);
    }
    let argument = witness.counts.as_ref().or(witness.equals.as_ref());
    let Some(argument) = argument else { return };
    let Some(spec) = action.args.iter().find(|spec| spec.name.value == argument.value) else {
        let names = action.args.iter().map(|spec| spec.name.value.as_str());
        unknown(r, codes::UNKNOWN_ARGUMENT, argument, "argument of this action", names);
        return;
    };
    if let Some(property) = property
        && property.shape.expr_type() != spec.expr_type()
    {
        r.push(
            Diagnostic::error(
                codes::WITNESS_FORM,
                witness.property.span,
                format!("compare `{}` with a property of its own kind", argument.value),
            )
            .label(format!("this is a {}", property.shape.expr_type()))
            .also(argument.span, format!("this is a {}", spec.expr_type())),
        );
    }
}

fn unknown<'c>(
    r: &mut Reader<'_>,
    code: &'static str,
    name: &Spanned<String>,
    what: &str,
    known: impl Iterator<Item = &'c str> + Clone,
) {
    let near = nearest(&name.value, known.clone());
    let all = listed(known);
    let message = match near {
        Some(near) => format!("write `{near}` instead of `{}`", name.value),
        None => format!("name a {what}: there is no `{}`", name.value),
    };
    let mut diagnostic = Diagnostic::error(code, name.span, message).label(format!("no {what}"));
    if !all.is_empty() {
        diagnostic = diagnostic.reason(format!("there are: {}", all));
    }
    diagnostic.fix = near.map(str::to_owned);
    r.push(diagnostic);
}

fn action_expressions(r: &mut Reader<'_>, instrument: &Instrument, action: &Action) {
    let mut names = Names::new(instrument, Some(action));
    for entry in &action.compute {
        if let Some(argument) = action.args.iter().find(|a| a.name.value == entry.name.value) {
            r.push(
                Diagnostic::error(
                    codes::DUPLICATE_NAME,
                    entry.name.span,
                    format!("choose another name: `{}` is an argument", entry.name.value),
                )
                .label("taken")
                .also(argument.name.span, "the argument"),
            );
        }
        let found = type_of(r, &names, &entry.value).unwrap_or(Type::Unknown);
        if let Some(Type::Record(args)) = names.types.get_mut("args") {
            args.insert(entry.name.value.clone(), found);
        }
    }
    let time = Type::Quantity { dim: Dimension::TIME, point: false };
    if let Some(expected) = &action.takes.expected {
        expect(r, &names, expected, &time);
    }
    expect(r, &names, &action.takes.timeout, &time);
    match &action.done {
        Some(Done::Until { condition, .. }) => expect(r, &names, condition, &Type::Bool),
        Some(Done::After(after)) => expect(r, &names, after, &time),
        Some(Done::Poll { .. }) | None => {}
    }
    for condition in &action.require {
        expect(r, &names, condition, &Type::Bool);
    }
    for operation in action.operations.iter().chain(&action.on_cancel) {
        operation_expressions(r, &names, operation);
    }
}

fn operation_expressions(r: &mut Reader<'_>, names: &Names, operation: &Operation) {
    match operation {
        Operation::Write { register, value, unit, map, .. } => {
            let wanted = match (unit, register.kind.value) {
                _ if !map.is_empty() => Type::Text,
                (None, RegisterType::String) => Type::Text,
                (Some(unit), _) => Type::Quantity { dim: unit.value.dim, point: unit.value.point },
                (None, RegisterType::Bool) => Type::Unknown,
                (None, _) => Type::Quantity { dim: Dimension::NONE, point: false },
            };
            expect(r, names, value, &wanted);
        }
        Operation::Publish { payload: Payload::Json(payload), .. } => {
            payload_expressions(r, names, payload);
        }
        Operation::Publish { payload: Payload::Text(_), .. } => {}
        Operation::SetMetric { value, unit, .. } => {
            let wanted = match unit {
                Some(unit) => Type::Quantity { dim: unit.value.dim, point: unit.value.point },
                None => Type::Unknown,
            };
            expect(r, names, value, &wanted);
        }
        Operation::Send { unless, verify, .. } => {
            for question in unless.iter().chain(verify) {
                let wanted = match &question.unit {
                    Some(unit) => Type::Quantity { dim: unit.value.dim, point: unit.value.point },
                    None => Type::Unknown,
                };
                expect(r, names, &question.equals, &wanted);
            }
        }
        Operation::Read { .. } | Operation::Pause { .. } => {}
    }
}

fn payload_expressions(r: &mut Reader<'_>, names: &Names, payload: &crate::spec::value::Written) {
    use crate::spec::value::Written;
    match payload {
        Written::Expression(value) => {
            // JSON numbers have no unit: a quantity must be divided by the unit the device means.
            if let Some(Type::Quantity { dim, .. }) = type_of(r, names, value)
                && dim != Dimension::NONE
            {
                r.push(
                    Diagnostic::error(
                        codes::MISSING_UNIT,
                        value.span,
                        "divide by the unit the device means, such as `${ args.time / 1 ms }`",
                    )
                    .label(format!("this is a {}, and a number in JSON has no unit", dim.name())),
                );
            }
        }
        Written::List { items, .. } => {
            items.iter().for_each(|item| payload_expressions(r, names, item));
        }
        Written::Map { entries, .. } => {
            entries.iter().for_each(|entry| payload_expressions(r, names, &entry.value));
        }
        Written::Scalar { .. } => {}
    }
}

/// Type of an expression; its mistakes are reported.
fn type_of(r: &mut Reader<'_>, names: &Names, value: &Expression) -> Option<Type> {
    match expr::check(&value.expr, names) {
        Ok(found) => Some(found),
        Err(errors) => {
            for error in errors {
                r.push(value.diagnostic(error));
            }
            None
        }
    }
}

/// Reports an expression of another type.
pub(super) fn expect(r: &mut Reader<'_>, names: &Names, value: &Expression, wanted: &Type) {
    let Some(found) = type_of(r, names, value) else { return };
    let fits = match (&found, wanted) {
        (Type::Unknown, _) | (_, Type::Unknown) => true,
        // Kelvin may be written for an absolute temperature.
        (Type::Quantity { dim: a, .. }, Type::Quantity { dim: b, .. }) => a == b,
        (a, b) => a == b,
    };
    if fits {
        return;
    }
    let code = if *wanted == Type::Bool { codes::NOT_BOOLEAN } else { codes::EXPRESSION_TYPE };
    r.push(
        Diagnostic::error(code, value.span, format!("this must be a {wanted}"))
            .label(format!("this is a {found}")),
    );
}

fn examples(r: &mut Reader<'_>, instrument: &Instrument, f: &Fields<'_>) {
    for example in &instrument.examples {
        match &example.of {
            ExampleOf::Action(name)
                if instrument.action(&name.value).is_none()
                    && !named(f, "actions", &name.value) =>
            {
                let known = instrument.actions.iter().map(|a| a.name.value.as_str());
                unknown(r, codes::UNKNOWN_ACTION, name, "action", known);
            }
            ExampleOf::Property(name)
                if instrument.property(&name.value).is_none()
                    && !named(f, "properties", &name.value) =>
            {
                let known = instrument.properties.iter().map(|p| p.name.value.as_str());
                unknown(r, codes::UNKNOWN_PROPERTY, name, "property", known);
            }
            _ => {}
        }
    }
    for action in &instrument.simulate.actions {
        if instrument.action(&action.name.value).is_none()
            && !named(f, "actions", &action.name.value)
        {
            let known = instrument.actions.iter().map(|a| a.name.value.as_str());
            unknown(r, codes::UNKNOWN_ACTION, &action.name, "action", known);
        }
    }
    if instrument.examples.is_empty() && !f.has("examples") {
        r.push(
            Diagnostic::warning(
                codes::NO_EXAMPLE,
                instrument.name.span,
                "add golden bytes from the manual under `examples`",
            )
            .label("no examples")
            .reason(
                "without them nothing shows that the device understands what the definition says",
            ),
        );
    }
}

/// Names that expressions of a definition may read.
pub(super) struct Names {
    types: BTreeMap<String, Type>,
}

impl Names {
    pub(super) fn new(instrument: &Instrument, action: Option<&Action>) -> Names {
        let record = |specs: &[crate::spec::value::ValueSpec]| {
            Type::Record(specs.iter().map(|s| (s.name.value.clone(), s.expr_type())).collect())
        };
        let mut types: BTreeMap<String, Type> =
            STATUS_WORDS.iter().map(|word| ((*word).to_owned(), Type::Text)).collect();
        types.extend(
            instrument.properties.iter().map(|p| (p.name.value.clone(), p.shape.expr_type())),
        );
        types.insert("status".to_owned(), Type::Text);
        types.insert("config".to_owned(), record(&instrument.config));
        let number = Type::Quantity { dim: Dimension::NONE, point: false };
        let command = BTreeMap::from([
            ("id".to_owned(), Type::Text),
            ("client".to_owned(), Type::Text),
            ("number".to_owned(), number),
        ]);
        types.insert("command".to_owned(), Type::Record(command));
        if let Some(action) = action {
            types.insert("args".to_owned(), record(&action.args));
        }
        Names { types }
    }
}

impl TypeEnv for Names {
    fn type_of(&self, path: &[String]) -> Result<Type, Option<String>> {
        let mut path = path.iter();
        let Some(first) = path.next() else { return Err(None) };
        let near = |word: &str, known: &BTreeMap<String, Type>| {
            nearest(word, known.keys().map(String::as_str)).map(str::to_owned)
        };
        let Some(mut found) = self.types.get(first) else { return Err(near(first, &self.types)) };
        let mut so_far = first.clone();
        for name in path {
            found = match found {
                Type::Record(fields) => match fields.get(name) {
                    Some(found) => found,
                    None => return Err(near(name, fields).map(|near| format!("{so_far}.{near}"))),
                },
                Type::Unknown => return Ok(Type::Unknown),
                _ => return Err(None),
            };
            so_far = format!("{so_far}.{name}");
        }
        Ok(found.clone())
    }
}
