//! The laws of a run, on graphs made by hand and an instrument made of a closure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::compiler::graph::{
    Condition, Edge, Effect, FailureKind, Graph, Node, NodeId, NodeKind, OnError, Place, Retry,
    Witness,
};
use crate::expr::{self, Expr, Value};

const SECOND: Duration = Duration::from_secs(1);

/// A graph with its two roots, `steps` and `finally`.
struct Draft {
    graph: Graph,
}

impl Draft {
    fn new() -> Draft {
        let graph = Graph {
            protocol: "p".into(),
            hash: "h".into(),
            parameters: BTreeMap::new(),
            derived: BTreeMap::new(),
            roles: BTreeMap::from([("pump".into(), "pump_1".into())]),
            require: Vec::new(),
            nodes: Vec::new(),
            edges: Vec::new(),
            finally: None,
            results: Vec::new(),
            started_instruments: vec!["pump_1".into(), "pump_2".into()],
            places: Vec::new(),
            stock: BTreeMap::new(),
            resume_within: None,
        };
        let mut draft = Draft { graph };
        draft.add(None, "steps", NodeKind::Group { hold: Vec::new() });
        draft
    }

    fn add(&mut self, parent: Option<u32>, name: &str, kind: NodeKind) -> u32 {
        let id = u32::try_from(self.graph.nodes.len()).unwrap();
        let claims = match &kind {
            NodeKind::Action { instrument, .. } => vec![instrument.clone()],
            _ => Vec::new(),
        };
        let before = self
            .graph
            .nodes
            .iter()
            .rev()
            .find(|n| n.parent == parent.map(NodeId) && parent.is_some());
        if let Some(before) = before {
            let from = before.id;
            let (to, min) = (NodeId(id), Duration::ZERO);
            self.graph.edges.push(Edge { from, to, min, max: None });
        }
        self.graph.nodes.push(Node {
            id: NodeId(id),
            name: name.into(),
            path: name.into(),
            parent: parent.map(NodeId),
            slot: 0,
            kind,
            claims,
            expected: SECOND,
            deadline: Some(10 * SECOND),
            retry: None,
            on_error: OnError::Fail,
            fresh: Vec::new(),
            place: Place::default(),
        });
        id
    }

    fn action(&mut self, parent: u32, name: &str, instrument: &str, effect: Effect) -> u32 {
        let witness = (effect == Effect::Verifiable).then(|| Witness {
            property: "dispensed".into(),
            counts: Some("volume".into()),
            equals: None,
            settle: SECOND / 2,
            void_if_rebooted: true,
        });
        let kind = NodeKind::Action {
            role: "pump".into(),
            instrument: instrument.into(),
            action: name.into(),
            args: BTreeMap::from([("volume".into(), Expr::literal(Value::number(5.0)))]),
            effect,
            witness,
            starts: Vec::new(),
        };
        self.add(Some(parent), name, kind)
    }

    fn node(&mut self, id: u32) -> &mut Node {
        &mut self.graph.nodes[id as usize]
    }

    fn finally(&mut self) -> u32 {
        let id = self.add(None, "finally", NodeKind::Group { hold: Vec::new() });
        self.graph.finally = Some(NodeId(id));
        id
    }

    fn condition(text: &str) -> Condition {
        Condition { expr: expr::parse(text).unwrap(), text: text.into(), place: Place::default() }
    }
}

/// What the instrument does with the n-th command it gets.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reply {
    Done,
    Refused,
    /// It did it and the answer was lost.
    LostAfter,
    /// The command was lost.
    LostBefore,
    /// It is lost, and nothing comes back before the engine dies.
    Silent,
    /// It did it, and nothing comes back before the engine dies.
    SilentAfter,
}

/// A lab that answers at once and keeps count.
struct Lab {
    core: Core,
    now: Tick,
    records: Vec<Record>,
    replies: VecDeque<Reply>,
    dispensed: f64,
    sent: Vec<String>,
    safe: Vec<String>,
    rebooted: bool,
    graphs: BTreeMap<String, Arc<Graph>>,
}

