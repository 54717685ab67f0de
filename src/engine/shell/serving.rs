//! An engine that serves: it idles without end, takes campaigns while it works, waits for instruments
//! that come late, and leaves when it is told to, with its runs held.
//!
//! ```text
//! start -> waits for the instruments of open runs -> recovered -> work, idle, work ...
//!       told to leave -> every run held -> (within HOLD_WITHIN, or else aborted) -> left
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::control::{Control, Refusal, RefusalKind, Reply, Request};
use super::engine::{Engine, EngineError};
use super::entries::{EngineRecord, Fact};
use super::instruments::Instruments;
use super::prepare::{PrepareError, Prepared, Wish, name_of};
use super::progress::Progress;
use crate::compiler::graph::Graph;
use crate::compiler::{Bundle, check_bundle, first_guard};
use crate::engine::campaign::SERVICE_ENDED;
use crate::engine::core::{Cause, Command, Event, Run, RunState};
use crate::spec::render;

/// Runs have this long to come to their hold states before they are aborted instead.
pub const HOLD_WITHIN: Duration = Duration::from_secs(20);
/// Aborted runs have this long to have their safe states confirmed.
pub const SAFE_WITHIN: Duration = Duration::from_secs(10);
/// Submissions that are checked at the same time; checking takes a core for up to a second.
const PREPARING_MAX: usize = 4;
/// Answers that wait for one submission: whoever sent it again with the same key.
const SAME_KEY_MAX: usize = 256;
/// How often instruments that are awaited are looked at.
const LOOK_FOR_INSTRUMENTS: Duration = Duration::from_millis(200);
/// How often the words about the state are made anew.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Shows that the engine's loop goes round, and what it is about. Beats come from the loop itself:
/// an engine that is stuck shows none.
#[derive(Debug, Default)]
pub struct Pulse {
    beats: AtomicU64,
    said: Mutex<Said>,
}

/// What the engine last said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// It is decided what becomes of the runs of the engine before.
    pub ready: bool,
    /// One line for people.
    pub status: String,
}

impl Pulse {
    /// Rounds of the loop so far.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// What the engine last said of itself.
    pub fn said(&self) -> Said {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn say(&self, said: Said) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }
}

/// What the process tells its engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Hold every run and end; the next engine goes on.
    Leave {
        /// Who or what.
        by: String,
    },
    /// End as soon as nothing is under way.
    EndWhenIdle,
}

/// What an engine needs to serve.
#[derive(Debug)]
pub struct ServiceSetup {
    /// Texts of the lab it serves.
    pub lab: Arc<Bundle>,
    /// Where its loop shows that it goes round.
    pub pulse: Arc<Pulse>,
    /// Names of campaigns that exist.
    pub taken: BTreeSet<String>,
    /// Keys they were asked for with.
    pub keys: BTreeMap<String, String>,
    /// What the process tells it.
    pub orders: mpsc::Receiver<Order>,
    /// Why nothing may move before a person says so.
    pub held: Option<String>,
}

/// What has happened to a service.
pub(super) enum Happened {
    Ordered(Order),
    Checked(Box<Checked>),
    /// The time to leave in is over.
    Late,
}

/// A submission that was checked.
pub(super) struct Checked {
    ticket: u64,
    result: Result<Prepared, Refusal>,
}

/// Who waits for a submission to be checked.
struct Waiting {
    key: Option<String>,
    /// Who asked first.
    by: String,
    replies: Vec<oneshot::Sender<Reply>>,
}

struct Leaving {
    by: String,
    until: Instant,
    aborted: bool,
}

/// The part of an engine that serves.
pub(super) struct Service {
    lab: Arc<Bundle>,
    pulse: Arc<Pulse>,
    taken: BTreeSet<String>,
    keys: BTreeMap<String, String>,
    orders: mpsc::Receiver<Order>,
    /// The runs of the engine before are resolved.
    taken_over: bool,
    held: Option<String>,
    leaving: Option<Leaving>,
    until_idle: bool,
    preparing: JoinSet<Checked>,
    tickets: u64,
    /// Who waits for which ticket.
    asked: BTreeMap<u64, Waiting>,
    said_at: Option<Instant>,
    missing: String,
}

