//! The protocol library: every protocol checks clean and gives, in its virtual lab, what the physics
//! behind that lab says it must.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use std::path::{Path, PathBuf};

use bench::{Bench, labloop};

const TITRATION: &str = "protocols/analysis/titration-end-point.yaml";
const COATING: &str = "protocols/coating/spin-coat-anneal.yaml";
const BATTERY: &str = "protocols/energy/battery-cycling.yaml";
const CULTURE: &str = "protocols/biology/cell-culture-feeding.yaml";
const FLOW: &str = "protocols/flow-synthesis/steady-state-yield.yaml";
const DILUTION: &str = "protocols/dilution/serial-dilution.yaml";
const HPLC: &str = "protocols/chromatography/hplc-method-scouting.yaml";
const COLOUR: &str = "protocols/optics/match-colour.yaml";

/// One run in simulation: exit code, and its conclusion as the journal has it.
fn run(protocol: &str, lab: &str, set: &[&str]) -> (i32, serde_json::Value) {
    let bench = Bench::new("library");
    let mut args = vec!["run", protocol, "--lab", lab, "--simulate", "--speed", "max"];
    for value in set {
        args.extend(["--set", value]);
    }
    let (code, _, said) = bench.run(&args);
    let all = bench.json(&["export", "--format", "json"]);
    let conclusion = all["experiments"][0]["conclusion"].clone();
    assert!(!conclusion.is_null(), "{said}");
    (code, conclusion)
}

/// Results of a run that went well, in the units the protocol gives them.
fn result(protocol: &str, lab: &str, set: &[&str], names: &[&str]) -> Vec<f64> {
    let (code, conclusion) = run(protocol, &format!("examples/{lab}/lab.yaml"), set);
    assert_eq!(code, 0, "{conclusion}");
    let results = &conclusion["measured"]["results"];
    let number = |name: &&str| {
        results[*name].as_f64().unwrap_or_else(|| panic!("no {name} in {conclusion}"))
    };
    names.iter().map(number).collect()
}

/// A lab of the examples with one text replaced.
fn changed(bench: &Bench, lab: &str, from: &str, to: &str) -> PathBuf {
    let text = std::fs::read_to_string(format!("examples/{lab}/lab.yaml")).unwrap();
    assert!(text.contains(from), "{lab} has no `{from}`");
    let file = bench.folder().join("lab.yaml");
    std::fs::write(&file, text.replace(from, to)).unwrap();
    file
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            found.push(path);
        }
    }
}

#[test]
fn every_protocol_definition_and_lab_checks_clean() {
    for folder in ["protocols", "instruments", "examples"] {
        let mut found = Vec::new();
        files(Path::new(folder), &mut found);
        assert!(!found.is_empty());
        for file in found {
            let output = labloop().arg("check").arg(&file).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{}\n{said}", file.display());
            assert!(!said.contains("warning"), "{}\n{said}", file.display());
        }
    }
}

#[test]
fn a_titration_finds_the_equivalence_volume_within_one_percent_and_follows_the_acid() {
    // 20 mL of 0.0937 mol/L against 0.1 mol/L.
    let found = result(TITRATION, "titration", &[], &["end_point", "acid"]);
    assert!((found[0] / 18.74 - 1.0).abs() < 0.01, "{found:?}");
    assert!((found[1] / 0.0937 - 1.0).abs() < 0.01, "{found:?}");
    let bench = Bench::new("titration");
    let lab = changed(&bench, "titration", "acid: 0.0937 mol/L", "acid: 0.04 mol/L");
    let (code, conclusion) = run(TITRATION, lab.to_str().unwrap(), &[]);
    assert_eq!(code, 0, "{conclusion}");
    let found = conclusion["measured"]["results"]["end_point"].as_f64().unwrap();
    assert!((found / 8.0 - 1.0).abs() < 0.01, "{found}");
}

