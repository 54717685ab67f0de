//! JSON Schemas that know one lab: its roles, their actions and arguments, its stock.
//!
//! They narrow the general schemas of [`crate::spec::schema`]. Like those they allow what a check
//! may still refuse, never the other way round.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::describe;
use crate::analysis;
use crate::spec::instrument::{Action, Instrument};
use crate::spec::lab::{Lab, LabInstrument};
use crate::spec::protocol::Protocol;
use crate::spec::schema::schema;
use crate::spec::{Kind, Sources, ValueSpec, ValueType};

/// What a number with a unit, or an expression, looks like.
const NUMBER: &str = r"^\s*[-+]?[0-9.]|\$\{";
/// What holds an expression.
const EXPRESSION: &str = r"\$\{";

/// Arguments whose values a lab may name under `ports:`, as the compiler reads them.
const PORT_ARGUMENTS: &[&str] = &["port", "from", "to", "place"];

/// An action of an instrument that plays a role.
struct Offer<'a> {
    instrument: &'a LabInstrument,
    action: &'a Action,
}

/// The schema of protocols for a lab.
pub fn protocol_schema(
    lab: &Lab,
    definitions: &BTreeMap<String, Arc<Instrument>>,
    sources: &Sources,
) -> Value {
    let mut root = schema(Kind::Protocol);
    let mut offers: BTreeMap<String, Vec<Offer<'_>>> = BTreeMap::new();
    let mut roles: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut free: BTreeSet<&str> = BTreeSet::new();
    for instrument in &lab.instruments {
        let Some(definition) = definitions.get(&instrument.definition.value) else { continue };
        for action in &definition.actions {
            for role in &instrument.plays {
                let name = format!("{}.{}", role.value, action.name.value);
                offers.entry(name).or_default().push(Offer { instrument, action });
            }
            // It plays whatever role of its type has no other player.
            if instrument.plays.is_empty() {
                free.insert(&action.name.value);
            }
        }
        for role in &instrument.plays {
            roles.entry(&role.value).or_default().insert(&definition.kind.value);
        }
    }
    let any_role = !free.is_empty();
    narrow_roles(&mut root, &roles, any_role);
    if let Some(step) = definition_mut(&mut root, "step") {
        narrow_step(step, &offers, &free, sources);
        narrow_stock(step, lab);
        // A name is one of the built-in functions; the other form stays as it is.
        if let Some(name) = step.pointer_mut("/properties/analyse/anyOf/0") {
            *name = json!({ "enum": analysis::names(), "description": "An analysis" });
        }
        if !any_role {
            set(
                step,
                "/properties/hold/items",
                json!({ "enum": roles.keys().collect::<Vec<_>>() }),
            );
        }
    }
    root
}

fn narrow_roles(root: &mut Value, roles: &BTreeMap<&str, BTreeSet<&str>>, any_role: bool) {
    let general = root.pointer("/properties/roles/additionalProperties").cloned();
    let general = general.unwrap_or(Value::Bool(true));
    let mut known = Map::new();
    for (role, types) in roles {
        let schema = json!({
            "allOf": [general, { "properties": { "type": { "enum": types } } }],
            "description": format!("Played in this lab by a {}", join(types)),
        });
        known.insert((*role).to_owned(), schema);
    }
    let Some(Value::Object(place)) = root.pointer_mut("/properties/roles") else { return };
    place.insert("properties".to_owned(), Value::Object(known));
    let rest = if any_role { general } else { Value::Bool(false) };
    place.insert("additionalProperties".to_owned(), rest);
}

fn narrow_step(
    step: &mut Value,
    offers: &BTreeMap<String, Vec<Offer<'_>>>,
    free: &BTreeSet<&str>,
    sources: &Sources,
) {
    let names: Vec<&String> = offers.keys().collect();
    let mut words = json!({ "enum": names, "description": "An action of a role: `role.action`" });
    if !free.is_empty() {
        let actions: Vec<&str> = free.iter().copied().collect();
        let pattern = format!(r"^\w+\.({})$", actions.join("|"));
        words = json!({ "anyOf": [words, { "type": "string", "pattern": pattern }] });
    }
    set(step, "/properties/do", words);
    let conditions: Vec<Value> = offers
        .iter()
        .map(|(name, offers)| {
            json!({
                "if": { "required": ["do"], "properties": { "do": { "const": name } } },
                "then": arguments(offers, sources),
            })
        })
        .collect();
    if let (Value::Object(step), false) = (step, conditions.is_empty()) {
        step.insert("allOf".to_owned(), Value::Array(conditions));
    }
}

