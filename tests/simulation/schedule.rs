//! One schedule: a lab, an engine that dies now and then, people, and a clock that jumps from one
//! happening to the next. Everything in it follows from the seed.
//!
//! Two phases. First faults are on: whatever happens, nothing unsafe may. Then they are off, people
//! let go what they held, and everything must come to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use labloop::engine::core::{Cause, Command, Event, Signal, StepKey, Terms, Tick};
use labloop::expr::Value;

use super::disk::Disk;
use super::engine::Engine;
use super::faults::{Bug, Faults, Mark, Marks};
use super::oracle::{Broken, Law, Oracle};
use super::protocols::{Recipe, UNITS};
use super::rng::Rng;
use super::world::{MS, S, Tag, Unit, What};

/// Happenings of a schedule at most; a calm one has a few hundred.
const HAPPENINGS_MAX: u32 = 60_000;
/// True time of a schedule at most. Questions that nobody answers take a day each.
const TIME_MAX: u64 = 60 * 24 * 3_600 * S;
/// Rounds of people letting go what they hold, once all is calm.
const ROUNDS_MAX: u32 = 12;
/// How often properties are read while somebody waits for a condition.
pub const SAMPLE_EVERY: u64 = 5 * S;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Everything follows from it.
    pub seed: u64,
    /// A planted defect.
    pub bug: Option<Bug>,
    /// Whether to tell the story.
    pub story: bool,
    /// Instead of chance: one run of this recipe in a world without faults, whose engine dies at
    /// these seams. A seam lies between any two of its doings; odd ones take the power with them.
    pub crash_at: Option<(usize, [u64; 2])>,
}

/// What an instrument says once it has done what it was told.
#[derive(Debug, Clone)]
pub struct Told {
    /// Engine that asked.
    pub epoch: u64,
    /// What it says.
    pub event: Box<Event>,
    /// How often.
    pub times: u32,
    /// So much later.
    pub after: u64,
}

/// How a schedule went.
#[derive(Debug)]
pub struct Played {
    /// What was broken.
    pub broken: Option<Broken>,
    /// What was hit.
    pub marks: Marks,
    /// Hash of all journal entries.
    pub hash: u64,
    /// Simulated time.
    pub nanos: u64,
    /// Commands that reached the wire.
    pub commands: u64,
    /// Seams that engines passed.
    pub seams: u64,
    /// The story, if asked for.
    pub story: Vec<String>,
}

/// Something that is due.
#[derive(Debug, Clone)]
pub enum Happening {
    /// A fact reaches an engine.
    Deliver(u64, Box<Event>),
    /// A batch that was gathered is taken.
    Flush(u64),
    /// An engine's own timer.
    Wake(u64),
    /// A process that stood still goes on.
    Awake(u64),
    /// Somebody starts an engine.
    Boot,
    /// A command comes to its end in an instrument, and is answered so.
    Ends { unit: usize, id: u64, reply: Option<Told> },
    /// An instrument goes to its safe state, and answers so.
    Safe { unit: usize, epoch: u64, run: String, answered: bool, hold: bool },
    /// A person takes an instrument out, or gives it back.
    Hand(usize, bool),
    /// The safe state of an instrument that was not confirmed safe is sent again.
    SafeAgain(usize),
    /// It goes there, and an engine is told so.
    SafeAtLast { unit: usize, epoch: u64 },
    /// A command is cancelled inside an instrument, and what is said of it then.
    Cancel { unit: usize, intent: usize, epoch: u64, event: Box<Event> },
    /// An instrument restarts.
    Reboot(usize),
    /// A link is there again.
    LinkUp(usize),
    /// Properties are read.
    Sample,
    /// A run is submitted.
    Submit(usize),
    /// A person looks at an open question.
    Ask { run: String, path: String, number: u32, options: Vec<String> },
    /// A person commands.
    Command(usize, Command),
    /// The emergency stop, and its end.
    Emergency(bool),
    /// Something holds the whole lab, and passes.
    LabHold(bool),
    /// Faults end.
    Calm,
}

