//! The instruments: what they were told, what they did, and when.
//!
//! An instrument takes commands in their order. What it was told begins to have its effect at some
//! time up to the settle time later (a buffered line, a busy controller), and a dose or a move takes
//! its time from there. It knows nothing of runs; the tag that travels with a command is for the
//! oracle, which is why the tag is never looked at here.

use labloop::engine::core::StepKey;

/// Second, in nanoseconds of true time.
pub const S: u64 = 1_000_000_000;
/// Millisecond.
pub const MS: u64 = 1_000_000;

/// Whose command it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Tag {
    /// Run.
    pub run: String,
    /// Step.
    pub key: StepKey,
    /// Path of the step.
    pub path: String,
    /// Attempt.
    pub attempt: u32,
    /// Place of its intent in the journal.
    pub intent: usize,
}

/// What sending twice would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nothing.
    Read,
    /// The same.
    Repeatable,
    /// Twice as much, and a witness tells.
    Verifiable,
    /// Twice as much.
    Once,
}

/// What an instrument is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum What {
    /// Run until stopped.
    Set,
    /// Stop.
    Stop,
    /// Mark the begin of a hold.
    Grip,
    /// Mark its end.
    Free,
    /// So many litres... of whatever unit the value is in.
    Dose(f64),
    /// To a place.
    Move(f64),
    /// Nothing can tell.
    Inject,
    /// Say a number.
    Measure,
}

impl What {
    /// From the words of a command.
    pub fn of(action: &str, number: Option<f64>) -> What {
        match action {
            "set" => What::Set,
            "stop" => What::Stop,
            "grip" => What::Grip,
            "free" => What::Free,
            "dose" => What::Dose(number.expect("a volume")),
            "move" => What::Move(number.expect("a place")),
            "inject" => What::Inject,
            "measure" => What::Measure,
            other => panic!("no such action: {other}"),
        }
    }

    /// Its class, by the definition.
    pub fn class(self) -> Class {
        match self {
            What::Measure => Class::Read,
            What::Set | What::Stop | What::Grip | What::Free => Class::Repeatable,
            What::Dose(_) | What::Move(_) => Class::Verifiable,
            What::Inject => Class::Once,
        }
    }
}

impl Class {
    /// Whether sending twice does harm.
    pub fn counts(self) -> bool {
        matches!(self, Class::Verifiable | Class::Once)
    }
}

/// A command that an instrument has and has not ended.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Number, unique in the schedule.
    pub id: u64,
    /// Whose.
    pub tag: Tag,
    /// What.
    pub what: What,
    /// Its effect begins.
    pub starts: u64,
    /// Its effect is complete.
    pub ends: u64,
}

/// Something that happened to a sample.
#[derive(Debug, Clone)]
pub struct Effect {
    /// By whose command.
    pub tag: Tag,
    /// All of it (1), or a part.
    pub part: f64,
}

/// One instrument.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Name in the lab.
    pub name: &'static str,
    /// Dosed since it started; lost in a restart.
    pub counter: f64,
    /// Where it stands; lost in a restart.
    pub position: f64,
    /// Whose command set it going; `None`: it is safe.
    pub running: Option<Tag>,
    /// Since when.
    pub running_since: u64,
    /// Whose block holds it, and the path of the block.
    pub gripped: Option<(String, String)>,
    /// Whether anything can reach it.
    pub link_up: bool,
    /// Commands it has.
    pub pending: Vec<Pending>,
    /// All that it did.
    pub effects: Vec<Effect>,
    /// When it last started.
    pub booted: u64,
    /// Whether it says that it is busy.
    pub tells_busy: bool,
    /// Longest time until an effect begins.
    pub slowness: u64,
    /// How long a dose or a move takes from there.
    pub pace: u64,
}

impl Unit {
    /// A unit that has just started.
    pub fn new(name: &'static str) -> Unit {
        Unit {
            name,
            counter: 0.0,
            position: 0.0,
            running: None,
            running_since: 0,
            gripped: None,
            link_up: true,
            pending: Vec::new(),
            effects: Vec::new(),
            booted: 0,
            tells_busy: true,
            slowness: 0,
            pace: 2 * S,
        }
    }

    /// Takes a command. Returns when its effect will be complete.
    pub fn take(&mut self, id: u64, tag: Tag, what: What, now: u64, delay: u64) -> u64 {
        // In order; but never later than what the definition admits.
        let free = self.pending.iter().map(|p| p.ends).max().unwrap_or(0);
        let latest = now + super::protocols::SETTLE_S * S;
        let starts = (now + delay).max(free.min(latest));
        let ends = match what {
            What::Dose(_) | What::Move(_) => starts + self.pace,
            _ => starts,
        };
        self.pending.push(Pending { id, tag, what, starts, ends });
        ends
    }

