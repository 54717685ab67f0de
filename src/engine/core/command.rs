//! What people and the engine tell a run to do, and what they are answered.
//!
//! Each command is answered: accepted, already so, or refused with the reason. Holds have causes;
//! a run goes on once none is left, and only a person ends what a person began.

use std::collections::BTreeMap;

use super::Tick;
use super::events::{Heard, Reply};
use super::machine::Core;
use super::record::{Ending, Record};
use super::run::Run;
use super::states::{Cause, Command, Illegal, RunState, Trigger};
use super::transitions::next;

/// Who speaks when the engine itself does.
pub const ENGINE: &str = "engine";

impl Core {
    /// A person's command to a run.
    pub(super) fn take_command(&mut self, id: &str, command: Command, by: String, now: Tick) {
        let Some(state) = self.runs.get(id).map(Run::state) else {
            self.reply(id, Heard::Refused, format!("there is no run `{id}` under way"));
            return;
        };
        let to = match next(state, Trigger::Command(command), Cause::Person) {
            Ok(to) => to,
            Err(Illegal::Refused(why)) => {
                self.reply(
                    id,
                    Heard::Refused,
                    format!("`{id}` cannot {}: {why}", command.as_str()),
                );
                return;
            }
            Err(Illegal::Already(why)) if command == Command::Hold => {
                // Held for another cause so far: from now on by this person too.
                let mine = self.runs.get(id).is_some_and(|r| r.is_held_by(Cause::Person));
                if !mine {
                    self.moved(id, state, Cause::Person, by, String::new(), now);
                    let what = "it stays held until you resume it".to_owned();
                    self.reply(id, Heard::Accepted, what);
                } else {
                    self.reply(id, Heard::Already, why.to_owned());
                }
                return;
            }
            Err(Illegal::Already(why)) => {
                self.reply(id, Heard::Already, why.to_owned());
                return;
            }
        };
        match command {
            Command::Pause | Command::Hold => {
                self.moved(id, to, Cause::Person, by, String::new(), now);
            }
            Command::Resume if to == RunState::Restarting => {
                self.resume_held(id, by, now);
                return;
            }
            Command::Resume => self.moved(id, to, Cause::Person, by, String::new(), now),
            Command::Stop => self.end_body(id, Ending::Stopped, format!("stopped by {by}"), now),
            Command::Abort => self.end_body(id, Ending::Aborted, format!("aborted by {by}"), now),
        }
        self.reply(id, Heard::Accepted, String::new());
    }

    /// A person lets a held run go on: causes that yield to a word are gone, others stay.
    fn resume_held(&mut self, id: &str, by: String, now: Tick) {
        // Whoever lets one go on has seen what all were to be held for by a person's word.
        self.lab_holds.remove(&Cause::Person);
        let Some(run) = self.runs.get(id) else { return };
        let stays: Vec<&str> = run
            .holds
            .iter()
            .filter(|held| !held.cause.yields_to_a_person())
            .map(|held| held.cause.as_str())
            .collect();
        if stays.is_empty() {
            let down = self.not_connected(id);
            if !down.is_empty() {
                let why = format!(
                    "`{id}` cannot resume: {} not connected; see to that and resume again, or stop",
                    down.join(", ")
                );
                self.reply(id, Heard::Refused, why);
                return;
            }
            self.answer_downtime_by_resuming(id, &by, now);
            self.moved(id, RunState::Restarting, Cause::Person, by, String::new(), now);
            self.reply(id, Heard::Accepted, String::new());
            return;
        }
        let stays = stays.join(", ");
        let gone: Vec<Cause> =
            run.holds.iter().map(|h| h.cause).filter(|c| c.yields_to_a_person()).collect();
        if gone.is_empty() {
            let why = format!("`{id}` is held by {stays}: it goes on once that has passed");
            self.reply(id, Heard::Refused, why);
            return;
        }
        if gone.contains(&Cause::Downtime) {
            self.answer_downtime_by_resuming(id, &by, now);
        }
        for cause in gone {
            self.emit(Record::Released { run: id.to_owned(), cause, by: by.clone() }, now);
        }
        let what = format!("`{id}` is still held by {stays}: it goes on once that has passed");
        self.reply(id, Heard::Accepted, what);
    }

