//! `docs/reference/hazards.md` is whole and true: every row is there, every test it names exists, and
//! what has no test says why.

use std::collections::BTreeSet;
use std::path::Path;

const ROWS: std::ops::RangeInclusive<u32> = 1..=58;

fn tests_under(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            tests_under(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            // A test is the first function behind its attribute; macros of proptest keep the form.
            for part in text.split("#[test]").chain(text.split("#[tokio::test")).skip(1) {
                let name = part.split_once("fn ").map(|(_, rest)| rest);
                let name = name.and_then(|rest| rest.split(['(', '<']).next());
                found.extend(name.map(str::to_owned));
            }
        }
    }
}

fn rows() -> Vec<(u32, String)> {
    let text = std::fs::read_to_string("docs/reference/hazards.md").unwrap();
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        Some((cells[0].parse().ok()?, cells[1..].join("|")))
    });
    rows.collect()
}

#[test]
fn every_hazard_has_its_row_and_every_test_it_names_exists() {
    let mut tests = BTreeSet::new();
    for folder in ["tests", "src", "simulators"] {
        tests_under(Path::new(folder), &mut tests);
    }
    assert!(tests.len() > 300, "only {} tests were found", tests.len());
    let rows = rows();
    let numbers: Vec<u32> = rows.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, ROWS.collect::<Vec<u32>>());
    let mut wrong = Vec::new();
    for (number, text) in &rows {
        let words = text.split('`').skip(1).step_by(2);
        let names: Vec<&str> = words.filter(|w| w.contains('_') && !w.contains(' ')).collect();
        let names: Vec<&str> = names.into_iter().filter(|w| !matches!(*w, "stop_within")).collect();
        if names.is_empty() && !text.contains("not tested: ") {
            wrong.push(format!("row {number} names no test and no reason"));
        }
        for name in names {
            let known = match name.strip_suffix('*') {
                Some(start) => tests.iter().any(|test| test.starts_with(start)),
                None => tests.contains(name),
            };
            if !known {
                wrong.push(format!("row {number}: there is no test `{name}`"));
            }
        }
    }
    // And the other way: a test that is named after a row stands in it.
    for test in tests.iter().filter(|test| test.starts_with("row_")) {
        let of = test["row_".len()..].split('_').map_while(|part| part.parse::<u32>().ok());
        for number in of {
            // Rows beyond the last are of other tables.
            let Some((_, text)) = rows.iter().find(|(n, _)| *n == number) else { continue };
            let stands = text.split('`').skip(1).step_by(2).any(|word| {
                word == test || word.strip_suffix('*').is_some_and(|start| test.starts_with(start))
            });
            if !stands {
                wrong.push(format!("row {number} does not name `{test}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
