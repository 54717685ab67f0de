//! The engine's shell, in small: what the real one does around the core, with a seam between any two
//! of its doings where it can die or stand still.
//!
//! take events -> decide -> write -> sync -> perform, one action after the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use labloop::compiler::graph::{FailureKind, Graph, NodeKind};
use labloop::engine::campaign::Campaign;
use labloop::engine::core::{
    Action, Cause, Core, Event, Failure, InDoubt, Phase, Plan, Reading, Record, Replay, Resolution,
    Run, Status, StepKey, StepRef, Tick,
};
use labloop::expr::Value;

use super::disk::Entry;
use super::faults::{Bug, Mark};
use super::oracle::{Broken, Law};
use super::protocols::UNITS;
use super::schedule::{Happening, Schedule, Told, length, say, tick, volume};
use super::world::{MS, S, Tag, What};

/// An engine that is not dead.
pub struct Engine {
    /// Decides.
    pub core: Core,
    /// It stands still.
    pub asleep: bool,
    /// The campaign, if there is one.
    pub search: Option<Campaign>,
    offset: i64,
    inbox: VecDeque<Event>,
    batch: Vec<(Tick, Entry)>,
    actions: VecDeque<Action>,
    stage: Stage,
    recovering: bool,
    wake_at: Option<u64>,
    /// It stood still for so long that it will see it by its clocks.
    stood_still: bool,
    pending: BTreeSet<(String, StepKey, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Decide,
    Write,
    Sync,
    Perform,
}

/// An engine that stood still for so long sees it by its clocks.
const GAP: u64 = 5 * S;

/// What becomes of an engine at a seam.
enum Fate {
    Goes,
    Stops,
}

impl Engine {
    /// Its lab time.
    pub fn tick(&self, now: u64) -> Tick {
        tick(now, self.offset)
    }

    /// One event through the core; what follows is collected for the next commit.
    pub fn step(&mut self, event: Event, now: Tick) {
        let said = match &event {
            Event::Freed { instrument } => Some(Entry::Freed(instrument.clone())),
            Event::Taken { instrument, .. } => Some(Entry::Hand(instrument.clone(), true)),
            Event::Given { instrument } => Some(Entry::Hand(instrument.clone(), false)),
            _ => None,
        };
        let output = self.core.step(event, now);
        let basis = output.basis.map(|basis| (now, Entry::Basis(Box::new(basis))));
        self.batch.extend(basis);
        self.batch.extend(said.map(|entry| (now, entry)));
        for record in output.records {
            self.batch.push((now, Entry::Run(record.clone())));
            if let Record::RunEnded { run, .. } = &record {
                self.run_over(&record, now);
                self.core.forget(run);
            }
        }
        self.actions.extend(output.actions);
    }

    /// An entry for the next commit.
    pub fn push(&mut self, now: Tick, entry: Entry) {
        self.batch.push((now, entry));
    }

    /// What it has not written yet.
    pub fn unwritten(&self) -> impl Iterator<Item = (Tick, &Entry)> {
        self.batch.iter().map(|(tick, entry)| (*tick, entry))
    }

    /// Whether it was told to start a run and has not come to it.
    pub fn has_got(&self, run: &str) -> bool {
        let told = |event: &Event| matches!(event, Event::StartRun { run: r, .. } if r == run);
        let begun = |entry: &Entry| matches!(entry, Entry::Run(Record::RunStarted { run: r, .. }) if r == run);
        self.inbox.iter().any(told) || self.batch.iter().any(|(_, entry)| begun(entry))
    }
}

impl Schedule<'_> {
    /// Somebody starts an engine: on a folder that is free, or while another stands still.
    pub(super) fn boot(&mut self) {
        if let Some(epoch) = self.current() {
            if !self.engines[&epoch].asleep || self.calm {
                return;
            }
            self.marks.hit(Mark::Takeover);
        }
        let offset = self.guess_time();
        let now = tick(self.now, offset);
        let epoch = self.disk.take(now);
        say!(self, "engine {epoch} starts, its time is {:.1?}", Duration::from_nanos(now.0));
        let core = self.replayed(now);
        let mut inbox = VecDeque::new();
        let downtime = Duration::from_nanos(self.now.saturating_sub(self.died_at));
        // First of all: nothing may be decided on what the engine before has left unresolved.
        inbox.push_back(Event::Recovered { downtime });
        for (cause, on) in [(Cause::Emergency, self.emergency), (Cause::Disk, self.lab_held)] {
            if on {
                inbox.push_back(Event::HoldAll { cause, detail: "as before".to_owned() });
            }
        }
        for unit in self.units.iter().filter(|u| !u.link_up) {
            inbox.push_back(Event::LinkLost { instrument: unit.name.to_owned() });
        }
        if self.pressed && !self.emergency {
            inbox.push_back(Event::Passed { cause: Cause::Emergency });
        }
        for (unit, name) in UNITS.iter().enumerate() {
            if core.barred().contains_key(*name) {
                self.at(S, Happening::SafeAgain(unit));
            }
        }
        let actions = self.plant_at_start(&core, &mut inbox);
        let search = self.campaign_replayed(std::iter::empty());
        let mut engine = Engine {
            core,
            asleep: false,
            search,
            offset,
            inbox,
            batch: Vec::new(),
            stage: if actions.is_empty() { Stage::Decide } else { Stage::Perform },
            actions,
            recovering: true,
            wake_at: None,
            stood_still: false,
            pending: BTreeSet::new(),
        };
        if self.searching {
            self.take_up(&mut engine, now);
        }
        self.engines.insert(epoch, engine);
        self.take_durable();
        // Whoever had one when the engine before died gives it back to this one; what was written before
        // that and not synced is durable by now.
        for (unit, name) in UNITS.iter().enumerate() {
            if self.oracle.taken.contains_key(*name) {
                self.at(60 * S, Happening::Hand(unit, false));
            }
        }
        for index in 0..self.runs.len() {
            if !self.searching && !self.oracle.runs.contains_key(&self.runs[index].0) {
                self.at(S, Happening::Submit(index));
            }
        }
        // Only now: links come up one after the other.
        self.go(epoch);
    }

