//! A campaign changed by people while it goes on: another text, an experiment left out.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use bench::Bench;

const FLOW: &str = "examples/flow-synthesis/campaign.yaml";

/// A campaign on a virtual clock that has spent a small budget.
fn spent(name: &str, experiments: &str) -> Bench {
    let bench = Bench::new(name);
    bench.ok(&["run", FLOW, "--simulate", "--speed", "max", "--experiments", experiments]);
    bench
}

/// The campaign's text with some of it exchanged, in a file of its own.
fn text(bench: &Bench, changes: &[(&str, &str)]) -> String {
    let mut text = std::fs::read_to_string(FLOW).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let file = bench.folder().join("new.yaml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn an_edit_is_shown_in_words_kept_with_its_author_and_holds_from_the_next_proposal_on() {
    let bench = spent("edit", "3");
    let file =
        text(&bench, &[("to: 120 degC", "to: 90 degC"), ("experiments: 25", "experiments: 6")]);
    let dry = bench.ok(&["edit", "snar-1", &file, "--dry-run"]);
    assert!(dry.contains("space.temperature.to: 120 degC -> 90 degC"), "{dry}");
    assert!(dry.contains("budget.experiments: 25 -> 6"), "{dry}");
    assert_eq!(bench.json(&["export", "--format", "json"])["edits"].as_array().unwrap().len(), 0);
    bench.ok(&["edit", "snar-1", &file, "--by", "anna", "--reason", "it foams"]);
    let (_, status, _) = bench.run(&["status"]);
    assert!(status.contains("edited by anna after experiment 3: it foams"), "{status}");
    bench.ok(&["resume", "snar-1"]);
    let all = bench.json(&["export", "--format", "json"]);
    assert_eq!(all["edits"][0]["by"], "anna");
    let experiments = all["experiments"].as_array().unwrap();
    assert_eq!(experiments.len(), 6, "the new budget");
    for experiment in &experiments[3..] {
        let q = &experiment["hypothesis"]["parameters"]["temperature"]["quantity"];
        let kelvin = q.as_f64().or_else(|| q["value"].as_f64()).unwrap();
        assert!(kelvin <= 363.15 + 1e-6, "{kelvin}");
    }
    bench.ok(&["verify"]);
}

#[test]
fn what_may_not_change_or_has_mistakes_changes_nothing() {
    let bench = spent("refused", "2");
    let before = bench.ok(&["verify"]);
    let same = text(&bench, &[]);
    let (code, _, said) = bench.run(&["edit", "snar-1", &same]);
    assert!(code == 2 && said.contains("it changes nothing"), "{code} {said}");
    let other = text(&bench, &[("name: snar", "name: other")]);
    let (code, _, said) = bench.run(&["edit", "snar-1", &other]);
    assert!(code == 2 && said.contains("name: snar -> other"), "{code} {said}");
    let wrong = text(&bench, &[("experiments: 25", "experimants: 25")]);
    let (code, _, said) = bench.run(&["edit", "snar-1", &wrong]);
    assert!(code == 3 && said.contains("LL0105"), "{code} {said}");
    let (code, _, said) = bench.run(&["edit", "nobody-1", &same]);
    assert!(code == 2 && said.contains("no campaign `nobody-1`"), "{code} {said}");
    assert_eq!(bench.ok(&["verify"]), before);
}

#[test]
fn an_excluded_experiment_stays_in_the_record_with_reason_and_author() {
    let bench = spent("exclude", "3");
    let (code, _, said) = bench.run(&["exclude", "snar-1", "2"]);
    assert!(code == 2 && said.contains("--reason"), "{code} {said}");
    bench.ok(&["exclude", "snar-1", "2", "--by", "anna", "--reason", "the lamp was off"]);
    let all = bench.json(&["export", "--format", "json"]);
    let found = &all["experiments"][1];
    assert_eq!(found["excluded"]["reason"], "the lamp was off");
    assert!(found["conclusion"]["measured"].is_object(), "nothing is deleted");
    let (_, status, _) = bench.run(&["status"]);
    assert!(status.contains("excluded by anna: the lamp was off"), "{status}");
    let (code, _, said) =
        bench.run(&["exclude", "snar-1", "2", "--by", "anna", "--reason", "again"]);
    assert!(code == 2 && said.contains("excluded already"), "{code} {said}");
    bench.ok(&["exclude", "snar-1", "2", "--undo", "--by", "bob", "--reason", "it was on"]);
    let all = bench.json(&["export", "--format", "json"]);
    assert!(all["experiments"][1]["excluded"].is_null());
    bench.ok(&["verify"]);
}

#[test]
fn an_engine_at_work_takes_an_edit_an_exclusion_and_a_pause_that_lets_the_run_end() {
    let bench = Bench::new("live");
    let mut engine = bench::labloop()
        .args(["run", FLOW, "--simulate", "--speed", "600", "--state"])
        .arg(bench.state())
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(bench.folder().join("engine.log")).unwrap())
        .spawn()
        .unwrap();
    let until = |what: &str, holds: &dyn Fn(&serde_json::Value) -> bool| {
        for _ in 0..600 {
            let all = bench.json(&["export", "--format", "json"]);
            if holds(&all) {
                return all;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("{what}: {}", std::fs::read_to_string(bench.folder().join("engine.log")).unwrap());
    };
    let measured = |all: &serde_json::Value| {
        let list = all["experiments"].as_array().unwrap();
        list.iter().filter(|e| e["conclusion"].is_object()).count()
    };
    bench::wait_for(&bench.state().join("control.sock"));
    for _ in 0..600 {
        if bench.run(&["export", "--format", "json"]).0 == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    until("the first experiment", &|all| measured(all) >= 1);
    let file = text(&bench, &[("to: 120 degC", "to: 90 degC")]);
    bench.ok(&["edit", "snar-1", &file, "--by", "anna"]);
    bench.ok(&["exclude", "snar-1", "1", "--by", "anna", "--reason", "the lamp was off"]);
    let all = until("a later experiment", &|all| {
        all["experiments"].as_array().unwrap().len() >= 4 && measured(all) >= 3
    });
    assert_eq!(all["experiments"][0]["excluded"]["by"], "anna");
    assert_eq!(all["edits"][0]["diff"][0], "space.temperature.to: 120 degC -> 90 degC");
    let after = all["edits"][0]["after_experiment"].as_u64().unwrap();
    for experiment in all["experiments"].as_array().unwrap() {
        let q = &experiment["hypothesis"]["parameters"]["temperature"]["quantity"];
        let kelvin = q.as_f64().or_else(|| q["value"].as_f64()).unwrap();
        let number = experiment["experiment"].as_u64().unwrap();
        assert!(number <= after || kelvin <= 363.15 + 1e-6, "{number}: {kelvin} K");
    }
    bench.ok(&["pause", "snar-1", "--by", "anna"]);
    let paused = until("the end of the run under way", &|all| {
        let list = all["experiments"].as_array().unwrap();
        list.iter().all(|e| e["conclusion"].is_object() || e["runs"].as_array().unwrap().is_empty())
    });
    std::thread::sleep(std::time::Duration::from_millis(500));
    let later = bench.json(&["export", "--format", "json"]);
    assert_eq!(later["experiments"], paused["experiments"], "nothing begins");
    bench.ok(&["stop", "snar-1", "--by", "anna"]);
    assert_eq!(engine.wait().unwrap().code(), Some(6));
    bench.ok(&["verify"]);
}
