//! All alarms of a laboratory, and what may be done with each.

use std::collections::{BTreeMap, BTreeSet};

use super::record::{AlarmKey, AlarmRecord, Declared, Priority};
use crate::diagnostics::{Moment, between};

/// Alarms that are kept at most, those that are normal and unremarkable not counted. A lab of a
/// thousand instruments with ten kinds each stays below; what comes on top is counted and not kept.
const MOST: usize = 10_000;

/// Longest time for which an alarm can be shelved: a shift. What must be silent for longer is to be
/// taken out of service, where it is seen as what it is.
pub const LONGEST_SHELF: u64 = 8 * 3_600 * 1_000_000_000;

/// An alarm as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing to be known.
    Normal,
    /// It holds, and nobody has said that they know.
    Unacknowledged,
    /// It holds, and somebody knows.
    Acknowledged,
    /// It is over, and nobody has said that they know.
    Returned,
    /// It is over, and a person must reset it.
    Latched,
    /// Out of sight until a time.
    Shelved,
    /// Shown under the alarm that causes it.
    Suppressed,
    /// Out of sight until a person puts it back.
    OutOfService,
}

impl Standing {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Standing::Normal => "normal",
            Standing::Unacknowledged => "unacknowledged",
            Standing::Acknowledged => "acknowledged",
            Standing::Returned => "returned, unacknowledged",
            Standing::Latched => "latched: to be reset",
            Standing::Shelved => "shelved",
            Standing::Suppressed => "suppressed",
            Standing::OutOfService => "out of service",
        }
    }
}

/// Why an alarm is out of sight.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hidden {
    /// `None`: until a person puts it back.
    until: Option<Moment>,
    by: String,
    reason: String,
}

/// One alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    declared: Option<Declared>,
    holds: bool,
    acknowledged: bool,
    to_reset: bool,
    since: Moment,
    /// Order in which it was raised among all.
    number: u64,
    first_out: bool,
    times: u64,
    under: Option<AlarmKey>,
    shelved: Option<Hidden>,
    out_of_service: Option<Hidden>,
}

impl Alarm {
    fn new() -> Alarm {
        Alarm {
            declared: None,
            holds: false,
            acknowledged: true,
            to_reset: false,
            since: 0,
            number: 0,
            first_out: false,
            times: 0,
            under: None,
            shelved: None,
            out_of_service: None,
        }
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        match self {
            Alarm { out_of_service: Some(_), .. } => Standing::OutOfService,
            Alarm { shelved: Some(_), .. } => Standing::Shelved,
            Alarm { holds: true, under: Some(_), .. } => Standing::Suppressed,
            Alarm { holds: true, acknowledged: false, .. } => Standing::Unacknowledged,
            Alarm { holds: true, .. } => Standing::Acknowledged,
            Alarm { to_reset: true, .. } => Standing::Latched,
            Alarm { acknowledged: false, .. } => Standing::Returned,
            _ => Standing::Normal,
        }
    }

    /// Whether its condition holds.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// When it was raised last.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// Its place in the order in which alarms were raised.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether nothing else stood when it was raised.
    pub fn first_out(&self) -> bool {
        self.first_out
    }

    /// How often it was raised since it was last normal.
    pub fn times(&self) -> u64 {
        self.times
    }

    /// What it tells; `None` for one that was never raised.
    pub fn declared(&self) -> Option<&Declared> {
        self.declared.as_ref()
    }

    /// The alarm under which it is shown.
    pub fn under(&self) -> Option<&AlarmKey> {
        self.under.as_ref()
    }

    /// Who put it out of sight, why, and until when.
    pub fn hidden(&self) -> Option<(&str, &str, Option<Moment>)> {
        let hidden = self.out_of_service.as_ref().or(self.shelved.as_ref())?;
        Some((&hidden.by, &hidden.reason, hidden.until))
    }

    fn in_sight(&self) -> bool {
        self.shelved.is_none() && self.out_of_service.is_none() && self.under.is_none()
    }

    fn priority(&self) -> Priority {
        self.declared.as_ref().map_or(Priority::Low, |declared| declared.priority)
    }
}

/// Why something cannot be done with an alarm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is none.
    #[error("there is no alarm {0} now; `labloop alarms` lists those that stand")]
    Unknown(AlarmKey),
    /// A critical one stays in sight.
    #[error("{0} is critical: it can be acknowledged, and not put out of sight")]
    Critical(AlarmKey),
    /// No reason was given.
    #[error("say why {0} is to be put out of sight")]
    NoReason(AlarmKey),
    /// For too long, or for no time.
    #[error("{0} can be shelved for at most 8 h; take it out of service for longer")]
    TooLong(AlarmKey),
    /// Its condition still holds.
    #[error("{0} still holds: it can be reset once its condition is over")]
    Holds(AlarmKey),
    /// It was not put out of sight.
    #[error("{0} is neither shelved nor out of service")]
    InSight(AlarmKey),
}

