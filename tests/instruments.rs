//! Every definition under `instruments/` compiles and says byte for byte what its manual says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use labloop::driver::golden;
use labloop::spec::instrument::Instrument;
use labloop::spec::{Sources, render};

fn definitions() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("instruments")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path, text: &str) -> Instrument {
    let mut sources = Sources::new();
    let id = sources.add(path.display().to_string(), text);
    let checked = Instrument::lower(sources.get(id).unwrap());
    let report = render::text(&checked.report, &sources, render::Colour::Never);
    assert!(!checked.report.has_errors(), "{report}");
    checked.value.unwrap()
}

#[test]
fn every_definition_keeps_to_the_bytes_of_its_manual() {
    let definitions = definitions();
    assert!(definitions.len() >= 4, "{definitions:?}");
    let mut failed = Vec::new();
    for path in definitions {
        let text = std::fs::read_to_string(&path).unwrap();
        let definition = read(&path, &text);
        let name = definition.name.value.clone();
        assert_eq!(path.file_stem().unwrap().to_str(), Some(name.as_str()));
        let results = golden::check(&definition);
        assert_eq!(results.len(), definition.examples.len(), "{name}");
        for (what, _) in definition.without_golden_bytes() {
            failed.push(format!("{name}: `{what}` has no golden bytes"));
        }
        for result in results {
            if let Err(why) = result.result {
                let line = text[..result.span.start as usize].lines().count();
                failed.push(format!("{name}:{line} {}: {why}", result.of));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_definition_that_departs_from_its_manual_is_caught() {
    for (file, from, to) in [
        ("syringe_pump/newera-ne1000.yaml", "- {send: DIRINF}", "- {send: DIRWDR}"),
        ("syringe_pump/newera-ne1000.yaml", "field: letter", "field: word"),
        ("thermostat/eurotherm-3216.yaml", "scale: 0.1", "scale: 1"),
        ("thermostat/eurotherm-3216.yaml", "holding: 24, base: 0", "holding: 24, base: 1"),
        ("spectrometer/mqtt5-spectrometer.yaml", "json: absorbance", "json: counts"),
        ("spectrometer/as7341-picow.yaml", "R: ${ args.red }", "R: ${ args.blue }"),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("instruments").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        let definition = read(&path, &text.replace(from, to));
        let failed = golden::check(&definition).iter().any(|golden| golden.result.is_err());
        assert!(failed, "{file}: {from} -> {to} went unnoticed");
    }
}