impl Lab {
    fn new(in_doubt: InDoubt, replies: &[Reply]) -> Lab {
        Lab {
            core: Core::new(in_doubt, Duration::ZERO),
            now: Tick(0),
            records: Vec::new(),
            replies: replies.iter().copied().collect(),
            dispensed: 100.0,
            sent: Vec::new(),
            safe: Vec::new(),
            rebooted: false,
            graphs: BTreeMap::new(),
        }
    }

    fn start(&mut self, run: &str, draft: &Draft) {
        self.start_under(run, draft, Terms::default());
    }

    fn start_under(&mut self, run: &str, draft: &Draft, terms: Terms) {
        let graph = Arc::new(draft.graph.clone());
        self.graphs.insert(run.into(), Arc::clone(&graph));
        self.give(Event::StartRun { run: run.into(), graph, document: "d".into(), terms });
    }

    fn give(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let output = self.core.step(event, self.now);
            self.records.extend(output.records);
            for action in output.actions {
                events.extend(self.perform(action));
            }
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Send { run, step, attempt, instrument, action, args, .. } => {
                self.sent.push(format!("{instrument}.{action}"));
                let reply = self.replies.pop_front().unwrap_or(Reply::Done);
                let happens = matches!(reply, Reply::Done | Reply::LostAfter | Reply::SilentAfter);
                if happens && action == "dispense" {
                    self.dispensed += args["volume"].as_quantity().unwrap().value;
                }
                let failure = |kind, effect_unknown| Failure {
                    kind,
                    message: "as told".into(),
                    effect_unknown,
                };
                let result = match reply {
                    Reply::Done => Ok(None),
                    Reply::Refused => Err(failure(FailureKind::Refused, false)),
                    Reply::LostAfter | Reply::LostBefore => {
                        Err(failure(FailureKind::Timeout, true))
                    }
                    Reply::Silent | Reply::SilentAfter => return None,
                };
                let (key, trace) = (step.key, String::new());
                Some(Event::Outcome { run, key, attempt, result, trace })
            }
            Action::ReadWitness { run, key, .. } => Some(Event::Witnessed {
                run,
                key,
                reading: Ok(Reading {
                    value: Value::number(self.dispensed),
                    rebooted: self.rebooted,
                    busy: Some(false),
                }),
            }),
            Action::Analyse { run, key, .. } => Some(Event::Analysed {
                run,
                key,
                result: Ok(Value::number(1.0)),
                trace: String::new(),
            }),
            Action::MakeSafe { run, instrument } => {
                self.safe.push(instrument.clone());
                let (confirmed, detail) = (true, String::new());
                let trace = String::new();
                Some(Event::MadeSafe { run, instrument, confirmed, detail, trace })
            }
        }
    }

    /// Lets time pass until nothing is due any more.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let Some(next) = self.core.next_wake() else { return };
            self.now = self.now.max(next);
            self.give(Event::Wake);
        }
        panic!("it never comes to rest");
    }

    /// The engine dies; a new one reads the journal.
    fn crash(&mut self, in_doubt: InDoubt) {
        self.core = Core::new(in_doubt, Duration::ZERO);
        for record in &self.records {
            let graphs = &self.graphs;
            self.core.apply(record, self.now, || graphs.get(record.run()).cloned());
        }
        self.give(Event::Recovered { downtime: Duration::ZERO });
        self.settle();
    }

    fn ending(&self, run: &str) -> Option<Ending> {
        self.records.iter().find_map(|r| match r {
            Record::RunEnded { run: r, ending, .. } if r == run => Some(*ending),
            _ => None,
        })
    }

    fn count(&self, what: &str) -> usize {
        self.sent.iter().filter(|s| s.ends_with(what)).count()
    }
}