/// The whole of it.
pub struct Schedule<'a> {
    pub(super) pool: &'a [Recipe],
    pub(super) config: Config,
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    /// Everything is calm: no fault any more.
    pub(super) calm: bool,
    /// True time.
    pub(super) now: u64,
    order: u64,
    due: BTreeMap<(u64, u64), Happening>,
    pub(super) disk: Disk,
    pub(super) units: Vec<Unit>,
    /// Engines that are not dead, by epoch; the last may be the only one awake.
    pub(super) engines: BTreeMap<u64, Engine>,
    pub(super) oracle: Oracle,
    pub(super) marks: Marks,
    pub(super) broken: Option<Broken>,
    pub(super) story: Vec<String>,
    /// Name and recipe of each run.
    pub(super) runs: Vec<(String, usize)>,
    pub(super) commands: u64,
    /// Who goes first, by the place in `runs`.
    priorities: Vec<i32>,
    /// A campaign starts the runs.
    pub(super) searching: bool,
    pub(super) search: super::campaign::Search,
    pub(super) seams: u64,
    pub(super) serial: u64,
    pub(super) sampling: bool,
    pub(super) emergency: bool,
    /// It was pressed once.
    pub(super) pressed: bool,
    pub(super) lab_held: bool,
    pub(super) died_at: u64,
    pub(super) in_doubt_asks: bool,
    /// True time at which a witness was first asked for with a moment of an engine's time.
    pub(super) asked_at: BTreeMap<(String, StepKey, Tick), u64>,
    asked: BTreeSet<(String, String, u32, usize)>,
}

/// Tells the story, if somebody wants to hear it.
macro_rules! say {
    ($s:expr, $($what:tt)*) => {
        if $s.config.story {
            let at = std::time::Duration::from_nanos($s.now);
            let line = format!($($what)*);
            $s.story.push(format!("{at:>14.3?}  {line}"));
        }
    };
}
pub(super) use say;