#[test]
fn a_film_has_the_thickness_of_its_speed_and_conducts_best_when_annealed_in_between() {
    let names = ["thickness", "conductivity"];
    let film = |set: &[&str]| result(COATING, "spin-coating", set, &names);
    let good = film(&[]);
    // 240 nm at 1000 rpm, by the square root of the speed.
    assert!((good[0] / 169.7 - 1.0).abs() < 0.03, "{good:?}");
    assert!((film(&["speed=4000 rpm"])[0] / 120.0 - 1.0).abs() < 0.03);
    assert!((0.8e5..1e5).contains(&good[1]), "{good:?}");
    assert!(film(&["temperature=80 degC"])[1] < 0.7 * good[1]);
    assert!(film(&["temperature=180 degC"])[1] < 0.3 * good[1]);
}

#[test]
fn a_film_that_lay_wet_for_too_long_fails_the_run_instead_of_giving_a_number() {
    let bench = Bench::new("late");
    let lab = changed(&bench, "spin-coating", "settings: {", "settings: {arm_1_delay: 9 s, ");
    let (code, conclusion) = run(COATING, lab.to_str().unwrap(), &[]);
    assert_eq!(code, 1, "{conclusion}");
    let text = conclusion.to_string();
    assert!(text.contains("anneal") && text.contains("within"), "{text}");
    assert!(conclusion["measured"]["results"]["conductivity"].is_null(), "{text}");
}

#[test]
fn a_cell_gives_its_capacity_within_two_percent_and_ages() {
    let names = ["capacity", "health"];
    let fresh = result(BATTERY, "battery-cycling", &["cycles=2"], &names);
    assert!((fresh[0] - 1.0).abs() < 0.02, "{fresh:?}");
    let aged = result(BATTERY, "battery-cycling", &["cycles=10", "discharge_rate=0.5"], &names);
    // Nine cycles between the first and the last discharge, each at the cost of 0.4 %.
    assert!((aged[1] - (100.0 - 9.0 * 0.4)).abs() < 0.4, "{aged:?}");
    let worn = ["cycles=30", "discharge_rate=1", "charge_rate=1", "end_of_life=96 %"];
    let ended = result(BATTERY, "battery-cycling", &worn, &names);
    assert!((95.0..96.0).contains(&ended[1]), "{ended:?}");
}

#[test]
fn a_culture_is_fed_to_its_density_on_the_glucose_its_yield_allows() {
    let names = ["od", "fed", "time"];
    let found = result(CULTURE, "cell-culture", &[], &names);
    assert!((15.0..18.0).contains(&found[0]), "{found:?}");
    // Half a gram of cells a gram of glucose less upkeep: 7 g need 9 to 20 g beside the 5 g at the start.
    let grams = found[1] * 0.4;
    assert!((9.0..20.0).contains(&grams), "{found:?}");
    // ln(7.2 / 0.2) doublings at 0.35 / h, and the waits.
    assert!((10.0..14.0).contains(&found[2]), "{found:?}");
}

#[test]
fn a_flow_reactor_shows_the_yield_of_its_kinetics_once_it_is_steady() {
    let set = ["temperature=85 degC", "residence_time=40 s", "ratio=0.8"];
    let found = result(FLOW, "flow-synthesis", &set, &["yield"]);
    let truth = labloop_simulators::chemistry::noiseless_yield(85.0, 40.0, 0.8);
    assert!((found[0] / (100.0 * truth) - 1.0).abs() < 0.04, "{found:?} against {truth}");
}

#[test]
fn the_wanted_colour_is_at_no_distance_and_another_is_far() {
    let names = ["distance", "shape"];
    let same = result(COLOUR, "light-mixing", &[], &names);
    assert!(same[0] < 100.0 && same[1] < 0.002, "{same:?}");
    let other = result(COLOUR, "light-mixing", &["red=200", "green=20", "blue=20"], &names);
    assert!(other[0] > 3_000.0 && other[1] > 50.0 * same[1], "{other:?}");
}

