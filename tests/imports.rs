//! The walls of the house: who may import whom. The table is that of the design.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the sources has failed")]

use std::path::Path;

/// Module, what it may import, and crates it must not know.
const WALLS: &[(&str, &[&str], &[&str])] = &[
    ("units", &[], &["tokio", "rusqlite", "std::time::Instant", "std::fs"]),
    ("expr", &["units"], &["tokio", "rusqlite", "std::time::Instant", "std::fs"]),
    ("spec", &["units", "expr"], &["tokio", "rusqlite", "std::fs", "TcpStream"]),
    ("planner", &["units", "spec", "expr"], &["tokio", "rusqlite", "std::time::Instant"]),
    ("analysis", &["units", "expr", "spec"], &["tokio", "rusqlite", "std::fs"]),
    (
        "diagnostics",
        &["units", "expr", "spec"],
        &["tokio", "rusqlite", "std::fs", "std::net", "Instant", "SystemTime"],
    ),
    ("compiler", &["units", "expr", "spec", "analysis"], &["tokio", "rusqlite"]),
    (
        "editor",
        &["units", "expr", "spec", "analysis", "compiler"],
        &["tokio", "rusqlite", "std::net"],
    ),
    ("scheduler", &["units", "expr", "compiler"], &["tokio", "rusqlite", "std::time::Instant"]),
    ("wire", &[], &["rusqlite"]),
    ("driver", &["units", "expr", "spec", "wire"], &["rusqlite"]),
    ("store", &[], &["tokio"]),
    ("server", &["engine"], &["rusqlite", "std::net"]),
    (
        "engine/core",
        &["units", "expr", "compiler", "scheduler", "engine"],
        &["tokio", "rusqlite", "std::net", "std::fs", "Instant", "SystemTime", "rand", "jiff"],
    ),
];

/// Modules of `crate::…` named in a line, also those in `{ }`.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let words: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default().split(',').collect(),
            None => vec![rest],
        };
        for word in words {
            let name: String =
                word.trim().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if !name.is_empty() {
                found.push(name);
            }
        }
    }
    found
}

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            // Comments may name anything.
            let code: Vec<&str> =
                text.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
            found.push((path.display().to_string(), code.join("\n")));
        }
    }
}

#[test]
fn imports_go_one_way() {
    let mut wrong = Vec::new();
    for (module, allowed, forbidden) in WALLS {
        let mut files = Vec::new();
        sources(&Path::new("src").join(module), &mut files);
        assert!(!files.is_empty(), "src/{module} is gone");
        let own = module.split('/').next().unwrap_or(module);
        for (file, text) in files {
            for name in imports(&text) {
                if name != own && !allowed.contains(&name.as_str()) {
                    wrong.push(format!("{file} imports crate::{name}"));
                }
            }
            if file.ends_with("tests.rs") {
                continue;
            }
            for word in *forbidden {
                let word = format!("{word}::");
                if text.contains(&word) && !text.contains(&format!("crate::{word}")) {
                    wrong.push(format!("{file} knows {word}"));
                }
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_import_that_goes_the_wrong_way_would_be_found() {
    assert_eq!(imports("use crate::driver::Fleet;"), ["driver"]);
    assert_eq!(imports("use crate::{store, engine::core};"), ["store", "engine"]);
}