impl<'a> Schedule<'a> {
    /// A schedule that has not begun.
    pub fn new(pool: &'a [Recipe], config: Config) -> Schedule<'a> {
        let mut rng = Rng::new(config.seed, 0x6c61_6262);
        let faults = Faults::draw(&mut rng);
        let mut units: Vec<Unit> = UNITS.iter().map(|name| Unit::new(name)).collect();
        for unit in &mut units {
            unit.tells_busy = rng.permille(700);
            let longest = super::protocols::SETTLE_S * S - 10 * MS;
            unit.slowness = *rng.pick(&[5 * MS, 50 * MS, 2 * S, longest]);
            unit.pace = *rng.pick(&[S, 2 * S, 9 * S]);
            unit.counter = *rng.pick(&[0.0, 0.0, 0.000_1]);
        }
        let in_doubt_asks = rng.permille(600);
        let mut all = Schedule {
            pool,
            config,
            rng,
            faults,
            calm: false,
            now: 0,
            order: 0,
            due: BTreeMap::new(),
            disk: Disk::default(),
            units,
            engines: BTreeMap::new(),
            oracle: Oracle::default(),
            marks: Marks::default(),
            broken: None,
            story: Vec::new(),
            runs: Vec::new(),
            commands: 0,
            priorities: Vec::new(),
            searching: false,
            search: super::campaign::Search::default(),
            seams: 0,
            serial: 0,
            sampling: false,
            emergency: false,
            pressed: false,
            lab_held: false,
            died_at: 0,
            in_doubt_asks,
            asked_at: BTreeMap::new(),
            asked: BTreeSet::new(),
        };
        match config.crash_at {
            Some((recipe, _)) => all.plan_one(recipe),
            None => all.plan(),
        }
        all
    }

    /// One run in a calm world.
    fn plan_one(&mut self, recipe: usize) {
        self.calm = true;
        self.faults = Faults::default();
        self.oracle.recipes.insert("r1".to_owned(), recipe);
        self.runs.push(("r1".to_owned(), recipe));
        self.priorities.push(0);
        self.at(0, Happening::Boot);
        self.at(MS, Happening::Submit(0));
    }

    /// Runs, people and troubles of this schedule.
    fn plan(&mut self) {
        self.at(0, Happening::Boot);
        self.searching = self.rng.permille(160);
        let mut runs = *self.rng.pick(&[1, 1, 2, 2, 3, 4]);
        if self.searching {
            self.marks.hit(Mark::Campaign);
            runs = 0;
        }
        for index in 0..runs {
            let recipe = self.rng.below(self.pool.len() as u64) as usize;
            let name = format!("r{}", index + 1);
            say!(self, "{name} is a `{}`", self.pool[recipe].name);
            self.oracle.recipes.insert(name.clone(), recipe);
            self.runs.push((name, recipe));
            let at = *self.rng.pick(&[0, 0, 1, 30, 120]) * S + self.rng.below(2 * S);
            self.at(at, Happening::Submit(index));
        }
        // Of a stream of its own, so that the schedules of before stay what they were.
        let mut more = Rng::new(self.config.seed, 0x7072_696f);
        let ranked = more.permille(400);
        for _ in 0..runs {
            self.priorities.push(if ranked { *more.pick(&[-1, 0, 0, 3]) } else { 0 });
        }
        if ranked && runs > 1 {
            self.marks.hit(Mark::Priorities);
        }
        if more.permille(150) {
            let unit = more.below(UNITS.len() as u64) as usize;
            let at = more.below(60 * S);
            self.at(at, Happening::Hand(unit, true));
        }
        if runs > 1 {
            self.marks.hit(Mark::SharedInstrument);
        }
        let horizon = self.rng.between(60, 1_200) * S;
        self.at(horizon, Happening::Calm);
        if self.rng.permille(450) {
            for _ in 0..self.rng.between(1, 5) {
                let command = *self.rng.pick(&[
                    Command::Pause,
                    Command::Resume,
                    Command::Hold,
                    Command::Hold,
                    Command::Resume,
                    Command::Resume,
                    Command::Stop,
                    Command::Abort,
                ]);
                let (run, at) = (self.rng.below(runs.max(1) as u64) as usize, self.soon(horizon));
                self.at(at, Happening::Command(run, command));
            }
        }
        if self.rng.permille(60) {
            let at = self.soon(horizon);
            self.at(at, Happening::Emergency(true));
        }
        if self.rng.permille(100) {
            let at = self.soon(horizon);
            self.at(at, Happening::LabHold(true));
        }
        for unit in 0..self.units.len() {
            if self.rng.permille(self.faults.reboot_idle) {
                let at = self.soon(horizon);
                self.at(at, Happening::Reboot(unit));
            }
        }
    }

    /// A time in the first phase, more often early than late: most runs are short.
    fn soon(&mut self, horizon: u64) -> u64 {
        let within = *self.rng.pick(&[30 * S, 90 * S, horizon]);
        self.rng.below(within.min(horizon))
    }

    /// Something will happen so much later.
    pub(super) fn at(&mut self, later: u64, what: Happening) {
        self.order += 1;
        self.due.insert((self.now + later, self.order), what);
    }

    /// A fault strikes, if faults are still on.
    pub(super) fn strikes(&mut self, rate: u32) -> bool {
        !self.calm && self.rng.permille(rate)
    }

    /// A law was broken; the first counts.
    pub(super) fn judge(&mut self, verdict: Result<(), Broken>) {
        if let Err(found) = verdict
            && self.broken.is_none()
        {
            say!(self, "BROKEN {:?}: {}", found.law, found.how);
            self.broken = Some(found);
        }
    }

    /// Plays it to its end.
    pub fn play(mut self) -> Played {
        let mut left = HAPPENINGS_MAX;
        let mut rounds = 0;
        while self.broken.is_none() {
            if self.calm && self.runs_are_over() {
                break;
            }
            let Some(((at, _), what)) = self.due.pop_first() else {
                rounds += 1;
                if rounds > ROUNDS_MAX {
                    self.stuck("nothing is due any more");
                } else {
                    self.let_go();
                }
                continue;
            };
            self.now = self.now.max(at);
            left -= 1;
            if left == 0 {
                self.stuck("it never comes to rest");
            } else if self.now > TIME_MAX {
                self.stuck("months have passed");
            }
            self.happen(what);
        }
        if self.broken.is_none() {
            let verdict = self.oracle.close(&self.units);
            self.judge(verdict);
            self.compare_at_the_end();
            self.decide_again();
        }
        let hash = self.disk.lines.iter().fold(0, |hash, line| {
            super::engine::hashed(&(hash, line.tick, line.epoch, &line.entry))
        });
        Played {
            broken: self.broken,
            marks: self.marks,
            hash,
            nanos: self.now,
            commands: self.commands,
            seams: self.seams,
            story: self.story,
        }
    }

    fn runs_are_over(&self) -> bool {
        if self.searching && !self.search.ended {
            return false;
        }
        self.runs.iter().all(|(id, _)| match self.oracle.runs.get(id) {
            Some(facts) => facts.ended.is_some(),
            None => self.searching,
        })
    }

    fn stuck(&mut self, why: &str) {
        let mut open = String::new();
        for (id, recipe) in &self.runs {
            let Some(facts) = self.oracle.runs.get(id) else {
                open += &format!(" {id} never started;");
                continue;
            };
            if facts.ended.is_none() {
                let name = &self.pool[*recipe].name;
                open += &format!(" {id} ({name}) is {:?}", facts.state);
                open += &format!(", {} questions open;", facts.questions.len());
            }
        }
        let how = format!("{why}:{open}");
        self.judge(Err(Broken { law: Law::EndsOrWaits, how }));
    }

    /// Nothing moves by itself any more. Runs that wait for a person are let go; any other that is
    /// not over hangs.
    fn let_go(&mut self) {
        if !self.calm {
            self.happen(Happening::Calm);
            return;
        }
        let mut waits = false;
        let mut hangs = None;
        for index in 0..self.runs.len() {
            let id = self.runs[index].0.clone();
            let Some(facts) = self.oracle.runs.get(&id) else {
                if self.searching {
                    continue; // It was decided by an engine that died, and not again.
                }
                waits = true;
                self.at(0, Happening::Submit(index));
                continue;
            };
            if facts.ended.is_some() {
                continue;
            }
            match facts.state.as_str() {
                "paused" | "held" => {
                    waits = true;
                    say!(self, "{id} waits for a person: it is {}", facts.state);
                    self.at(0, Happening::Command(index, Command::Resume));
                }
                _ => hangs = Some(id),
            }
        }
        if let (Some(id), false) = (hangs, waits) {
            self.stuck(&format!("{id} waits for nothing that has a name"));
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Deliver(epoch, event) => self.deliver(epoch, *event),
            Happening::Flush(epoch) | Happening::Awake(epoch) => {
                if let Happening::Awake(_) = what
                    && let Some(engine) = self.engines.get_mut(&epoch)
                {
                    engine.asleep = false;
                    say!(self, "engine {epoch} goes on where it stood still");
                }
                self.go(epoch);
            }
            Happening::Wake(epoch) => self.wake(epoch),
            Happening::Boot => self.boot(),
            Happening::Ends { unit, id, reply } => self.ends(unit, id, reply),
            Happening::Safe { unit, epoch, run, answered, hold } => {
                self.made_safe(unit, epoch, run, answered, hold);
            }
            Happening::Hand(unit, out) => self.hand(unit, out),
            Happening::SafeAgain(unit) => self.safe_again(unit),
            Happening::SafeAtLast { unit, epoch } => {
                if self.units[unit].halt(self.now) {
                    self.marks.hit(Mark::StoppedHalfway);
                }
                self.deliver(epoch, Event::Freed { instrument: UNITS[unit].to_owned() });
            }
            Happening::Cancel { unit, intent, epoch, event } => {
                if let Some(halfway) = self.units[unit].cancel(intent, self.now) {
                    if halfway {
                        self.marks.hit(Mark::StoppedHalfway);
                    }
                    self.deliver(epoch, *event);
                }
            }
            Happening::Reboot(unit) => self.reboot(unit),
            Happening::LinkUp(unit) => {
                self.units[unit].link_up = true;
                say!(self, "the link to {} is there again", UNITS[unit]);
                if let Some(epoch) = self.current() {
                    let instrument = UNITS[unit].to_owned();
                    self.deliver(epoch, Event::LinkUp { instrument });
                }
            }
            Happening::Sample => self.sample(),
            Happening::Submit(index) => self.submit(index),
            Happening::Ask { run, path, number, options } => {
                self.person_looks(run, path, number, options);
            }
            Happening::Command(index, command) => self.person_commands(index, command),
            Happening::Emergency(on) => self.press(on),
            Happening::LabHold(on) => self.lab_hold(on),
            Happening::Calm => self.become_calm(),
        }
    }

    fn become_calm(&mut self) {
        if self.calm {
            return;
        }
        say!(self, "-- from here on all is calm --");
        self.calm = true;
        for unit in 0..self.units.len() {
            if !self.units[unit].link_up {
                self.at(0, Happening::LinkUp(unit));
            }
        }
        let asleep: Vec<u64> =
            self.engines.iter().filter(|(_, e)| e.asleep).map(|(epoch, _)| *epoch).collect();
        for epoch in asleep {
            self.at(0, Happening::Awake(epoch));
        }
        self.at(MS, Happening::Boot);
        if self.emergency {
            self.at(60 * S, Happening::Emergency(false));
        }
        if self.lab_held {
            self.at(60 * S, Happening::LabHold(false));
        }
    }

    /// The engine that may send, if it is there.
    pub(super) fn current(&self) -> Option<u64> {
        let epoch = self.disk.epoch;
        self.engines.contains_key(&epoch).then_some(epoch)
    }

    fn submit(&mut self, index: usize) {
        let Some(epoch) = self.current() else {
            self.at(S, Happening::Submit(index));
            return;
        };
        let (run, recipe) = self.runs[index].clone();
        let engine = &self.engines[&epoch];
        if engine.core.run(&run).is_some()
            || engine.has_got(&run)
            || self.disk.has_started(&run)
            || self.oracle.runs.contains_key(&run)
        {
            return;
        }
        let graph = Arc::clone(&self.pool[recipe].graph);
        let (document, priority) = (recipe.to_string(), self.priorities[index]);
        let terms = Terms { priority, ..Terms::default() };
        self.deliver(epoch, Event::StartRun { run, graph, document, terms });
        // If the engine dies before its start is durable, somebody submits it again.
        self.at(30 * S, Happening::Submit(index));
    }

    /// A person reads a question and answers it, rightly or not.
    fn person_looks(&mut self, run: String, path: String, number: u32, options: Vec<String>) {
        let open = self.oracle.runs.get(&run).is_some_and(|facts| {
            facts.ended.is_none() && facts.questions.values().any(|(n, _)| *n == number)
        });
        if !open {
            return;
        }
        let Some(epoch) = self.current() else {
            let again = Happening::Ask { run, path, number, options };
            self.at(60 * S, again);
            return;
        };
        let doubt = options.iter().any(|o| o == "not done");
        let mut answer = match doubt {
            true => self.truth_of(&run, &path).to_owned(),
            false => self.rng.pick(&options).clone(),
        };
        self.marks.hit(Mark::AnswerRight);
        if self.strikes(self.faults.answer_wrong) {
            self.marks.hit(Mark::AnswerWrong);
            let event = Event::Answer {
                run: run.clone(),
                path: path.clone(),
                question: Some(number + self.rng.below(2) as u32),
                answer: "perhaps".to_owned(),
                by: "Ben".to_owned(),
            };
            let given = (run.clone(), path.clone(), "perhaps".to_owned(), "Ben".to_owned());
            self.oracle.given.insert(given);
            self.deliver(epoch, event);
        }
        if doubt && self.strikes(self.faults.answer_false) {
            self.marks.hit(Mark::AnswerFalse);
            answer = self.rng.pick(&options).clone();
            self.oracle.excused.insert((run.clone(), path.clone()));
        }
        let times = 1 + u32::from(self.strikes(self.faults.answer_twice));
        for time in 0..times {
            let by = if time == 0 { "Ada" } else { "Cleo" }.to_owned();
            if time == 1 {
                self.marks.hit(Mark::AnswerTwice);
                if !doubt {
                    answer = self.rng.pick(&options).clone();
                }
            }
            let given = (run.clone(), path.clone(), answer.clone(), by.clone());
            self.oracle.given.insert(given);
            say!(self, "{by} answers `{answer}` to {run} {path}");
            if let Some(epoch) = self.current() {
                let question = (number > 0).then_some(number);
                let (run, path, answer) = (run.clone(), path.clone(), answer.clone());
                self.deliver(epoch, Event::Answer { run, path, question, answer, by });
            }
        }
        // Whether it was heard or not: whoever asked looks again.
        let again = Happening::Ask { run, path, number, options };
        self.at(600 * S, again);
    }

    /// What somebody who looks at the instrument sees of the last attempt at a step.
    fn truth_of(&self, run: &str, path: &str) -> &'static str {
        use super::world::Truth;
        let Some((unit, intent)) = self.oracle.last_attempt(run, path, &self.units) else {
            return "discard";
        };
        match self.units[unit].truth(intent) {
            Truth::Once => "done",
            Truth::Nothing => "not done",
            Truth::UnderWay | Truth::Partly | Truth::Twice => "discard",
        }
    }

