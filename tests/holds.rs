//! A run that is held, through the engine with its journal: what is cancelled, which hold states are
//! sent, what goes on afterwards, and what the journal says of each instrument.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use labloop::compiler::graph::{
    Edge, Effect, Graph, HoldState, Node, NodeId, NodeKind, OnError, Place,
};
use labloop::driver::{EmergencyStop, FailureKind, HOLD_STATE, Notice, Outcome, Sent};
use labloop::engine::core::{Command, Core, Ending, InDoubt, Record, RunState};
use labloop::engine::shell::control::{Control, Handle, Obeyed, Reply, channel};
use labloop::engine::shell::{Engine, EngineSetup, Fact, Instruments, Refused, read_facts};
use labloop::expr::Value;
use labloop::store::{Durability, Journal};
use labloop::wire::Clock;
use tokio::sync::mpsc;

/// Instruments that keep what they were told. The first dose has no end until it is cancelled.
#[derive(Clone)]
struct Told {
    notices: mpsc::Sender<Notice>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Told {
    fn note(&self, what: String) -> usize {
        let mut told = self.told.lock().unwrap();
        told.push(what.clone());
        told.iter().filter(|one| **one == what).count()
    }

    fn tell(&self, notice: Notice) -> Result<(), Refused> {
        self.notices.try_send(notice).map_err(|e| Refused(e.to_string()))
    }
}

impl Instruments for Told {
    fn send(
        &self,
        attempt: &str,
        instrument: &str,
        action: &str,
        _: BTreeMap<String, Value>,
        _: Duration,
    ) -> Result<(), Refused> {
        let times = self.note(format!("{instrument}.{action}"));
        if action == "dose" && times == 1 {
            return Ok(());
        }
        let outcome = Outcome::Done { value: None, trace: Vec::new() };
        self.tell(Notice::Outcome { attempt: attempt.to_owned(), outcome })
    }

    fn read(&self, _: &str, _: &str, _: &str) -> Result<(), Refused> {
        Err(Refused("nothing to read".into()))
    }

    fn cancel(&self, instrument: &str, attempt: &str) -> Result<(), Refused> {
        self.note(format!("{instrument} cancelled"));
        let outcome = Outcome::Failed {
            kind: FailureKind::Person,
            message: "it was cancelled".into(),
            effect: Sent::Unknown,
            trace: Vec::new(),
        };
        self.tell(Notice::Outcome { attempt: attempt.to_owned(), outcome })
    }

    fn safe_state(&self, instrument: &str) -> Result<(), Refused> {
        self.note(format!("{instrument} safe"));
        self.tell(Notice::SafeState {
            instrument: instrument.to_owned(),
            confirmed: instrument != "pump_2",
            detail: "as told".into(),
            trace: Vec::new(),
        })
    }