#[test]
fn steps_run_in_order_then_finally_then_the_run_is_complete() {
    let mut draft = Draft::new();
    draft.action(0, "start", "pump_1", Effect::Repeatable);
    draft.action(0, "dispense", "pump_2", Effect::Verifiable);
    let finally = draft.finally();
    draft.action(finally, "stop", "pump_1", Effect::Repeatable);
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!(lab.sent, ["pump_1.start", "pump_2.dispense", "pump_1.stop"]);
    assert_eq!(lab.ending("r"), Some(Ending::Complete));
    // What `finally` stopped is left so; what it did not touch gets its safe state.
    assert_eq!(lab.safe, ["pump_2"]);
}

#[test]
fn a_failed_step_runs_finally_and_every_started_instrument_is_made_safe() {
    let mut draft = Draft::new();
    draft.action(0, "start", "pump_1", Effect::Repeatable);
    draft.action(0, "set", "pump_2", Effect::Repeatable);
    draft.action(0, "never", "pump_2", Effect::Repeatable);
    let finally = draft.finally();
    draft.action(finally, "stop", "pump_1", Effect::Repeatable);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Done, Reply::Refused]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!(lab.ending("r"), Some(Ending::Failed));
    assert_eq!(lab.count("never"), 0);
    assert_eq!(lab.count("stop"), 1);
    assert_eq!(lab.safe, ["pump_1", "pump_2"]);
}

#[test]
fn a_retry_waits_and_is_bounded() {
    let mut draft = Draft::new();
    let step = draft.action(0, "set", "pump_1", Effect::Repeatable);
    draft.node(step).retry =
        Some(Retry { times: 2, wait: 5 * SECOND, factor: 1.0, max_wait: None, only: Vec::new() });
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Refused, Reply::Refused]);
    lab.start("r", &draft);
    assert_eq!(lab.count("set"), 1);
    lab.settle();
    assert_eq!(lab.count("set"), 3);
    assert_eq!(lab.ending("r"), Some(Ending::Complete));
    assert!(lab.now >= Tick(0).after(10 * SECOND));
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Refused; 9]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!((lab.count("set"), lab.ending("r")), (3, Some(Ending::Failed)));
}

#[test]
fn a_started_dose_is_read_back_before_it_is_sent_again() {
    let mut draft = Draft::new();
    let step = draft.action(0, "dispense", "pump_1", Effect::Verifiable);
    draft.node(step).retry =
        Some(Retry { times: 1, wait: SECOND, factor: 1.0, max_wait: None, only: Vec::new() });
    // It happened and the answer was lost: the witness says so, nothing is sent again.
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::LostAfter]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!((lab.count("dispense"), lab.ending("r")), (1, Some(Ending::Complete)));
    // It did not happen: the witness says so, and the retry may send it.
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::LostBefore]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!((lab.count("dispense"), lab.ending("r")), (2, Some(Ending::Complete)));
    assert_eq!(lab.dispensed, 105.0);
}

#[test]
fn a_restarted_instrument_proves_nothing() {
    let mut draft = Draft::new();
    draft.action(0, "dispense", "pump_1", Effect::Verifiable);
    let mut lab = Lab::new(InDoubt::Discard, &[Reply::Silent]);
    lab.start("r", &draft);
    lab.rebooted = true;
    lab.dispensed = 0.0;
    lab.crash(InDoubt::Discard);
    assert_eq!((lab.count("dispense"), lab.ending("r")), (1, Some(Ending::Invalid)));
}

#[test]
fn a_run_whose_instruments_are_gone_ends_as_invalid_and_an_untouched_one_goes_on() {
    let mut draft = Draft::new();
    draft.action(0, "set", "pump_1", Effect::Repeatable);
    draft.add(Some(0), "rest", NodeKind::Wait { duration: expr::parse("1 min").unwrap() });
    draft.action(0, "again", "pump_1", Effect::Repeatable);
    let mut waiting = Draft::new();
    waiting.add(Some(0), "rest", NodeKind::Wait { duration: expr::parse("1 min").unwrap() });
    waiting.action(0, "read", "pump_2", Effect::Repeatable);
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("touched", &draft);
    lab.start("untouched", &waiting);
    assert_eq!(lab.sent, ["pump_1.set"]);
    lab.give(Event::InstrumentsLost);
    lab.settle();
    assert_eq!(lab.sent, ["pump_1.set", "pump_2.read"]);
    assert_eq!(lab.ending("touched"), Some(Ending::Invalid));
    assert_eq!(lab.ending("untouched"), Some(Ending::Complete));
}

