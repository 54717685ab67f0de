//! Planners think on threads of their own, for so long and no longer.
//!
//! A thread cannot be ended from outside: a planner that does not come back is given up and goes on
//! computing until its process ends. How many of those there can be is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::brain::{Brain, BrainError};
use super::searches::{Thought, guarded};

/// Longest time a planner may think, in wall time. The slowest fits known take a minute; one that
/// takes fifteen will not come back.
const THINK_MAX: Duration = Duration::from_secs(15 * 60);
/// Planners that were given up and still compute, at most: each takes a core from all others, and
/// keeps its memory.
const LOST_MAX: usize = 8;

/// One planner's turn.
pub(super) struct Turn {
    pub(super) campaign: String,
    /// Which of the thoughts begun so far it is.
    pub(super) number: u64,
    /// How many experiments it is asked for.
    pub(super) count: u32,
}

/// Planners that think.
pub(super) struct Thinking {
    thoughts: JoinSet<Thought>,
    patience: Duration,
    /// Threads that have not ended, given up or not.
    alive: Arc<AtomicUsize>,
}

impl Thinking {
    pub(super) fn new() -> Thinking {
        Thinking { thoughts: JoinSet::new(), patience: THINK_MAX, alive: Arc::default() }
    }

    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// How many think and are waited for.
    pub(super) fn len(&self) -> usize {
        self.thoughts.len()
    }

    /// The next planner that comes back, or is given up.
    ///
    /// Cancel safety: a thought stays in the set until it is taken.
    pub(super) async fn next(&mut self) -> Result<Thought, BrainError> {
        match self.thoughts.join_next().await {
            Some(thought) => {
                thought.map_err(|error| BrainError(format!("its thread ended: {error}")))
            }
            None => std::future::pending().await,
        }
    }

    /// Lets a planner think. `jumps`: the clock jumps to the next timer when nothing else can run, so
    /// that a deadline would be over at once; there, on virtual instruments, it has none.
    pub(super) fn begin(&mut self, turn: Turn, brain: Box<dyn Brain>, jumps: bool) {
        if jumps {
            self.thoughts.spawn_blocking(move || think(turn, brain));
            return;
        }
        let failed = |turn: Turn, why: String| Thought {
            campaign: turn.campaign,
            turn: turn.number,
            brain: None,
            proposal: Err(BrainError(why)),
        };
        let lost = self.alive.load(Ordering::SeqCst).saturating_sub(self.thoughts.len());
        if lost >= LOST_MAX {
            let why = format!(
                "{lost} planners that did not answer are still computing, and more are not begun: \
                 restart labloop, which takes its open campaigns up again"
            );
            self.thoughts.spawn(async move { failed(turn, why) });
            return;
        }
        let (answer, answered) = oneshot::channel();
        let (campaign, number) = (turn.campaign.clone(), turn.number);
        let again = Turn { campaign, number, count: turn.count };
        let alive = Arc::clone(&self.alive);
        alive.fetch_add(1, Ordering::SeqCst);
        let thread = std::thread::Builder::new().name("planner".to_owned()).spawn(move || {
            let thought = think(turn, brain);
            alive.fetch_sub(1, Ordering::SeqCst);
            // Nobody waits for it any more: it was given up.
            drop(answer.send(thought));
        });
        if let Err(error) = thread {
            self.alive.fetch_sub(1, Ordering::SeqCst);
            let why = format!("no thread could be begun for it: {error}");
            self.thoughts.spawn(async move { failed(again, why) });
            return;
        }
        let patience = self.patience;
        self.thoughts.spawn(async move {
            match tokio::time::timeout(patience, answered).await {
                Ok(Ok(thought)) => thought,
                Ok(Err(_)) => failed(again, "its thread ended without a word".to_owned()),
                Err(_) => {
                    let limit = in_words(patience);
                    let why = format!("it did not answer within {limit}, and was given up");
                    failed(again, why)
                }
            }
        });
    }
}

fn think(turn: Turn, mut brain: Box<dyn Brain>) -> Thought {
    let Turn { campaign, number: turn, count } = turn;
    let thought = guarded("the planner", move || {
        let proposal = brain.propose(count);
        (brain, proposal)
    });
    match thought {
        Ok((brain, proposal)) => Thought { campaign, turn, brain: Some(brain), proposal },
        // What is left of it after a panic is not asked again.
        Err(why) => Thought { campaign, turn, brain: None, proposal: Err(BrainError(why)) },
    }
}

fn in_words(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}
