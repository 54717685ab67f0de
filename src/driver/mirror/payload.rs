//! Payloads read backwards: what a received message says.
//!
//! An expression is inverted by what it gives: a number that depends on one argument is followed
//! back along a straight line and checked, a word or a truth value by trying what it may be.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::driver::json::{self, Payload, plain};
use crate::driver::plan::{Body, CorrelatePlan, ReplyPlan};
use crate::driver::scope::Scope;
use crate::expr::{self, Expr, Value};
use crate::spec::{ValueSpec, ValueType};
use crate::units::{Dimension, Quantity, Unit};

/// Numbers that differ by less, in parts of themselves, are the same: a metric may have 24 bits.
const SAME: f64 = 1e-6;

/// What a message said.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    /// Arguments, and what is computed from them.
    pub fields: BTreeMap<String, Value>,
    pub id: Option<String>,
    pub number: Option<f64>,
    pub client: Option<String>,
    /// How much of it is the definition's own: of several that fit the one with most is meant.
    pub own: usize,
}

/// Reads payloads of one action.
pub(super) struct Reader<'a> {
    pub config: &'a BTreeMap<String, Value>,
    pub args: &'a [ValueSpec],
}

impl Reader<'_> {
    /// Whether a payload can be this body; what it says goes to `heard`.
    pub fn body(&self, body: &Body, payload: &[u8], heard: &mut Heard) -> bool {
        match body {
            Body::Text(template) => {
                let said = std::str::from_utf8(payload).ok();
                let Some(said) = said.and_then(|text| template.read(text, self.config)) else {
                    return false;
                };
                // An empty payload is a message of its own.
                heard.own += said.own + usize::from(payload.is_empty());
                heard.fields.extend(said.fields);
                true
            }
            Body::Json(pattern) => {
                serde_json::from_slice(payload).is_ok_and(|json| self.json(pattern, &json, heard))
            }
        }
    }

    fn json(&self, pattern: &Payload, json: &Json, heard: &mut Heard) -> bool {
        match (pattern, json) {
            (Payload::Literal(own), json) => {
                heard.own += 1;
                same(own, json)
            }
            (Payload::List(items), Json::Array(found)) => {
                items.len() == found.len()
                    && items.iter().zip(found).all(|(item, json)| self.json(item, json, heard))
            }
            (Payload::Map(entries), Json::Object(map)) => {
                heard.own += 1;
                entries.len() == map.len()
                    && entries.iter().all(|(name, item)| {
                        map.get(name).is_some_and(|json| self.json(item, json, heard))
                    })
            }
            (Payload::Expr(expr, _), json) => self.value(expr, None, json, heard),
            (Payload::List(_) | Payload::Map(_), _) => false,
        }
    }

    /// Whether an expression can have given a value, and with which argument.
    pub fn value(&self, expr: &Expr, unit: Option<&Unit>, json: &Json, heard: &mut Heard) -> bool {
        let names = expr.names();
        let free: Vec<&str> = names
            .iter()
            .filter_map(|path| match path.as_slice() {
                [of, name] if of == "args" => Some(name.as_str()),
                _ => None,
            })
            .collect();
        let command = names.iter().find_map(|path| match path.as_slice() {
            [of, what] if of == "command" => Some(what.as_str()),
            _ => None,
        });
        match (free.as_slice(), command, json) {
            ([], Some("id"), Json::String(id)) => heard.id = Some(id.clone()),
            ([], Some("client"), Json::String(client)) => heard.client = Some(client.clone()),
            ([], Some("number"), Json::Number(number)) => heard.number = number.as_f64(),
            ([], Some(_), _) => return false,
            ([], None, json) => {
                heard.own += 1;
                return self.gives(expr, unit, None).is_some_and(|own| same(&own, json));
            }
            ([name], None, json) => match self.solve(expr, unit, name, json) {
                Some(value) => {
                    heard.fields.insert((*name).to_owned(), value);
                }
                None => return false,
            },
            // Of several unknowns in one number nothing can be said.
            _ => {}
        }
        true
    }

    /// What an expression gives with one argument.
    fn gives(&self, expr: &Expr, unit: Option<&Unit>, arg: Option<(&str, &Value)>) -> Option<Json> {
        let args = arg.map(|(name, value)| (name.to_owned(), value.clone())).into_iter().collect();
        let scope = Scope { args, config: self.config.clone(), ..Scope::default() };
        match (expr::eval(expr, &scope).ok()?, unit) {
            (Value::Quantity(quantity), Some(unit)) => {
                quantity.in_unit(unit).and_then(|number| json::json_of(&plain(number)).ok())
            }
            (value, _) => json::json_of(&value).ok(),
        }
    }

    /// The argument with which an expression gives a value.
    fn solve(&self, expr: &Expr, unit: Option<&Unit>, name: &str, json: &Json) -> Option<Value> {
        let kind = self.args.iter().find(|spec| spec.name.value == name).map(|spec| &spec.kind);
        let fits = |value: &Value| {
            self.gives(expr, unit, Some((name, value))).is_some_and(|given| same(&given, json))
        };
        let (dim, point) = match kind {
            Some(ValueType::Bool) => {
                return [true, false].into_iter().map(Value::Bool).find(fits);
            }
            Some(ValueType::Choice { options }) => {
                let options =
                    options.iter().map(|option| Value::Text(option.value.as_str().into()));
                return options.into_iter().find(fits);
            }
            Some(ValueType::Text) => {
                return Some(Value::Text(json.as_str()?.into())).filter(fits);
            }
            Some(ValueType::Quantity { unit }) => (unit.value.dim, unit.value.point),
            Some(ValueType::Number | ValueType::Integer) | None => (Dimension::NONE, false),
        };
        let wanted = json.as_f64()?;
        let of = |value: f64| Value::Quantity(Quantity { value, dim, point });
        let at = |value: f64| self.gives(expr, unit, Some((name, &of(value))))?.as_f64();
        let (zero, one) = (at(0.0)?, at(1.0)?);
        let slope = one - zero;
        if slope == 0.0 {
            return None;
        }
        let mut found = (wanted - zero) / slope;
        if matches!(kind, Some(ValueType::Integer)) {
            found = found.round();
        }
        Some(of(json::tidy(found))).filter(fits)
    }
}