/// How many alarms stand in each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Unacknowledged, or returned and unacknowledged.
    pub unacknowledged: usize,
    /// That hold, in sight.
    pub holding: usize,
    /// Shelved, suppressed or out of service.
    pub hidden: usize,
    /// Raised and not kept, because there were too many.
    pub lost: u64,
}

/// A condition on its way to be an alarm, or to be none.
#[derive(Debug, Clone, PartialEq)]
enum Waiting {
    ToRaise { since: Moment, declared: Declared },
    ToReturn { since: Moment, after: u64 },
}

/// All alarms.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Alarms {
    known: BTreeMap<AlarmKey, Alarm>,
    waiting: BTreeMap<AlarmKey, Waiting>,
    /// Cause -> alarms that name it, of those that are known.
    consequences: BTreeMap<AlarmKey, BTreeSet<AlarmKey>>,
    /// How many hold.
    holding: usize,
    raised: u64,
    lost: u64,
}

impl Alarms {
    /// The condition of an alarm holds (`Some`) or is over (`None`). Level, not edge: telling the same
    /// again changes nothing, so a detector may tell at each sample.
    pub fn tell(
        &mut self,
        key: &AlarmKey,
        condition: Option<&Declared>,
        now: Moment,
        records: &mut Vec<AlarmRecord>,
    ) {
        let holds = self.known.get(key).is_some_and(|alarm| alarm.holds);
        match (holds, condition) {
            (true, Some(_)) | (false, None) => {
                self.waiting.remove(key);
            }
            (false, Some(declared)) => {
                if self.full(key) {
                    self.lost = self.lost.saturating_add(1);
                    return;
                }
                let since = match self.waiting.get(key) {
                    Some(Waiting::ToRaise { since, .. }) => *since,
                    _ => now,
                };
                let declared = declared.clone();
                self.waiting.insert(key.clone(), Waiting::ToRaise { since, declared });
            }
            (true, None) => {
                let after = self
                    .known
                    .get(key)
                    .and_then(|alarm| alarm.declared.as_ref())
                    .map_or(0, |declared| declared.off_delay);
                let since = match self.waiting.get(key) {
                    Some(Waiting::ToReturn { since, .. }) => *since,
                    _ => now,
                };
                self.waiting.insert(key.clone(), Waiting::ToReturn { since, after });
            }
        }
        self.settle(key, now, records);
    }

    /// Time passes: delays and shelves end.
    pub fn tick(&mut self, now: Moment, records: &mut Vec<AlarmRecord>) {
        let waiting: Vec<AlarmKey> = self.waiting.keys().cloned().collect();
        for key in waiting {
            self.settle(&key, now, records);
        }
        let is_over = |alarm: &Alarm| {
            alarm.shelved.as_ref().and_then(|shelf| shelf.until).is_some_and(|until| until <= now)
        };
        let over = self.known.iter().filter(|(_, alarm)| is_over(alarm));
        let over: Vec<AlarmKey> = over.map(|(key, _)| key.clone()).collect();
        for key in over {
            self.put(AlarmRecord::Unshelved { key, at: now, by: None }, records);
        }
    }

    /// When [`Alarms::tick`] has something to do next.
    pub fn next(&self) -> Option<Moment> {
        let waits = self.waiting.values().map(|waiting| match waiting {
            Waiting::ToRaise { since, declared } => since.saturating_add(declared.on_delay),
            Waiting::ToReturn { since, after } => since.saturating_add(*after),
        });
        let shelves = self.known.values().filter_map(|alarm| alarm.shelved.as_ref()?.until);
        waits.chain(shelves).min()
    }

    /// A person knows of it. Doing so twice changes nothing.
    ///
    /// Errors: it does not stand.
    pub fn acknowledge(
        &mut self,
        key: &AlarmKey,
        by: &str,
        now: Moment,
        records: &mut Vec<AlarmRecord>,
    ) -> Result<(), Refused> {
        let alarm = self.standing_one(key)?;
        if !alarm.acknowledged {
            let record = AlarmRecord::Acknowledged { key: key.clone(), at: now, by: by.to_owned() };
            self.put(record, records);
        }
        Ok(())
    }

    /// A person has looked and lets a latched one go.
    ///
    /// Errors: it does not stand, or its condition still holds.
    pub fn reset(
        &mut self,
        key: &AlarmKey,
        by: &str,
        now: Moment,
        records: &mut Vec<AlarmRecord>,
    ) -> Result<(), Refused> {
        let alarm = self.standing_one(key)?;
        if alarm.holds {
            return Err(Refused::Holds(key.clone()));
        }
        self.put(AlarmRecord::Reset { key: key.clone(), at: now, by: by.to_owned() }, records);
        Ok(())
    }

