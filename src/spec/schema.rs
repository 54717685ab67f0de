//! JSON Schemas of the documents, from the same key tables that lowering uses.
//!
//! An editor with a YAML language server completes keys and words with them. They allow what
//! lowering would still refuse (a schema knows no units), never the other way round.

mod slot;

pub use slot::{Form, Slot};

use serde_json::{Map, Value, json};

use super::campaign::tables::CAMPAIGN;
use super::document::Kind;
use super::instrument::tables::INSTRUMENT;
use super::lab::tables::LAB;
use super::protocol::tables::PROTOCOL;
use super::table::{Table, Takes};

pub(super) fn table_of(kind: Kind) -> &'static Table {
    match kind {
        Kind::Instrument => &INSTRUMENT,
        Kind::Lab => &LAB,
        Kind::Protocol => &PROTOCOL,
        Kind::Campaign => &CAMPAIGN,
    }
}

/// The JSON Schema of a kind of document.
///
/// Draft 7 is what YAML language servers read for certain; nothing newer is used.
pub fn schema(kind: Kind) -> Value {
    let table = table_of(kind);
    let mut definitions = Map::new();
    let mut open: Vec<&'static Table> = vec![table];
    while let Some(table) = open.pop() {
        if !definitions.contains_key(&name(table)) {
            definitions.insert(name(table), object(table, &mut open));
        }
    }
    let mut root = definitions.remove(&name(table)).unwrap_or(Value::Null);
    if let Value::Object(root) = &mut root {
        root.insert("$schema".to_owned(), "http://json-schema.org/draft-07/schema#".into());
        root.insert("title".to_owned(), format!("labloop {}", kind.word()).into());
        if let Some(Value::Object(properties)) = root.get_mut("properties") {
            properties.insert("schema".to_owned(), json!({ "const": kind.schema() }));
        }
        root.insert("$defs".to_owned(), Value::Object(definitions));
    }
    root
}

/// A name for `$defs`: the table's words without what JSON pointers escape.
fn name(table: &Table) -> String {
    let words = table.what.replace('`', "");
    let words = words.trim_start_matches("a ").trim_start_matches("an ").trim_start_matches("the ");
    // Two tables may have the same words, such as the two kinds of `reply`.
    let keys: usize = table.keys.iter().map(|key| key.name.len() + 1).sum();
    format!("{}-{keys}", words.replace(' ', "-"))
}

fn object(table: &Table, open: &mut Vec<&'static Table>) -> Value {
    let mut properties = Map::new();
    for key in table.keys {
        let mut value = takes(&key.takes, open);
        if let Value::Object(value) = &mut value {
            value.insert("description".to_owned(), key.doc.into());
        }
        properties.insert(key.name.to_owned(), value);
    }
    let required: Vec<&str> =
        table.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut schema = json!({
        "type": "object",
        "description": table.doc,
        "additionalProperties": false,
        "properties": properties,
    });
    if let (Value::Object(schema), false) = (&mut schema, required.is_empty()) {
        schema.insert("required".to_owned(), required.into());
    }
    schema
}

fn takes(kind: &Takes, open: &mut Vec<&'static Table>) -> Value {
    match kind {
        Takes::Text | Takes::Condition => json!({ "type": ["string", "number", "boolean"] }),
        Takes::Name => json!({ "type": ["string", "number"] }),
        Takes::Unit => json!({ "type": ["string", "number"], "examples": ["mL/min", "degC", "%"] }),
        Takes::Bool => json!({ "type": "boolean" }),
        Takes::Count(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Takes::Number => json!({ "type": "number" }),
        Takes::Quantity => json!({ "type": ["string", "number"], "examples": ["2.5 mL/min"] }),
        Takes::Time => json!({ "type": "string", "examples": ["5 min"] }),
        Takes::TimeExpression => {
            json!({ "type": "string", "examples": ["5 min", "${ 3 * params.time }"] })
        }
        Takes::Value | Takes::Any => json!({}),
        Takes::Word(words) => {
            // `version: 5` is a number to a YAML tool.
            let numbers = words.iter().filter_map(|word| word.parse::<u64>().ok().map(Value::from));
            let all: Vec<Value> = words.iter().map(|word| (*word).into()).chain(numbers).collect();
            json!({ "enum": all })
        }
        Takes::List(item) => json!({ "type": "array", "items": takes(item, open) }),
        Takes::OneOrList(item) => {
            let one = takes(item, open);
            json!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
        Takes::Map(item) => json!({ "type": "object", "additionalProperties": takes(item, open) }),
        Takes::Object(table) => {
            open.push(table);
            json!({ "$ref": format!("#/$defs/{}", name(table)) })
        }
        Takes::Either(kinds) => {
            let any: Vec<Value> = kinds.iter().map(|kind| takes(kind, open)).collect();
            json!({ "anyOf": any })
        }
    }
}
