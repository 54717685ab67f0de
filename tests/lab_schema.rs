//! `labloop schema protocol --lab lab.yaml`: the schema knows the lab, allows what is right and
//! refuses what is wrong.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at what it cannot read"
)]

use std::path::Path;
use std::process::Command;

use labloop::spec::tree::{self, Node, NodeKind};
use labloop::spec::{Report, SourceFile, SourceId};
use serde_json::{Map, Value, json};

fn schema(arguments: &[&str]) -> Value {
    let output =
        Command::new(env!("CARGO_BIN_EXE_labloop")).arg("schema").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A YAML text as an editor's language server sees it.
fn document(text: &str) -> Value {
    let file = SourceFile::new(SourceId(0), "t", text);
    let mut report = Report::new();
    let root = tree::parse(&file, &mut report).expect("YAML");
    json_of(&root)
}

fn json_of(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Scalar { text, quoted: false } => serde_json::from_str(text)
            .ok()
            .filter(|v: &Value| !v.is_string())
            .unwrap_or(json!(text)),
        NodeKind::Scalar { text, .. } => json!(text),
        NodeKind::List(items) => items.iter().map(json_of).collect(),
        NodeKind::Map(entries) => {
            entries.iter().map(|e| (e.key.value.clone(), json_of(&e.value))).collect()
        }
        _ => Value::Null,
    }
}

// --- a validator for the keywords our schemas use -----------------------------------------------

const KEYWORDS: &[&str] = &[
    "$schema",
    "$defs",
    "$ref",
    "title",
    "description",
    "examples",
    "type",
    "enum",
    "const",
    "properties",
    "additionalProperties",
    "required",
    "items",
    "anyOf",
    "allOf",
    "if",
    "then",
    "pattern",
    "minimum",
    "maximum",
];

fn mistakes(root: &Value, schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let Value::Object(schema) = schema else {
        if schema == &json!(false) {
            found.push(format!("{path} is not allowed"));
        }
        return;
    };
    for keyword in schema.keys() {
        assert!(KEYWORDS.contains(&keyword.as_str()), "the validator does not know {keyword}");
    }
    let fits = |schema: &Value| {
        let mut found = Vec::new();
        mistakes(root, schema, value, path, &mut found);
        found.is_empty()
    };
    if let Some(Value::String(pointer)) = schema.get("$ref") {
        let target = root.pointer(pointer.trim_start_matches('#')).expect("a definition");
        mistakes(root, target, value, path, found);
    }
    for inner in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        mistakes(root, inner, value, path, found);
    }
    if let Some(Value::Array(any)) = schema.get("anyOf")
        && !any.iter().any(fits)
    {
        found.push(format!("{path}: {value} fits none of the possibilities"));
    }
    if let (Some(condition), Some(then)) = (schema.get("if"), schema.get("then"))
        && fits(condition)
    {
        mistakes(root, then, value, path, found);
    }
    if schema.get("const").is_some_and(|wanted| wanted != value) {
        found.push(format!("{path}: {value} is not the word"));
    }
    if let Some(Value::Array(words)) = schema.get("enum")
        && !words.contains(value)
    {
        found.push(format!("{path}: {value} is none of the words"));
    }
    if let Some(kind) = schema.get("type") {
        let kinds: Vec<&Value> = kind.as_array().map_or(vec![kind], |k| k.iter().collect());
        let is = |kind: &&Value| match kind.as_str().unwrap() {
            "string" => value.is_string(),
            "number" => value.is_number(),
            "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("type {other}"),
        };
        if !kinds.iter().any(is) {
            found.push(format!("{path}: {value} is no {kind}"));
        }
    }
    scalars(schema, value, path, found);
    parts(root, schema, value, path, found);
}

fn scalars(schema: &Map<String, Value>, value: &Value, path: &str, found: &mut Vec<String>) {
    if let (Some(pattern), Some(text)) =
        (schema.get("pattern").and_then(Value::as_str), value.as_str())
    {
        let expression = text.contains("${");
        let matches = match pattern {
            r"\$\{" => expression,
            r"^\s*[-+]?[0-9.]|\$\{" => {
                let number = text.trim_start().trim_start_matches(['-', '+']);
                expression || number.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            }
            other => panic!("the validator does not know {other}"),
        };
        if !matches {
            found.push(format!("{path}: {text} does not match {pattern}"));
        }
    }
    let (min, max) = (schema.get("minimum"), schema.get("maximum"));
    if let Some(n) = value.as_f64() {
        let below = min.and_then(Value::as_f64).is_some_and(|min| n < min);
        let above = max.and_then(Value::as_f64).is_some_and(|max| n > max);
        if below || above {
            found.push(format!("{path}: {n} is outside"));
        }
    }
}

