//! Journals of every format that was ever written open, verify and go on.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use bench::Bench;
use labloop::store::{Durability, Holder, Journal, JournalError};

/// One run complete, and one in flight with an intent whose outcome nobody learnt.
const V1: &str = "tests/journals/v1/journal.db";
const V1_ENTRIES: u64 = 23;
const V1_HEAD: &str = "bc70a80b3f06dfbcabd657f59642835041817953c84e2c4779d7a2af25813eb9";

fn with_journal(name: &str, file: &str) -> Bench {
    let bench = Bench::new(name);
    std::fs::create_dir_all(bench.state()).unwrap();
    std::fs::copy(file, bench.state().join("journal.db")).unwrap();
    bench
}

#[test]
fn a_journal_of_format_1_is_read_as_it_is() {
    let bench = with_journal("v1-read", V1);
    let before = std::fs::read(bench.state().join("journal.db")).unwrap();
    assert_eq!(bench.ok(&["verify"]).trim(), V1_HEAD);
    let status = bench.ok(&["status"]);
    let left = "run match-colour-2.1.1 (match-colour): running when the last engine ended";
    assert!(status.contains(left), "{status}");
    assert!(status.contains("light_1.measure: was under way, not known how it ended"), "{status}");
    assert_eq!(std::fs::read(bench.state().join("journal.db")).unwrap(), before);
}

#[test]
fn a_journal_of_format_1_is_migrated_and_its_chain_and_epochs_go_on() {
    let bench = with_journal("v1-migrated", V1);
    let mut journal = Journal::open(&bench.state(), Durability::Power).unwrap();
    assert_eq!((journal.len(), journal.head().as_str()), (V1_ENTRIES, V1_HEAD));
    journal.verify().unwrap();
    // Two engines had it before; nobody has it now.
    assert_eq!(journal.lease().unwrap().unwrap().epoch, 2);
    let nothing = |_| Ok::<_, JournalError>((Vec::new(), Vec::new()));
    assert_eq!(journal.take_lease(&Holder::this_process(1), 0, nothing).unwrap(), 3);
    drop(journal);
    // The chain goes on where it was, with a word about the migration.
    let again = Journal::open(&bench.state(), Durability::Power).unwrap();
    assert_eq!(again.hash_of(V1_ENTRIES).unwrap().as_deref(), Some(V1_HEAD));
    let noted = again.read(V1_ENTRIES, 10).unwrap();
    assert_eq!(noted.iter().map(|n| n.kind.as_str()).collect::<Vec<_>>(), ["journal_migrated"]);
    bench.ok(&["verify"]);
}

#[test]
fn a_run_in_flight_in_a_journal_of_format_1_goes_on() {
    let bench = with_journal("v1-resumed", V1);
    let (code, _, said) = bench.run(&["resume"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("1 runs were under way"), "{said}");
    assert!(said.contains("match-colour-2.1.1 spectrum was in doubt"), "{said}");
    bench.ok(&["verify"]);
    let status = bench.json(&["status", "--json"]);
    assert_eq!(status["epoch"], 3);
    let open = status["runs"].as_array().unwrap().iter().filter(|r| r["ending"].is_null());
    assert_eq!(open.count(), 0);
}
