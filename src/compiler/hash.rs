//! Content hash of a graph: what it does, not how it was written.

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::graph::Graph;

/// SHA-256 (hex) over the canonical JSON of a graph without its hash, texts and places: first all
/// but nodes and edges, then each node, then each edge, a line each. One by one, because the JSON
/// of a whole large graph takes many times its room.
pub fn of(graph: &Graph) -> String {
    // Every field is named, so that a new one cannot be forgotten.
    let Graph {
        protocol,
        hash: _,
        parameters,
        derived,
        roles,
        require,
        nodes,
        edges,
        finally,
        results,
        started_instruments,
        places,
        hold_states,
        stock,
        resume_within,
    } = graph;
    let mut head = json!({
        "protocol": protocol, "parameters": parameters, "derived": derived, "roles": roles,
        "require": require, "finally": finally, "results": results,
        "started_instruments": started_instruments, "places": places, "stock": stock,
    });
    // Graphs without any hash as they did before there were hold states.
    if !hold_states.is_empty()
        && let Json::Object(fields) = &mut head
    {
        fields.insert("hold_states".to_owned(), json!(hold_states));
    }
    // Graphs of before there was such a limit keep the hash they had.
    if let (Some(within), Some(head)) = (resume_within, head.as_object_mut()) {
        head.insert("resume_within".to_owned(), json!(within.as_secs_f64()));
    }
    let mut digest = Sha256::new();
    let mut add = |mut json: Json| {
        strip(&mut json);
        // serde_json keeps the fields of an object in order of their names.
        digest.update(json.to_string().as_bytes());
        digest.update(b"\n");
    };
    add(head);
    nodes.iter().for_each(|node| add(serde_json::to_value(node).unwrap_or(Json::Null)));
    edges.iter().for_each(|edge| add(serde_json::to_value(edge).unwrap_or(Json::Null)));
    let digest: [u8; 32] = digest.finalize().into();
    hex(&digest)
}

/// SHA-256 (hex) of a text.
pub(super) fn of_text(text: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    hex(&digest)
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes out what depends on formatting: places in files and texts of expressions.
fn strip(json: &mut Json) {
    match json {
        Json::Object(fields) => {
            let is_expression = fields.contains_key("is");
            let is_condition = fields.contains_key("expr");
            let is_part = fields.contains_key("e");
            fields.retain(|key, value| match key.as_str() {
                "text" => !(is_expression || is_condition),
                "at" => !(is_part && value.is_array()),
                "place" => !(value.get("file").is_some() && value.get("line").is_some()),
                _ => true,
            });
            fields.values_mut().for_each(strip);
        }
        Json::Array(items) => items.iter_mut().for_each(strip),
        // 0.1 mL and 100 uL differ in the last bit once they are cubic metres.
        Json::Number(n) if n.is_f64() => {
            let value = n.as_f64().unwrap_or(f64::NAN);
            *json = Json::String(format!("{value:.11e}"));
        }
        _ => {}
    }
}
