//! Tree to lab: reading, and what a lab can be checked for on its own.

use std::collections::BTreeMap;

use crate::spec::Kind;
use crate::spec::codes;
use crate::spec::diagnostic::{Checked, Diagnostic};
use crate::spec::nearest::{listed, nearest};
use crate::spec::protocol::lower::dotted;
use crate::spec::reader::{Fields, Item, NameForm, Reader};
use crate::spec::shared;
use crate::spec::source::{SourceFile, Span, Spanned};
use crate::spec::tree::NodeKind;
use crate::units::{Dimension, Quantity};

use super::address::address;
use super::tables::{
    BATCH, ESTOP, INSTRUMENT, INTERLOCK, LAB, LIMIT, MAX_CAPACITY, NOTIFY, PLACE, PLANTS,
    SEVERITIES, SIMULATION, STOCK,
};
use super::{
    Estop, Interlock, InterlockAction, InterlockKind, Lab, LabInstrument, Limit, Notify, PlaceDecl,
    Simulation, Stock, access,
};

/// Fix for a password in the file.
const PASSWORD: &str = "secret: env:MQTT_PASSWORD";

impl Lab {
    /// Reads a lab. All mistakes at once; a value may be there in spite of them.
    pub fn lower(file: &SourceFile) -> Checked<Lab> {
        shared::document(file, Kind::Lab, &LAB, |r, f| {
            let name = f.get("name").and_then(|item| r.name(item, NameForm::Word));
            let lab = Lab {
                source: file.id,
                name: name.unwrap_or_else(|| Spanned::new(String::new(), f.span.at_start())),
                doc: r.doc(f.get("doc")),
                instruments: instruments(r, f.get("instruments")),
                places: places(r, f.get("places")),
                stock: stock(r, f.get("stock")),
                interlocks: interlocks(r, f.get("interlocks")),
                estop: f.get("estop").and_then(|item| estop(r, item)),
                notify: f.get("notify").map(|item| notify(r, item)).unwrap_or_default(),
                stop_within: f.get("stop_within").and_then(|item| r.time(item)),
                simulation: f.get("simulation").and_then(|item| simulation(r, item)),
            };
            // Names under `instruments` that could not be read would make every use of them a
            // second finding; then the uses wait for the next check.
            if !r.report.has_errors() || !lab.instruments.is_empty() {
                references(r, &lab, f);
            }
            Some(lab)
        })
    }
}

fn instruments(r: &mut Reader<'_>, item: Option<Item<'_>>) -> Vec<LabInstrument> {
    let mut out = Vec::new();
    let mut addresses: BTreeMap<String, (Span, Span)> = BTreeMap::new();
    for (name, item) in r.map(item, NameForm::Identifier) {
        let Some(f) = r.object(item, &INSTRUMENT) else { continue };
        let definition = f.get("use").and_then(|item| r.name(item, NameForm::Word));
        let at = f.get("at").and_then(|item| address(r, item));
        let plays = r.names(f.get("plays"), NameForm::Identifier);
        let config = r.named(f.get("config"), NameForm::Identifier, |r, item| r.written(item));
        let ports = r.named(f.get("ports"), NameForm::Word, |r, item| r.written(item));
        let limits = limits(r, f.get("limits"));
        let draws = f.get("draws").and_then(|item| r.name(item, NameForm::Identifier));
        let delivers = f.get("delivers").and_then(|item| r.name(item, NameForm::Identifier));
        let holds = f.get("holds").and_then(|item| r.any_quantity(item));
        let holds = holds.filter(|q| dimension(r, q, Dimension::VOLUME, "holds"));
        let secret = f.get("secret").and_then(|item| access::secret(r, item, PASSWORD));
        let tls = f.get("tls").and_then(|item| access::tls(r, item));
        let stop_within = f.get("stop_within").and_then(|item| r.time(item));
        let doc = r.doc(f.get("doc"));
        let (Some(definition), Some(address)) = (definition, at) else { continue };
        // One serial line or broker carries many instruments; what tells them apart then stands
        // in the address (unit, base topic) or in the configuration.
        let alone = config.is_empty() && !address.value.starts_with("null:");
        if alone && let Some((first_name, first)) = addresses.get(&address.value) {
            r.push(
                Diagnostic::error(
                    codes::ADDRESS_TWICE,
                    address.span,
                    format!("give `{}` an address of its own", name.value),
                )
                .label("the same address again")
                .also(*first, "first here")
                .also(*first_name, "of this instrument")
                .reason("two instruments at one address would answer for each other"),
            );
        }
        access::fits(r, &name, &address, secret.as_ref(), tls.as_ref());
        if alone {
            addresses.entry(address.value.clone()).or_insert((name.span, address.span));
        }
        out.push(LabInstrument {
            name,
            definition,
            address,
            plays,
            config,
            ports,
            draws,
            delivers,
            holds,
            limits,
            stop_within,
            secret,
            tls,
            doc,
            span: f.span,
        });
    }
    out
}