impl Service {
    fn new(setup: ServiceSetup) -> Service {
        Service {
            lab: setup.lab,
            pulse: setup.pulse,
            taken: setup.taken,
            keys: setup.keys,
            orders: setup.orders,
            taken_over: false,
            held: setup.held,
            leaving: None,
            until_idle: false,
            preparing: JoinSet::new(),
            tickets: 0,
            asked: BTreeMap::new(),
            said_at: None,
            missing: String::new(),
        }
    }

    /// Nothing new begins.
    pub(super) fn is_quiet(&self) -> bool {
        self.leaving.is_some() || self.held.is_some()
    }

    /// The next thing that happens to a service; nothing ever happens to an engine that is none.
    ///
    /// Cancel safety: orders stay in their queue, checked submissions in their set.
    pub(super) async fn next(service: &mut Option<Service>) -> Happened {
        let Some(service) = service else { return std::future::pending().await };
        let until = service.leaving.as_ref().map(|leaving| leaving.until);
        let late = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        let checked = async {
            match service.preparing.join_next().await {
                Some(checked) => checked,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(order) = service.orders.recv() => Happened::Ordered(order),
            // Its panics were caught; what else ends a thread takes the process with it.
            Ok(checked) = checked => Happened::Checked(Box::new(checked)),
            () = late => Happened::Late,
        }
    }
}

impl<I: Instruments> Engine<I> {
    /// Serves from now on: [`Engine::work`] ends only when it is told to.
    pub fn serve(&mut self, setup: ServiceSetup) {
        self.service = Some(Service::new(setup));
    }

    /// Shows that the loop goes round.
    pub(super) fn beat(&mut self) {
        let Some(service) = self.service.as_mut() else { return };
        service.pulse.beats.fetch_add(1, Ordering::Relaxed);
        if service.said_at.is_some_and(|at| at.elapsed() < STATUS_EVERY) {
            return;
        }
        service.said_at = Some(Instant::now());
        let status = self.status_line();
        if let Some(service) = &self.service {
            service.pulse.say(Said { ready: true, status });
        }
    }

    fn status_line(&self) -> String {
        let Some(service) = &self.service else { return String::new() };
        let campaigns = self.campaigns().filter(|c| c.ended.is_none()).count();
        let runs = self.core.open_runs().count();
        let held = self.core.open_runs().filter(|r| r.state() == RunState::Held).count();
        let mut line = format!("{campaigns} campaigns open, {runs} runs under way");
        let add = |line: &mut String, text: &str| {
            line.push_str("; ");
            line.push_str(text);
        };
        if held > 0 {
            add(&mut line, &format!("{held} held"));
        }
        if self.is_stopped() {
            add(&mut line, "EMERGENCY STOP");
        }
        if let Some(why) = &service.held {
            add(&mut line, why);
        }
        if !service.missing.is_empty() {
            add(&mut line, &format!("waits for {}", service.missing));
        }
        if !self.questions.open.is_empty() {
            add(&mut line, &format!("{} questions wait for an answer", self.questions.open.len()));
        }
        if service.leaving.is_some() {
            add(&mut line, "ends, holding its runs");
        }
        line
    }

