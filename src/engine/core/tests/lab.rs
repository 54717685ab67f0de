//! Graphs made by hand, and an instrument made of a closure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::SECOND;
use crate::compiler::graph::{
    Condition, Edge, Effect, FailureKind, Graph, Node, NodeId, NodeKind, OnError, Place, Witness,
};
use crate::engine::core::{
    Action, Command, Core, Ending, Event, Failure, Heard, InDoubt, Parked, Reading, Record,
    RunState, Terms, Tick,
};
use crate::expr::{self, Expr, Value};

/// A graph with its two roots, `steps` and `finally`.
pub struct Draft {
    pub graph: Graph,
}

impl Draft {
    pub fn new() -> Draft {
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
            hold_states: BTreeMap::new(),
            stock: BTreeMap::new(),
            resume_within: None,
        };
        let mut draft = Draft { graph };
        draft.add(None, "steps", NodeKind::Group { hold: Vec::new() });
        draft
    }

    pub fn add(&mut self, parent: Option<u32>, name: &str, kind: NodeKind) -> u32 {
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

    pub fn action(&mut self, parent: u32, name: &str, instrument: &str, effect: Effect) -> u32 {
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
            stops: name == "stop",
            cancels: false,
        };
        self.add(Some(parent), name, kind)
    }

    /// The action leaves its instrument pumping (or whatever it is).
    pub fn starts(&mut self, id: u32, what: &str) -> u32 {
        if let NodeKind::Action { starts, .. } = &mut self.node(id).kind {
            starts.push(what.into());
        }
        id
    }

    /// The action stops its instrument.
    pub fn stops(&mut self, id: u32) -> u32 {
        if let NodeKind::Action { stops, .. } = &mut self.node(id).kind {
            *stops = true;
        }
        id
    }

    /// The action can be cancelled while it is under way.
    pub fn cancels(&mut self, id: u32) -> u32 {
        if let NodeKind::Action { cancels, .. } = &mut self.node(id).kind {
            *cancels = true;
        }
        id
    }

    pub fn wait(&mut self, parent: u32, name: &str, duration: &str) -> u32 {
        let kind = NodeKind::Wait { duration: expr::parse(duration).unwrap() };
        self.add(Some(parent), name, kind)
    }

    pub fn node(&mut self, id: u32) -> &mut Node {
        &mut self.graph.nodes[id as usize]
    }

    pub fn finally(&mut self) -> u32 {
        let id = self.add(None, "finally", NodeKind::Group { hold: Vec::new() });
        self.graph.finally = Some(NodeId(id));
        id
    }

    pub fn condition(text: &str) -> Condition {
        Condition { expr: expr::parse(text).unwrap(), text: text.into(), place: Place::default() }
    }
}

/// What the instrument does with the n-th command it gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reply {
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
    /// It does half of it, and nothing comes back until it is cancelled.
    HalfDone,
}

/// A lab that answers at once and keeps count.
pub struct Lab {
    pub core: Core,
    pub now: Tick,
    pub records: Vec<Record>,
    pub replies: VecDeque<Reply>,
    pub dispensed: f64,
    pub sent: Vec<String>,
    pub safe: Vec<String>,
    /// Hold states sent.
    pub held: Vec<String>,
    /// Hold states are not confirmed.
    pub deaf: bool,
    /// Hold states are not answered at all.
    pub slow: bool,
    /// Safe states are not confirmed.
    pub stubborn: bool,
    /// What was told of parked runs.
    pub parked: Vec<Vec<Parked>>,
    /// What commands and answers came to.
    pub heard: Vec<crate::engine::core::Reply>,
    pub rebooted: bool,
    /// Since when a restart makes each reading of a witness worthless.
    pub witnessed_since: Vec<Tick>,
    pub graphs: BTreeMap<String, Arc<Graph>>,
}

impl Lab {
    pub fn new(in_doubt: InDoubt, replies: &[Reply]) -> Lab {
        Lab {
            core: Core::new(in_doubt, Duration::ZERO),
            now: Tick(0),
            records: Vec::new(),
            replies: replies.iter().copied().collect(),
            dispensed: 100.0,
            sent: Vec::new(),
            safe: Vec::new(),
            held: Vec::new(),
            deaf: false,
            slow: false,
            stubborn: false,
            parked: Vec::new(),
            heard: Vec::new(),
            rebooted: false,
            witnessed_since: Vec::new(),
            graphs: BTreeMap::new(),
        }
    }

    pub fn start(&mut self, run: &str, draft: &Draft) {
        self.start_under(run, draft, Terms::default());
    }

    pub fn start_under(&mut self, run: &str, draft: &Draft, terms: Terms) {
        let graph = Arc::new(draft.graph.clone());
        self.graphs.insert(run.into(), Arc::clone(&graph));
        self.give(Event::StartRun { run: run.into(), graph, document: "d".into(), terms });
    }