fn limits(r: &mut Reader<'_>, item: Option<Item<'_>>) -> Vec<Limit> {
    let mut out = Vec::new();
    for (action, item) in r.map(item, NameForm::Identifier) {
        for (argument, item) in r.map(Some(item), NameForm::Identifier) {
            let Some(f) = r.object(item, &LIMIT) else { continue };
            let min = f.get("min").and_then(|item| r.any_quantity(item));
            let max = f.get("max").and_then(|item| r.any_quantity(item));
            if let (Some(min), Some(max)) = (&min, &max) {
                same_dimension(r, min, max, "max");
                if min.value.dim == max.value.dim && min.value.value > max.value.value {
                    r.push(
                        Diagnostic::error(
                            codes::LIMITS_REVERSED,
                            min.span,
                            "exchange `min` and `max`",
                        )
                        .label("above the largest")
                        .also(max.span, "the largest"),
                    );
                }
            }
            out.push(Limit { action: action.clone(), argument, min, max });
        }
    }
    out
}

/// Reports a second quantity of another dimension than the first.
pub(in crate::spec) fn same_dimension(
    r: &mut Reader<'_>,
    first: &Spanned<Quantity>,
    second: &Spanned<Quantity>,
    key: &str,
) -> bool {
    if first.value.dim == second.value.dim {
        return true;
    }
    r.push(
        Diagnostic::error(
            codes::WRONG_DIMENSION,
            second.span,
            format!("give `{key}` as a {}, like its neighbour", first.value.dim.name()),
        )
        .label(format!("this is a {}", second.value.dim.name()))
        .also(first.span, format!("this is a {}", first.value.dim.name())),
    );
    false
}

fn places(r: &mut Reader<'_>, item: Option<Item<'_>>) -> Vec<PlaceDecl> {
    let mut out = Vec::new();
    for (name, item) in r.map(item, NameForm::Identifier) {
        let Some(f) = r.object(item, &PLACE) else { continue };
        let capacity = f.get("capacity").and_then(|item| r.count32(item, 1, MAX_CAPACITY));
        let holds = f.get("holds").and_then(|item| r.name(item, NameForm::Word));
        let batch = f.get("batch").and_then(|item| r.object(item, &BATCH));
        let batch_same = batch
            .as_ref()
            .map(|b| r.names(b.get("same"), NameForm::Identifier))
            .unwrap_or_default();
        let batch_wait =
            batch.as_ref().and_then(|b| b.get("wait_for_more")).and_then(|item| r.time(item));
        if let Some(capacity) = capacity {
            out.push(PlaceDecl { name, capacity, holds, batch_same, batch_wait });
        }
    }
    out
}

