//! A command that may never be sent twice, and nothing that could tell whether it happened: the engine
//! is killed when it has sent it, and a person is asked.

use std::time::Duration;

use labloop::engine::core::Ending;

use crate::bench::wait_for;
use crate::lane::{AtWork, Lane, Variant};

/// A light that may be lit once.
const ONCE: &str = "schema: labloop/protocol/v1
name: once
roles:
  light: {type: spectrometer}
steps:
  - {id: ready, wait: 180 s}
  - {id: colour, do: light.measure, with: {red: 20, green: 10, blue: 20}}
  - {id: after, wait: 1 s}
results: {}
";
const SOON: Duration = Duration::from_secs(60);
/// The question of the first run about its only command.
const QUESTION: &str = "once-1.1.1";

/// A lab whose engine was killed between the command and its answer.
fn killed_in_doubt(name: &str) -> Lane {
    let only = &["light_1"];
    let variant = Variant { protocol: Some(ONCE), only, patient: true, ..Variant::default() };
    let lane = Lane::new(name, variant);
    let said = lane.folder().join("said");
    let mut engine = AtWork::start(lane.engine(false, 1), said);
    let noted = |what: &str| kinds(&lane).iter().any(|kind| kind == what);
    engine.until("its run begins", SOON, |_| noted("run_started"));
    // No answer can come from here on.
    lane.freeze(true);
    engine.until("it sends", SOON, |_| noted("intent"));
    // From the intent to the wire it is less than a millisecond, but this machine may be busy.
    std::thread::sleep(Duration::from_millis(300));
    engine.signal("KILL");
    engine.child.wait().unwrap();
    lane.freeze(false);
    // What was sent is in the line, and happens.
    let effects = lane.state().join("simulators/effects.jsonl");
    wait_for(&effects);
    until("the light was lit", || lit(&lane) == 1);
    assert!(!kinds(&lane).iter().any(|kind| kind == "outcome"), "{:?}", kinds(&lane));
    lane
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + SOON;
    while !so() {
        assert!(std::time::Instant::now() < until, "it never came that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kinds(lane: &Lane) -> Vec<String> {
    let Ok(journal) = labloop::store::Journal::open_read_only(lane.state()) else {
        return Vec::new();
    };
    journal.read(0, usize::MAX).unwrap().into_iter().map(|entry| entry.kind).collect()
}

/// How often the light was lit.
fn lit(lane: &Lane) -> usize {
    lane.effects_since().iter().filter(|e| e["effect"] == "light" && e["detail"]["r"] != 0).count()
}

/// Takes the run up, and waits until a person is asked.
fn resumed(lane: &Lane) -> (AtWork, String) {
    let mut engine = AtWork::start(lane.engine(true, 1), lane.folder().join("said-again"));
    let mut id = String::new();
    engine.until("a person is asked", SOON, |_| {
        let (code, out, _) = lane.labloop(&["ask", "--json"]);
        let asked: serde_json::Value = serde_json::from_str(&out).unwrap_or_default();
        id = asked["questions"][0]["id"].as_str().unwrap_or_default().to_owned();
        code == 0 && asked["live"] == true && !id.is_empty()
    });
    (engine, id)
}

#[test]
fn a_doubt_is_shown_with_what_was_sent_and_what_each_answer_means_and_is_answered_once() {
    let lane = killed_in_doubt("doubt-done");
    let (mut engine, id) = resumed(&lane);
    assert!(id.starts_with(QUESTION), "{id}");
    let wanted = [
        &id,
        "run once-1.1.1, step colour",
        "asked ",
        " of lab time ago",
        "light_1.measure",
        "red = 20",
        "attempt 1",
        "'done'",
        "it happened",
        "'not done'",
        "the step may send it again",
        "'discard'",
        "the run ends as invalid",
    ];
    for command in ["status", "ask"] {
        let (code, out, said) = lane.labloop(&[command]);
        assert_eq!(code, 0, "{said}");
        for part in wanted {
            assert!(out.contains(part), "{command}: no `{part}` in\n{out}");
        }
    }

    // It stays open over another crash, and nothing is sent meanwhile.
    engine.signal("KILL");
    engine.child.wait().unwrap();
    let (code, out, said) = lane.labloop(&["ask"]);
    assert!(code == 0 && out.contains(&id) && out.contains("light_1.measure"), "{out}{said}");
    let (code, _, said) = lane.labloop(&["ask", &id, "done"]);
    assert!(code == 2 && said.contains("labloop resume"), "{code} {said}");
    let (mut engine, again) = resumed(&lane);
    assert_eq!(again, id);
    assert_eq!(lit(&lane), 1);

    // No such question, no such answer.
    let (code, _, said) = lane.labloop(&["ask", "once-1.1.1.99", "done"]);
    assert!(code == 2 && said.contains(&format!("open are {id}")), "{code} {said}");
    let (code, _, said) = lane.labloop(&["ask", &id, "perhaps"]);
    assert!(code == 2 && said.contains("done / not done / discard"), "{code} {said}");
    assert_eq!(lit(&lane), 1);

    let (code, _, said) = lane.labloop(&["ask", &id, "done", "--by", "anna"]);
    assert!(code == 0 && said.contains("answered `done` by anna"), "{code} {said}");
    for answer in ["done", "not done"] {
        let (code, _, said) = lane.labloop(&["ask", &id, answer, "--by", "bert"]);
        let first = "was answered already: `done` by anna";
        assert!(code == 2 && said.contains(first), "{code} {said}");
    }
    let (status, said) = engine.end(SOON);
    assert!(status.success(), "{status} {said}");
    assert_eq!(lit(&lane), 1, "it was not sent again");
    assert_eq!(lane.audit("answered done").complete, 1);
}

#[test]
fn a_doubt_answered_with_not_done_sends_once_more_and_one_given_up_loses_its_sample() {
    let lane = killed_in_doubt("doubt-not-done");
    let (mut engine, id) = resumed(&lane);
    assert_eq!(lit(&lane), 1);
    let (code, _, said) = lane.labloop(&["ask", &id, "not done", "--by", "anna"]);
    assert_eq!(code, 0, "{said}");
    let (status, said) = engine.end(SOON);
    assert!(status.success(), "{status} {said}");
    assert_eq!(lit(&lane), 2, "on anna's word");

    let lane = killed_in_doubt("doubt-discard");
    let (mut engine, id) = resumed(&lane);
    let (code, _, said) = lane.labloop(&["ask", &id, "discard", "--by", "anna"]);
    assert_eq!(code, 0, "{said}");
    let (status, said) = engine.end(SOON);
    assert!(status.success(), "{status} {said}");
    // The sample is lost; the experiment has another, in a run of its own.
    let audit = lane.audit("given up");
    assert_eq!((audit.invalid, audit.complete), (1, 1), "{said}");
    let history = lane.history().unwrap();
    assert_eq!(history.runs["once-1.1.1"].ending, Some(Ending::Invalid));
    assert_eq!(lit(&lane), 2, "once for each sample");
}