    /// What a new engine takes for its lab time: the boot clock tells how long none was there, but a
    /// machine that was off knows it only by a wall clock that anybody may have set.
    fn guess_time(&mut self) -> i64 {
        let last = self.disk.last_tick().0;
        let passed = self.now - self.died_at.min(self.now);
        let believed = if self.strikes(self.faults.clock_back) {
            self.marks.hit(Mark::ClockBack);
            self.rng.below(passed / 2 + 1)
        } else if self.strikes(self.faults.clock_forward) {
            self.marks.hit(Mark::ClockForward);
            passed + self.rng.below(10 * 3_600) * S
        } else {
            passed
        };
        (last + believed) as i64 - self.now as i64
    }

    /// State from the journal as it is on the disk.
    fn replayed(&self, now: Tick) -> Core {
        let in_doubt = if self.in_doubt_asks { InDoubt::Ask } else { InDoubt::Discard };
        let mut core = Core::new(in_doubt, Duration::ZERO);
        let mut taken = BTreeMap::new();
        for line in &self.disk.lines {
            match &line.entry {
                Entry::Hand(instrument, true) => {
                    taken.insert(instrument.clone(), "Cleo".to_owned());
                }
                Entry::Hand(instrument, false) => {
                    taken.remove(instrument);
                }
                _ => {}
            }
            if let Entry::Freed(instrument) = &line.entry {
                let mut barred = core.barred().clone();
                barred.remove(instrument);
                core.set_barred(barred);
            }
            let Some(record) = line.record() else { continue };
            let at = if self.config.bug == Some(Bug::TicksLost) { now } else { line.tick };
            core.apply(record, at, || self.graph_of(record.run()));
            if let Record::RunEnded { run, .. } = record {
                core.forget(run);
            }
        }
        core.set_taken(taken);
        core
    }

    fn graph_of(&self, run: &str) -> Option<Arc<Graph>> {
        let recipe = *self.oracle.recipes.get(run)?;
        Some(Arc::clone(&self.pool[recipe].graph))
    }

    /// Defects of recovery.
    fn plant_at_start(&self, core: &Core, inbox: &mut VecDeque<Event>) -> VecDeque<Action> {
        let mut actions = VecDeque::new();
        for run in core.open_runs() {
            for (key, state) in run.steps.iter().filter(|(_, s)| s.status == Status::Sent) {
                match self.config.bug {
                    Some(Bug::AssumeDone) if !state.asked => {
                        let (run, key, attempt) = (run.id.clone(), key.clone(), state.attempts);
                        let (result, trace) = (Ok(None), String::new());
                        inbox.push_front(Event::Outcome { run, key, attempt, result, trace });
                    }
                    Some(Bug::ReplayStarted) => {
                        let Some(NodeKind::Action { instrument, action, .. }) =
                            run.node(key).map(|n| &n.kind)
                        else {
                            continue;
                        };
                        actions.push_back(Action::Send {
                            run: run.id.clone(),
                            step: run.step_ref(key),
                            attempt: state.attempts,
                            instrument: instrument.clone(),
                            action: action.clone(),
                            args: state.args.clone(),
                            deadline: Duration::from_secs(20),
                        });
                    }
                    _ => {}
                }
            }
        }
        actions
    }

    /// A fact reaches an engine, now or with others in a moment.
    pub(super) fn deliver(&mut self, epoch: u64, event: Event) {
        let before = epoch != self.disk.epoch;
        let Some(engine) = self.engines.get_mut(&epoch) else {
            // A reply to the engine before may reach the one that is there.
            if let Event::Outcome { .. } = event
                && let Some(current) = self.current()
                && self.rng.permille(400)
            {
                self.marks.hit(Mark::ReplyToTheEngineBefore);
                self.deliver(current, event);
            }
            return;
        };
        if let Event::Outcome { run, key, attempt, .. } = &event {
            engine.pending.remove(&(run.clone(), key.clone(), *attempt));
        }
        engine.inbox.push_back(event);
        if engine.asleep || before {
            return;
        }
        if self.rng.permille(200) {
            self.at(5 * MS, Happening::Flush(epoch));
        } else {
            self.go(epoch);
        }
    }

    /// An engine's timer has run out.
    pub(super) fn wake(&mut self, epoch: u64) {
        let Some(engine) = self.engines.get_mut(&epoch) else { return };
        engine.wake_at = None;
        engine.inbox.push_back(Event::Wake);
        if !engine.asleep {
            self.go(epoch);
        }
    }