fn stock(r: &mut Reader<'_>, item: Option<Item<'_>>) -> Vec<Stock> {
    let kinds: [(&str, Dimension); 3] =
        [("volume", Dimension::VOLUME), ("mass", Dimension::MASS), ("amount", Dimension::AMOUNT)];
    let mut out = Vec::new();
    for (name, item) in r.map(item, NameForm::Identifier) {
        let Some(f) = r.object(item, &STOCK) else { continue };
        let text = |r: &mut Reader<'_>, key: &str| f.get(key).and_then(|item| r.text(item));
        let substance = text(r, "substance");
        let solvent = text(r, "in");
        let concentration = f.get("concentration").and_then(|item| r.any_quantity(item));
        let given: Vec<&str> =
            ["volume", "mass", "amount", "count"].into_iter().filter(|key| f.has(key)).collect();
        let amount = match given.as_slice() {
            [] => {
                r.push(
                    Diagnostic::error(
                        codes::MISSING_KEY,
                        name.span,
                        format!(
                            "say how much `{}` there is: volume, mass, amount or count",
                            name.value
                        ),
                    )
                    .label("no amount")
                    .fix("volume: 250 mL"),
                );
                None
            }
            [one] => f.get(one).and_then(|item| match kinds.iter().find(|(k, _)| k == one) {
                Some((_, dim)) => {
                    let value = r.any_quantity(item)?;
                    dimension(r, &value, *dim, one).then_some(value)
                }
                #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
                None => {
                    r.count(item, 0, 1_000_000_000).map(|n| n.map(|n| Quantity::number(n as f64)))
                }
            }),
            [first, second, ..] => {
                let at = f.key_span(second).unwrap_or(name.span);
                r.push(
                    Diagnostic::error(
                        codes::NOT_WITH,
                        at,
                        format!("keep one of `{first}` and `{second}`"),
                    )
                    .label("a second amount"),
                );
                None
            }
        };
        let warn_below = f.get("warn_below").and_then(|item| r.any_quantity(item));
        if let (Some(amount), Some(warn)) = (&amount, &warn_below) {
            same_dimension(r, amount, warn, "warn_below");
        }
        let like_amount = |r: &mut Reader<'_>, key: &str| {
            let value = f.get(key).and_then(|item| r.any_quantity(item))?;
            if let Some(amount) = &amount {
                same_dimension(r, amount, &value, key);
            }
            amount.as_ref().is_some_and(|a| a.value.dim == value.value.dim).then_some(value)
        };
        let dead_volume = like_amount(r, "dead_volume");
        let capacity = like_amount(r, "capacity");
        if let Some(amount) = amount {
            if amount.value.value < 0.0 {
                r.push(Diagnostic::error(
                    codes::OUT_OF_RANGE,
                    amount.span,
                    "give an amount of zero or more",
                ));
            }
            if let Some(capacity) = &capacity
                && capacity.value.value < amount.value.value
            {
                r.push(
                    Diagnostic::error(
                        codes::VOLUME_ABOVE_CAPACITY,
                        amount.span,
                        format!("`{}` holds more than fits into it", name.value),
                    )
                    .also(capacity.span, "its capacity"),
                );
            }
            out.push(Stock {
                name,
                substance,
                solvent,
                concentration,
                amount,
                warn_below,
                dead_volume,
                capacity,
            });
        }
    }
    out
}

/// Reports a quantity of another dimension.
pub(in crate::spec) fn dimension(
    r: &mut Reader<'_>,
    value: &Spanned<Quantity>,
    dim: Dimension,
    key: &str,
) -> bool {
    if value.value.dim == dim {
        return true;
    }
    let raw = r.file.slice(value.span.range()).to_owned();
    let missing = value.value.dim == Dimension::NONE && !raw.contains('%');
    let code = if missing { codes::MISSING_UNIT } else { codes::WRONG_DIMENSION };
    let label = if missing {
        "a number without a unit".to_owned()
    } else {
        format!("this is a {}", value.value.dim.name())
    };
    r.push(
        Diagnostic::error(
            code,
            value.span,
            format!("give `{key}` as a {} with its unit", dim.name()),
        )
        .label(label),
    );
    false
}

fn interlocks(r: &mut Reader<'_>, item: Option<Item<'_>>) -> Vec<Interlock> {
    let interlocks = r.list(item, |r, item| {
        let f = r.object(item, &INTERLOCK)?;
        let id = f.get("id").and_then(|item| r.name(item, NameForm::Identifier));
        let kind = interlock_kind(r, &f);
        let doc = r.doc(f.get("doc"));
        Some(Interlock { id: id?, kind: kind?, doc, span: f.span })
    });
    shared::unique(r, "interlock", interlocks.iter().map(|i| &i.id));
    interlocks
}

