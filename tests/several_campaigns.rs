//! Several campaigns in one engine, on instruments that answer at once.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bench::Bench;
use labloop::compiler::graph::{Effect, Graph, Node, NodeId, NodeKind, OnError, Place};
use labloop::driver::{EmergencyStop, Notice, Outcome};
use labloop::engine::campaign::{
    Campaign, CampaignRecord, Conclusion, EndReason, Experiment, Hypothesis, Rules,
};
use labloop::engine::core::{Core, InDoubt, Terms};
use labloop::engine::shell::{
    Brain, BrainError, CAMPAIGNS_MAX, Engine, EngineError, EngineSetup, Finished, History,
    Instruments, Proposal, Refused, SearchSetup, control,
};
use labloop::expr::Value;
use labloop::store::{Durability, Journal};
use labloop::wire::Clock;
use tokio::sync::mpsc;

/// Answers every command with "done", at once.
struct Willing(mpsc::Sender<Notice>);

impl Instruments for Willing {
    fn send(
        &self,
        attempt: &str,
        _: &str,
        _: &str,
        _: BTreeMap<String, Value>,
        _: Duration,
    ) -> Result<(), Refused> {
        let outcome = Outcome::Done { value: None, trace: Vec::new() };
        let notice = Notice::Outcome { attempt: attempt.to_owned(), outcome };
        self.0.try_send(notice).map_err(|e| Refused(e.to_string()))
    }

    fn read(&self, _: &str, _: &str, _: &str) -> Result<(), Refused> {
        Err(Refused("nothing can be read".into()))
    }

    fn safe_state(&self, instrument: &str) -> Result<(), Refused> {
        let notice = Notice::SafeState {
            instrument: instrument.to_owned(),
            confirmed: true,
            detail: String::new(),
            trace: Vec::new(),
        };
        self.0.try_send(notice).map_err(|e| Refused(e.to_string()))
    }

    fn max_age(&self, _: &str, _: &str) -> Duration {
        Duration::from_secs(60)
    }
}

/// One command to one pump.
fn graph() -> Arc<Graph> {
    let node = |id: u32, parent: Option<u32>, kind: NodeKind| Node {
        id: NodeId(id),
        path: format!("step_{id}"),
        name: format!("step_{id}"),
        parent: parent.map(NodeId),
        slot: 0,
        claims: match &kind {
            NodeKind::Action { instrument, .. } => vec![instrument.clone()],
            _ => Vec::new(),
        },
        kind,
        expected: Duration::from_millis(1),
        deadline: Some(Duration::from_secs(10)),
        retry: None,
        on_error: OnError::Fail,
        fresh: Vec::new(),
        place: Place::default(),
    };
    let kind = NodeKind::Action {
        role: "pump".into(),
        instrument: "pump".into(),
        action: "set".into(),
        args: BTreeMap::new(),
        effect: Effect::Repeatable,
        witness: None,
        starts: Vec::new(),
        stops: false,
        cancels: false,
    };
    Arc::new(Graph {
        protocol: "one".into(),
        hash: "0".into(),
        parameters: BTreeMap::new(),
        derived: BTreeMap::new(),
        roles: BTreeMap::new(),
        require: Vec::new(),
        nodes: vec![node(0, None, NodeKind::Group { hold: Vec::new() }), node(1, Some(0), kind)],
        edges: Vec::new(),
        finally: None,
        results: Vec::new(),
        started_instruments: Vec::new(),
        places: Vec::new(),
        stock: BTreeMap::new(),
        resume_within: None,
        hold_states: BTreeMap::new(),
    })
}

/// What a planner does when it is asked for the n-th time.
#[derive(Debug, Clone, Copy)]
enum Mind {
    Sound,
    FailsAt(u32),
    PanicsAt(u32),
    PanicsLearning,
    /// Thinks for this long, and notes how many think with it.
    Slow(Duration),
    /// Does not come back from its n-th thought.
    HangsAt(u32),
}

struct Planner {
    mind: Mind,
    asked: u32,
    thinking: Arc<Thinking>,
}

#[derive(Default)]
struct Thinking {
    now: AtomicUsize,
    most: AtomicUsize,
    order: Mutex<Vec<String>>,
}