/// What a step with one action has under `with:`, whoever plays the role.
fn arguments(offers: &[Offer<'_>], sources: &Sources) -> Value {
    let mut properties: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut required: Option<BTreeSet<&str>> = None;
    for offer in offers {
        let needed: BTreeSet<&str> = offer
            .action
            .args
            .iter()
            .filter(|arg| arg.required && arg.default.is_none())
            .map(|arg| arg.name.value.as_str())
            .collect();
        required = Some(match required {
            Some(before) => before.intersection(&needed).copied().collect(),
            None => needed,
        });
        for arg in &offer.action.args {
            let one = argument(arg, offer, sources);
            let all = properties.entry(&arg.name.value).or_default();
            if !all.contains(&one) {
                all.push(one);
            }
        }
    }
    let properties: Map<String, Value> = properties
        .into_iter()
        .map(|(name, mut all)| {
            let one = if all.len() == 1 { all.remove(0) } else { json!({ "anyOf": all }) };
            (name.to_owned(), one)
        })
        .collect();
    let required = required.unwrap_or_default();
    let doc = offers.first().and_then(|offer| offer.action.doc.as_deref()).unwrap_or("Arguments");
    let mut with = json!({
        "type": "object",
        "description": doc,
        "additionalProperties": false,
        "properties": properties,
    });
    let mut then = Map::new();
    if !required.is_empty() {
        set(&mut with, "/required", json!(required));
        then.insert("required".to_owned(), json!(["with"]));
    }
    then.insert("properties".to_owned(), json!({ "with": with }));
    Value::Object(then)
}

fn argument(spec: &ValueSpec, offer: &Offer<'_>, sources: &Sources) -> Value {
    let mut schema = value_schema(spec);
    // Where the lab names the ports, it is they that are written.
    if !offer.instrument.ports.is_empty() && PORT_ARGUMENTS.contains(&spec.name.value.as_str()) {
        let ports: Vec<&str> =
            offer.instrument.ports.iter().map(|p| p.name.value.as_str()).collect();
        let expression = json!({ "type": "string", "pattern": EXPRESSION });
        schema = json!({ "anyOf": [{ "enum": ports }, expression] });
    }
    let mut text = describe::value(spec);
    if let Some(limit) = describe::lab_limit(offer.instrument, &offer.action.name.value, spec) {
        text.push_str("; ");
        text.push_str(&limit);
    }
    if let Some(doc) = &spec.doc {
        text.push_str(". ");
        text.push_str(doc);
    }
    if let Some(place) = describe::place(spec.span, sources) {
        text.push_str(&format!(" ({place})"));
    }
    set(&mut schema, "/description", text.into());
    schema
}

/// What a value must be, or an expression that gives it.
fn value_schema(spec: &ValueSpec) -> Value {
    let expression = json!({ "type": "string", "pattern": EXPRESSION });
    let limit = |limit: &Option<crate::spec::Spanned<crate::units::Quantity>>| {
        limit.as_ref().map(|limit| limit.value.value)
    };
    let number = |kind: &str| {
        let mut number = json!({ "type": kind });
        if let Some(min) = limit(&spec.min) {
            set(&mut number, "/minimum", json!(min));
        }
        if let Some(max) = limit(&spec.max) {
            set(&mut number, "/maximum", json!(max));
        }
        json!({ "anyOf": [number, { "type": "string", "pattern": NUMBER }] })
    };
    match &spec.kind {
        ValueType::Quantity { unit } if unit.value.symbol != "1" => {
            let unit = &unit.value;
            let examples: Vec<String> = [&spec.min, &spec.max]
                .into_iter()
                .flatten()
                .map(|limit| limit.value.display_in(unit))
                .collect();
            json!({ "type": "string", "pattern": NUMBER, "examples": examples })
        }
        ValueType::Quantity { .. } | ValueType::Number => number("number"),
        ValueType::Integer => number("integer"),
        ValueType::Bool => json!({ "anyOf": [{ "type": "boolean" }, expression] }),
        ValueType::Text => json!({ "type": ["string", "number", "boolean"] }),
        ValueType::Choice { options } => {
            let mut words: Vec<Value> = Vec::new();
            for option in options {
                words.push(option.value.as_str().into());
                // A word of digits is a number to a YAML tool.
                words.extend(option.value.parse::<i64>().ok().map(Value::from));
            }
            json!({ "anyOf": [{ "enum": words }, expression] })
        }
    }
}

fn narrow_stock(step: &mut Value, lab: &Lab) {
    let Some(general) = step.pointer("/properties/consumes/additionalProperties").cloned() else {
        return;
    };
    let names: Map<String, Value> =
        lab.stock.iter().map(|stock| (stock.name.value.clone(), general.clone())).collect();
    set(step, "/properties/consumes/properties", Value::Object(names));
    set(step, "/properties/consumes/additionalProperties", Value::Bool(false));
}

/// The schema of campaigns over a protocol, in a lab.
pub fn campaign_schema(protocol: Option<&Protocol>, lab: Option<&Lab>) -> Value {
    let mut root = schema(Kind::Campaign);
    if let Some(protocol) = protocol {
        let range = root.pointer("/properties/space/additionalProperties").cloned();
        let range = range.unwrap_or(Value::Bool(true));
        let mut space = Map::new();
        let mut fixed = Map::new();
        for parameter in &protocol.parameters {
            let name = &parameter.name.value;
            let mut text = describe::value(parameter);
            if let Some(doc) = &parameter.doc {
                text.push_str(&format!(". {doc}"));
            }
            space.insert(name.clone(), json!({ "allOf": [range], "description": text }));
            let mut value = value_schema(parameter);
            set(&mut value, "/description", text.into());
            fixed.insert(name.clone(), value);
        }
        for (key, names) in [("space", space), ("fixed", fixed)] {
            set(&mut root, &format!("/properties/{key}/properties"), Value::Object(names));
            set(&mut root, &format!("/properties/{key}/additionalProperties"), false.into());
        }
        let results: Vec<&str> = protocol.results.iter().map(|r| r.name.value.as_str()).collect();
        if let Some(objective) = definition_mut(&mut root, "objective") {
            set(objective, "/properties/result", json!({ "enum": results }));
            set(objective, "/properties/noise", json!({ "enum": results }));
        }
        let roles: Map<String, Value> = protocol
            .roles
            .iter()
            .map(|role| {
                let doc = format!("Instrument for this role, a {}", role.kind.value);
                let schema = match lab {
                    Some(lab) => {
                        let names: Vec<&str> =
                            lab.instruments.iter().map(|i| i.name.value.as_str()).collect();
                        json!({ "enum": names, "description": doc })
                    }
                    None => json!({ "type": "string", "description": doc }),
                };
                (role.name.value.clone(), schema)
            })
            .collect();
        set(&mut root, "/properties/roles/properties", Value::Object(roles));
        set(&mut root, "/properties/roles/additionalProperties", false.into());
    }
    if let Some(lab) = lab {
        let quantity = json!({ "type": ["string", "number"] });
        let stock: Map<String, Value> =
            lab.stock.iter().map(|s| (s.name.value.clone(), quantity.clone())).collect();
        if let Some(budget) = definition_mut(&mut root, "budget") {
            set(budget, "/properties/stock/properties", Value::Object(stock));
            set(budget, "/properties/stock/additionalProperties", false.into());
        }
    }
    root
}

/// A definition by the words of its table; what follows the last dash is a number.
fn definition_mut<'v>(root: &'v mut Value, name: &str) -> Option<&'v mut Value> {
    let Value::Object(definitions) = root.pointer_mut("/$defs")? else { return None };
    let is = |key: &str| key.rsplit_once('-').is_some_and(|(words, _)| words == name);
    definitions.iter_mut().find(|(key, _)| is(key)).map(|(_, value)| value)
}

/// Puts a value at a pointer whose parent is there.
fn set(root: &mut Value, pointer: &str, value: Value) {
    let Some((parent, key)) = pointer.rsplit_once('/') else { return };
    if let Some(Value::Object(parent)) = root.pointer_mut(parent) {
        parent.insert(key.to_owned(), value);
    }
}

fn join(words: &BTreeSet<&str>) -> String {
    words.iter().copied().collect::<Vec<_>>().join(" or ")
}
