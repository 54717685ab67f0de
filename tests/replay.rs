//! Every decision in a journal can be derived again from what it rests on.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use bench::{Bench, labloop};
use std::process::Stdio;
use std::time::Duration;

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

/// Changes one entry of a journal in place; the chain is not mended, since `replay` reads it as
/// it is and `verify` is another matter.
fn change(bench: &Bench, kind: &str, from: &str, to: &str) -> i64 {
    let journal = rusqlite::Connection::open(bench.state().join("journal.db")).unwrap();
    let (seq, body): (i64, String) = journal
        .query_row(
            "SELECT seq, body FROM journal WHERE kind = ?1 AND body LIKE ?2 LIMIT 1",
            [kind, &format!("%{from}%")],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    let body = body.replacen(from, to, 1);
    journal.execute("UPDATE journal SET body = ?1 WHERE seq = ?2", (body, seq)).unwrap();
    seq
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
        let seq = change(&bench, kind, from, to);
        let (code, data, words) = bench.run(&["replay", "--json"]);
        assert_eq!(code, 1, "{kind}: {data}{words}");
        let found: serde_json::Value = serde_json::from_str(&data).unwrap();
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
    let kept = std::fs::read(bench.state().join("journal.db")).unwrap();
    for (kind, from, to) in [
        // Another reason to choose it than the planner has.
        ("campaign_proposed", "\"reason\":\"", "\"reason\":\"it looked better: "),
        ("campaign_concluded", "\"verdict\":\"inconclusive\"", "\"verdict\":\"supported\""),
        ("campaign_ended", "\"budget_spent\":\"6 ", "\"budget_spent\":\"60 "),
    ] {
        let seq = change(&bench, kind, from, to);
        let (code, data, words) = bench.run(&["replay", "--json"]);
        assert_eq!(code, 1, "{kind}: {data}{words}");
        let found: serde_json::Value = serde_json::from_str(&data).unwrap();
        assert_eq!(found["campaign_difference"]["seq"], seq, "{kind}: {found:#}");
        // As it was, for the next.
        std::fs::write(bench.state().join("journal.db"), &kept).unwrap();
    }
}