    /// A command comes to its end. False if it was dropped before.
    pub fn finish(&mut self, id: u64, now: u64) -> bool {
        let Some(index) = self.pending.iter().position(|p| p.id == id) else { return false };
        let done = self.pending.remove(index);
        self.happen(done.tag, done.what, 1.0, now);
        true
    }

    fn happen(&mut self, tag: Tag, what: What, part: f64, now: u64) {
        match what {
            What::Set => {
                self.running = Some(tag.clone());
                self.running_since = now;
            }
            What::Stop => self.running = None,
            What::Grip => {
                let block = tag.path.rsplit_once('/').map_or("", |(block, _)| block);
                self.gripped = Some((tag.run.clone(), block.to_owned()));
            }
            What::Free => self.gripped = None,
            What::Dose(volume) => self.counter += volume * part,
            What::Move(place) => self.position += (place - self.position) * part,
            What::Inject | What::Measure => {}
        }
        if what.class().counts() && part > 0.0 {
            self.effects.push(Effect { tag, part });
        }
    }

    /// Everything stops where it is. Returns whether something was stopped halfway.
    pub fn halt(&mut self, now: u64) -> bool {
        let mut halfway = false;
        for stopped in std::mem::take(&mut self.pending) {
            if stopped.starts < now && stopped.ends > stopped.starts {
                let part = (now - stopped.starts) as f64 / (stopped.ends - stopped.starts) as f64;
                halfway = true;
                self.happen(stopped.tag, stopped.what, part.min(1.0), now);
            }
        }
        self.running = None;
        halfway
    }

    /// One command is cancelled. `None`: it is not there (any more); otherwise whether it was stopped
    /// halfway.
    pub fn cancel(&mut self, intent: usize, now: u64) -> Option<bool> {
        let index = self.pending.iter().position(|p| p.tag.intent == intent)?;
        let stopped = self.pending.remove(index);
        let halfway = stopped.starts < now && stopped.ends > stopped.starts;
        if halfway {
            let part = (now - stopped.starts) as f64 / (stopped.ends - stopped.starts) as f64;
            self.happen(stopped.tag, stopped.what, part.min(1.0), now);
        }
        Some(halfway)
    }

    /// It loses its power for a moment.
    pub fn reboot(&mut self, now: u64) -> bool {
        let halfway = self.halt(now);
        self.counter = 0.0;
        self.position = 0.0;
        self.booted = now;
        halfway
    }

    /// What a property reads now.
    pub fn read(&self, property: &str, now: u64) -> f64 {
        let part = |p: &Pending| match p.ends > p.starts && p.starts < now {
            true => ((now - p.starts) as f64 / (p.ends - p.starts) as f64).min(1.0),
            false => 0.0,
        };
        match property {
            "dosed" => self.pending.iter().fold(self.counter, |sum, p| match p.what {
                What::Dose(volume) => sum + volume * part(p),
                _ => sum,
            }),
            "position" => self.pending.iter().fold(self.position, |at, p| match p.what {
                What::Move(place) => at + (place - at) * part(p),
                _ => at,
            }),
            "level" => match self.running {
                Some(_) if now > self.running_since + 15 * S => 0.010,
                _ => 0.0,
            },
            other => panic!("no such property: {other}"),
        }
    }

    /// Whether it is at work. What only waits inside it does not show.
    pub fn busy(&self, now: u64) -> bool {
        self.pending.iter().any(|p| p.starts <= now && now < p.ends)
    }

    /// What became of one attempt so far.
    pub fn truth(&self, intent: usize) -> Truth {
        if self.pending.iter().any(|p| p.tag.intent == intent) {
            return Truth::UnderWay;
        }
        let mut parts = self.effects.iter().filter(|e| e.tag.intent == intent);
        match (parts.next(), parts.next()) {
            (None, _) => Truth::Nothing,
            // Instruments round, and so do witnesses.
            (Some(one), None) if one.part >= 0.98 => Truth::Once,
            (Some(one), None) if one.part <= 0.01 => Truth::Nothing,
            (Some(_), None) => Truth::Partly,
            (Some(_), Some(_)) => Truth::Twice,
        }
    }
}

/// What became of an attempt, as only the world knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// No effect, and none will come.
    Nothing,
    /// It waits or works inside the instrument.
    UnderWay,
    /// All of it, once.
    Once,
    /// A part of it.
    Partly,
    /// More than once.
    Twice,
}