    /// A question is durable: people come to know of it.
    pub(super) fn asked(&mut self, run: &str, path: &str, number: u32, options: &[String]) {
        let place = (run.to_owned(), path.to_owned(), number, self.disk.durable);
        if !self.asked.insert(place) {
            return;
        }
        self.marks.hit(match options.first().map(String::as_str) {
            Some("done") => Mark::QuestionDoubt,
            Some("retry") => Mark::QuestionFailure,
            _ => Mark::QuestionProtocol,
        });
        if self.strikes(self.faults.unanswered) {
            self.marks.hit(Mark::AnswerNever);
            return;
        }
        let (run, path, options) = (run.to_owned(), path.to_owned(), options.to_vec());
        let later = *self.rng.pick(&[10 * S, 60 * S, 600 * S, 3_600 * S]);
        let later = later + self.rng.below(10 * S);
        self.at(later, Happening::Ask { run, path, number, options });
    }

    fn person_commands(&mut self, index: usize, command: Command) {
        let Some(epoch) = self.current() else {
            self.at(S, Happening::Command(index, command));
            return;
        };
        self.marks.hit(match command {
            Command::Pause => Mark::Pause,
            Command::Hold => Mark::Hold,
            Command::Resume => Mark::Resume,
            Command::Stop => Mark::Stop,
            Command::Abort => Mark::Abort,
        });
        let Some((run, _)) = self.runs.get(index).cloned() else { return };
        let by = "Ada".to_owned();
        say!(self, "Ada: {} {run}", command.as_str());
        if self.config.bug == Some(Bug::CommandsIgnored) && command == Command::Resume {
            return;
        }
        self.deliver(epoch, Event::Command { run, command, by });
    }