#[test]
fn a_once_action_in_doubt_is_a_question_and_the_answer_decides() {
    for (answer, sent, ending) in [
        ("done", 1, Ending::Complete),
        ("not done", 2, Ending::Complete),
        ("discard", 1, Ending::Invalid),
    ] {
        let mut draft = Draft::new();
        draft.action(0, "inject", "pump_1", Effect::Once);
        let mut lab = Lab::new(InDoubt::Ask, &[Reply::Silent]);
        lab.start("r", &draft);
        lab.core = Core::new(InDoubt::Ask, Duration::ZERO);
        let records = lab.records.clone();
        for record in &records {
            let graph = Arc::new(draft.graph.clone());
            lab.core.apply(record, lab.now, || Some(graph));
        }
        lab.give(Event::Recovered { downtime: Duration::ZERO });
        assert!(lab.records.iter().any(|r| matches!(r, Record::Question { .. })), "{answer}");
        assert_eq!(lab.count("inject"), 1);
        lab.give(Event::Answer {
            run: "r".into(),
            path: "inject".into(),
            question: None,
            answer: answer.into(),
            by: "Ada".into(),
        });
        lab.settle();
        assert_eq!((lab.count("inject"), lab.ending("r")), (sent, Some(ending)), "{answer}");
    }
}

#[test]
fn each_run_keeps_its_own_rule_for_doubts_through_a_crash() {
    let mut draft = Draft::new();
    draft.action(0, "inject", "pump_1", Effect::Once);
    let mut other = Draft::new();
    other.action(0, "inject", "pump_2", Effect::Once);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Silent, Reply::Silent]);
    let terms = Terms { in_doubt: Some(InDoubt::Discard), ..Terms::default() };
    lab.start_under("discards", &draft, terms);
    lab.start("asks", &other);
    lab.crash(InDoubt::Ask);
    assert_eq!(lab.ending("discards"), Some(Ending::Invalid));
    // Time passed until nobody had answered and the question's default was taken.
    let asked = |r: &&Record| matches!(r, Record::Question { .. });
    let of: Vec<&str> = lab.records.iter().filter(asked).map(Record::run).collect();
    assert_eq!(of, ["asks"]);
}

#[test]
fn a_loop_ends_when_its_condition_holds_and_fails_at_its_bound() {
    for (until, rounds, ending) in
        [("loop.index >= 3", 3, Ending::Complete), ("loop.index >= 9", 5, Ending::Failed)]
    {
        let mut draft = Draft::new();
        let kind = NodeKind::Repeat { max_times: 5, until: Some(Draft::condition(until)) };
        let block = draft.add(Some(0), "again", kind);
        draft.action(block, "set", "pump_1", Effect::Repeatable);
        let mut lab = Lab::new(InDoubt::Ask, &[]);
        lab.start("r", &draft);
        lab.settle();
        assert_eq!((lab.count("set"), lab.ending("r")), (rounds, Some(ending)), "{until}");
    }
}

#[test]
fn the_steps_of_on_error_run_and_the_run_goes_on() {
    let mut draft = Draft::new();
    let step = draft.action(0, "set", "pump_1", Effect::Repeatable);
    draft.action(0, "after", "pump_1", Effect::Repeatable);
    let handler = draft.add(Some(step), "on_error", NodeKind::Group { hold: Vec::new() });
    draft.action(handler, "mend", "pump_1", Effect::Repeatable);
    draft.node(step).on_error = OnError::Do(NodeId(handler));
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Refused]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!(lab.sent, ["pump_1.set", "pump_1.mend", "pump_1.after"]);
    assert_eq!(lab.ending("r"), Some(Ending::Complete));
}