    /// A person does not want to see it until a moment, at most a shift (8 h) away.
    ///
    /// Errors: it does not stand, is critical, or there is no reason, or it would be for too long.
    pub fn shelve(
        &mut self,
        key: &AlarmKey,
        by: &str,
        reason: &str,
        until: Moment,
        now: Moment,
        records: &mut Vec<AlarmRecord>,
    ) -> Result<(), Refused> {
        self.may_hide(key, reason)?;
        let time = between(now, until);
        if time == 0 || time > LONGEST_SHELF {
            return Err(Refused::TooLong(key.clone()));
        }
        let (key, by, reason) = (key.clone(), by.to_owned(), reason.trim().to_owned());
        self.put(AlarmRecord::Shelved { key, at: now, until, by, reason }, records);
        Ok(())
    }

    /// A person takes it out of service.
    ///
    /// Errors: it does not stand, is critical, or there is no reason.
    pub fn take_out_of_service(
        &mut self,
        key: &AlarmKey,
        by: &str,
        reason: &str,
        now: Moment,
        records: &mut Vec<AlarmRecord>,
    ) -> Result<(), Refused> {
        self.may_hide(key, reason)?;
        let (key, by, reason) = (key.clone(), by.to_owned(), reason.trim().to_owned());
        self.put(AlarmRecord::OutOfService { key, at: now, by, reason }, records);
        Ok(())
    }

    /// A person wants to see a shelved one, or one out of service, again.
    ///
    /// Errors: it is in sight.
    pub fn put_back(
        &mut self,
        key: &AlarmKey,
        by: &str,
        now: Moment,
        records: &mut Vec<AlarmRecord>,
    ) -> Result<(), Refused> {
        let alarm = self.known.get(key).ok_or_else(|| Refused::Unknown(key.clone()))?;
        let (key, by) = (key.clone(), by.to_owned());
        let record = match (&alarm.out_of_service, &alarm.shelved) {
            (Some(_), _) => AlarmRecord::InService { key, at: now, by },
            (None, Some(_)) => AlarmRecord::Unshelved { key, at: now, by: Some(by) },
            (None, None) => return Err(Refused::InSight(key)),
        };
        self.put(record, records);
        Ok(())
    }

    /// Takes a record; the only way the state changes for good.
    pub fn apply(&mut self, record: &AlarmRecord) {
        let key = record.key().clone();
        let alarm = self.known.entry(key.clone()).or_insert_with(Alarm::new);
        let held = alarm.holds;
        match record {
            AlarmRecord::Raised { at, declared, first_out, .. } => {
                self.raised = self.raised.saturating_add(1);
                alarm.number = self.raised;
                alarm.times = alarm.times.saturating_add(1);
                alarm.since = *at;
                alarm.first_out = *first_out;
                alarm.holds = true;
                alarm.acknowledged = false;
                alarm.to_reset = declared.latch;
                alarm.declared = Some(declared.clone());
            }
            AlarmRecord::Suppressed { by, .. } => alarm.under.clone_from(by),
            AlarmRecord::Returned { .. } => {
                alarm.holds = false;
                // What nobody saw, nobody need acknowledge.
                if alarm.under.take().is_some() {
                    alarm.acknowledged = true;
                }
            }
            AlarmRecord::Acknowledged { .. } => alarm.acknowledged = true,
            AlarmRecord::Reset { .. } => {
                alarm.to_reset = false;
                alarm.acknowledged = true;
            }
            AlarmRecord::Shelved { until, by, reason, .. } => {
                let (by, reason) = (by.clone(), reason.clone());
                alarm.shelved = Some(Hidden { until: Some(*until), by, reason });
            }
            AlarmRecord::Unshelved { .. } => alarm.shelved = None,
            AlarmRecord::OutOfService { by, reason, .. } => {
                let (by, reason) = (by.clone(), reason.clone());
                alarm.out_of_service = Some(Hidden { until: None, by, reason });
            }
            AlarmRecord::InService { .. } => alarm.out_of_service = None,
        }
        match (held, alarm.holds) {
            (false, true) => self.holding = self.holding.saturating_add(1),
            (true, false) => self.holding = self.holding.saturating_sub(1),
            (true, true) | (false, false) => {}
        }
        let cause = alarm.declared.as_ref().and_then(|declared| declared.cause.clone());
        let normal = alarm.standing() == Standing::Normal;
        if normal {
            self.known.remove(&key);
        }
        if let Some(cause) = cause {
            let of = self.consequences.entry(cause.clone()).or_default();
            if normal {
                of.remove(&key);
            } else {
                of.insert(key.clone());
            }
            if of.is_empty() {
                self.consequences.remove(&cause);
            }
        }
        if matches!(record, AlarmRecord::Raised { .. } | AlarmRecord::Returned { .. }) {
            self.waiting.remove(&key);
        }
    }

