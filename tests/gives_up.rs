//! When the journal fails nothing more is sent, and what was started is made safe. When another
//! engine has taken over, nothing more is sent at all. When its end was lost, nothing is sent again
//! before a person has said a word.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use labloop::compiler::graph::{Edge, Effect, Graph, Node, NodeId, NodeKind, OnError, Place};
use labloop::driver::{EmergencyStop, Notice, Outcome};
use labloop::engine::core::{Command, Core, InDoubt};
use labloop::engine::shell::control::{Control, channel};
use labloop::engine::shell::{Engine, EngineError, EngineSetup, History, Instruments, Refused};
use labloop::expr::Value;
use labloop::store::{Durability, Holder, Journal, JournalError};
use labloop::wire::Clock;
use tokio::sync::mpsc;

/// A pump whose first command does something to the journal behind the engine's back.
struct Saboteur {
    notices: mpsc::Sender<Notice>,
    folder: PathBuf,
    sabotage: fn(&Path),
    told: Arc<Mutex<Vec<String>>>,
}

impl Instruments for Saboteur {
    fn send(
        &self,
        attempt: &str,
        instrument: &str,
        action: &str,
        _: BTreeMap<String, Value>,
        _: Duration,
    ) -> Result<(), Refused> {
        self.told.lock().unwrap().push(format!("{instrument}.{action}"));
        (self.sabotage)(&self.folder);
        let outcome = Outcome::Done { value: None, trace: Vec::new() };
        let notice = Notice::Outcome { attempt: attempt.to_owned(), outcome };
        self.notices.try_send(notice).map_err(|e| Refused(e.to_string()))
    }

    fn read(&self, _: &str, _: &str, _: &str) -> Result<(), Refused> {
        Err(Refused("nothing to read".into()))
    }

    fn safe_state(&self, instrument: &str) -> Result<(), Refused> {
        self.told.lock().unwrap().push(format!("{instrument} safe"));
        let notice = Notice::SafeState {
            instrument: instrument.to_owned(),
            confirmed: true,
            detail: String::new(),
            trace: Vec::new(),
        };
        self.notices.try_send(notice).map_err(|e| Refused(e.to_string()))
    }

    fn max_age(&self, _: &str, _: &str) -> Duration {
        Duration::from_secs(60)
    }
}

fn two_steps() -> Arc<Graph> {
    let action = |name: &str| NodeKind::Action {
        role: "pump".into(),
        instrument: "pump_1".into(),
        action: name.into(),
        args: BTreeMap::new(),
        effect: Effect::Repeatable,
        witness: None,
        starts: Vec::new(),
        stops: false,
        cancels: false,
    };
    let node = |id: u32, name: &str, kind: NodeKind| Node {
        id: NodeId(id),
        name: name.into(),
        path: name.into(),
        parent: (id > 0).then_some(NodeId(0)),
        slot: 0,
        kind,
        claims: Vec::new(),
        expected: Duration::ZERO,
        deadline: Some(Duration::from_secs(5)),
        retry: None,
        on_error: OnError::Fail,
        fresh: Vec::new(),
        place: Place::default(),
    };
    Arc::new(Graph {
        protocol: "p".into(),
        hash: "h".into(),
        parameters: BTreeMap::new(),
        derived: BTreeMap::new(),
        roles: BTreeMap::new(),
        require: Vec::new(),
        nodes: vec![
            node(0, "steps", NodeKind::Group { hold: Vec::new() }),
            node(1, "start", action("start")),
            node(2, "faster", action("faster")),
        ],
        edges: vec![Edge { from: NodeId(1), to: NodeId(2), min: Duration::ZERO, max: None }],
        finally: None,
        results: Vec::new(),
        hold_states: BTreeMap::new(),
        started_instruments: vec!["pump_1".into()],
        places: Vec::new(),
        stock: BTreeMap::new(),
        resume_within: None,
    })
}

/// Two steps, the first of which comes with sabotage; how the engine ended and what was told.
fn sabotaged(name: &str, sabotage: fn(&Path)) -> (EngineError, Vec<String>) {
    let folder = std::env::temp_dir().join(format!("labloop-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let error = runtime.block_on(async {
        let (sender, notices) = mpsc::channel(16);
        let (_keep, controls) = channel(EmergencyStop::detached(Clock::real()));
        let mut engine = Engine::new(EngineSetup {
            journal: Journal::open(&folder, Durability::Power).unwrap(),
            telemetry: None,
            clock: Clock::real(),
            instruments: Saboteur {
                notices: sender,
                folder: folder.clone(),
                sabotage,
                told: Arc::clone(&told),
            },
            notices,
            controls,
            observer: Box::new(|_| {}),
            core: Core::new(InDoubt::Ask, Duration::ZERO),
        });
        engine.begin(1, "real").unwrap();
        engine.start_run("r".into(), two_steps()).unwrap();
        let error = engine.work().await.unwrap_err();
        if !matches!(error, EngineError::Lapsed(_)) {
            assert_eq!(engine.give_up().await, Vec::<String>::new());
        }
        error
    });
    std::fs::remove_dir_all(folder).unwrap();
    let told = told.lock().unwrap().clone();
    (error, told)
}