/// Puts what ties an answer to its question into it.
pub(super) fn echo(reply: &ReplyPlan, heard: &Heard, json: &mut Json) {
    let CorrelatePlan::Field(paths) = &reply.correlate else { return };
    let there = paths.iter().find(|path| json::at(json, path).is_some());
    let Some(path) = there.or_else(|| paths.first()) else { return };
    let id = match (&heard.id, heard.number) {
        (Some(id), _) => Json::from(id.as_str()),
        (None, Some(number)) => json::json_of(&plain(number)).unwrap_or(Json::Null),
        (None, None) => return,
    };
    put(json, path, id);
}

/// Sets the part of a message at a path, and makes what is not there on the way to it.
pub(super) fn put(json: &mut Json, path: &str, value: Json) {
    let mut seat = json;
    for step in path.split('.') {
        let index = step.parse::<usize>().ok();
        if let (Json::Array(items), Some(index)) = (&*seat, index)
            && index < items.len()
        {
            match seat.get_mut(index) {
                Some(next) => seat = next,
                None => return,
            }
            continue;
        }
        if !seat.is_object() {
            *seat = Json::Object(serde_json::Map::new());
        }
        let Json::Object(map) = seat else { return };
        seat = map.entry(step).or_insert(Json::Null);
    }
    *seat = value;
}