/// A step on `pump_1` that may go to `pump_2` and then to `pump_3`.
fn with_fallback(name: &str, effect: Effect) -> Draft {
    let mut draft = Draft::new();
    let first = draft.action(0, name, "pump_1", effect);
    let second = draft.action(first, name, "pump_2", effect);
    let third = draft.action(second, name, "pump_3", effect);
    draft.graph.edges.clear();
    draft.node(first).on_error = OnError::Fallback(NodeId(second));
    draft.node(second).on_error = OnError::Fallback(NodeId(third));
    draft
}

#[test]
fn what_one_instrument_refuses_goes_to_the_next_and_each_is_tried_once() {
    let mut draft = with_fallback("measure", Effect::Read);
    let after = draft.action(0, "after", "pump_1", Effect::Read);
    let edge = Edge { from: NodeId(1), to: NodeId(after), min: Duration::ZERO, max: None };
    draft.graph.edges = vec![edge];
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Refused, Reply::Done]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!(lab.sent, ["pump_1.measure", "pump_2.measure", "pump_1.after"]);
    assert_eq!(lab.ending("r"), Some(Ending::Complete));
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Refused; 3]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!(lab.sent, ["pump_1.measure", "pump_2.measure", "pump_3.measure"]);
    assert_eq!(lab.ending("r"), Some(Ending::Failed));
}

#[test]
fn a_dose_that_may_have_been_given_goes_to_no_other_instrument() {
    let draft = with_fallback("inject", Effect::Once);
    let mut lab = Lab::new(InDoubt::Discard, &[Reply::LostAfter]);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!(lab.sent, ["pump_1.inject"]);
    assert_eq!(lab.ending("r"), Some(Ending::Invalid));
}

#[test]
fn a_crash_while_another_instrument_stands_in_repeats_nothing() {
    let draft = with_fallback("inject", Effect::Once);
    let mut lab = Lab::new(InDoubt::Discard, &[Reply::Refused, Reply::Silent]);
    lab.start("r", &draft);
    lab.crash(InDoubt::Discard);
    assert_eq!(lab.sent, ["pump_1.inject", "pump_2.inject"]);
    assert_eq!(lab.ending("r"), Some(Ending::Invalid));
}

#[test]
fn a_time_limit_between_steps_is_kept_or_the_step_fails() {
    let mut draft = Draft::new();
    draft.action(0, "one", "pump_1", Effect::Repeatable);
    draft.action(0, "two", "pump_2", Effect::Repeatable);
    draft.graph.edges[0].max = Some(5 * SECOND);
    let mut other = Draft::new();
    other.action(0, "long", "pump_2", Effect::Repeatable);
    let mut lab = Lab::new(InDoubt::Ask, &[Reply::Silent, Reply::Done]);
    // Another run keeps the instrument for longer than the limit allows.
    lab.start("other", &other);
    lab.start("r", &draft);
    lab.settle();
    assert_eq!(lab.count("two"), 0);
    assert_eq!(lab.ending("r"), Some(Ending::Failed));
}

#[test]
fn two_runs_never_hold_one_instrument_at_once_and_both_end() {
    let block = |first: &str, second: &str| {
        let mut draft = Draft::new();
        let hold = NodeKind::Group { hold: vec![first.to_owned()] };
        let group = draft.add(Some(0), "hold", hold);
        draft.action(group, "a", first, Effect::Repeatable);
        let wait = NodeKind::Wait { duration: expr::parse("10 s").unwrap() };
        draft.add(Some(group), "wait", wait);
        draft.action(group, "b", second, Effect::Repeatable);
        draft
    };
    let mut lab = Lab::new(InDoubt::Ask, &[]);
    lab.start("x", &block("pump_1", "pump_2"));
    lab.start("y", &block("pump_2", "pump_1"));
    assert_eq!(lab.sent, ["pump_1.a"], "the younger run waits for all it needs");
    lab.settle();
    assert_eq!(lab.sent, ["pump_1.a", "pump_2.b", "pump_2.a", "pump_1.b"]);
    assert_eq!(
        (lab.ending("x"), lab.ending("y")),
        (Some(Ending::Complete), Some(Ending::Complete))
    );
}