impl Brain for Planner {
    fn propose(&mut self, count: u32) -> Result<Proposal, BrainError> {
        self.asked += 1;
        match self.mind {
            Mind::FailsAt(n) if n == self.asked => {
                return Err(BrainError("the matrix is singular".into()));
            }
            Mind::PanicsAt(n) if n == self.asked => panic!("index out of bounds"),
            Mind::HangsAt(n) if n == self.asked => std::thread::sleep(Duration::from_secs(3_600)),
            Mind::Slow(time) => {
                let now = self.thinking.now.fetch_add(1, Ordering::SeqCst) + 1;
                self.thinking.most.fetch_max(now, Ordering::SeqCst);
                std::thread::sleep(time);
                self.thinking.now.fetch_sub(1, Ordering::SeqCst);
            }
            _ => {}
        }
        let hypothesis = |n: u32| Hypothesis {
            suggestion: u64::from(self.asked + n),
            parameters: BTreeMap::new(),
            predictions: BTreeMap::new(),
            probability_of_improvement: None,
            probability_feasible: None,
            reason: "a test".into(),
        };
        Ok(Proposal::Experiments((0..count).map(hypothesis).collect()))
    }

    fn learn(&mut self, _: &Hypothesis, _: &Conclusion) -> Result<(), BrainError> {
        match self.mind {
            Mind::PanicsLearning => panic!("the model is gone"),
            _ => Ok(()),
        }
    }

    fn restore(&mut self, _: &[Experiment]) -> Result<(), BrainError> {
        Ok(())
    }
}

fn setup(id: &str, mind: Mind, experiments: u32, thinking: &Arc<Thinking>) -> SearchSetup {
    let rules = Rules { experiments, ..Rules::unbounded() };
    let (name, order) = (id.to_owned(), Arc::clone(thinking));
    SearchSetup {
        machine: Campaign::new(id.to_owned(), rules),
        brain: Box::new(Planner { mind, asked: 0, thinking: Arc::clone(thinking) }),
        compile: Box::new(move |_| {
            order.order.lock().unwrap().push(name.clone());
            Ok(graph())
        }),
        goal: Box::new(|_| None),
        objectives: Vec::new(),
        terms: Terms::default(),
        begin: Some(CampaignRecord::Started {
            name: id.to_owned(),
            bundle: "none".into(),
            seed: 1,
            experiments,
            version: "test".into(),
            parameters: BTreeMap::new(),
            key: None,
        }),
    }
}

