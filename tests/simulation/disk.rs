//! The journal's disk: what is written, what of it is durable, who may write.
//!
//! As the store keeps it: a commit is whole or not there, a sync makes all before it durable, and a
//! commit of an engine whose epoch has lapsed is refused. A power failure keeps any number of the
//! commits that were not synced, in their order (the chain of hashes cuts what follows a gap); a
//! torn one is cut at a record.

use labloop::engine::campaign::CampaignRecord;
use labloop::engine::core::{Basis, Record, Tick};

use super::rng::Rng;

/// One entry.
#[derive(Debug, Clone)]
pub struct Line {
    /// Lab time.
    pub tick: Tick,
    /// Engine that wrote it.
    pub epoch: u64,
    /// Commit it came with.
    pub commit: u64,
    /// What.
    pub entry: Entry,
}

/// What an entry says.
#[derive(Debug, Clone)]
pub enum Entry {
    /// An engine took the folder.
    Engine,
    /// An instrument was confirmed safe after the run that had left it otherwise.
    Freed(String),
    /// A person took an instrument out, or gave it back.
    Hand(String, bool),
    /// What the records after it rest on.
    Basis(Box<Basis>),
    /// A fact about a run.
    Run(Record),
    /// A fact about the campaign.
    Campaign(Box<CampaignRecord>),
}

impl Line {
    /// The fact, if it is one.
    pub fn record(&self) -> Option<&Record> {
        match &self.entry {
            Entry::Run(record) => Some(record),
            Entry::Engine
            | Entry::Freed(_)
            | Entry::Hand(..)
            | Entry::Basis(_)
            | Entry::Campaign(_) => None,
        }
    }
}

/// The journal.
#[derive(Debug, Default)]
pub struct Disk {
    /// All that is written.
    pub lines: Vec<Line>,
    /// So many of them survive anything.
    pub durable: usize,
    /// Epoch of the engine that may write.
    pub epoch: u64,
    commits: u64,
}

/// Why an append failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lapsed;

impl Disk {
    /// A new engine takes the folder: the epoch rises, durably.
    pub fn take(&mut self, tick: Tick) -> u64 {
        self.epoch += 1;
        self.commits += 1;
        let (epoch, commit) = (self.epoch, self.commits);
        self.lines.push(Line { tick, epoch, commit, entry: Entry::Engine });
        self.durable = self.lines.len();
        epoch
    }

    /// One commit.
    pub fn append(&mut self, epoch: u64, entries: Vec<(Tick, Entry)>) -> Result<(), Lapsed> {
        if epoch != self.epoch {
            return Err(Lapsed);
        }
        self.commits += 1;
        let commit = self.commits;
        let line = |(tick, entry)| Line { tick, epoch, commit, entry };
        self.lines.extend(entries.into_iter().map(line));
        Ok(())
    }

    /// Whether the start of a run is written, durable or not.
    pub fn has_started(&self, run: &str) -> bool {
        let starts = |line: &Line| matches!(line.record(), Some(Record::RunStarted { run: started, .. }) if started == run);
        self.lines.iter().any(starts)
    }

    /// What is written is durable.
    pub fn sync(&mut self) {
        self.durable = self.lines.len();
    }

    /// Lab time of the last entry.
    pub fn last_tick(&self) -> Tick {
        self.lines.last().map_or(Tick(0), |l| l.tick)
    }

    /// The power fails. Returns how many entries are gone, and whether a commit was cut.
    pub fn power_loss(&mut self, rng: &mut Rng, torn: bool) -> (usize, bool) {
        let tail = self.lines.len() - self.durable;
        let mut keep = self.durable + rng.below(tail as u64 + 1) as usize;
        let mut cut = false;
        while keep > self.durable
            && keep < self.lines.len()
            && self.lines[keep - 1].commit == self.lines[keep].commit
        {
            if torn {
                cut = true;
                break;
            }
            keep -= 1;
        }
        let gone = self.lines.len() - keep;
        self.lines.truncate(keep);
        self.durable = keep;
        (gone, cut)
    }
}