fn interlock_kind(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<InterlockKind> {
    let trips = ["trip_if", "for", "action", "latch"];
    let forbids = ["forbid", "when"];
    let complete = |r: &mut Reader<'_>, first: &str, second: &str, fix: &str| {
        if !f.has(second) {
            let at = f.key_span(first).unwrap_or(f.span);
            r.push(
                Diagnostic::error(
                    codes::INTERLOCK_FORM,
                    at,
                    format!("add `{second}` beside `{first}`"),
                )
                .label("only half an interlock")
                .fix(fix.to_owned()),
            );
        }
    };
    let foreign = |r: &mut Reader<'_>, keys: &[&str], word: &str| {
        for key in keys {
            if let Some(span) = f.key_span(key) {
                r.push(
                    Diagnostic::error(
                        codes::INTERLOCK_FORM,
                        span,
                        format!("remove `{key}`, or make it an interlock of its own: this one has `{word}`"),
                    )
                    .label("belongs to the other kind of interlock"),
                );
            }
        }
    };
    if f.has("trip_if") {
        complete(r, "trip_if", "action", "action: [safe_state: bath_1, hold: users]");
        foreign(r, &forbids, "trip_if");
        let condition = f.get("trip_if").and_then(|item| r.condition(item));
        let held_for = f.get("for").and_then(|item| r.time(item));
        let actions = r.one_or_list(f.get("action"), interlock_action);
        let latch = f.get("latch").and_then(|item| r.boolean(item)).is_none_or(|b| b.value);
        return Some(InterlockKind::Trip { condition: condition?, held_for, actions, latch });
    }
    if f.has("forbid") {
        complete(r, "forbid", "when", "when: stock.feed_a.volume < 5 mL");
        foreign(r, &trips, "forbid");
        let target = f.get("forbid").and_then(|item| {
            let text = r.text(item)?;
            dotted(r, &text, "forbid", "instrument.action, or instrument.*")
        });
        let when = f.get("when").and_then(|item| r.condition(item));
        let (instrument, action) = target?;
        return Some(InterlockKind::Forbid { instrument, action, when: when? });
    }
    if !f.has_unknown() {
        r.push(
            Diagnostic::error(
                codes::INTERLOCK_FORM,
                f.span,
                "add `trip_if` and `action`, or `forbid` and `when`",
            )
            .label("this interlock does nothing"),
        );
    }
    None
}

fn interlock_action(r: &mut Reader<'_>, item: Item<'_>) -> Option<InterlockAction> {
    let (word, target, span) = match &item.node.kind {
        NodeKind::Map(entries) if entries.len() == 1 => {
            let entry = entries.first()?;
            let inner = Item { key: &entry.key.value, node: &entry.value };
            (entry.key.value.clone(), Some(r.text(inner)?), entry.key.span)
        }
        NodeKind::Scalar { text, .. } => {
            let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
            let rest = rest.trim();
            let target = (!rest.is_empty()).then(|| Spanned::new(rest.to_owned(), item.span()));
            (word.to_owned(), target, item.span())
        }
        _ => {
            r.wrong_kind(item, "an action, such as `safe_state: bath_1`", "[safe_state: bath_1]");
            return None;
        }
    };
    let found = match (word.as_str(), target.as_ref().map(|t| t.value.as_str())) {
        ("safe_state", Some("all")) => Some(InterlockAction::SafeStateAll(span)),
        ("safe_state", Some(_)) => target.map(InterlockAction::SafeState),
        ("hold", Some("users")) => Some(InterlockAction::HoldUsers(span)),
        ("hold", Some("all")) => Some(InterlockAction::HoldAll(span)),
        ("abort", Some("users")) => Some(InterlockAction::AbortUsers(span)),
        ("alarm", None) => Some(InterlockAction::Alarm(span)),
        _ => None,
    };
    if found.is_none() {
        r.push(
            Diagnostic::error(
                codes::INTERLOCK_FORM,
                item.span(),
                "write one of: safe_state: INSTRUMENT, safe_state: all, hold: users, hold: all, abort: users, alarm",
            )
            .label("not an action of an interlock")
            .fix("action: [safe_state: bath_1, hold: users]"),
        );
    }
    found
}

fn estop(r: &mut Reader<'_>, item: Item<'_>) -> Option<Estop> {
    let f = r.object(item, &ESTOP)?;
    let input = f.get("input").and_then(|item| {
        let text = r.text(item)?;
        dotted(r, &text, "input", "instrument.property")
    });
    if let Some(item) = f.get("action") {
        r.word(item, &[("safe_state all", ())]);
    }
    let reset =
        f.get("reset").and_then(|item| r.word(item, &[("operator", true), ("auto", false)]));
    let (instrument, property) = input?;
    let reset_by_operator = reset.is_none_or(|word| word.value);
    Some(Estop { instrument, property, reset_by_operator, span: f.span })
}