fn same(own: &Json, found: &Json) -> bool {
    match (own, found) {
        (Json::Number(own), Json::Number(found)) => match (own.as_f64(), found.as_f64()) {
            (Some(own), Some(found)) => (own - found).abs() <= SAME * own.abs().max(found.abs()),
            _ => false,
        },
        (Json::Array(own), Json::Array(found)) => {
            own.len() == found.len() && own.iter().zip(found).all(|(a, b)| same(a, b))
        }
        (own, found) => own == found,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::driver::values;
    use crate::spec::Sources;
    use crate::spec::instrument::Instrument;

    fn definition(file: &str) -> Instrument {
        let path = Path::new("instruments").join(file);
        let mut sources = Sources::new();
        let id = sources.add(file, std::fs::read_to_string(path).unwrap());
        Instrument::lower(sources.get(id).unwrap()).value.unwrap()
    }

    /// What the arguments of an action become in its first message, and back.
    fn there_and_back(file: &str, action: &str, args: &[(&str, &str)]) {
        let definition = definition(file);
        let action = definition.action(action).unwrap();
        let quantity = |text: &str| Value::Quantity(Quantity::parse(text).unwrap());
        let given = args.iter().map(|(name, text)| {
            let value = match *text {
                "true" => Value::Bool(true),
                text if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                    quantity(text)
                }
                text => Value::Text(text.into()),
            };
            ((*name).to_owned(), value)
        });
        let args = values::complete(&action.args, &given.collect(), "arguments").unwrap();
        let scope = Scope { args: args.clone(), command: "id".to_owned(), ..Scope::default() };
        let crate::spec::instrument::Operation::Publish {
            payload: crate::spec::instrument::Payload::Json(json),
            ..
        } = &action.operations[0]
        else {
            panic!("{action:?}");
        };
        let pattern = Payload::new(json);
        let said = pattern.render(&scope).unwrap();
        let reader = Reader { config: &BTreeMap::new(), args: &action.args };
        let mut heard = Heard::default();
        assert!(reader.json(&pattern, &said, &mut heard), "{said}");
        for (name, value) in &args {
            match (value, heard.fields.get(name)) {
                (Value::Quantity(sent), Some(Value::Quantity(back))) => {
                    assert_eq!((sent.dim, sent.point), (back.dim, back.point), "{name}");
                    let near = (sent.value - back.value).abs() <= 1e-9 * sent.value.abs().max(1.0);
                    assert!(near, "{name}: {sent:?} {back:?}");
                }
                (sent, back) => assert_eq!(Some(sent), back, "{name}"),
            }
        }
    }

    #[test]
    fn arguments_come_back_out_of_the_message_they_make() {
        there_and_back(
            "hplc/mqtt5-hplc.yaml",
            "run",
            &[
                ("volume", "10 uL"),
                ("start", "5 %"),
                ("end", "95 %"),
                ("gradient", "15 min"),
                ("temperature", "40 degC"),
                ("ph", "3"),
            ],
        );
        there_and_back(
            "spin_coater/mqtt5-spin-coater.yaml",
            "spin",
            &[("speed", "3000 rpm"), ("time", "45 s"), ("ramp", "250 rpm/s")],
        );
        there_and_back("spectrometer/mqtt5-spectrometer.yaml", "lamp", &[("lit", "true")]);
        there_and_back(
            "spectrometer/as7341-picow.yaml",
            "measure",
            &[("red", "10"), ("green", "0"), ("blue", "255")],
        );
    }

    #[test]
    fn other_messages_are_not_taken_for_it() {
        let definition = definition("spectrometer/mqtt5-spectrometer.yaml");
        let action = definition.action("lamp").unwrap();
        let crate::spec::instrument::Operation::Publish {
            payload: crate::spec::instrument::Payload::Json(json),
            ..
        } = &action.operations[0]
        else {
            panic!("{action:?}");
        };
        let (pattern, config) = (Payload::new(json), BTreeMap::new());
        let reader = Reader { config: &config, args: &action.args };
        for other in [
            serde_json::json!({"on": "yes"}),
            serde_json::json!({"on": true, "more": 1}),
            serde_json::json!({}),
            serde_json::json!([true]),
            serde_json::json!({"on": 1}),
        ] {
            assert!(!reader.json(&pattern, &other, &mut Heard::default()), "{other}");
        }
    }

    #[test]
    fn what_is_put_into_a_message_is_found_there() {
        let mut json = serde_json::json!({"a": [1, {"b": 2}], "c": 3});
        put(&mut json, "a.1.b", Json::from(5));
        put(&mut json, "x.y", Json::from("new"));
        put(&mut json, "c.d", Json::Null);
        assert_eq!(
            json,
            serde_json::json!({"a": [1, {"b": 5}], "c": {"d": null}, "x": {"y": "new"}})
        );
        assert_eq!(json::at(&json, "a.1.b"), Some(&Json::from(5)));
    }
}