#[test]
fn a_dilution_row_has_the_wanted_factor_although_the_pipette_takes_too_little() {
    let names = ["factor", "strongest"];
    let two = result(DILUTION, "serial-dilution", &[], &names);
    assert!((two[0] / 2.0 - 1.0).abs() < 0.03, "{two:?}");
    let three = result(DILUTION, "serial-dilution", &["factor=3"], &names);
    assert!((three[0] / 3.0 - 1.0).abs() < 0.08, "{three:?}");
    // 0.2 mmol/L at 8 AU a mmol/L through 120 uL of the 200, 2 % short, and the reader's 0.04.
    assert!((two[1] - 0.98).abs() < 0.03, "{two:?}");
}

#[test]
fn a_separation_is_seen_where_the_column_makes_one_and_nowhere_else() {
    let names = ["resolution", "peaks", "run_time"];
    let run = |gradient: &str, celsius: &str, ph: &str| {
        let set = [gradient, celsius, ph];
        result(HPLC, "hplc-scouting", &set, &names)
    };
    let good = run("gradient=8 min", "temperature=60 degC", "ph=pH-2.5");
    assert!((2.9..3.4).contains(&good[0]) && good[1] == 3.0, "{good:?}");
    // Near 40 degC two substances change places.
    let mixed = run("gradient=15 min", "temperature=40 degC", "ph=pH-2.5");
    assert!(mixed[0] == 0.0 && mixed[1] == 2.0, "{mixed:?}");
    let long = run("gradient=30 min", "temperature=25 degC", "ph=pH-2.5");
    assert!((5.0..6.0).contains(&long[0]) && long[2] > good[2] + 5.0, "{long:?}");
}

#[test]
fn the_campaigns_of_the_library_find_what_their_physics_holds() {
    let best = |campaign: &str, result: &str| {
        let bench = Bench::new("search");
        let (code, _, said) =
            bench.run(&["run", campaign, "--simulate", "--speed", "max", "--seed", "3"]);
        assert_eq!(code, 0, "{said}");
        let all = bench.json(&["export", "--format", "json"]);
        let experiments = all["experiments"].as_array().unwrap().clone();
        let values = experiments
            .iter()
            .filter_map(|e| e["conclusion"]["measured"]["results"][result].as_f64());
        values.fold(f64::NEG_INFINITY, f64::max)
    };
    // 96,000 S/m is what the best anneal of the box gives, without the meter's noise of 1 %.
    assert!(best("examples/spin-coating/campaign.yaml", "conductivity") > 92_000.0);
    // A resolution of two with the last peak at five minutes.
    assert!(best("examples/hplc-scouting/campaign.yaml", "merit") > 0.92);
}

#[test]
fn bridges_and_text_instruments_work_on_real_wires_too() {
    let bench = Bench::new("wires");
    let lab = "examples/spin-coating/lab.yaml";
    bench.ok(&["run", COATING, "--lab", lab, "--simulate", "--speed", "60"]);
    let bench = Bench::new("wires");
    let lab = "examples/titration/lab.yaml";
    let said = bench.ok(&["run", TITRATION, "--lab", lab, "--simulate", "--speed", "60"]);
    assert!(said.contains("end_point"), "{said}");
}

#[test]
fn the_same_seed_gives_the_same_journal_over_bridges_too() {
    let head = |seed: &str| {
        let bench = Bench::new("twice");
        let lab = "examples/serial-dilution/lab.yaml";
        bench.ok(&["run", DILUTION, "--lab", lab, "--simulate", "--speed", "max", "--seed", seed]);
        bench.ok(&["verify"])
    };
    assert_eq!(head("1"), head("1"));
    assert_ne!(head("1"), head("2"));
}

#[test]
fn results_are_shown_in_the_units_the_protocol_gives_them() {
    let bench = Bench::new("units");
    let lab = "examples/battery-cycling/lab.yaml";
    let args = ["run", BATTERY, "--lab", lab, "--simulate", "--speed", "max", "--set", "cycles=2"];
    let said = bench.ok(&args);
    assert!(said.contains("capacity = 0.99") && said.contains(" A.h\n"), "{said}");
    assert!(said.contains(" %\n"), "{said}");
}