fn work(bench: &Bench, setups: Vec<SearchSetup>) -> (Finished, History) {
    std::fs::create_dir_all(bench.state()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let finished = runtime.block_on(async {
        let (sender, notices) = mpsc::channel(4_096);
        let (_keep, controls) = control::channel(EmergencyStop::detached(Clock::real()));
        let mut engine = Engine::new(EngineSetup {
            journal: Journal::open(&bench.state(), Durability::Process).unwrap(),
            telemetry: None,
            clock: Clock::real(),
            instruments: Willing(sender),
            notices,
            controls,
            observer: Box::new(|_| {}),
            core: Core::new(InDoubt::Ask, Duration::ZERO),
        });
        engine.begin(1, "real").unwrap();
        engine.set_patience_with_planners(Duration::from_secs(1));
        for setup in setups {
            engine.add_campaign(setup).unwrap();
        }
        engine.work().await.unwrap()
    });
    let journal = Journal::open_read_only(&bench.state()).unwrap();
    (finished, History::read(&journal, None).unwrap())
}

fn concluded(history: &History, id: &str) -> usize {
    history.campaign_named(Some(id)).unwrap().machine.concluded()
}

#[test]
fn a_planner_that_fails_ends_its_campaign_and_no_other() {
    for (mind, word) in [
        (Mind::FailsAt(3), "the matrix is singular"),
        (Mind::PanicsAt(3), "index out of bounds"),
        (Mind::PanicsLearning, "the model is gone"),
    ] {
        let bench = Bench::new("minds");
        let thinking = Arc::default();
        let (finished, history) = work(
            &bench,
            vec![setup("bad-1", mind, 9, &thinking), setup("good-1", Mind::Sound, 9, &thinking)],
        );
        let Some(EndReason::Internal(why)) = finished.reason("bad-1") else {
            panic!("{mind:?}: {finished:?}");
        };
        assert!(why.contains(word), "{why}");
        assert!(matches!(finished.reason("good-1"), Some(EndReason::BudgetSpent(_))));
        assert_eq!(concluded(&history, "good-1"), 9);
        assert!(history.open_runs().next().is_none(), "{mind:?} left a run behind");
    }
}

/// Planners that do not come back are given up, and the process can end although they compute.
#[test]
fn row_62_a_planner_that_hangs_ends_its_campaign_and_no_other() {
    let bench = Bench::new("hangs");
    let thinking = Arc::default();
    let all = vec![
        setup("bad-1", Mind::HangsAt(2), 9, &thinking),
        setup("bad-2", Mind::HangsAt(2), 9, &thinking),
        setup("good-1", Mind::Sound, 9, &thinking),
    ];
    let (finished, history) = work(&bench, all);
    for id in ["bad-1", "bad-2"] {
        let Some(EndReason::Internal(why)) = finished.reason(id) else { panic!("{finished:?}") };
        assert!(why.contains("did not answer within 1 s"), "{id}: {why}");
    }
    assert!(matches!(finished.reason("good-1"), Some(EndReason::BudgetSpent(_))));
    assert_eq!(concluded(&history, "good-1"), 9);
}

#[test]
fn row_62_only_so_many_planners_are_given_up() {
    let bench = Bench::new("hang");
    let thinking = Arc::default();
    let ids: Vec<String> = (1..=11).map(|n| format!("bad-{n}")).collect();
    let hangs = |id: &String| setup(id, Mind::HangsAt(1), 9, &thinking);
    let (finished, _) = work(&bench, ids.iter().map(hangs).collect());
    let told = |word: &str| {
        let says = |id: &&String| match finished.reason(id) {
            Some(EndReason::Internal(why)) => why.contains(word),
            _ => false,
        };
        ids.iter().filter(says).count()
    };
    let (given_up, refused) = (told("was given up"), told("restart labloop"));
    assert_eq!(given_up + refused, ids.len(), "{finished:?}");
    // Two more may have been begun when the eighth was given up.
    assert!((8..=10).contains(&given_up), "{given_up}");
}

#[test]
fn planners_take_turns_and_few_think_at_once() {
    let bench = Bench::new("turns");
    let thinking: Arc<Thinking> = Arc::default();
    let slow = Mind::Slow(Duration::from_millis(5));
    let ids = ["a-1", "b-1", "c-1", "d-1", "e-1"];
    let setups = ids.iter().map(|id| setup(id, slow, 8, &thinking)).collect();
    let (_, history) = work(&bench, setups);
    for id in ids {
        assert_eq!(concluded(&history, id), 8);
    }
    let most = thinking.most.load(Ordering::SeqCst);
    assert_eq!(most, 2, "{most} planners thought at once");
    // None waits while others go on for long.
    let order = thinking.order.lock().unwrap();
    for id in ids {
        let turns: Vec<usize> =
            order.iter().enumerate().filter(|(_, o)| *o == id).map(|(at, _)| at).collect();
        assert!(turns[0] < 2 * ids.len(), "{id} came first at {}: {order:?}", turns[0]);
        let longest = turns.windows(2).map(|w| w[1] - w[0]).max().unwrap();
        assert!(longest <= 2 * ids.len(), "{id} waited for {longest} others: {order:?}");
    }
}

#[test]
fn only_so_many_campaigns_are_open_at_once() {
    let bench = Bench::new("many");
    let thinking = Arc::default();
    std::fs::create_dir_all(bench.state()).unwrap();
    let (sender, notices) = mpsc::channel(1);
    let (_keep, controls) = control::channel(EmergencyStop::detached(Clock::real()));
    let mut engine = Engine::new(EngineSetup {
        journal: Journal::open(&bench.state(), Durability::Process).unwrap(),
        telemetry: None,
        clock: Clock::real(),
        instruments: Willing(sender),
        notices,
        controls,
        observer: Box::new(|_| {}),
        core: Core::new(InDoubt::Ask, Duration::ZERO),
    });
    engine.begin(1, "real").unwrap();
    for n in 1..=CAMPAIGNS_MAX {
        engine.add_campaign(setup(&format!("c-{n}"), Mind::Sound, 1, &thinking)).unwrap();
    }
    let refused = engine.add_campaign(setup("c-99", Mind::Sound, 1, &thinking)).unwrap_err();
    assert!(matches!(refused, EngineError::Campaign(_)), "{refused}");
    assert!(refused.to_string().contains("32 campaigns are open"), "{refused}");
}