    /// Before anything else: the runs of the engine before are resolved as soon as the instruments
    /// they use are there. Nothing is given up; whoever asks is told what is awaited.
    pub(super) async fn resolve_first(&mut self) -> Result<(), EngineError> {
        if self.service.as_ref().is_none_or(|s| s.taken_over) {
            return Ok(());
        }
        let needed: BTreeSet<String> =
            self.core.open_runs().flat_map(|run| instruments_of(&run.graph)).collect();
        let mut request = None;
        loop {
            self.beat();
            self.health.beat();
            self.look_around()?;
            let missing = self.missing_of(&needed);
            let leaving = self.service.as_ref().is_some_and(|s| s.leaving.is_some());
            // SAFETY(lab): an emergency stop aborts runs, and waits for nobody.
            if missing.is_empty() || self.is_stopped() || leaving {
                break;
            }
            self.say_missing(&missing);
            self.commit()?;
            self.reply();
            tokio::select! {
                biased;
                Some(asked) = self.controls.next() => match asked.control {
                    // Whoever commands a run wants it resolved as far as that is possible now.
                    Control::Command { .. } | Control::Answer { .. } => {
                        request = Some(asked);
                        break;
                    }
                    _ => self.take_request(asked)?,
                },
                happened = Service::next(&mut self.service) => self.take_happened(happened)?,
                () = tokio::time::sleep(LOOK_FOR_INSTRUMENTS) => {}
            }
            // Nothing is decided yet, but what instruments tell now they tell only once: that they
            // restarted, who they are, that they are safe.
            while let Ok(notice) = self.notices.try_recv() {
                self.take_notice(notice)?;
            }
            // A person's command by hand is for now, not for when the last instrument has come.
            self.settle_calls()?;
            self.commit()?;
            self.perform_calls()?;
        }
        self.say_missing("");
        let leaving = self.service.as_ref().is_some_and(|s| s.leaving.is_some());
        if leaving {
            // What was not taken over is left as it was found.
            return Ok(());
        }
        if let Some(why) = self.service.as_ref().and_then(|s| s.held.clone()) {
            self.own.push_back(Event::HoldAll { cause: Cause::Person, detail: why });
        }
        self.recover(false);
        self.take_own()?;
        if let Some(service) = self.service.as_mut() {
            service.taken_over = true;
        }
        match request {
            Some(request) => self.take_request(request),
            None => Ok(()),
        }
    }

    /// Instruments of these that are not there, in words.
    pub(super) fn missing_of(&self, needed: &BTreeSet<String>) -> String {
        let conditions = self.instruments.conditions();
        let missing = conditions.into_iter().filter(|c| !c.ready && needed.contains(&c.instrument));
        let words: Vec<String> = missing.map(|c| format!("{} ({})", c.instrument, c.why)).collect();
        words.join(", ")
    }

    /// Says what is awaited, when that changes.
    pub(super) fn say_missing(&mut self, missing: &str) {
        let Some(service) = self.service.as_mut() else { return };
        if service.missing == missing {
            return;
        }
        // The reason may change with every try; the names are what people are told.
        let names = |text: &str| -> Vec<String> {
            text.split(", ").map(|w| w.split(' ').next().unwrap_or_default().to_owned()).collect()
        };
        let news = names(&service.missing) != names(missing);
        missing.clone_into(&mut service.missing);
        if news {
            let detail = match missing.is_empty() {
                true => "every instrument that was awaited is there".to_owned(),
                false => format!("waits for {missing}; it goes on when they are there"),
            };
            self.told(Progress::Engine { detail });
        }
    }

    /// A person lets go on what came up held.
    pub(super) fn lift(&mut self) {
        if let Some(service) = self.service.as_mut()
            && service.held.take().is_some()
        {
            self.own.push_back(Event::Passed { cause: Cause::Person });
        }
    }

    pub(super) fn take_happened(&mut self, happened: Happened) -> Result<(), EngineError> {
        match happened {
            Happened::Ordered(Order::Leave { by }) => self.leave(by),
            Happened::Ordered(Order::EndWhenIdle) => {
                if let Some(service) = self.service.as_mut() {
                    service.until_idle = true;
                }
                Ok(())
            }
            Happened::Checked(checked) => self.take_checked(*checked),
            Happened::Late => self.abort_what_is_not_held(),
        }
    }

    /// Holds every run. A second order does not wait for what is still on its way.
    fn leave(&mut self, by: String) -> Result<(), EngineError> {
        let Some(service) = self.service.as_mut() else { return Ok(()) };
        if service.leaving.is_some() {
            return self.abort_what_is_not_held();
        }
        let detail = format!("the service was ended by {by}; the next one goes on");
        self.own.push_back(Event::HoldAll { cause: Cause::Shutdown, detail });
        let until = Instant::now() + HOLD_WITHIN;
        let said = format!("ended by {by}: every run is held, within {} s", HOLD_WITHIN.as_secs());
        service.leaving = Some(Leaving { by, until, aborted: false });
        self.told(Progress::Engine { detail: said });
        Ok(())
    }