    fn press(&mut self, on: bool) {
        self.emergency = on;
        self.pressed = true;
        say!(self, "the emergency stop is {}", if on { "pressed" } else { "released" });
        let event = match on {
            true => {
                self.marks.hit(Mark::Emergency);
                Event::Emergency { by: "Ada".to_owned(), detail: "smoke".to_owned() }
            }
            false => Event::Passed { cause: Cause::Emergency },
        };
        if let Some(epoch) = self.current() {
            self.deliver(epoch, event);
        }
        if on {
            let later = self.rng.between(1, 600) * S;
            self.at(later, Happening::Emergency(false));
        }
    }

    fn lab_hold(&mut self, on: bool) {
        self.lab_held = on;
        let cause = Cause::Disk;
        let event = match on {
            true => {
                self.marks.hit(Mark::LabHeld);
                Event::HoldAll { cause, detail: "nearly full".to_owned() }
            }
            false => Event::Passed { cause },
        };
        say!(self, "{event:?}");
        if let Some(epoch) = self.current() {
            self.deliver(epoch, event);
        }
        if on {
            let later = self.rng.between(1, 600) * S;
            self.at(later, Happening::LabHold(false));
        }
    }

    /// Properties of all instruments are read, as long as somebody waits for a condition.
    fn sample(&mut self) {
        self.sampling = false;
        if self.oracle.watching.is_empty() {
            return;
        }
        if self.calm && self.due.is_empty() {
            self.let_go();
        }
        self.begin_sampling();
        let Some(epoch) = self.current() else { return };
        for (unit, name) in UNITS.iter().enumerate() {
            if !self.units[unit].link_up {
                continue;
            }
            let bad = self.strikes(self.faults.sample_bad);
            let value = match bad {
                true => {
                    self.marks.hit(Mark::SampleBad);
                    Value::missing("out of range")
                }
                false => length(self.units[unit].read("level", self.now)),
            };
            let Some(engine) = self.engines.get(&epoch) else { return };
            let at = engine.tick(self.now);
            let signal = Signal { value, at, max_age: std::time::Duration::from_secs(15) };
            let (instrument, property) = ((*name).to_owned(), "level".to_owned());
            self.deliver(epoch, Event::Sample { instrument, property, signal });
        }
    }

