//! What the engine does with what it is asked: one function for each kind of request.
//!
//! Invariant: what a request leads to goes through the core and the journal like every other event;
//! the answer is sent after the commit that made it durable.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::control::{
    Control, InstrumentOutcome, Obeyed, Outcome, Refusal, RefusalKind, Reply, Request, RunOutcome,
    Safety, Subject, SubjectKind,
};
use super::engine::{Engine, EngineError};
use super::entries::{EngineRecord, Fact};
use super::instruments::Instruments;
use super::progress::Progress;
use super::view::QuestionView;
use crate::engine::core::{self, Command, Event, Heard, Phase, Record, Run, RunState};

/// Commands whose outcome is awaited at once; the outcome of more is not told, `status` shows it.
const WAITERS_MAX: usize = 64;

/// Requests between their arrival and the last word on them.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Answers that wait for the commit.
    replies: Vec<(oneshot::Sender<Reply>, Reply)>,
    /// Outcomes that wait for it too.
    outcomes: Vec<(oneshot::Sender<Outcome>, Outcome)>,
    waiters: Vec<Waiter>,
    /// What the core said to the last command or answer.
    heard: Vec<core::Reply>,
    /// Safe states of runs that are not over, with what the instruments said.
    said: Vec<(String, InstrumentOutcome)>,
}

/// Somebody who wants to know where a command has led.
#[derive(Debug)]
struct Waiter {
    command: Command,
    runs: BTreeSet<String>,
    over: Vec<RunOutcome>,
    outcome: oneshot::Sender<Outcome>,
}

/// Who commands what.
struct Order {
    target: Option<String>,
    command: Command,
    by: String,
    reason: String,
}

impl<I: Instruments> Engine<I> {
    pub(super) fn take_request(&mut self, request: Request) -> Result<(), EngineError> {
        if matches!(request.control, Control::Submit { .. }) {
            return self.submit(request);
        }
        let Request { control, reply, outcome } = request;
        let answer = match control {
            Control::Command { target, command, by, reason } => {
                self.obey(Order { target, command, by, reason }, outcome)?
            }
            // It is pressed where it is asked for; this is for whoever sends it here all the same.
            Control::EmergencyStop { by, .. } => {
                self.emergency.press(&by);
                Reply::Pressed
            }
            Control::Clear { by, reason } => self.clear(&by, reason.as_deref())?,
            Control::Answer { question, answer, by } => self.answer(question, answer, by)?,
            Control::Take { instrument, by, reason } => self.take_out(instrument, by, reason)?,
            Control::Give { instrument, by } => self.give_back(&instrument, by)?,
            Control::Call { instrument, what, set, by } => {
                self.call(instrument, &what, &set, by, outcome)?
            }
            Control::Accept { instrument, by, reason } => self.accept(instrument, by, reason)?,
            Control::Note { text, about, by } => self.keep_note(text, about, by)?,
            Control::Edit { campaign, text, by, reason } => {
                self.edit(&campaign, &text, by, reason)?
            }
            Control::Exclude { campaign, experiment, by, reason, undo } => {
                self.exclude(&campaign, experiment, by, reason, undo)?
            }
            Control::Signals { instrument } => self.signals_now(instrument.as_deref()),
            Control::Status | Control::Submit { .. } => Reply::Status(Box::new(self.view())),
        };
        self.desk.replies.push((reply, answer));
        Ok(())
    }