    pub fn give(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let output = self.core.step(event, self.now);
            self.records.extend(output.records);
            self.heard.extend(output.replies);
            self.parked.extend(output.parked);
            for action in output.actions {
                events.extend(self.perform(action));
            }
        }
    }

    pub fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Send { run, step, attempt, instrument, action, args, .. } => {
                self.sent.push(format!("{instrument}.{action}"));
                let reply = self.replies.pop_front().unwrap_or(Reply::Done);
                let happens = matches!(reply, Reply::Done | Reply::LostAfter | Reply::SilentAfter);
                if happens && action == "dispense" {
                    self.dispensed += args["volume"].as_quantity().unwrap().value;
                }
                if reply == Reply::HalfDone && action == "dispense" {
                    self.dispensed += args["volume"].as_quantity().unwrap().value / 2.0;
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
                    Reply::Silent | Reply::SilentAfter | Reply::HalfDone => return None,
                };
                let (key, trace) = (step.key, String::new());
                Some(Event::Outcome { run, key, attempt, result, trace })
            }
            Action::ReadWitness { run, key, since, .. } => {
                self.witnessed_since.push(since);
                let value = Value::number(self.dispensed);
                let (rebooted, busy) = (self.rebooted, Some(false));
                let reading = Ok(Reading { value, rebooted, busy });
                Some(Event::Witnessed { run, key, reading })
            }
            Action::Analyse { run, key, .. } => Some(Event::Analysed {
                run,
                key,
                result: Ok(Value::number(1.0)),
                trace: String::new(),
            }),
            Action::Cancel { run, step, attempt, instrument } => {
                self.sent.push(format!("{instrument}.cancel"));
                let failure = Failure {
                    kind: FailureKind::Person,
                    message: "it was cancelled".into(),
                    effect_unknown: true,
                };
                let (key, trace, result) = (step.key, String::new(), Err(failure));
                Some(Event::Outcome { run, key, attempt, result, trace })
            }
            Action::Hold { run, instrument, how } => {
                self.held.push(format!("{instrument} {how:?}"));
                if self.slow {
                    return None;
                }
                let (confirmed, detail) = (!self.deaf, String::new());
                let trace = String::new();
                Some(Event::AtHold { run, instrument, confirmed, detail, trace })
            }
            Action::MakeSafe { run, instrument } => {
                self.safe.push(instrument.clone());
                let (confirmed, detail) = (!self.stubborn, String::new());
                let trace = String::new();
                Some(Event::MadeSafe { run, instrument, confirmed, detail, trace })
            }
        }
    }

    /// Lets time pass until nothing is due any more.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            let Some(next) = self.core.next_wake() else { return };
            self.now = self.now.max(next);
            self.give(Event::Wake);
        }
        panic!("it never comes to rest");
    }

    /// The engine dies; a new one reads the journal.
    pub fn crash(&mut self, in_doubt: InDoubt) {
        self.core = Core::new(in_doubt, Duration::ZERO);
        for record in &self.records {
            let graphs = &self.graphs;
            self.core.apply(record, self.now, || graphs.get(record.run()).cloned());
        }
        self.give(Event::Recovered { downtime: Duration::ZERO });
        self.settle();
    }

    pub fn state(&self, run: &str) -> RunState {
        self.core.run(run).unwrap().state()
    }

    /// Commands a run, and gives what it was answered.
    pub fn command(&mut self, run: &str, command: Command) -> crate::engine::core::Reply {
        self.heard.clear();
        self.give(Event::Command { run: run.into(), command, by: "Ada".into() });
        assert_eq!(self.heard.len(), 1, "one answer for each command");
        self.heard.remove(0)
    }

    pub fn answer(&mut self, run: &str, path: &str, answer: &str, by: &str) -> Heard {
        self.heard.clear();
        let (run, path) = (run.into(), path.into());
        let (answer, by) = (answer.into(), by.into());
        self.give(Event::Answer { run, path, question: None, answer, by });
        self.heard.remove(0).heard
    }

    /// Lets time pass, and whatever is due in it.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now.after(time);
        for _ in 0..10_000 {
            match self.core.next_wake() {
                Some(next) if next <= until => {
                    self.now = self.now.max(next);
                    self.give(Event::Wake);
                }
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("it never comes to rest");
    }

    /// The engine dies and another takes over at once, `downtime` later by its own word.
    pub fn restart(&mut self, downtime: Duration) {
        self.reread();
        self.give(Event::Recovered { downtime });
    }

    /// As `restart`, and the lab's clock went on meanwhile.
    pub fn restart_later(&mut self, downtime: Duration) {
        self.reread();
        self.now = self.now.after(downtime);
        self.give(Event::Recovered { downtime });
    }

    fn reread(&mut self) {
        self.core = Core::new(InDoubt::Ask, Duration::ZERO);
        for record in &self.records {
            let graphs = &self.graphs;
            self.core.apply(record, self.now, || graphs.get(record.run()).cloned());
        }
    }

    /// Records of a kind, by a question each.
    pub fn questions(&self) -> usize {
        self.records.iter().filter(|r| matches!(r, Record::Question { .. })).count()
    }

    pub fn ending(&self, run: &str) -> Option<Ending> {
        self.records.iter().find_map(|r| match r {
            Record::RunEnded { run: r, ending, .. } if r == run => Some(*ending),
            _ => None,
        })
    }

    pub fn count(&self, what: &str) -> usize {
        self.sent.iter().filter(|s| s.ends_with(what)).count()
    }
}