    /// Somebody waits for a condition.
    pub(super) fn begin_sampling(&mut self) {
        if !self.sampling {
            self.sampling = true;
            self.at(SAMPLE_EVERY, Happening::Sample);
        }
    }

    /// A command comes to its end inside an instrument.
    fn ends(&mut self, unit: usize, id: u64, reply: Option<Told>) {
        if !self.units[unit].finish(id, self.now) {
            return;
        }
        let verdict = self.oracle.set_going(&self.units[unit], self.pool);
        self.judge(verdict);
        let Some(Told { epoch, event, times, after }) = reply else { return };
        if !self.units[unit].link_up {
            return;
        }
        for time in 0..times {
            let later = self.rng.between(1, 40) * MS + u64::from(time) * 300 * MS + after;
            self.at(later, Happening::Deliver(epoch, event.clone()));
        }
    }

    fn made_safe(&mut self, unit: usize, epoch: u64, run: String, answered: bool, hold: bool) {
        // One that comes later than the engine waits for is told as not confirmed.
        let late = self.oracle.runs.get(&run).is_some_and(|facts| facts.ended.is_some());
        let verdict = match self.emergency || late {
            true => Ok(()),
            false => self.oracle.alone(&self.units[unit], &run),
        };
        self.judge(verdict);
        if self.units[unit].halt(self.now) {
            self.marks.hit(Mark::StoppedHalfway);
        }
        let mine = self.units[unit].gripped.as_ref().is_some_and(|(holder, _)| *holder == run);
        if mine && !hold {
            self.units[unit].gripped = None;
        }
        say!(self, "{} is halted, for {run}", UNITS[unit]);
        if answered {
            let event = super::engine::halted(hold, run, UNITS[unit], true);
            self.at(5 * MS, Happening::Deliver(epoch, Box::new(event)));
        }
    }

