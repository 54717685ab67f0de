//! Samples to whoever wants them, without waiting for anybody.
//!
//! ```text
//!              +-> mailbox (bounded) -> subscriber: samples, and gaps where it was too slow
//! feed.publish +-> mailbox (bounded) -> subscriber
//!              +-> ...
//! ```
//! Architecture invariant: the producer never waits for a consumer to do something. It shares one
//! lock with each, held by the consumer only to swap two queues, and by the producer to put
//! samples in. A full mailbox loses its own oldest samples; the consumer is told how many and
//! between which times, in the stream, where they are missing. Nothing here knows a runtime: a
//! thread waits with [`Subscription::wait`], a task polls [`Subscription::poll_ready`].

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::sample::{Sample, Tick};

/// Samples that a mailbox can hold at most: 2.5 MB.
pub const MAILBOX_MAX: usize = 1 << 16;

/// Number of a signal, given by the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalId(pub u32);

/// Signals that a subscriber wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All, those too that come to be later.
    All,
    /// These.
    These(BTreeSet<SignalId>),
}

/// Samples that a subscriber was too slow for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// How many were lost.
    pub lost: u64,
    /// Time of the earliest of them.
    pub first: Tick,
    /// Time of the latest of them.
    pub last: Tick,
}

/// What comes out of a subscription, in order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Item {
    /// A sample.
    Sample(SignalId, Sample),
    /// Here samples are missing.
    Gap(Gap),
}

#[derive(Debug, Default)]
struct Inside {
    queue: VecDeque<(SignalId, Sample)>,
    gap: Option<Gap>,
    lost: u64,
    ended: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Mailbox {
    wanted: Wanted,
    limit: usize,
    inside: Mutex<Inside>,
    news: Condvar,
}

impl Mailbox {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        // What is in it is whole after each statement: a panic elsewhere spoils nothing.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wants(&self, signal: SignalId) -> bool {
        match &self.wanted {
            Wanted::All => true,
            Wanted::These(these) => these.contains(&signal),
        }
    }

    fn put(&self, samples: &[(SignalId, Sample)]) {
        let mut wanted = samples.iter().filter(|(signal, _)| self.wants(*signal)).peekable();
        if wanted.peek().is_none() {
            return;
        }
        let mut inside = self.inside();
        for (signal, sample) in wanted {
            if inside.queue.len() >= self.limit
                && let Some((_, oldest)) = inside.queue.pop_front()
            {
                let tick = oldest.tick;
                let gap = inside.gap.get_or_insert(Gap { lost: 0, first: tick, last: tick });
                gap.lost += 1;
                gap.first = gap.first.min(tick);
                gap.last = gap.last.max(tick);
                inside.lost += 1;
            }
            inside.queue.push_back((*signal, *sample));
        }
        let waker = inside.waker.take();
        drop(inside);
        self.news.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Gives samples to all who subscribed.
#[derive(Debug, Default)]
pub struct Feed {
    mailboxes: Vec<Weak<Mailbox>>,
}

impl Feed {
    /// A subscription to what is published from now on; its mailbox holds `limit` samples, one at
    /// least and [`MAILBOX_MAX`] at most.
    pub fn subscribe(&mut self, wanted: Wanted, limit: usize) -> Subscription {
        let mailbox = Arc::new(Mailbox {
            wanted,
            limit: limit.clamp(1, MAILBOX_MAX),
            inside: Mutex::default(),
            news: Condvar::new(),
        });
        self.mailboxes.push(Arc::downgrade(&mailbox));
        Subscription { mailbox, spare: VecDeque::new() }
    }

    /// Gives samples to all who want them. Never waits for a consumer to take anything.
    pub fn publish(&mut self, samples: &[(SignalId, Sample)]) {
        self.mailboxes.retain(|mailbox| match mailbox.upgrade() {
            Some(mailbox) => {
                mailbox.put(samples);
                true
            }
            None => false,
        });
    }

    /// Subscriptions that are still held, as of the last publication.
    pub const fn subscribers(&self) -> usize {
        self.mailboxes.len()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        for mailbox in self.mailboxes.iter().filter_map(Weak::upgrade) {
            let mut inside = mailbox.inside();
            inside.ended = true;
            let waker = inside.waker.take();
            drop(inside);
            mailbox.news.notify_all();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// What a subscriber holds; dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    mailbox: Arc<Mailbox>,
    /// The queue that is swapped in, so that nothing is copied under the lock.
    spare: VecDeque<(SignalId, Sample)>,
}

impl Subscription {
    /// Takes all that is there, a gap first where samples were lost before them.
    pub fn take(&mut self) -> impl Iterator<Item = Item> + '_ {
        self.spare.clear();
        let gap = {
            let mut inside = self.mailbox.inside();
            std::mem::swap(&mut inside.queue, &mut self.spare);
            inside.gap.take()
        };
        let samples = self.spare.drain(..).map(|(signal, sample)| Item::Sample(signal, sample));
        gap.map(Item::Gap).into_iter().chain(samples)
    }

    /// Waits on this thread until there is something, the feed has ended, or the time is up.
    /// Whether there is something.
    pub fn wait(&self, at_most: Duration) -> bool {
        let inside = self.mailbox.inside();
        let (inside, _) = self
            .mailbox
            .news
            .wait_timeout_while(inside, at_most, |inside| inside.queue.is_empty() && !inside.ended)
            .unwrap_or_else(PoisonError::into_inner);
        !inside.queue.is_empty()
    }

    /// For a task: ready when there is something (`true`), or will never be (`false`).
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut inside = self.mailbox.inside();
        if !inside.queue.is_empty() {
            return Poll::Ready(true);
        }
        if inside.ended {
            return Poll::Ready(false);
        }
        inside.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Samples that this subscriber has lost since it subscribed.
    pub fn lost(&self) -> u64 {
        self.mailbox.inside().lost
    }

    /// Whether nothing will come any more.
    pub fn has_ended(&self) -> bool {
        let inside = self.mailbox.inside();
        inside.ended && inside.queue.is_empty()
    }
}

#[cfg(test)]
#[path = "subscription_tests.rs"]
mod tests;
