//! What can be asked at all.

use std::sync::Arc;

use super::*;
use crate::spec::{Document, Sources, lower};

fn all() -> Vec<Arc<Definition>> {
    let mut all = Vec::new();
    for kind in std::fs::read_dir("instruments").unwrap().flatten() {
        let Ok(files) = std::fs::read_dir(kind.path()) else { continue };
        for file in files.flatten() {
            let text = std::fs::read_to_string(file.path()).unwrap();
            let mut sources = Sources::new();
            let id = sources.add(file.path().display().to_string(), text.as_str());
            if let Some(Document::Instrument(found)) = lower(sources.get(id).unwrap()).value {
                all.push(found);
            }
        }
    }
    assert!(all.len() > 30);
    all
}

fn search(at: &str, named: bool, keep: impl Fn(&str) -> bool) -> Search {
    Search {
        at: Address::parse(at).unwrap(),
        definitions: all().into_iter().filter(|d| keep(&d.name.value)).collect(),
        named,
        units: None,
        all: false,
        within: Duration::from_secs(1),
        secret: None,
    }
}

#[test]
fn no_question_of_a_built_in_definition_has_an_effect_on_a_device_of_another() {
    for at in ["serial:/dev/x", "tcp://h:1", "modbus+tcp://h", "modbus+serial:/dev/x"] {
        let mut findings = Findings::default();
        let kept = candidates(&search(at, false, |_| true), &mut findings);
        assert!(!kept.is_empty(), "{at}");
        for one in &kept {
            for question in one.identify.iter().chain(one.samples.iter().map(|s| &s.1)) {
                for other in &kept {
                    assert_eq!(question.effect_on(&other.plan), None, "{}", one.name());
                }
            }
        }
    }
}

#[test]
fn an_identify_that_changes_the_device_is_not_asked() {
    // Asking in the pump's safe mode arms its watchdog.
    let mut findings = Findings::default();
    let search = search("serial:/dev/x", true, |name| name == "newera-ne1000-safe");
    assert!(candidates(&search, &mut findings).is_empty());
    let (name, why) = &findings.skipped[0];
    assert_eq!(name, "newera-ne1000-safe");
    assert!(why.contains("watchdog"), "{why}");
}