    /// The time to hold is over: what is not held goes to its safe state.
    // SAFETY(lab): nobody will watch these instruments in a moment.
    fn abort_what_is_not_held(&mut self) -> Result<(), EngineError> {
        let Some(leaving) = self.service.as_mut().and_then(|s| s.leaving.as_mut()) else {
            return Ok(());
        };
        if std::mem::replace(&mut leaving.aborted, true) {
            // Nothing more can be waited for; the caller sends what safe states are left.
            leaving.until = Instant::now();
            return Ok(());
        }
        leaving.until = Instant::now() + SAFE_WITHIN;
        let by = leaving.by.clone();
        // What runs its `finally` has its results already: its instruments are made safe as the
        // engine ends, and the next one goes on with it.
        let moving = |run: &&Run| !matches!(run.state(), RunState::Held | RunState::Completing);
        let moving = self.core.open_runs().filter(moving);
        let moving: Vec<String> = moving.map(|run| run.id.clone()).collect();
        for run in moving {
            let by = format!("{by}{SERVICE_ENDED}: it did not come to its hold state in time");
            self.step(Event::Command { run, command: Command::Abort, by })?;
        }
        Ok(())
    }

    /// Whether the engine has done all it has to before it ends.
    pub(super) fn may_end(&self) -> bool {
        let Some(service) = &self.service else { return self.is_idle() };
        match &service.leaving {
            None => service.until_idle && self.is_idle(),
            Some(leaving) => {
                let out_of_time = leaving.aborted && Instant::now() >= leaving.until;
                let held = self.core.open_runs().all(|run| run.state() == RunState::Held);
                // What a person began by hand, and safe states that are still insisted on, have the
                // same time as runs.
                let busy = self.hands.is_busy() || self.is_insisting();
                self.own.is_empty() && ((held && !busy) || out_of_time || !service.taken_over)
            }
        }
    }

    /// Instruments that a run has touched which is neither held nor over.
    pub fn exposed_instruments(&self) -> BTreeSet<String> {
        let moving = self.core.open_runs().filter(|run| run.state() != RunState::Held);
        moving.flat_map(|run| run.touched.iter().cloned()).collect()
    }

    /// Last words of a service in the journal.
    pub(super) fn note_end(&mut self) -> Result<(), EngineError> {
        let Some(service) = &self.service else { return Ok(()) };
        let by = service.leaving.as_ref().map_or("idle", |leaving| &leaving.by).to_owned();
        let held = self.core.open_runs().filter(|run| run.state() == RunState::Held).count();
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        self.note(Fact::Engine(EngineRecord::Left { by, held }))
    }

    /// A campaign is asked for.
    pub(super) fn submit(&mut self, request: Request) -> Result<(), EngineError> {
        let Request { control, reply, .. } = request;
        let Control::Submit { bundle, wish, by } = control else { return Ok(()) };
        let answer = match self.service.as_mut() {
            None => Reply::Refused(Refusal::new(
                RefusalKind::NotNow,
                "the engine at work here was started by `labloop run` or `resume` and takes no \
                 further campaigns; `labloop serve` does",
            )),
            Some(service) => match service.take(bundle, wish, by, reply) {
                Ok(()) => return Ok(()),
                Err((reply, answer)) => {
                    self.desk.answer(reply, answer);
                    return Ok(());
                }
            },
        };
        self.desk.answer(reply, answer);
        Ok(())
    }