#[test]
fn a_journal_that_fails_stops_the_sending_and_makes_safe_what_was_started() {
    let (error, told) = sabotaged("gives-up", |folder| {
        rusqlite::Connection::open(folder.join("journal.db"))
            .unwrap()
            .execute_batch("DROP TABLE journal")
            .unwrap();
    });
    match error {
        EngineError::Journal(error) => assert!(error.to_string().contains("journal")),
        other => panic!("{other:?}"),
    }
    assert_eq!(told, ["pump_1.start", "pump_1 safe"]);
}

#[test]
fn an_engine_that_was_overtaken_sends_nothing_more_and_leaves_safe_states_to_the_other() {
    let (error, told) = sabotaged("overtaken", |folder| {
        let mut journal = Journal::open(folder, Durability::Power).unwrap();
        let nothing = |_| Ok::<_, JournalError>((Vec::new(), Vec::new()));
        assert_eq!(journal.take_lease(&Holder::this_process(1), 0, nothing).unwrap(), 2);
    });
    match error {
        EngineError::Lapsed(error) => {
            let said = error.to_string();
            assert!(said.contains("epoch 1") && said.contains("(epoch 2)"), "{said}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(told, ["pump_1.start"]);
}

/// Works for a little while on what the journal in a folder says; what is told meanwhile. With
/// `word`, somebody lets the run go on.
async fn a_while(folder: &Path, word: bool) -> Vec<String> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (sender, notices) = mpsc::channel(16);
    let (handle, controls) = channel(EmergencyStop::detached(Clock::real()));
    let journal = Journal::open(folder, Durability::Power).unwrap();
    let mut core = Core::new(InDoubt::Ask, Duration::ZERO);
    let history = History::recover(&journal, &mut core, None).unwrap();
    let mut engine = Engine::new(EngineSetup {
        journal,
        telemetry: None,
        clock: Clock::real(),
        instruments: Saboteur {
            notices: sender,
            folder: folder.to_owned(),
            sabotage: |_| {},
            told: Arc::clone(&told),
        },
        notices,
        controls,
        observer: Box::new(|_| {}),
        core,
    });
    engine.begin(1, "real").unwrap();
    if history.runs.is_empty() {
        engine.start_run("r".into(), two_steps()).unwrap();
    } else {
        engine.hold_unvouched(&history.unvouched());
        engine.recover(false);
    }
    if word {
        let (target, by, reason) = (Some("r".to_owned()), "eva".to_owned(), String::new());
        let command = Command::Resume;
        handle.ask(Control::Command { target, command, by, reason }).unwrap();
    }
    let _ = tokio::time::timeout(Duration::from_millis(400), engine.work()).await;
    let told = told.lock().unwrap().clone();
    told
}

#[test]
fn a_run_whose_last_entries_were_lost_sends_nothing_before_a_person_lets_it() {
    let folder = std::env::temp_dir().join(format!("labloop-lost-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert_eq!(a_while(&folder, false).await.first().unwrap(), "pump_1.start");
        // The power fails, and the disk had lied: the intent of what was sent is gone.
        rusqlite::Connection::open(folder.join("journal.db"))
            .unwrap()
            .execute_batch(
                "DELETE FROM journal WHERE seq >= \
                 (SELECT min(seq) FROM journal WHERE kind = 'intent')",
            )
            .unwrap();
        let told = a_while(&folder, false).await;
        assert!(told.is_empty(), "{told:?}");
        // Nor does the next engine, which finds the loss noted and nobody's word.
        let told = a_while(&folder, false).await;
        assert!(told.is_empty(), "{told:?}");
        let told = a_while(&folder, true).await;
        assert_eq!(told.first().unwrap(), "pump_1.start");
    });
    let journal = Journal::open_read_only(&folder).unwrap();
    journal.verify().unwrap();
    let noted = journal.about("journal").unwrap();
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert_eq!(noted[0].kind, "journal_tail_lost");
    std::fs::remove_dir_all(folder).unwrap();
}