    /// A seam: the engine may die here, or stand still.
    fn seam(&mut self, epoch: u64, mark: Mark) -> Fate {
        let Some(engine) = self.engines.get(&epoch) else { return Fate::Stops };
        let recovering = engine.recovering;
        self.seams += 1;
        if let Some((_, points)) = self.config.crash_at
            && points.contains(&self.seams)
        {
            say!(self, "engine {epoch} dies ({mark:?})");
            self.die(epoch);
            return Fate::Stops;
        }
        let rate = if recovering { self.faults.crash_in_recovery } else { self.faults.crash };
        if self.strikes(rate) {
            self.marks.hit(mark);
            if recovering {
                self.marks.hit(Mark::CrashInRecovery);
            }
            say!(self, "engine {epoch} dies ({mark:?})");
            self.die(epoch);
            return Fate::Stops;
        }
        if self.strikes(self.faults.sleep) {
            self.marks.hit(Mark::Slept);
            let still = *self.rng.pick(&[200 * MS, 8 * S, 90 * S, 900 * S]);
            say!(self, "engine {epoch} stands still for {:.1?}", Duration::from_nanos(still));
            if let Some(engine) = self.engines.get_mut(&epoch) {
                engine.asleep = true;
                engine.stood_still |= still >= GAP;
            }
            self.at(still, Happening::Awake(epoch));
            if self.strikes(self.faults.takeover) {
                let later = self.rng.below(still);
                self.died_at = self.now;
                self.at(later, Happening::Boot);
            }
            return Fate::Stops;
        }
        Fate::Goes
    }

    /// The process ends. What it knew must be what the journal tells, until what was not synced is
    /// gone.
    fn die(&mut self, epoch: u64) {
        let Some(engine) = self.engines.remove(&epoch) else { return };
        if epoch != self.disk.epoch {
            return;
        }
        self.compare(&engine);
        self.died_at = self.now;
        let planned = self.config.crash_at.is_some() && self.seams % 2 == 1;
        if planned || self.strikes(self.faults.power) {
            self.marks.hit(Mark::PowerLoss);
            // The end of a run and what it is to its campaign are one commit.
            let torn = !self.searching && self.strikes(self.faults.torn);
            let (gone, cut) = self.disk.power_loss(&mut self.rng, torn);
            if gone > 0 {
                self.marks.hit(Mark::UnsyncedDropped);
            }
            if cut {
                self.marks.hit(Mark::CommitTorn);
            }
            say!(self, "the power fails: {gone} records are gone");
        }
        let mut gap = self.rng.between(20, 3_000) * MS;
        if self.strikes(self.faults.long_gap) {
            self.marks.hit(Mark::LongGap);
            gap = self.rng.between(60, 30_000) * S;
        }
        self.at(gap, Happening::Boot);
    }

    /// Every run as the records have it, those that are over too; and more records after them.
    fn rebuilt(&self, more: &[(Tick, Entry)]) -> BTreeMap<String, Run> {
        let in_doubt = if self.in_doubt_asks { InDoubt::Ask } else { InDoubt::Discard };
        let mut core = Core::new(in_doubt, Duration::ZERO);
        let mut runs = BTreeMap::new();
        let written = self.disk.lines.iter().filter_map(|l| Some((l.tick, l.record()?)));
        let unwritten = more.iter().filter_map(|(tick, entry)| match entry {
            Entry::Run(record) => Some((*tick, record)),
            Entry::Engine
            | Entry::Freed(_)
            | Entry::Hand(..)
            | Entry::Basis(_)
            | Entry::Campaign(_) => None,
        });
        for (at, record) in written.chain(unwritten) {
            core.apply(record, at, || self.graph_of(record.run()));
            if let Record::RunEnded { run, .. } = record {
                runs.extend(core.run(run).map(|r| (run.clone(), r.clone())));
                core.forget(run);
            }
        }
        runs.extend(core.open_runs().map(|run| (run.id.clone(), run.clone())));
        runs
    }

    /// State of a live engine against state rebuilt from the records it made.
    fn compare(&mut self, engine: &Engine) {
        self.compare_campaign(engine);
        let again = self.rebuilt(&engine.batch);
        for (run, is) in &again {
            let Some(was) = engine.core.run(run) else {
                continue; // It is over, and the engine has forgotten it.
            };
            if dump(was) != dump(is) {
                let mut how = format!("{run} after replay is not what it was");
                if self.config.story {
                    how += &format!("\n  was {:#?}\n  is {:#?}", plain(was), plain(is));
                }
                self.judge(Err(Broken { law: Law::ReplayIsLive, how }));
                return;
            }
        }
        let lost = engine.core.open_runs().find(|run| !again.contains_key(&run.id));
        if let Some(run) = lost {
            let how = format!("{} is not there after replay", run.id);
            self.judge(Err(Broken { law: Law::ReplayIsLive, how }));
        }
    }