fn parts(
    root: &Value,
    schema: &Map<String, Value>,
    value: &Value,
    path: &str,
    found: &mut Vec<String>,
) {
    if let (Some(inner), Some(items)) = (schema.get("items"), value.as_array()) {
        for (n, item) in items.iter().enumerate() {
            mistakes(root, inner, item, &format!("{path}[{n}]"), found);
        }
    }
    let Some(object) = value.as_object() else { return };
    for key in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        if !object.contains_key(key.as_str().unwrap()) {
            found.push(format!("{path}: {key} is missing"));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, value) in object {
        let path = format!("{path}.{key}");
        match (properties.and_then(|p| p.get(key)), schema.get("additionalProperties")) {
            (Some(inner), _) | (None, Some(inner)) => mistakes(root, inner, value, &path, found),
            (None, None) => {}
        }
    }
}

fn check(schema: &Value, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    mistakes(schema, schema, &document(text), "", &mut found);
    found
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

// --- what a user relies on ----------------------------------------------------------------------

#[test]
fn the_schemas_of_the_example_labs_accept_their_protocols_and_campaigns() {
    for folder in ["examples/flow-synthesis", "examples/light-mixing"] {
        let (lab, protocol) = (format!("{folder}/lab.yaml"), format!("{folder}/protocol.yaml"));
        let schema_of_protocol = schema(&["protocol", "--lab", &lab]);
        assert_eq!(check(&schema_of_protocol, &read(&protocol)), Vec::<String>::new(), "{folder}");
        let schema_of_campaign = schema(&["campaign", "--lab", &lab, "--protocol", &protocol]);
        let campaign = read(&format!("{folder}/campaign.yaml"));
        assert_eq!(check(&schema_of_campaign, &campaign), Vec::<String>::new(), "{folder}");
    }
}

#[test]
fn the_general_schemas_accept_every_example() {
    for folder in ["examples/flow-synthesis", "examples/light-mixing"] {
        for kind in ["lab", "protocol", "campaign"] {
            let text = read(&format!("{folder}/{kind}.yaml"));
            assert_eq!(check(&schema(&[kind]), &text), Vec::<String>::new(), "{folder} {kind}");
        }
    }
}

#[test]
fn a_wrong_action_argument_role_or_stock_is_refused() {
    let schema = schema(&["protocol", "--lab", "examples/flow-synthesis/lab.yaml"]);
    let right = read("examples/flow-synthesis/protocol.yaml");
    for (from, to, part) in [
        ("do: uv.measure", "do: uv.mesure", ".do"),
        ("averages: 20}", "avg: 20}", ".with.avg is not allowed"),
        ("averages: 20}", "averages: 2000}", ".with.averages"),
        ("{integration: 50 ms,", "{integration: 50,", ".with.integration"),
        ("with: {volume: 0.2 mL, rate: 2 mL/min}", "with: {volume: 0.2 mL}", "\"rate\" is missing"),
        ("uv: {type: spectrometer}", "uv: {type: thermostat}", ".roles.uv.type"),
        ("uv: {type: spectrometer}", "eye: {type: spectrometer}", ".roles.eye is not allowed"),
        ("analyse: beer_lambert", "analyse: beer_lambda", ".analyse"),
        ("hold: [uv]", "hold: [vu]", ".hold[0]"),
        (
            "do: uv.measure\n",
            "do: uv.measure\n                consumes: {feed_c: 1 mL}\n",
            "feed_c",
        ),
    ] {
        assert!(right.contains(from), "{from}");
        let found = check(&schema, &right.replacen(from, to, 1));
        assert!(found.iter().any(|m| m.contains(part)), "{to}: {found:#?}");
    }
}

#[test]
fn an_argument_says_its_unit_its_limits_its_doc_and_where_it_is_defined() {
    let schema = schema(&["protocol", "--lab", "examples/flow-synthesis/lab.yaml"]);
    let text = schema.to_string();
    for part in [
        "volume flow in mL/min, from 0.001 mL/min to 20 mL/min",
        "time in ms, from 1 ms to 10000 ms; 50 ms unless given",
        "newera-ne1000.yaml:",
        "Take one averaged absorbance spectrum",
    ] {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn a_campaign_is_held_to_the_parameters_and_results_of_its_protocol() {
    let folder = "examples/flow-synthesis";
    let (lab, protocol) = (format!("{folder}/lab.yaml"), format!("{folder}/protocol.yaml"));
    let schema = schema(&["campaign", "--lab", &lab, "--protocol", &protocol]);
    let right = read(&format!("{folder}/campaign.yaml"));
    for (from, to, part) in [
        ("ratio:", "ration:", ".space.ration is not allowed"),
        ("result: yield", "result: yeild", ".objectives[0].result"),
    ] {
        let found = check(&schema, &right.replacen(from, to, 1));
        assert!(found.iter().any(|m| m.contains(part)), "{to}: {found:#?}");
    }
}