    /// An instrument loses its power for a moment.
    pub(super) fn reboot(&mut self, unit: usize) {
        if self.calm {
            return;
        }
        self.marks.hit(Mark::Rebooted);
        say!(self, "{} restarts", UNITS[unit]);
        if self.units[unit].reboot(self.now) {
            self.marks.hit(Mark::StoppedHalfway);
        }
        self.cut(unit);
    }

    /// The link to an instrument is cut for some time.
    pub(super) fn cut(&mut self, unit: usize) {
        self.units[unit].link_up = false;
        say!(self, "the link to {} is cut", UNITS[unit]);
        let later = *self.rng.pick(&[100 * MS, 3 * S, 40 * S]);
        self.at(later, Happening::LinkUp(unit));
        if let Some(epoch) = self.current() {
            let instrument = UNITS[unit].to_owned();
            self.at(MS, Happening::Deliver(epoch, Box::new(Event::LinkLost { instrument })));
        }
    }

    /// The bytes of a command reach an instrument.
    pub(super) fn arrive(&mut self, unit: usize, tag: Tag, what: What, reply: Option<Told>) {
        self.serial += 1;
        let (id, slowness) = (self.serial, self.units[unit].slowness);
        let delay = self.rng.below(slowness);
        if delay > S {
            self.marks.hit(Mark::SlowEffect);
        }
        let ends = self.units[unit].take(id, tag, what, self.now, delay);
        let later = ends - self.now;
        self.at(later, Happening::Ends { unit, id, reply });
    }
}

/// A length, as the level and the measured values are.
pub fn length(metres: f64) -> Value {
    let unit = labloop::units::Quantity::parse("1 m").expect("a length");
    Value::Quantity(labloop::units::Quantity { value: metres, ..unit })
}

/// A volume in the unit of values.
pub fn volume(litres: f64) -> Value {
    let unit = labloop::units::Quantity::parse("1 L").expect("a volume");
    Value::Quantity(labloop::units::Quantity { value: litres, ..unit })
}

/// Lab time of true time, for an engine that is so much off.
pub fn tick(now: u64, offset: i64) -> Tick {
    Tick(now.saturating_add_signed(offset))
}