    /// Instruments of a run that are not connected and that no other run has used since.
    pub(super) fn not_connected(&self, id: &str) -> Vec<String> {
        let Some(run) = self.runs.get(id) else { return Vec::new() };
        let mine = |name: &&String| self.last_user.get(*name).is_none_or(|user| user == id);
        run.touched.iter().filter(mine).filter(|name| self.down.contains(*name)).cloned().collect()
    }

    /// Something about the lab or the engine holds all runs, and those to come.
    pub(super) fn hold_all(&mut self, cause: Cause, detail: String, now: Tick) {
        self.lab_holds.insert(cause, detail.clone());
        for id in self.order.clone() {
            self.hold_for(&id, cause, detail.clone(), now);
        }
    }

    /// A run that starts while the lab is held is held from its start.
    pub(super) fn hold_as_the_lab(&mut self, id: &str, now: Tick) {
        for (cause, detail) in self.lab_holds.clone() {
            self.hold_for(id, cause, detail, now);
        }
    }

    /// Holds one run for a cause that is no person's.
    pub(super) fn hold_for(&mut self, id: &str, cause: Cause, detail: String, now: Tick) {
        let Some(run) = self.runs.get(id) else { return };
        let state = run.state();
        let to = match next(state, Trigger::Command(Command::Hold), cause) {
            Ok(to) => to,
            Err(Illegal::Already(_)) if !run.is_held_by(cause) => state,
            Err(Illegal::Already(_) | Illegal::Refused(_)) => return,
        };
        self.moved(id, to, cause, ENGINE.to_owned(), detail, now);
    }

    /// What held all runs has passed.
    pub(super) fn passed(&mut self, cause: Cause, now: Tick) {
        self.lab_holds.remove(&cause);
        for id in self.order.clone() {
            self.release(&id, cause, now);
        }
    }

    /// Holds of the engine before have passed with it, unless this one has said them anew.
    pub(super) fn forget_old_holds(&mut self, now: Tick) {
        for cause in [Cause::Shutdown, Cause::Disk, Cause::Clock] {
            if !self.lab_holds.contains_key(&cause) {
                self.passed(cause, now);
            }
        }
        for id in self.order.clone() {
            self.hold_as_the_lab(&id, now);
        }
    }

    /// One cause that held a run has passed; it goes on if no other is left.
    pub(super) fn release(&mut self, id: &str, cause: Cause, now: Tick) {
        let Some(run) = self.runs.get(id) else { return };
        if !run.is_held_by(cause) {
            return;
        }
        let (run, by) = (id.to_owned(), ENGINE.to_owned());
        self.emit(Record::Released { run, cause, by }, now);
    }

    /// Aborts every run, and holds those that start until the emergency is over.
    // SAFETY(lab): no run may take up an instrument again before a person says so.
    pub(super) fn emergency(&mut self, by: String, detail: String, now: Tick) {
        self.lab_holds.insert(Cause::Emergency, detail.clone());
        for id in self.order.clone() {
            let Some(run) = self.runs.get(&id) else { continue };
            let abort = Trigger::Command(Command::Abort);
            if next(run.state(), abort, Cause::Emergency).is_ok() {
                let cause = format!("emergency stop by {by}: {detail}");
                self.end_body(&id, Ending::Aborted, cause, now);
            }
        }
    }

    pub(super) fn moved(
        &mut self,
        id: &str,
        to: RunState,
        cause: Cause,
        by: String,
        detail: String,
        now: Tick,
    ) {
        self.emit(Record::Moved { run: id.to_owned(), to, cause, by, detail }, now);
        if to.stands_still() {
            self.break_conditions(id);
        }
    }

    /// The steps of a run have ended, whatever the reason. Results it has are kept.
    pub(super) fn end_body(&mut self, id: &str, ending: Ending, cause: String, now: Tick) {
        let results = self.runs.get(id).map_or_else(BTreeMap::new, |run| run.results.clone());
        self.emit(Record::BodyEnded { run: id.to_owned(), ending, cause, results }, now);
    }

    pub(super) fn reply(&mut self, id: &str, heard: Heard, message: String) {
        let state = self.runs.get(id).map(Run::state);
        let message = match (&state, message.as_str()) {
            (Some(state), "") => format!("`{id}` is {}", state.as_str()),
            _ => message,
        };
        self.out.replies.push(Reply { run: id.to_owned(), heard, state, message });
    }
}