    fn max_age(&self, _: &str, _: &str) -> Duration {
        Duration::from_secs(60)
    }
}

/// A pump is started, a valve set, and a dose given.
fn graph() -> Arc<Graph> {
    let node = |id: u32, name: &str, kind: NodeKind| Node {
        id: NodeId(id),
        name: name.into(),
        path: name.into(),
        parent: (id > 0).then_some(NodeId(0)),
        slot: 0,
        kind,
        claims: Vec::new(),
        expected: Duration::ZERO,
        deadline: Some(Duration::from_secs(60)),
        retry: None,
        on_error: OnError::Fail,
        fresh: Vec::new(),
        place: Place::default(),
    };
    let action =
        |instrument: &str, action: &str, starts: &[&str], cancels: bool| NodeKind::Action {
            role: "any".into(),
            instrument: instrument.into(),
            action: action.into(),
            args: BTreeMap::new(),
            effect: Effect::Repeatable,
            witness: None,
            starts: starts.iter().map(|s| (*s).to_owned()).collect(),
            stops: false,
            cancels,
        };
    let after = |from: u32| Edge {
        from: NodeId(from),
        to: NodeId(from + 1),
        min: Duration::ZERO,
        max: None,
    };
    Arc::new(Graph {
        protocol: "p".into(),
        hash: "h".into(),
        nodes: vec![
            node(0, "steps", NodeKind::Group { hold: Vec::new() }),
            node(1, "start", action("pump_1", "start", &["pumps"], false)),
            node(2, "set", action("valve", "set", &[], false)),
            node(3, "dose", action("pump_2", "dose", &[], true)),
        ],
        edges: vec![after(1), after(2)],
        hold_states: BTreeMap::from([("valve".into(), HoldState::Declared)]),
        started_instruments: vec!["pump_1".into()],
        ..Graph::default()
    })
}

/// Commands every run, and gives the state it is in by the answer.
async fn command(handle: &Handle, command: Command) -> (Obeyed, String) {
    let (target, by, reason) = (None, "Ada".into(), String::new());
    let mut asked = handle.ask(Control::Command { target, command, by, reason }).unwrap();
    match asked.reply().await {
        Reply::Commanded { mut subjects } => {
            let subject = subjects.remove(0);
            asked.outcome().await;
            (subject.result, subject.state)
        }
        other => panic!("{other:?}"),
    }
}

async fn until(told: &Mutex<Vec<String>>, what: &str) {
    for _ in 0..1_000 {
        if told.lock().unwrap().iter().any(|one| one == what) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} was not told within 10 s: {:?}", told.lock().unwrap());
}

#[test]
fn a_hold_cancels_brings_instruments_to_rest_and_a_resume_takes_it_up_again() {
    let folder = std::env::temp_dir().join(format!("labloop-holds-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let records = runtime.block_on(async {
        let (sender, notices) = mpsc::channel(16);
        let (handle, controls) = channel(EmergencyStop::detached(Clock::real()));
        let mut engine = Engine::new(EngineSetup {
            journal: Journal::open(&folder, Durability::Power).unwrap(),
            telemetry: None,
            clock: Clock::real(),
            instruments: Told { notices: sender, told: Arc::clone(&told) },
            notices,
            controls,
            observer: Box::new(|_| {}),
            core: Core::new(InDoubt::Ask, Duration::ZERO),
        });
        engine.begin(1, "real").unwrap();
        engine.start_run("r".into(), graph()).unwrap();
        let person = async {
            until(&told, "pump_2.dose").await;
            let (heard, _) = command(&handle, Command::Hold).await;
            assert_eq!(heard, Obeyed::Accepted);
            assert_eq!(command(&handle, Command::Hold).await, (Obeyed::AlreadySo, "held".into()));
            let at_rest = told.lock().unwrap().clone();
            assert_eq!(command(&handle, Command::Resume).await.0, Obeyed::Accepted);
            at_rest
        };
        let (finished, mut at_rest) = tokio::join!(engine.work(), person);
        finished.unwrap();
        let begun: Vec<String> = at_rest.drain(..4).collect();
        assert_eq!(begun, ["pump_1.start", "valve.set", "pump_2.dose", "pump_2 cancelled"]);
        at_rest.sort();
        let hold = format!("valve.{HOLD_STATE}");
        assert_eq!(at_rest, ["pump_1 safe", "pump_2 safe", &hold]);
        let mut records = Vec::new();
        read_facts(engine.journal(), |_, fact| {
            if let Fact::Run(record) = fact {
                records.push(record);
            }
        })
        .unwrap();
        records
    });
    std::fs::remove_dir_all(folder).unwrap();
    let told = told.lock().unwrap().clone();
    // What the hold stopped goes again before the step that it cut short.
    assert_eq!(&told[7..9], ["pump_1.start", "pump_2.dose"], "{told:?}");
    let complete = |r: &Record| matches!(r, Record::RunEnded { ending: Ending::Complete, .. });
    assert!(records.last().is_some_and(complete), "{:?}", records.last());
    let states: Vec<RunState> = records
        .iter()
        .filter_map(|record| match record {
            Record::Moved { to, .. } => Some(*to),
            _ => None,
        })
        .collect();
    use RunState::{Held, Holding, Restarting, Running};
    assert_eq!(states, [Holding, Held, Restarting, Running]);
    let rest: BTreeMap<&str, bool> = records
        .iter()
        .filter_map(|record| match record {
            Record::AtHold { instrument, confirmed, .. } => Some((instrument.as_str(), *confirmed)),
            _ => None,
        })
        .collect();
    assert_eq!(rest, BTreeMap::from([("pump_1", true), ("pump_2", false), ("valve", true)]));
    // Intent before effect: nothing was sent that the journal did not know of.
    let before = |what: fn(&Record) -> bool| records.iter().filter(|r| what(r)).count();
    assert_eq!(before(|r| matches!(r, Record::ToHold { .. })), 3);
    assert_eq!(before(|r| matches!(r, Record::Cancelling { .. })), 1);
    assert_eq!(before(|r| matches!(r, Record::Intent { .. })), 5);
}