    /// At the end: the live state, the journal and the oracle's account agree.
    pub(super) fn compare_at_the_end(&mut self) {
        if let Some(epoch) = self.current()
            && let Some(engine) = self.engines.remove(&epoch)
        {
            self.compare(&engine);
        }
        let state = self.rebuilt(&[]);
        let mut lost = None;
        for (run, key, value) in self.oracle.values() {
            // Rounds that nothing reads any more are forgotten, so that memory does not grow.
            if !key.rounds.is_empty() {
                continue;
            }
            let step = state.get(run).and_then(|r| r.steps.get(key));
            if step.is_none_or(|s| s.value.as_ref() != Some(value)) {
                lost = Some(format!("{run}: the value of step {key:?} is not in the state"));
            }
        }
        for (run, facts) in &self.oracle.runs {
            let over = state.get(run).is_some_and(|r| r.phase == Phase::Over);
            if facts.ended.is_some() && !over {
                lost = Some(format!("{run} is over in the journal and not in the state"));
            }
        }
        if let Some(how) = lost {
            self.judge(Err(Broken { law: Law::NothingLost, how }));
        }
    }

    /// The whole journal, decided again by the product's own replay.
    pub(super) fn decide_again(&mut self) {
        if self.marks.of(Mark::CommitTorn) > 0 {
            return; // A cut commit holds part of what followed from its basis.
        }
        let in_doubt = if self.in_doubt_asks { InDoubt::Ask } else { InDoubt::Discard };
        let mut replay = Replay::default();
        let mut found = Ok(());
        let mut barred = BTreeMap::new();
        let mut taken = BTreeMap::new();
        for (seq, line) in self.disk.lines.iter().enumerate() {
            let seq = seq as u64;
            found = match &line.entry {
                Entry::Campaign(_) => Ok(()),
                Entry::Hand(instrument, true) => {
                    taken.insert(instrument.clone(), "Cleo".to_owned());
                    Ok(())
                }
                Entry::Hand(instrument, false) => {
                    taken.remove(instrument);
                    Ok(())
                }
                Entry::Freed(instrument) => {
                    barred.remove(instrument);
                    Ok(())
                }
                Entry::Engine => {
                    let started = replay.engine_started(in_doubt, Duration::ZERO);
                    replay.left_unsafe(Some(barred.clone()));
                    started.and_then(|()| replay.hands(taken.clone()))
                }
                Entry::Basis(basis) => replay.woken(seq, line.tick, (**basis).clone()),
                Entry::Run(record) => {
                    if let Record::MadeSafe { run, instrument, confirmed, .. } = record {
                        match confirmed {
                            true => barred.remove(instrument),
                            false => barred.insert(instrument.clone(), run.clone()),
                        };
                    }
                    let graph = match record {
                        Record::RunStarted { run, .. } => self.graph_of(run),
                        _ => None,
                    };
                    replay.record(seq, line.tick, record.clone(), graph);
                    Ok(())
                }
            };
            if found.is_err() {
                break;
            }
        }
        if let Err(difference) = found.and_then(|()| replay.end()) {
            let how = format!("decided again, it is otherwise: {difference:?}");
            self.judge(Err(Broken { law: Law::ReplayIsLive, how }));
        }
    }

    /// Lets an engine do what it has to do, to the end or to a seam where it stops.
    pub(super) fn go(&mut self, epoch: u64) {
        while self.broken.is_none() {
            let Some(engine) = self.engines.get(&epoch) else { return };
            if engine.asleep {
                return;
            }
            match engine.stage {
                Stage::Decide if engine.inbox.is_empty() => break,
                Stage::Decide => self.decide(epoch),
                Stage::Write => self.write(epoch),
                Stage::Sync => self.sync(epoch),
                Stage::Perform => self.perform(epoch),
            }
        }
        self.set_timer(epoch);
    }

    fn set_timer(&mut self, epoch: u64) {
        let now = self.now;
        let Some(engine) = self.engines.get_mut(&epoch) else { return };
        let Some(next) = engine.core.next_wake() else { return };
        if self.config.bug == Some(Bug::NoWake) && self.rng.permille(20) {
            return;
        }
        let at = (next.0 as i64 - engine.offset).max(now as i64) as u64;
        if engine.wake_at.is_none_or(|set| set > at) {
            engine.wake_at = Some(at);
            self.at(at - now, Happening::Wake(epoch));
        }
    }

    /// An engine that stood still knows it before it hears anything else: it looks at its clocks.
    fn notice_gap(&mut self, epoch: u64) {
        let Some(engine) = self.engines.get_mut(&epoch) else { return };
        if !std::mem::take(&mut engine.stood_still) {
            return;
        }
        let name = |unit: &super::world::Unit| unit.name.to_owned();
        let lost = self.units.iter().map(|u| Event::LinkLost { instrument: name(u) });
        let back = self.units.iter().filter(|u| u.link_up);
        let back = back.map(|u| Event::LinkUp { instrument: name(u) });
        let seen = std::iter::once(Event::Gap).chain(lost).chain(back);
        for event in seen.collect::<Vec<_>>().into_iter().rev() {
            engine.inbox.push_front(event);
        }
    }