fn notify(r: &mut Reader<'_>, item: Item<'_>) -> Vec<Notify> {
    let Some(f) = r.object(item, &NOTIFY) else { return Vec::new() };
    let mut out = Vec::new();
    for severity in SEVERITIES {
        let Some(span) = f.key_span(severity) else { continue };
        let targets = r.list(f.get(severity), |r, item| {
            let text = r.text(item)?;
            let known = ["webhook:env:", "webhook:http://", "webhook:https://", "command:"];
            if known.iter().any(|k| text.value.len() > k.len() && text.value.starts_with(k)) {
                return Some(text);
            }
            r.push(
                Diagnostic::error(
                    codes::BAD_VALUE,
                    text.span,
                    "write webhook:env:NAME, webhook:https://... or command:PROGRAM",
                )
                .label("nobody would be told")
                .fix("\"webhook:env:ALERT_URL\""),
            );
            None
        });
        out.push(Notify { severity: Spanned::new((*severity).to_owned(), span), targets });
    }
    out
}

fn simulation(r: &mut Reader<'_>, item: Item<'_>) -> Option<Simulation> {
    let f = r.object(item, &SIMULATION)?;
    let words: Vec<(&str, &str)> = PLANTS.iter().map(|p| (*p, *p)).collect();
    let plant = f.get("plant").and_then(|item| r.word(item, &words));
    let seed = f.get("seed").and_then(|item| r.count(item, 0, u64::MAX));
    let wiring = r
        .named(f.get("wiring"), NameForm::Identifier, |r, item| r.name(item, NameForm::Identifier));
    let settings = r.named(f.get("settings"), NameForm::Identifier, |r, item| r.any_quantity(item));
    Some(Simulation { plant: plant?.map(str::to_owned), seed, wiring, settings, span: f.span })
}

/// Reports instruments that are named and not there.
fn references(r: &mut Reader<'_>, lab: &Lab, f: &Fields<'_>) {
    stock_references(r, lab, f);
    let mut used: Vec<&Spanned<String>> = Vec::new();
    for interlock in &lab.interlocks {
        match &interlock.kind {
            InterlockKind::Trip { actions, .. } => {
                for action in actions {
                    if let InterlockAction::SafeState(name) = action {
                        used.push(name);
                    }
                }
            }
            InterlockKind::Forbid { instrument, .. } => used.push(instrument),
        }
    }
    used.extend(lab.estop.as_ref().map(|estop| &estop.instrument));
    if let Some(simulation) = &lab.simulation {
        used.extend(simulation.wiring.iter().map(|wire| &wire.value));
    }
    // An entry that could not be read is there all the same.
    let entries = match f.get("instruments").map(|item| &item.node.kind) {
        Some(NodeKind::Map(entries)) => entries.as_slice(),
        _ => return,
    };
    let names: Vec<&str> = entries.iter().map(|entry| entry.key.value.as_str()).collect();
    for name in used {
        if r.is_full() {
            return;
        }
        if names.contains(&name.value.as_str()) {
            continue;
        }
        let near = nearest(&name.value, names.iter().copied());
        let message = match near {
            Some(near) => format!("write `{near}` instead of `{}`", name.value),
            None => format!("add `{}` to `instruments`, or name one of them", name.value),
        };
        let mut diagnostic = Diagnostic::error(codes::UNKNOWN_INSTRUMENT, name.span, message)
            .label("no instrument of this lab")
            .reason(format!("the instruments are: {}", listed(names.iter().copied())));
        diagnostic.fix = near.map(str::to_owned);
        r.push(diagnostic);
    }
}

/// `draws` and `delivers` name stock of the lab.
fn stock_references(r: &mut Reader<'_>, lab: &Lab, f: &Fields<'_>) {
    let names: Vec<&str> = match f.get("stock").map(|item| &item.node.kind) {
        Some(NodeKind::Map(entries)) => entries.iter().map(|e| e.key.value.as_str()).collect(),
        _ => Vec::new(),
    };
    for instrument in &lab.instruments {
        for name in instrument.draws.iter().chain(&instrument.delivers) {
            if names.contains(&name.value.as_str()) || r.is_full() {
                continue;
            }
            let near = nearest(&name.value, names.iter().copied());
            let message = match near {
                Some(near) => format!("write `{near}` instead of `{}`", name.value),
                None => format!("add `{}` to `stock`, or name one of it", name.value),
            };
            let mut wrong = Diagnostic::error(codes::UNKNOWN_STOCK, name.span, message)
                .label("no stock of this lab");
            wrong.fix = near.map(str::to_owned);
            r.push(wrong);
        }
    }
}