    /// One alarm; `None`: it is normal.
    pub fn get(&self, key: &AlarmKey) -> Option<&Alarm> {
        self.known.get(key)
    }

    /// All that are not normal: the most urgent first, and of these the first raised first.
    pub fn standing(&self) -> Vec<(&AlarmKey, &Alarm)> {
        let mut all: Vec<_> = self.known.iter().collect();
        all.sort_by_key(|(_, alarm)| {
            (!alarm.in_sight(), std::cmp::Reverse(alarm.priority()), alarm.number)
        });
        all
    }

    /// How many stand in each way.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { lost: self.lost, ..Counts::default() };
        for alarm in self.known.values() {
            match alarm.standing() {
                Standing::Normal => {}
                Standing::Unacknowledged => {
                    counts.unacknowledged += 1;
                    counts.holding += 1;
                }
                Standing::Acknowledged => counts.holding += 1,
                Standing::Returned => counts.unacknowledged += 1,
                Standing::Latched => counts.unacknowledged += usize::from(!alarm.acknowledged),
                Standing::Shelved | Standing::Suppressed | Standing::OutOfService => {
                    counts.hidden += 1;
                }
            }
        }
        counts
    }

    fn full(&self, key: &AlarmKey) -> bool {
        let known = self.known.contains_key(key) || self.waiting.contains_key(key);
        !known && self.known.len().saturating_add(self.waiting.len()) >= MOST
    }

    fn standing_one(&self, key: &AlarmKey) -> Result<&Alarm, Refused> {
        self.known.get(key).ok_or_else(|| Refused::Unknown(key.clone()))
    }

    fn may_hide(&self, key: &AlarmKey, reason: &str) -> Result<(), Refused> {
        let alarm = self.standing_one(key)?;
        if alarm.priority() == Priority::Critical {
            return Err(Refused::Critical(key.clone()));
        }
        if reason.trim().is_empty() {
            return Err(Refused::NoReason(key.clone()));
        }
        Ok(())
    }

    fn put(&mut self, record: AlarmRecord, records: &mut Vec<AlarmRecord>) {
        self.apply(&record);
        records.push(record);
    }

    /// Lets what waits for its delay happen, if its time has come.
    fn settle(&mut self, key: &AlarmKey, now: Moment, records: &mut Vec<AlarmRecord>) {
        match self.waiting.get(key) {
            Some(Waiting::ToRaise { since, declared })
                if between(*since, now) >= declared.on_delay =>
            {
                let declared = declared.clone();
                let first_out = self.holding == 0;
                let cause = declared.cause.clone();
                let (at, key) = (now, key.clone());
                let raised = AlarmRecord::Raised { key: key.clone(), at, declared, first_out };
                self.put(raised, records);
                let by = cause.filter(|cause| *cause != key && self.holds(cause));
                if by.is_some() {
                    self.put(AlarmRecord::Suppressed { key: key.clone(), at, by }, records);
                }
                self.take_under(&key, at, records);
            }
            Some(Waiting::ToReturn { since, after }) if between(*since, now) >= *after => {
                self.put(AlarmRecord::Returned { key: key.clone(), at: now }, records);
                self.let_go(key, now, records);
            }
            _ => {}
        }
    }

    fn holds(&self, key: &AlarmKey) -> bool {
        self.known.get(key).is_some_and(|alarm| alarm.holds)
    }

    /// Alarms that name a cause and are as asked for.
    fn of_cause(&self, cause: &AlarmKey, wanted: impl Fn(&Alarm) -> bool) -> Vec<AlarmKey> {
        let known = self.consequences.get(cause).into_iter().flatten();
        let is = |key: &&AlarmKey| *key != cause && self.known.get(*key).is_some_and(&wanted);
        known.filter(is).cloned().collect()
    }

    /// A cause has come after its consequences: they are shown under it from now on.
    fn take_under(&mut self, cause: &AlarmKey, at: Moment, records: &mut Vec<AlarmRecord>) {
        let found = self.of_cause(cause, |alarm| alarm.holds && alarm.under.is_none());
        for key in found {
            let by = Some(cause.clone());
            self.put(AlarmRecord::Suppressed { key, at, by }, records);
        }
    }

    /// A cause is over: consequences that still hold are alarms of their own.
    fn let_go(&mut self, cause: &AlarmKey, at: Moment, records: &mut Vec<AlarmRecord>) {
        let found = self.of_cause(cause, |alarm| alarm.under.as_ref() == Some(cause));
        for key in found {
            self.put(AlarmRecord::Suppressed { key, at, by: None }, records);
        }
    }
}