    fn decide(&mut self, epoch: u64) {
        self.notice_gap(epoch);
        while let Some(engine) = self.engines.get_mut(&epoch) {
            let Some(event) = engine.inbox.pop_front() else { break };
            let now = engine.tick(self.now);
            let event = plant_in_event(self.config.bug, event);
            engine.step(event, now);
            if self.config.bug == Some(Bug::TakenIgnored) {
                engine.core.set_taken(BTreeMap::new());
            }
            if self.config.bug == Some(Bug::BarsForgotten) {
                engine.core.set_barred(BTreeMap::new());
            }
        }
        self.go_on_with_campaign(epoch);
        if self.config.bug == Some(Bug::SendFirst) {
            self.perform_all(epoch);
        }
        if let Some(engine) = self.engines.get_mut(&epoch) {
            engine.stage = Stage::Write;
        }
    }

    fn write(&mut self, epoch: u64) {
        let Some(engine) = self.engines.get(&epoch) else { return };
        if engine.batch.is_empty() {
            self.to(epoch, Stage::Perform);
            return;
        }
        if let Fate::Stops = self.seam(epoch, Mark::CrashBeforeWrite) {
            return;
        }
        for (rate, mark) in
            [(self.faults.disk_full, Mark::DiskFull), (self.faults.write_error, Mark::WriteError)]
        {
            if self.strikes(rate) {
                self.marks.hit(mark);
                self.give_up(epoch, mark);
                return;
            }
        }
        let Some(engine) = self.engines.get_mut(&epoch) else { return };
        let mut batch = std::mem::take(&mut engine.batch);
        plant_in_batch(self.config.bug, &mut batch);
        if self.config.story {
            for (_, entry) in &batch {
                let Entry::Run(record) = entry else { continue };
                let text = format!("{record:?}");
                let text: String = text.chars().take(260).collect();
                say!(self, "  {epoch}| {text}");
            }
        }
        if self.disk.append(epoch, batch).is_err() {
            self.marks.hit(Mark::StaleAppendRefused);
            say!(self, "engine {epoch} has lapsed: its append is refused");
            self.engines.remove(&epoch);
            return;
        }
        self.to(epoch, Stage::Sync);
    }

    fn sync(&mut self, epoch: u64) {
        if self.config.bug == Some(Bug::NoSync) && self.rng.permille(500) {
            self.to(epoch, Stage::Perform);
            return;
        }
        if let Fate::Stops = self.seam(epoch, Mark::CrashBeforeSync) {
            return;
        }
        if self.strikes(self.faults.sync_error) {
            self.marks.hit(Mark::SyncError);
            self.give_up(epoch, Mark::SyncError);
            return;
        }
        self.disk.sync();
        self.take_durable();
        self.to(epoch, Stage::Perform);
        let _ = self.seam(epoch, Mark::CrashAfterSync);
    }

    fn to(&mut self, epoch: u64, stage: Stage) {
        if let Some(engine) = self.engines.get_mut(&epoch) {
            engine.stage = stage;
        }
    }