#[test]
fn stop_ends_the_step_and_abort_does_not_wait() {
    let mut draft = Draft::new();
    draft.action(0, "start", "pump_1", Effect::Repeatable);
    draft.add(Some(0), "wait", NodeKind::Wait { duration: expr::parse("1 h").unwrap() });
    let finally = draft.finally();
    draft.action(finally, "stop", "pump_1", Effect::Repeatable);
    for (command, finally_ran, ending) in
        [(Command::Stop, 1, Ending::Stopped), (Command::Abort, 0, Ending::Aborted)]
    {
        let mut lab = Lab::new(InDoubt::Ask, &[]);
        lab.start("r", &draft);
        lab.give(Event::Command { run: "r".into(), command, by: "Ada".into() });
        assert_eq!((lab.count("stop"), lab.ending("r")), (finally_ran, Some(ending)));
        assert_eq!(lab.safe, ["pump_1"]);
    }
}

fn reply() -> impl Strategy<Value = Reply> {
    prop::sample::select(vec![
        Reply::Done,
        Reply::Done,
        Reply::Refused,
        Reply::LostAfter,
        Reply::LostBefore,
        Reply::Silent,
        Reply::SilentAfter,
    ])
}

proptest! {
    /// Whatever is lost and whenever the engine dies: no dose twice, and every run ends.
    #[test]
    fn no_dose_is_given_twice(
        replies in prop::collection::vec(reply(), 0..12),
        crashes in prop::collection::vec(any::<bool>(), 0..6),
    ) {
        let mut draft = Draft::new();
        for name in ["set", "dispense", "set2", "dispense", "inject"] {
            let effect = match name {
                "dispense" => Effect::Verifiable,
                "inject" => Effect::Once,
                _ => Effect::Repeatable,
            };
            let step = draft.action(0, name, "pump_1", effect);
            if effect != Effect::Once {
                draft.node(step).retry = Some(Retry { times: 1, wait: SECOND, factor: 1.0, max_wait: None, only: Vec::new() });
            }
        }
        let finally = draft.finally();
        draft.action(finally, "stop", "pump_1", Effect::Repeatable);
        let mut lab = Lab::new(InDoubt::Discard, &replies);
        lab.start("r", &draft);
        for crash in crashes {
            if crash { lab.crash(InDoubt::Discard) } else { lab.settle() }
        }
        lab.crash(InDoubt::Discard);
        lab.settle();
        prop_assert!(lab.ending("r").is_some());
        prop_assert!(lab.count("inject") <= 1);
        let doses = (lab.dispensed - 100.0) / 5.0;
        prop_assert!(doses <= 2.0, "{doses} doses of two");
        if lab.ending("r") == Some(Ending::Complete) {
            prop_assert_eq!(doses, 2.0);
        }
        // Every command on the wire has its intent in the journal.
        let intents = lab.records.iter().filter(|r| matches!(r, Record::Intent { .. })).count();
        prop_assert_eq!(intents, lab.sent.len());
        // The journal alone gives the same state back.
        let mut again = Core::new(InDoubt::Discard, Duration::ZERO);
        for record in &lab.records {
            again.apply(record, lab.now, || lab.graphs.get(record.run()).cloned());
        }
        let phase = |core: &Core| core.run("r").map(|r| (r.phase, r.ready.clone()));
        prop_assert_eq!(phase(&again), phase(&lab.core));
        let made_safe: BTreeSet<&String> = lab.safe.iter().collect();
        prop_assert!(lab.ending("r") == Some(Ending::Complete) || lab.sent.is_empty()
            || made_safe.contains(&"pump_1".to_owned()));
    }
}