    fn obey(
        &mut self,
        order: Order,
        outcome: oneshot::Sender<Outcome>,
    ) -> Result<Reply, EngineError> {
        let Order { target, command, by, reason } = order;
        let runs = match self.runs_meant(target.as_deref()) {
            Ok(runs) => runs,
            Err(refusal) => return Ok(Reply::Refused(refusal)),
        };
        let campaigns = self.campaigns_meant(target.as_deref());
        // Who resumes one run lets go on that one; what others hold stays held.
        if command == Command::Resume && target.is_none() {
            self.lift();
        }
        let began = self.entries.len();
        let mut subjects = Vec::new();
        for run in &runs {
            // A campaign that pauses by its name lets its runs come to their ends.
            let named = target.as_ref().is_some_and(|target| campaigns.contains(target));
            if named && command == Command::Pause && self.is_one_of_many(run) {
                continue;
            }
            self.desk.heard.clear();
            self.step(Event::Command { run: run.clone(), command, by: by.clone() })?;
            subjects.push(self.subject(run));
        }
        // A run by its own name is not its campaign.
        if target.as_ref().is_none_or(|target| !runs.contains(target)) {
            for id in &campaigns {
                subjects.extend(self.command_campaign(id, command, &by, &reason)?);
            }
        }
        let accepted = subjects.iter().filter(|s| s.result == Obeyed::Accepted);
        let of: Vec<String> = accepted.map(|s| s.id.clone()).collect();
        if !of.is_empty() {
            self.told(Progress::Commanded { command, by: by.clone(), reason: reason.clone() });
            let record = EngineRecord::Commanded { command, target, of, by, reason };
            self.note(Fact::Engine(record))?;
            // The command stands before what it has led to.
            if let Some(led_to) = self.entries.get_mut(began..) {
                led_to.rotate_right(1);
            }
        }
        let meant: BTreeSet<String> = subjects
            .iter()
            .filter(|s| s.kind == SubjectKind::Run && s.result != Obeyed::Refused)
            .map(|s| s.id.clone())
            .collect();
        if self.desk.waiters.len() < WAITERS_MAX {
            self.desk.waiters.push(Waiter { command, runs: meant, over: Vec::new(), outcome });
        }
        Ok(Reply::Commanded { subjects })
    }

    /// Whether a run belongs to a campaign that has more experiments than that.
    fn is_one_of_many(&self, run: &str) -> bool {
        let campaign = self.campaign_of(run);
        campaign.and_then(|id| self.campaign(&id)).is_some_and(|c| c.rules.experiments > 1)
    }

    /// Open runs of a run's name, of a campaign's, or all.
    fn runs_meant(&self, target: Option<&str>) -> Result<Vec<String>, Refusal> {
        let open = || self.core.open_runs();
        let Some(target) = target else { return Ok(open().map(|r| r.id.clone()).collect()) };
        if open().any(|r| r.id == target) {
            return Ok(vec![target.to_owned()]);
        }
        if self.campaigns_meant(Some(target)).is_empty() {
            return Err(self.unknown(target));
        }
        let of = |r: &&Run| self.campaign_of(&r.id).as_deref() == Some(target);
        Ok(open().filter(of).map(|r| r.id.clone()).collect())
    }

    /// Campaigns of that name that are not over, or all of them.
    fn campaigns_meant(&self, target: Option<&str>) -> Vec<String> {
        self.campaigns()
            .filter(|m| m.ended.is_none() && target.is_none_or(|t| t == m.id))
            .map(|m| m.id.clone())
            .collect()
    }

    fn unknown(&self, target: &str) -> Refusal {
        let runs = self.core.open_runs().map(|r| r.id.clone());
        let known: Vec<String> = self.campaigns_meant(None).into_iter().chain(runs).collect();
        let known = match known.as_slice() {
            [] => "nothing is under way".to_owned(),
            _ => format!("under way are {}", known.join(", ")),
        };
        let message = format!("no run or campaign `{target}` is under way here; {known}");
        Refusal::new(RefusalKind::UnknownId, message)
    }

    /// What the core said to a command.
    fn subject(&self, run: &str) -> Subject {
        let said = self.desk.heard.iter().find(|reply| reply.run == run);
        let (id, kind) = (run.to_owned(), SubjectKind::Run);
        // A run that ended by this very command is no longer kept.
        let state = said.and_then(|s| s.state).map_or("over", RunState::as_str).to_owned();
        let result = match said.map(|s| s.heard) {
            Some(Heard::Accepted) => Obeyed::Accepted,
            Some(Heard::Already) => Obeyed::AlreadySo,
            Some(Heard::Refused) | None => Obeyed::Refused,
        };
        let why = said.map(|s| s.message.clone()).unwrap_or_default();
        Subject { id, kind, result, state, why }
    }