    /// The oracle and the people learn what is durable.
    fn take_durable(&mut self) {
        while self.oracle.seen < self.disk.durable && self.broken.is_none() {
            let index = self.oracle.seen;
            self.oracle.seen += 1;
            if let Entry::Campaign(record) = &self.disk.lines[index].entry {
                let record = record.clone();
                self.take_campaign(&record);
            }
            match &self.disk.lines[index].entry {
                Entry::Freed(instrument) => {
                    self.oracle.barred.remove(instrument);
                }
                Entry::Hand(instrument, true) => {
                    self.oracle.taken.insert(instrument.clone(), index);
                }
                Entry::Hand(instrument, false) => {
                    self.oracle.taken.remove(instrument);
                }
                _ => {}
            }
            let Some(record) = self.disk.lines[index].record().cloned() else { continue };
            let verdict = self.oracle.take(index, &record, self.pool, &self.units);
            self.judge(verdict);
            match &record {
                Record::Question { run, step, options, id, .. } => {
                    self.asked(run, &step.path, *id, options);
                }
                Record::MadeSafe { instrument, confirmed: false, .. } => {
                    let unit = UNITS.iter().position(|name| name == instrument).expect("a unit");
                    self.at(5 * S, Happening::SafeAgain(unit));
                }
                Record::Begun { .. } if !self.oracle.watching.is_empty() => self.begin_sampling(),
                Record::PassedOver { run, step, .. } | Record::Answer { run, step, .. } => {
                    // A block that was passed over holds nothing any more.
                    for unit in &mut self.units {
                        let ended = unit.gripped.as_ref().is_some_and(|(holder, block)| {
                            holder == run && block.starts_with(step.path.as_str())
                        });
                        if ended {
                            unit.gripped = None;
                        }
                    }
                }
                // What it held while its steps ran is anybody's now.
                Record::BodyEnded { run, .. } => {
                    for unit in &mut self.units {
                        if unit.gripped.as_ref().is_some_and(|(holder, _)| holder == run) {
                            unit.gripped = None;
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// The journal failed: nothing may be written, so nothing is sent but safe states.
    fn give_up(&mut self, epoch: u64, why: Mark) {
        say!(self, "engine {epoch} gives up ({why:?})");
        let Some(engine) = self.engines.get(&epoch) else { return };
        let mut touched: Vec<String> = Vec::new();
        for run in engine.core.open_runs() {
            touched.extend(run.touched.iter().cloned());
        }
        for (index, name) in UNITS.iter().enumerate() {
            if touched.iter().any(|t| t == name) && self.units[index].link_up {
                self.units[index].halt(self.now);
            }
        }
        self.die(epoch);
    }

    fn perform(&mut self, epoch: u64) {
        self.perform_all(epoch);
        if let Some(engine) = self.engines.get_mut(&epoch)
            && engine.actions.is_empty()
        {
            engine.stage = Stage::Decide;
            engine.recovering = false;
        }
    }

    fn perform_all(&mut self, epoch: u64) {
        while let Some(engine) = self.engines.get_mut(&epoch) {
            if engine.asleep || self.broken.is_some() {
                return;
            }
            let Some(action) = engine.actions.pop_front() else { return };
            // SAFETY(lab): the gate stands last before the wire.
            if epoch != self.disk.epoch && self.config.bug != Some(Bug::StaleEpoch) {
                self.marks.hit(Mark::StaleSendRefused);
                say!(self, "engine {epoch} has lapsed: its gate is shut");
                self.engines.remove(&epoch);
                return;
            }
            self.perform_one(epoch, action);
            if let Fate::Stops = self.seam(epoch, Mark::CrashBetweenSends) {
                return;
            }
        }
    }

    fn perform_one(&mut self, epoch: u64, action: Action) {
        match action {
            Action::Send { run, step, attempt, instrument, action, args, deadline } => {
                let number = args.values().next().and_then(Value::as_quantity).map(|q| q.value);
                let what = What::of(&action, number);
                self.send(epoch, run, step, attempt, &instrument, what, deadline);
            }
            Action::ReadWitness { run, key, instrument, property, since } => {
                self.read_witness(epoch, run, key, &instrument, &property, since);
            }
            Action::Analyse { run, key, .. } => {
                let failed = self.strikes(self.faults.analysis_failed);
                let result = match failed {
                    true => {
                        self.marks.hit(Mark::AnalysisFailed);
                        Err(Failure::without_effect(FailureKind::NoValue, "it does not converge"))
                    }
                    false => Ok(Value::number(1.0)),
                };
                let later = self.rng.between(1, 3_000) * MS;
                let event = Event::Analysed { run, key, result, trace: String::new() };
                self.at(later, Happening::Deliver(epoch, Box::new(event)));
            }
            Action::MakeSafe { run, instrument } => self.make_safe(epoch, run, &instrument, false),
            Action::Hold { run, instrument, .. } => self.make_safe(epoch, run, &instrument, true),
            Action::Cancel { run, step, attempt, instrument } => {
                self.cancel(epoch, run, step, attempt, &instrument);
            }
            other => panic!("the harness does not know {other:?}: teach it"),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one action")]
    fn send(
        &mut self,
        epoch: u64,
        run: String,
        step: StepRef,
        attempt: u32,
        instrument: &str,
        what: What,
        deadline: Duration,
    ) {
        let unit = UNITS.iter().position(|name| *name == instrument).expect("a unit");
        let outcome = |result: Result<Option<Value>, Failure>| {
            let (run, key, trace) = (run.clone(), step.key.clone(), String::new());
            Box::new(Event::Outcome { run, key, attempt, result, trace })
        };
        let failed = |kind, effect_unknown| {
            outcome(Err(Failure { kind, message: "as simulated".to_owned(), effect_unknown }))
        };
        if self.strikes(self.faults.gate) {
            self.marks.hit(Mark::GateShut);
            self.at(0, Happening::Deliver(epoch, failed(FailureKind::Gate, false)));
            return;
        }
        if !self.units[unit].link_up {
            self.marks.hit(Mark::LinkDownAtSend);
            self.at(0, Happening::Deliver(epoch, failed(FailureKind::Link, false)));
            return;
        }
        let intent = self.oracle.intent(&run, &step.key, attempt);
        let tag = Tag {
            run: run.clone(),
            key: step.key.clone(),
            path: step.path.clone(),
            attempt,
            intent: intent.unwrap_or(usize::MAX),
        };
        self.commands += 1;
        let current = epoch == self.disk.epoch;
        let verdict = self.oracle.wire(&tag, what, current, &self.units[unit]);
        self.judge(verdict);
        say!(self, "-> {run} {} #{attempt}: {instrument} {what:?}", step.path);
        let late = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
        let value = (what == What::Measure).then(|| {
            self.serial += 1;
            length(self.serial as f64)
        });
        let told = |event, times, after| Some(Told { epoch, event, times, after });
        let done = outcome(Ok(value));
        let timeout = Happening::Deliver(epoch, failed(FailureKind::Timeout, true));
        if self.strikes(self.faults.command_lost) {
            self.marks.hit(Mark::CommandLost);
            self.at(late, timeout);
        } else if self.strikes(self.faults.reply_lost) {
            self.marks.hit(Mark::ReplyLost);
            self.arrive(unit, tag, what, None);
            self.at(late, timeout);
        } else if self.strikes(self.faults.reply_late) {
            self.marks.hit(Mark::ReplyLate);
            if self.config.bug == Some(Bug::TransportResends) {
                self.arrive(unit, tag.clone(), what, None);
                let verdict = self.oracle.wire(&tag, what, current, &self.units[unit]);
                self.judge(verdict);
            }
            let after = late + self.rng.below(20 * S);
            self.arrive(unit, tag, what, told(done, 1, after));
            self.at(late, timeout);
        } else if self.strikes(self.faults.reply_twice) {
            self.marks.hit(Mark::ReplyTwice);
            self.arrive(unit, tag, what, told(done, 3, 0));
        } else if self.strikes(self.faults.reply_garbled) {
            self.marks.hit(Mark::ReplyGarbled);
            let garbled = failed(FailureKind::BadReply, what.class().counts());
            self.arrive(unit, tag, what, told(garbled, 1, 0));
        } else if self.strikes(self.faults.refused) {
            self.marks.hit(Mark::Refused);
            self.at(50 * MS, Happening::Deliver(epoch, failed(FailureKind::Refused, false)));
        } else if self.strikes(self.faults.driver_silent) {
            self.marks.hit(Mark::DriverSilent);
            if self.rng.permille(500) {
                self.arrive(unit, tag, what, None);
            }
        } else if self.strikes(self.faults.link_cut) {
            self.marks.hit(Mark::LinkCutInFlight);
            if self.rng.permille(600) {
                self.arrive(unit, tag, what, None);
            }
            let cut = failed(FailureKind::Link, what.class().counts());
            self.at(2 * MS, Happening::Deliver(epoch, cut));
            self.cut(unit);
        } else if self.strikes(self.faults.reboot) {
            self.arrive(unit, tag, what, None);
            let later = self.rng.below(6 * S);
            self.at(later, Happening::Reboot(unit));
            let lost = failed(FailureKind::Link, what.class().counts());
            self.at(later + 2 * MS, Happening::Deliver(epoch, lost));
        } else {
            self.arrive(unit, tag, what, told(done, 1, 0));
        }
    }

    /// A person takes an instrument out, or gives it back.
    pub(super) fn hand(&mut self, unit: usize, out: bool) {
        let instrument = UNITS[unit].to_owned();
        let Some(epoch) = self.current() else {
            if !out {
                self.at(S, Happening::Hand(unit, out));
            }
            return;
        };
        if !out {
            if self.config.bug == Some(Bug::GivenLost) {
                return;
            }
            say!(self, "Cleo gives {instrument} back");
            self.deliver(epoch, Event::Given { instrument });
            return;
        }
        // What is under way on it is not taken out of a run's hands.
        let on = |kind: &NodeKind| matches!(kind, NodeKind::Action { instrument: of, .. } if *of == instrument);
        let busy = self.engines[&epoch].core.open_runs().any(|run| {
            run.steps.iter().any(|(key, state)| {
                matches!(state.status, Status::Sent | Status::Uncertain)
                    && run.node(key).is_some_and(|node| on(&node.kind))
            })
        });
        if self.calm || busy {
            return;
        }
        self.marks.hit(Mark::TakenByHand);
        say!(self, "Cleo takes {instrument} out");
        self.deliver(epoch, Event::Taken { instrument, by: "Cleo".to_owned() });
        let later = self.rng.between(1, 600) * S;
        self.at(later, Happening::Hand(unit, false));
    }

    /// The shell tells an instrument that was not confirmed safe its safe state, until it confirms.
    pub(super) fn safe_again(&mut self, unit: usize) {
        let name = UNITS[unit];
        let later = self.rng.between(2, 20) * S;
        let Some(epoch) = self.current() else {
            return; // The next engine begins anew with it.
        };
        let engine = &self.engines[&epoch];
        if !engine.core.barred().contains_key(name) {
            return;
        }
        let busy = engine.asleep || !engine.core.is_free(name) || !self.units[unit].link_up;
        self.at(later, Happening::SafeAgain(unit));
        if busy {
            return;
        }
        if self.strikes(self.faults.safe_refused) || self.strikes(self.faults.safe_silent) {
            return;
        }
        self.marks.hit(Mark::SafeAtLast);
        say!(self, "-> {name}: safe state, again");
        let within = self.rng.between(1, 30) * MS;
        self.at(within, Happening::SafeAtLast { unit, epoch });
    }

    fn read_witness(
        &mut self,
        epoch: u64,
        run: String,
        key: StepKey,
        instrument: &str,
        property: &str,
        since: Tick,
    ) {
        let unit = UNITS.iter().position(|name| *name == instrument).expect("a unit");
        // An engine's time may be off; when it first asked with this moment is not.
        let place = (run.clone(), key.clone(), since);
        let since = *self.asked_at.entry(place).or_insert(self.now);
        let unreadable = !self.units[unit].link_up || self.strikes(self.faults.witness_error);
        let later = self.rng.between(2, 200) * MS;
        let reading = if unreadable {
            self.marks.hit(Mark::WitnessUnreadable);
            Err(Failure::without_effect(FailureKind::Timeout, "no answer"))
        } else {
            let (now, found) = (self.now, &self.units[unit]);
            let number = found.read(property, now);
            // The instrument says that it restarted, until somebody has heard it.
            let rebooted = found.booted > 0
                && found.booted >= since
                && self.config.bug != Some(Bug::RebootUnseen);
            let busy = found.tells_busy.then(|| found.busy(now));
            if rebooted {
                self.marks.hit(Mark::WitnessVoid);
            }
            if busy == Some(true) {
                self.marks.hit(Mark::WitnessBusy);
            }
            let value = match property {
                "dosed" => volume(number),
                _ => length(number),
            };
            Ok(Reading { value, rebooted, busy })
        };
        say!(self, "   {run} reads {instrument}.{property}: {reading:?}");
        let event = Event::Witnessed { run, key, reading };
        self.at(later, Happening::Deliver(epoch, Box::new(event)));
    }

    /// A command under way is cancelled; its outcome follows, unless it is on its way already.
    fn cancel(&mut self, epoch: u64, run: String, step: StepRef, attempt: u32, instrument: &str) {
        let unit = UNITS.iter().position(|name| *name == instrument).expect("a unit");
        say!(self, "-> {run} {} #{attempt}: cancelled", step.path);
        let Some(intent) = self.oracle.intent(&run, &step.key, attempt) else { return };
        if !self.units[unit].link_up {
            return;
        }
        self.marks.hit(Mark::Cancelled);
        let later = self.rng.between(1, 30) * MS;
        let message = "cancelled".to_owned();
        let failure = Failure { kind: FailureKind::Person, message, effect_unknown: true };
        let (key, result, trace) = (step.key, Err(failure), String::new());
        let event = Box::new(Event::Outcome { run, key, attempt, result, trace });
        self.at(later, Happening::Cancel { unit, intent, epoch, event });
    }

    fn make_safe(&mut self, epoch: u64, run: String, instrument: &str, hold: bool) {
        let unit = UNITS.iter().position(|name| *name == instrument).expect("a unit");
        let which = if hold { "hold" } else { "safe" };
        say!(self, "-> {instrument}: {which} state, for {run}");
        let told = |confirmed| Box::new(halted(hold, run.clone(), instrument, confirmed));
        if self.config.bug == Some(Bug::SafeSkipped) {
            self.at(MS, Happening::Deliver(epoch, told(true)));
            return;
        }
        let believed = self.config.bug == Some(Bug::SafeBelieved);
        if !self.units[unit].link_up || self.strikes(self.faults.safe_refused) {
            self.marks.hit(Mark::SafeRefused);
            self.at(MS, Happening::Deliver(epoch, told(believed)));
            return;
        }
        let answered = !self.strikes(self.faults.safe_silent);
        if !answered {
            self.marks.hit(Mark::SafeSilent);
        }
        let later = self.rng.between(1, 30) * MS;
        self.at(later, Happening::Safe { unit, epoch, run, answered, hold });
    }
}

/// What a safe state or a hold state came to.
pub fn halted(hold: bool, run: String, instrument: &str, confirmed: bool) -> Event {
    let instrument = instrument.to_owned();
    let (detail, trace) = (String::new(), String::new());
    match hold {
        true => Event::AtHold { run, instrument, confirmed, detail, trace },
        false => Event::MadeSafe { run, instrument, confirmed, detail, trace },
    }
}

/// Defects in what reaches the core.
fn plant_in_event(bug: Option<Bug>, event: Event) -> Event {
    match (bug, event) {
        (Some(Bug::FailureHidden), Event::Outcome { run, key, attempt, result: Err(_), trace }) => {
            Event::Outcome { run, key, attempt, result: Ok(None), trace }
        }
        (_, event) => event,
    }
}

/// Defects in what reaches the journal.
fn plant_in_batch(bug: Option<Bug>, batch: &mut Vec<(Tick, Entry)>) {
    match bug {
        Some(Bug::OutcomeDropped) => {
            batch.retain(|(_, entry)| {
                !matches!(entry, Entry::Run(Record::Outcome { result: Ok(_), .. }))
            });
        }
        Some(Bug::ValueDropped) => {
            for (_, entry) in batch {
                if let Entry::Run(Record::Outcome { result: Ok(value), .. }) = entry {
                    *value = None;
                }
            }
        }
        Some(Bug::Reordered) if batch.len() > 2 => {
            let last = batch.len() - 1;
            batch.swap(last - 1, last);
        }
        Some(Bug::MachineAnswers) => {
            let mut more = Vec::new();
            for (tick, entry) in batch.iter() {
                if let Entry::Run(Record::Question { run, step, options, evidence, .. }) = entry
                    && options.iter().any(|o| o == "not done")
                {
                    let resolved = Record::Resolved {
                        run: run.clone(),
                        step: step.clone(),
                        attempt: evidence.as_ref().map_or(1, |e| e.attempt),
                        resolution: Resolution::NotDone,
                        evidence: "surely not".to_owned(),
                        by: "engine".to_owned(),
                        trace: String::new(),
                    };
                    more.push((*tick, Entry::Run(resolved)));
                }
            }
            batch.extend(more);
        }
        _ => {}
    }
}

/// A run without what is the same for all of its life, and without what is derived.
fn plain(run: &Run) -> Run {
    let mut run = run.clone();
    run.graph = Arc::new(Graph::default());
    run.plan = Arc::new(Plan::new(&run.graph));
    run.ready.clear();
    run
}

fn dump(run: &Run) -> u64 {
    hashed(&plain(run))
}

/// FNV-1a over what `Debug` writes, without keeping it.
pub fn hashed(value: &impl fmt::Debug) -> u64 {
    struct Hash(u64);
    impl fmt::Write for Hash {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for byte in text.bytes() {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
            Ok(())
        }
    }
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    write!(hash, "{value:?}").expect("memory");
    hash.0
}