    fn take_checked(&mut self, checked: Checked) -> Result<(), EngineError> {
        let Checked { ticket, result } = checked;
        let Some(service) = self.service.as_mut() else { return Ok(()) };
        let Some(Waiting { key, by, replies }) = service.asked.remove(&ticket) else {
            return Ok(());
        };
        let answer = match result {
            Err(refusal) => Reply::Refused(refusal),
            Ok(_) if service.leaving.is_some() => Reply::Refused(Refusal::new(
                RefusalKind::NotNow,
                "the service is ending; submit again when it is back",
            )),
            Ok(mut prepared) => {
                let name = name_of(&prepared.bundle);
                let free = |id: &String| !service.taken.contains(id);
                let id = (1u32..).map(|n| format!("{name}-{n}")).find(free).unwrap_or_default();
                prepared.setup.machine.id.clone_from(&id);
                let kept = prepared.kept.take();
                match self.add_campaign(prepared.setup) {
                    Ok(()) => {
                        kept.into_iter().for_each(|document| self.keep(document));
                        let (text, about) = ("submitted".to_owned(), Some(id.clone()));
                        self.note(Fact::Engine(EngineRecord::Note { text, about, by }))?;
                        if let Some(service) = self.service.as_mut() {
                            service.taken.insert(id.clone());
                            if let Some(key) = key {
                                service.keys.insert(key, id.clone());
                            }
                        }
                        for reply in replies {
                            let campaign = id.clone();
                            self.desk.answer(reply, Reply::Submitted { campaign });
                        }
                        return Ok(());
                    }
                    Err(EngineError::Campaign(why)) => {
                        Reply::Refused(Refusal::new(RefusalKind::Busy, why))
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        for reply in replies {
            self.desk.answer(reply, answer.clone());
        }
        Ok(())
    }
}

impl Service {
    /// Lets a submission be checked on a thread of its own, or says at once what comes of it.
    fn take(
        &mut self,
        bundle: String,
        wish: Wish,
        by: String,
        reply: oneshot::Sender<Reply>,
    ) -> Result<(), (oneshot::Sender<Reply>, Reply)> {
        let busy = |why: &str| Reply::Refused(Refusal::new(RefusalKind::Busy, why));
        if let Some(key) = &wish.key {
            if let Some(campaign) = self.keys.get(key) {
                return Err((reply, Reply::Submitted { campaign: campaign.clone() }));
            }
            let same = |waiting: &&mut Waiting| waiting.key.as_ref() == Some(key);
            if let Some(waiting) = self.asked.values_mut().find(same) {
                if waiting.replies.len() >= SAME_KEY_MAX {
                    return Err((reply, busy("the same is asked for too often at once")));
                }
                waiting.replies.push(reply);
                return Ok(());
            }
        }
        if self.preparing.len() >= PREPARING_MAX {
            let why = "other submissions are being checked; submit again in a moment";
            return Err((reply, busy(why)));
        }
        self.tickets += 1;
        let (ticket, lab) = (self.tickets, Arc::clone(&self.lab));
        let key = wish.key.clone();
        self.asked.insert(ticket, Waiting { key, by, replies: vec![reply] });
        self.preparing.spawn_blocking(move || {
            let result = super::searches::guarded("checking it", || check(&lab, &bundle, &wish))
                .unwrap_or_else(|why| Err(Refusal::new(RefusalKind::NotNow, why)));
            Checked { ticket, result }
        });
        Ok(())
    }
}

/// Everything that can be said against a submission before it is taken.
fn check(lab: &Bundle, text: &str, wish: &Wish) -> Result<Prepared, Refusal> {
    let malformed = |why: String| Refusal::new(RefusalKind::Malformed, why);
    let mut bundle = Bundle::from_kept(text).map_err(|error| malformed(error.to_string()))?;
    check_bundle(&mut bundle);
    if bundle.report.has_errors() {
        let text = render::text(&bundle.report, &bundle.sources, render::Colour::Never);
        return Err(Refusal::new(RefusalKind::NotCompiled, text));
    }
    if let Some(how) = lab.lab_difference(&bundle) {
        let message = format!("it is for another lab than the one served here: {how}");
        return Err(Refusal::new(RefusalKind::OtherLab, message));
    }
    let guard = bundle.lab.as_ref().and_then(|lab| first_guard(lab, &bundle.sources));
    if let Some((what, place)) = guard {
        let message = format!(
            "{}:{}: {what} is checked, but this version does not evaluate it while a run goes on",
            place.file, place.line
        );
        return Err(Refusal::new(RefusalKind::NotCompiled, message));
    }
    Prepared::new(Arc::new(bundle), wish, String::new()).map_err(|error| match error {
        PrepareError::Texts | PrepareError::Compile(_) => {
            Refusal::new(RefusalKind::NotCompiled, error.to_string())
        }
        PrepareError::Wish(_) | PrepareError::Brain(_) => malformed(error.to_string()),
    })
}

/// Instruments that the steps of a graph use.
pub(super) fn instruments_of(graph: &Graph) -> BTreeSet<String> {
    graph.nodes.iter().flat_map(|node| node.claims.iter().cloned()).collect()
}
