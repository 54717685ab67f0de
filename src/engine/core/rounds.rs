//! Rounds of loops that nobody can look at any more.

use std::collections::BTreeSet;

use super::run::{Run, Status, StepKey};

impl Run {
    /// Forgets the steps of a round of a `repeat` when the next one begins: a name means the last
    /// round then, and without `history` no expression reaches an earlier one. So a loop of a
    /// million rounds needs the memory of one. (The rounds of a `for_each` are all read from
    /// behind it, and it has few.)
    pub(super) fn forget_round(&mut self, block: &StepKey, round: u32) {
        if self.plan.looks_back {
            return;
        }
        let mut rounds = block.rounds.clone();
        rounds.push(round);
        // SAFETY(lab): what set an instrument going is what sets it going again after a hold. It is
        // forgotten once something else does.
        let going: BTreeSet<StepKey> = self.going.values().flatten().cloned().collect();
        let mut over: Vec<StepKey> = std::mem::take(&mut self.kept_for_going);
        over.extend(
            self.steps
                .iter()
                .filter(|(key, step)| {
                    key.rounds.starts_with(&rounds)
                        && matches!(step.status, Status::Done | Status::PassedOver)
                        && self.is_inside(key.node, block.node)
                })
                .map(|(key, _)| key.clone()),
        );
        for key in over {
            if going.contains(&key) {
                self.kept_for_going.push(key);
            } else {
                self.steps.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use crate::compiler::graph::{Effect, Graph, Node, NodeId, NodeKind, OnError, Place};
    use crate::engine::core::{Action, Core, Event, InDoubt, Tick};
    use crate::expr::Expr;

    /// A loop of so many rounds with one step in it.
    fn graph(rounds: u32, level: Expr) -> Arc<Graph> {
        let node = |id: u32, name: &str, kind: NodeKind| Node {
            id: NodeId(id),
            name: name.into(),
            path: name.into(),
            parent: id.checked_sub(1).map(NodeId),
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
        let action = NodeKind::Action {
            role: "pump".into(),
            instrument: "pump_1".into(),
            action: "dose".into(),
            args: BTreeMap::from([("level".into(), level)]),
            effect: Effect::Once,
            witness: None,
            starts: Vec::new(),
            cancels: false,
            stops: false,
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
                node(1, "again", NodeKind::Repeat { max_times: rounds, until: None }),
                node(2, "dose", action),
            ],
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

    /// Runs it to its end; commands sent, and steps known in its last round.
    fn run(rounds: u32, level: Expr) -> (u32, usize) {
        let mut core = Core::new(InDoubt::Ask, Duration::ZERO);
        let (run, document) = ("r".to_owned(), "d".to_owned());
        let terms = crate::engine::core::Terms::default();
        let graph = graph(rounds, level);
        let mut next = Some(Event::StartRun { run, graph, document, terms });
        let (mut sent, mut known) = (0, 0);
        let mut now = Tick(0);
        while let Some(event) = next.take() {
            now.0 += 1_000;
            for action in core.step(event, now).actions {
                if let Action::Send { run, step, attempt, .. } = action {
                    sent += 1;
                    known = core.run(&run).map_or(0, |run| run.steps.len());
                    let (key, trace) = (step.key, String::new());
                    next = Some(Event::Outcome { run, key, attempt, result: Ok(None), trace });
                }
            }
        }
        (sent, known)
    }

    #[test]
    fn a_long_loop_knows_only_the_round_it_is_in() {
        let level = Expr::literal(crate::expr::Value::number(1.0));
        // And what set its instrument going last.
        assert_eq!(run(500, level), (500, 4));
    }

    /// All that the core keeps beside the records, in the course of so many rounds: the most there
    /// was of each.
    fn most_kept(rounds: u32) -> [usize; 14] {
        let mut core = Core::new(InDoubt::Ask, Duration::ZERO);
        let (run, document) = ("r".to_owned(), "d".to_owned());
        let terms = crate::engine::core::Terms::default();
        let graph = graph(rounds, Expr::literal(crate::expr::Value::number(1.0)));
        let mut next = Some(Event::StartRun { run, graph, document, terms });
        let (mut most, mut sent) = ([0; 14], 0);
        let mut now = Tick(0);
        while let Some(event) = next.take() {
            now.0 += 1;
            for action in core.step(event, now).actions {
                if let Action::Send { run, step, attempt, .. } = action {
                    sent += 1;
                    let (key, trace) = (step.key, String::new());
                    next = Some(Event::Outcome { run, key, attempt, result: Ok(None), trace });
                }
            }
            let Some(run) = core.run("r") else { continue };
            let kept = [
                core.timers.len(),
                core.watching.len(),
                core.asked.len(),
                core.baselines.len(),
                core.doubts.len(),
                core.blocked.len(),
                core.overtaken.len(),
                core.parked_told.len(),
                core.safe_sent.len(),
                core.stirred.len(),
                run.steps.len(),
                run.ready.len(),
                run.going.values().map(Vec::len).sum(),
                run.answers.len() + run.touched.len() + run.holds.len(),
            ];
            for (most, kept) in most.iter_mut().zip(kept) {
                *most = kept.max(*most);
            }
        }
        assert_eq!(sent, rounds);
        most
    }

    #[test]
    fn what_the_core_keeps_does_not_grow_with_the_steps_of_a_loop() {
        assert_eq!(most_kept(2_000), most_kept(20_000));
    }

    #[test]
    fn a_loop_whose_history_is_read_keeps_it() {
        let level = crate::expr::parse("loop.history.dose").unwrap();
        let (sent, known) = run(20, level);
        assert!(known > usize::try_from(sent).unwrap(), "{known} steps after {sent} commands");
    }
}