    fn clear(&mut self, by: &str, reason: Option<&str>) -> Result<Reply, EngineError> {
        Ok(match self.clear_stop(by, reason)? {
            Ok(()) => Reply::Cleared,
            Err(why) => Reply::Refused(Refusal::new(RefusalKind::NotNow, why)),
        })
    }

    fn answer(&mut self, id: String, answer: String, by: String) -> Result<Reply, EngineError> {
        let Some(question) = self.questions.open.iter().find(|q| q.id == id).cloned() else {
            return Ok(Reply::Refused(self.not_open(&id)));
        };
        if !question.options.iter().any(|o| o.answer == answer) {
            let options: Vec<&str> = question.options.iter().map(|o| o.answer.as_str()).collect();
            let message = format!(
                "`{answer}` is no answer to question {id}; answer with one of: {}",
                options.join(" / ")
            );
            return Ok(Reply::Refused(Refusal::new(RefusalKind::WrongAnswer, message)));
        }
        let (run, path) = (question.run.clone(), question.step.clone());
        let number = Some(question.number).filter(|number| *number > 0);
        self.desk.heard.clear();
        self.step(Event::Answer { run, path, question: number, answer: answer.clone(), by })?;
        let refused = self.desk.heard.iter().find(|reply| reply.heard == Heard::Refused);
        if let Some(core::Reply { message, .. }) = refused {
            return Ok(Reply::Refused(Refusal::new(RefusalKind::NotNow, message)));
        }
        let QuestionView { run, step, .. } = question;
        Ok(Reply::Answered { question: id, run, step, answer })
    }

    fn not_open(&self, id: &str) -> Refusal {
        if let Some(found) = self.questions.answer_to(id) {
            let ago = self.clock.wall().as_millisecond().saturating_sub(found.wall_ms) / 1_000;
            let message = format!(
                "question {id} was answered already: `{}` by {}, {ago} s ago",
                found.answer, found.by
            );
            return Refusal::new(RefusalKind::AlreadyAnswered, message);
        }
        let open: Vec<&str> = self.questions.open.iter().map(|q| q.id.as_str()).collect();
        let open = match open.as_slice() {
            [] => "no question is open".to_owned(),
            _ => format!("open are {}", open.join(", ")),
        };
        Refusal::new(RefusalKind::UnknownId, format!("there is no open question {id}; {open}"))
    }

    fn keep_note(
        &mut self,
        text: String,
        about: Option<String>,
        by: String,
    ) -> Result<Reply, EngineError> {
        self.note(Fact::Engine(EngineRecord::Note { text, about, by }))?;
        Ok(Reply::Noted)
    }

    /// Keeps what records say for those who ask later.
    pub(super) fn overhear(&mut self, record: &Record) {
        self.questions.apply(record, self.clock.wall().as_millisecond());
        match record {
            Record::MadeSafe { run, instrument, confirmed, detail, .. } => {
                let state = if *confirmed { Safety::Safe } else { Safety::NotConfirmed };
                let (instrument, detail) = (instrument.clone(), detail.clone());
                let said = InstrumentOutcome { instrument, state, detail };
                self.desk.said.push((run.clone(), said));
            }
            Record::AtHold { run, instrument, confirmed, detail, .. } => {
                let state = if *confirmed { Safety::Held } else { Safety::NotConfirmed };
                let (instrument, detail) = (instrument.clone(), detail.clone());
                let said = InstrumentOutcome { instrument, state, detail };
                self.desk.said.push((run.clone(), said));
            }
            // What was said on the way to an earlier state counts no more.
            Record::Moved { run, to: RunState::Holding | RunState::Restarting, .. }
            | Record::BodyEnded { run, .. } => {
                self.desk.said.retain(|(of, _)| of != run);
            }
            Record::RunEnded { run, .. } => {
                let outcome = self.core.run(run).map(|r| self.desk.outcome_of(r));
                self.desk.said.retain(|(of, _)| of != run);
                let Some(outcome) = outcome else { return };
                for waiter in self.desk.waiters.iter_mut().filter(|w| w.runs.contains(run)) {
                    waiter.over.push(outcome.clone());
                }
            }
            _ => {}
        }
    }

