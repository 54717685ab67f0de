//! Analyses under way: built-in functions at once, programs each on a thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::process::{self, Job};
use super::searches::guarded;
use crate::analysis::{self, AnalysisError, Inputs};
use crate::compiler::graph::{FailureKind, Graph, NodeKind, Process};
use crate::engine::core::{Event, Failure, StepKey};
use crate::expr::Value;
use crate::store::{Document, Journal};

/// Most programs at once; the next ones wait, with their deadlines not yet running. A program is
/// mostly waited for by one run, and runs are few.
const PROGRAMS_MAX: usize = 64;
/// Deadline of a program in a graph that names none; the compiler asks for one.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(60);

/// Programs under way and waiting.
pub(super) struct Analyses {
    done: mpsc::UnboundedSender<(String, StepKey, process::Ended)>,
    ended: mpsc::UnboundedReceiver<(String, StepKey, process::Ended)>,
    /// Set to end a program whose result nobody wants.
    running: BTreeMap<(String, StepKey), Arc<AtomicBool>>,
    waiting: Vec<(String, StepKey, Job)>,
    /// How a built-in function and a program are called; tests put others in their place.
    call: fn(&str, &Inputs) -> Result<Value, AnalysisError>,
    perform: fn(&Job, &AtomicBool) -> process::Ended,
}

/// One analysis, as the core asks for it.
pub(super) struct Asked {
    pub run: String,
    pub key: StepKey,
    pub function: String,
    pub inputs: Inputs,
}

impl Analyses {
    pub(super) fn new() -> Analyses {
        // At most one message for each program under way, which are bounded.
        let (done, ended) = mpsc::unbounded_channel();
        let (running, waiting) = (BTreeMap::new(), Vec::new());
        Analyses { done, ended, running, waiting, call: analysis::call, perform: process::run }
    }

    /// Begins an analysis; the event if it is over at once.
    pub(super) fn begin(
        &mut self,
        asked: Asked,
        graph: &Graph,
        journal: &Journal,
    ) -> Option<Event> {
        let Asked { run, key, function, inputs } = asked;
        let node = graph.node(key.node);
        let process = match node.map(|n| &n.kind) {
            Some(NodeKind::Analyse { process: Some(process), .. }) => process,
            _ => {
                let result = self.call_built_in(&function, &inputs);
                return Some(Event::Analysed { run, key, result, trace: String::new() });
            }
        };
        let texts = match texts(process, journal) {
            Ok(texts) => texts,
            Err(why) => {
                let result = Err(Failure::without_effect(FailureKind::Internal, why));
                return Some(Event::Analysed { run, key, result, trace: String::new() });
            }
        };
        let deadline = node.and_then(|n| n.deadline).unwrap_or(DEADLINE_DEFAULT);
        let job = Job { process: (**process).clone(), texts, inputs, deadline };
        self.waiting.push((run, key, job));
        self.start();
        None
    }

    /// If it panics, its step fails and the engine goes on.
    fn call_built_in(&self, function: &str, inputs: &Inputs) -> Result<Value, Failure> {
        match guarded(&format!("the analysis `{function}`"), || (self.call)(function, inputs)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Failure::without_effect(FailureKind::NoValue, error.to_string())),
            Err(why) => Err(Failure::without_effect(FailureKind::Internal, why)),
        }
    }

    fn start(&mut self) {
        while self.running.len() < PROGRAMS_MAX && !self.waiting.is_empty() {
            let (run, key, job) = self.waiting.remove(0);
            let cancelled = Arc::new(AtomicBool::new(false));
            self.running.insert((run.clone(), key.clone()), Arc::clone(&cancelled));
            let (done, perform) = (self.done.clone(), self.perform);
            tokio::task::spawn_blocking(move || {
                let ended = guarded("what runs the program", || perform(&job, &cancelled));
                let ended = ended.unwrap_or_else(|why| {
                    (Err(Failure::without_effect(FailureKind::Internal, why)), String::new())
                });
                // Nobody listens any more when the engine has ended.
                drop(done.send((run, key, ended)));
            });
        }
    }

    /// The next one that ends.
    ///
    /// Cancel safety: as `recv` of the channel.
    pub(super) async fn next(&mut self) -> Event {
        match self.ended.recv().await {
            Some((run, key, (result, trace))) => {
                self.running.remove(&(run.clone(), key.clone()));
                self.start();
                Event::Analysed { run, key, result, trace }
            }
            // The sender lives as long as this does.
            None => std::future::pending().await,
        }
    }

    /// Ends the programs of a run that is over.
    pub(super) fn forget(&mut self, run: &str) {
        self.waiting.retain(|(of, ..)| of != run);
        for ((of, _), cancelled) in &self.running {
            if of == run {
                cancelled.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Analyses {
    fn drop(&mut self) {
        for cancelled in self.running.values() {
            cancelled.store(true, Ordering::Relaxed);
        }
    }
}

/// The files of a program as they were kept when its run was started.
fn texts(process: &Process, journal: &Journal) -> Result<Vec<(String, String)>, String> {
    process
        .scripts
        .iter()
        .map(|(path, script)| {
            let text = journal.document(&script.sha256).map_err(|e| e.to_string())?;
            let text = text.ok_or_else(|| format!("the text of `{path}` was not kept"))?;
            Ok((path.clone(), text))
        })
        .collect()
}

/// The files of all programs of a graph fresh from the compiler, to be kept.
pub(super) fn scripts(graph: &Graph) -> Vec<Document> {
    let processes = graph.nodes.iter().filter_map(|node| match &node.kind {
        NodeKind::Analyse { process, .. } => process.as_deref(),
        _ => None,
    });
    processes
        .flat_map(|process| process.scripts.values())
        .map(|script| Document::new("script", script.source.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::graph::NodeId;

    /// What an analysis ended with must be a failure that tells of the panic.
    fn told(result: Result<Value, Failure>) -> String {
        let failure = result.unwrap_err();
        assert_eq!((failure.kind, failure.effect_unknown), (FailureKind::Internal, false));
        failure.message
    }

    #[test]
    fn row_17_a_built_in_analysis_that_panics_fails_its_step() {
        let mut analyses = Analyses::new();
        analyses.call = |function, _| panic!("no peak in `{function}`");
        let message = told(analyses.call_built_in("beer_lambert", &Inputs::new()));
        assert_eq!(message, "the analysis `beer_lambert` panicked: no peak in `beer_lambert`");
    }

    #[tokio::test]
    async fn row_17_a_panic_beside_a_program_fails_its_step_and_leaves_its_place_to_others() {
        let mut analyses = Analyses::new();
        analyses.perform = |_, _| panic!("no room");
        let (argv, scripts, returns) = (vec!["fit".into()], BTreeMap::new(), BTreeMap::new());
        let process = Process { argv, scripts, memory: 0, returns };
        let (texts, inputs, deadline) = (Vec::new(), Inputs::new(), DEADLINE_DEFAULT);
        let key = StepKey { node: NodeId(1), rounds: Vec::new() };
        analyses.waiting.push(("r".into(), key, Job { process, texts, inputs, deadline }));
        analyses.start();
        let ended = tokio::time::timeout(Duration::from_secs(20), analyses.next()).await;
        let Ok(Event::Analysed { result, .. }) = ended else { panic!("its step waits for ever") };
        assert_eq!(told(result), "what runs the program panicked: no room");
        assert!(analyses.running.is_empty());
    }
}
