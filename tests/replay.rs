//! Every decision in a journal can be derived again from what it rests on.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bench::{Bench, labloop};
use labloop::store::{Document, Durability, Entry, Holder, Journal, JournalError};

/// Commands of the examples' READMEs: all kinds of steps, on the virtual clock.
const EXAMPLES: [&[&str]; 4] = [
    &["protocols/energy/battery-cycling.yaml", "--lab", "examples/battery-cycling/lab.yaml"],
    &["protocols/analysis/titration-end-point.yaml", "--lab", "examples/titration/lab.yaml"],
    &["examples/spin-coating/campaign.yaml", "--experiments", "6"],
    &["examples/flow-synthesis/campaign.yaml", "--experiments", "6"],
];

fn all_the_same(found: &serde_json::Value) {
    assert!(found["difference"].is_null(), "{found:#}");
    assert!(found["campaign_difference"].is_null(), "{found:#}");
}

#[test]
fn every_decision_of_the_examples_is_derived_again() {
    let bench = Bench::new("replay");
    for example in EXAMPLES {
        let mut command = vec!["run"];
        command.extend(example);
        command.extend(["--simulate", "--speed", "max"]);
        bench.ok(&command);
    }
    let found = bench.json(&["replay", "--json"]);
    all_the_same(&found);
    assert_eq!(found["believed"], 0);
    assert!(found["turns"].as_u64().unwrap() > 500, "{found:#}");
    assert_eq!(found["proposals"], 14, "{found:#}");
}

#[test]
fn what_was_decided_across_kills_is_derived_again() {
    let bench = Bench::new("replay-kills");
    for kill in 0..4u64 {
        let begun = bench.run(&["status"]).1.contains("snar-1");
        let mut command = labloop();
        if !begun {
            command.args(["run", "examples/flow-synthesis/campaign.yaml", "--experiments", "2"]);
            command.args(["--simulate", "--speed", "60"]);
        } else {
            command.arg("resume");
        }
        command.arg("--state").arg(bench.state());
        let mut engine = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(1_500 + 170 * kill));
        // It may have ended by itself by now.
        let _ = engine.kill();
        engine.wait().unwrap();
    }
    let begun = bench.run(&["status"]).1.contains("snar-1");
    assert!(begun, "killed each time before the campaign had begun");
    bench.ok(&["resume"]);
    let found = bench.json(&["replay", "--json"]);
    all_the_same(&found);
    assert!(found["turns"].as_u64().unwrap() > 30, "{found:#}");
}

/// The same journal with one entry changed, in a folder beside, whole in itself: somebody wrote
/// all of it anew, so `verify` finds nothing.
fn changed(bench: &Bench, kind: &str, from: &str, to: &str) -> (PathBuf, u64) {
    let journal = Journal::open_read_only(&bench.state()).unwrap();
    let mut stored = journal.read(0, usize::MAX).unwrap();
    let found = stored.iter_mut().find(|e| e.kind == kind && e.body.contains(from));
    let found = found.unwrap_or_else(|| panic!("no {kind} with {from}"));
    found.body = found.body.replacen(from, to, 1);
    let seq = found.seq;
    let entries = stored
        .into_iter()
        .map(|entry| Entry {
            tick: entry.tick,
            wall_ms: entry.wall_ms,
            subject: entry.subject,
            kind: Box::leak(entry.kind.into_boxed_str()),
            body: entry.body,
        })
        .collect();
    let database = rusqlite::Connection::open(bench.state().join("journal.db")).unwrap();
    let mut kept = database.prepare("SELECT kind, text FROM document").unwrap();
    let documents = kept
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
        .unwrap()
        .map(|row| row.unwrap())
        .map(|(kind, text)| Document::new(&kind, text))
        .collect();
    let folder = bench.folder().join(format!("changed-{kind}"));
    std::fs::create_dir_all(&folder).unwrap();
    if bench.state().join("files").exists() {
        std::os::unix::fs::symlink(bench.state().join("files"), folder.join("files")).unwrap();
    }
    let mut anew = Journal::open(&folder, Durability::Process).unwrap();
    anew.take_lease::<JournalError>(&Holder::this_process(0), 1, |_| Ok((entries, documents)))
        .unwrap();
    (folder, seq)
}

/// What `replay` finds in a folder; it must find a difference, and tell it to people in words and as
/// the journal has it, not as the program does.
fn found_in(folder: &Path) -> serde_json::Value {
    let told = labloop().args(["replay", "--state"]).arg(folder).output().unwrap();
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("journal: ") && told.contains("derived: "), "{told}");
    for word in ["Some(", " { ", "StepKey", "NodeId(", "Tick("] {
        assert!(!told.contains(word), "{word}: {told}");
    }
    let replayed = labloop().args(["replay", "--json", "--state"]).arg(folder).output().unwrap();
    let said = String::from_utf8_lossy(&replayed.stderr).into_owned();
    assert_eq!(replayed.status.code(), Some(1), "{said}");
    serde_json::from_slice(&replayed.stdout).unwrap_or_else(|_| panic!("{said}"))
}

#[test]
fn a_decision_that_does_not_follow_is_named() {
    let titration = EXAMPLES[1];
    for (kind, from, to) in [
        // Another instrument than the graph says.
        ("intent", "\"instrument\":\"burette_1\"", "\"instrument\":\"burette_2\""),
        // A branch or loop decided the other way.
        ("decided", "\"holds\":false", "\"holds\":true"),
        // Another ending than follows.
        ("run_ended", "\"complete\"", "\"failed\""),
    ] {
        let bench = Bench::new("replay-changed");
        let mut command = vec!["run"];
        command.extend(titration);
        command.extend(["--simulate", "--speed", "max"]);
        bench.ok(&command);
        let (folder, seq) = changed(&bench, kind, from, to);
        let found = found_in(&folder);
        assert_eq!(found["difference"]["seq"], seq, "{kind}: {found:#}");
    }
}

#[test]
fn a_proposal_or_verdict_that_does_not_follow_is_named() {
    let bench = Bench::new("replay-campaign");
    let mut command = vec!["run"];
    command.extend(EXAMPLES[3]);
    command.extend(["--simulate", "--speed", "max"]);
    bench.ok(&command);
    for (kind, from, to) in [
        // Another reason to choose it than the planner has.
        ("campaign_proposed", "\"reason\":\"", "\"reason\":\"it looked better: "),
        ("campaign_concluded", "\"verdict\":\"inconclusive\"", "\"verdict\":\"supported\""),
        ("campaign_ended", "\"budget_spent\":\"6 ", "\"budget_spent\":\"60 "),
    ] {
        let (folder, seq) = changed(&bench, kind, from, to);
        let found = found_in(&folder);
        assert_eq!(found["campaign_difference"]["seq"], seq, "{kind}: {found:#}");
    }
}