    /// Sends the answers whose records are durable now, and the outcomes that are reached.
    pub(super) fn reply(&mut self) {
        for (to, reply) in self.desk.replies.drain(..) {
            // Whoever asked may be gone; what was asked is done all the same.
            let _ = to.send(reply);
        }
        for (to, outcome) in self.desk.outcomes.drain(..) {
            let _ = to.send(outcome);
        }
        if self.desk.waiters.is_empty() {
            return;
        }
        for waiter in std::mem::take(&mut self.desk.waiters) {
            if waiter.outcome.is_closed() {
                continue;
            }
            let reached = waiter
                .runs
                .iter()
                .all(|id| self.core.run(id).is_none_or(|run| !on_its_way(waiter.command, run)));
            if reached {
                self.settle(waiter);
            } else {
                self.desk.waiters.push(waiter);
            }
        }
    }

    /// Nothing more will happen: tells all who wait what is known, and takes no more requests.
    pub(super) fn close_desk(&mut self) {
        self.controls.close();
        self.reply();
        for waiter in std::mem::take(&mut self.desk.waiters) {
            self.settle(waiter);
        }
    }

    fn settle(&self, waiter: Waiter) {
        let Waiter { runs, over: mut outcomes, outcome, .. } = waiter;
        let open = runs.iter().filter_map(|id| self.core.run(id));
        let open = open.filter(|run| run.phase != Phase::Over);
        outcomes.extend(open.map(|run| self.desk.outcome_of(run)));
        let _ = outcome.send(Outcome { runs: outcomes, ..Outcome::default() });
    }
}

impl Desk {
    /// Answers once everything noted so far is durable.
    pub(super) fn answer(&mut self, to: oneshot::Sender<Reply>, reply: Reply) {
        self.replies.push((to, reply));
    }

    /// Keeps an outcome until what it tells is durable.
    pub(super) fn tell_later(&mut self, to: oneshot::Sender<Outcome>, outcome: Outcome) {
        self.outcomes.push((to, outcome));
    }

    /// Keeps what the core answers, for the request that it answers.
    pub(super) fn hear(&mut self, replies: Vec<core::Reply>) {
        self.heard = replies;
    }

    /// Where a run stands, with what is known of its instruments once safe states are under way.
    fn outcome_of(&self, run: &Run) -> RunOutcome {
        let ending = run.ending.as_ref().filter(|_| run.phase == Phase::Over);
        let ends = matches!(run.phase, Phase::Safe | Phase::Over);
        let told = ends || matches!(run.state(), RunState::Holding | RunState::Held);
        let used = run.touched.iter().filter(|_| told);
        let instruments = used.map(|name| self.instrument(run, name, ends)).collect();
        RunOutcome {
            run: run.id.clone(),
            state: run.state().as_str().to_owned(),
            ending: ending.map(|(ending, _)| *ending),
            cause: ending.map(|(_, cause)| cause.clone()).unwrap_or_default(),
            instruments,
        }
    }

    fn instrument(&self, run: &Run, name: &str, ends: bool) -> InstrumentOutcome {
        let said = self.said.iter().rev().find(|(of, s)| *of == run.id && s.instrument == name);
        if let Some((_, said)) = said {
            return said.clone();
        }
        let awaited = run.making_safe.contains(name);
        let state = if !ends {
            Safety::AsItWas
        } else if awaited || run.not_confirmed.iter().any(|n| n == name) {
            Safety::NotConfirmed
        } else if run.settled.contains(name) {
            Safety::LeftByFinally
        } else {
            Safety::Safe
        };
        InstrumentOutcome { instrument: name.to_owned(), state, detail: String::new() }
    }
}

/// Whether a run is still on its way to where a command leads.
fn on_its_way(command: Command, run: &Run) -> bool {
    match command {
        Command::Pause => run.state() == RunState::Pausing,
        Command::Hold => run.state() == RunState::Holding,
        Command::Resume => matches!(run.state(), RunState::Restarting | RunState::Recovering),
        Command::Stop | Command::Abort => !run.state().is_over(),
    }
}
