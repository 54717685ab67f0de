//! How long a safe state takes at most, worked out from definitions before anything runs.
//!
//! On a half-duplex line one question is out at a time, and a safe state waits for its answer. In
//! the worst case the question has just been asked, the longest on the line, of a device that does
//! not answer; then the line must fall quiet before it is used again (not so where answers bear a number). Then the safe states of
//! all instruments of the line follow one another.
//!
//! ```text
//! |- longest work that is not interrupted -|- silence -|- safe state A -|- safe state B -|
//! 0                                                    starts           A safe           B safe
//! ```
//!
//! The time of a reply on the wire is part of its `reply_timeout`; that of a message is counted by
//! its longest form. Times are wall time; waits of a safe state are counted as at lab speed 1. What
//! is not counted: a connection that has to be made first, and a line that never falls quiet.

use std::collections::BTreeMap;
use std::time::Duration;

use super::exchange::LONG_WAIT;
use super::plan::{ActionPlan, AskPlan, DonePlan, Op, Plan, PropertyPlan, Protocol, UnlessPlan};
use super::session::{CONFIRM_PAUSE, CONFIRM_TRIES, SAFE_TRIES};
use super::talk::needs;
use super::template::Template;
use super::text::TextCodec;
use super::types::InstrumentSetup;
use crate::expr::Expr;
use crate::wire::Endpoint;
use crate::wire::modbus::Framing;

/// Bytes of a Modbus RTU request at most: a write of four registers.
const MODBUS_REQUEST: usize = 17;
/// Bytes of check sum and length field around a message at most.
const FRAME_EXTRA: usize = 8;

/// Safe states of the instruments on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineStop {
    /// The line: port, socket, or broker.
    pub line: String,
    /// The first safe state wanted is begun after this long at the latest.
    pub starts: Duration,
    /// What can keep the line that long.
    pub because: Because,
    /// All are safe after this long at the latest, when all are wanted at once.
    pub safe: Duration,
    /// Each instrument, in order of names.
    pub instruments: Vec<InstrumentStop>,
}

/// The work that keeps a line the longest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Because {
    /// Instrument.
    pub instrument: String,
    /// What it is asked.
    pub what: String,
    /// How long that keeps the line.
    pub takes: Duration,
}

/// The safe state of one instrument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstrumentStop {
    /// Name.
    pub name: String,
    /// Its own safe state takes this long at most when it answers.
    pub own: Duration,
    /// It is safe after this long at the latest, behind all others of its line, which do not answer.
    pub safe: Duration,
}

/// Works out the stop latency of each line of a lab.
///
/// Errors: everything that is wrong with the setups, as starting a fleet would say.
pub fn stop_latencies(setups: &[InstrumentSetup]) -> Result<Vec<LineStop>, Vec<String>> {
    let mut wrong = Vec::new();
    let mut lines: BTreeMap<String, Vec<(Plan, bool)>> = BTreeMap::new();
    for setup in setups {
        match Plan::new(setup) {
            Ok(plan) => {
                let line = line_of(setup, &plan);
                lines.entry(line).or_default().push((plan, is_serial(setup)));
            }
            Err(reasons) => {
                wrong.extend(reasons.iter().map(|why| format!("{}: {why}", setup.name)))
            }
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let lines = lines.into_iter();
    Ok(lines
        .map(|(line, plans)| {
            let members = plans.iter().map(|(plan, serial)| Member::new(plan, *serial));
            line_stop(line, &members.collect::<Vec<Member<'_>>>())
        })
        .collect())
}

/// What instruments that share a task have in common. Each behind a broker has a session of its own.
pub(super) fn line_of(setup: &InstrumentSetup, plan: &Plan) -> String {
    match plan.protocol {
        Protocol::Mqtt(_) | Protocol::Null => format!("{} {}", setup.at.line(), setup.name),
        Protocol::Text { .. } | Protocol::Modbus { .. } => setup.at.line(),
    }
}

/// Bytes on a serial line outlive the question they belong to; those of a socket end with it.
pub(super) fn is_serial(setup: &InstrumentSetup) -> bool {
    matches!(setup.at.endpoint, Endpoint::Serial { .. } | Endpoint::ModbusRtu { .. })
}

/// One instrument of a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'a> {
    pub plan: &'a Plan,
    /// The line is a serial one.
    pub serial: bool,
    /// Silence that the line needs after a missing answer.
    quiet: Duration,
}

impl<'a> Member<'a> {
    pub fn new(plan: &'a Plan, serial: bool) -> Member<'a> {
        Member { plan, serial, quiet: Duration::ZERO }
    }
}

/// The stop latency of one line.
pub(super) fn line_stop(line: String, members: &[Member<'_>]) -> LineStop {
    // Only answers with the number of their question need no silence after a missing one.
    let unnumbered = members.iter().filter(|m| m.serial || !numbered(m.plan));
    let quiet = unnumbered.map(|m| m.plan.reply_timeout).max().unwrap_or_default();
    let members: Vec<Member<'_>> = members.iter().map(|m| Member { quiet, ..*m }).collect();
    let because = members.iter().map(longest).max_by_key(|b| b.takes).unwrap_or_default();
    let starts = if because.takes.is_zero() { Duration::ZERO } else { because.takes + quiet };
    let all: Duration = members.iter().map(silent).sum();
    let mut instruments: Vec<InstrumentStop> = members
        .iter()
        .map(|m| {
            let own = answered(m);
            // The others go first, and none of them answers.
            let safe = starts + all.saturating_sub(silent(m)) + own;
            InstrumentStop { name: m.plan.name.clone(), own, safe }
        })
        .collect();
    instruments.sort_by(|a, b| a.name.cmp(&b.name));
    let safe = instruments.iter().map(|i| i.safe).max().unwrap_or_default();
    LineStop { line, starts, because, safe, instruments }
}

/// Whether answers bear the number of their question, as over Modbus TCP and MQTT they do.
fn numbered(plan: &Plan) -> bool {
    match plan.protocol {
        Protocol::Text { .. } => false,
        Protocol::Modbus { framing, .. } => framing == Framing::Tcp,
        Protocol::Mqtt(_) | Protocol::Null => true,
    }
}

/// A safe state whose instrument answers every message just in time.
fn answered(m: &Member<'_>) -> Duration {
    let all: Duration = m.plan.safe_state.iter().map(|op| op_time(m, op)).sum();
    all + m.plan.confirm.as_ref().map_or(Duration::ZERO, |confirm| condition(m, confirm))
}

/// A safe state whose instrument answers nothing, or does not confirm it.
fn silent(m: &Member<'_>) -> Duration {
    let tries = match m.plan.protocol {
        Protocol::Mqtt(_) => 1,
        _ => SAFE_TRIES,
    };
    let one = |op: &Op| match op {
        Op::Pause(pause) => *pause,
        _ => (op_time(m, op) + m.quiet) * tries,
    };
    let unanswered: Duration = m.plan.safe_state.iter().map(one).sum();
    let confirming = m.plan.confirm.as_ref().map_or(Duration::ZERO, |confirm| {
        (condition(m, confirm) + m.quiet) * CONFIRM_TRIES
            + CONFIRM_PAUSE * CONFIRM_TRIES.saturating_sub(1)
    });
    unanswered.max(answered(m) + confirming)
}

/// The longest work of an instrument that a safe state has to wait for: one question, for the next is
/// not asked while a safe state is wanted.
fn longest(m: &Member<'_>) -> Because {
    let mut found = Because { instrument: m.plan.name.clone(), ..Because::default() };
    if matches!(m.plan.protocol, Protocol::Mqtt(_) | Protocol::Null) {
        // Its session waits for answers and for safe states at the same time.
        return found;
    }
    let mut take = |what: &dyn Fn() -> String, takes: Duration| {
        if takes > found.takes {
            found.what = what();
            found.takes = takes;
        }
    };
    for (name, property) in &m.plan.properties {
        take(&|| format!("property `{name}`"), one_question(m, property));
    }
    for (name, action) in &m.plan.actions {
        let what = || format!("action `{name}`");
        steps(m, action).into_iter().for_each(|takes| take(&what, takes));
    }
    let beat = m.plan.heartbeat.iter();
    let beat = beat.flat_map(|beat| beat.arm.iter().chain(&beat.feed).chain(&beat.disarm));
    for op in m.plan.identify.iter().chain(&m.plan.on_connect).chain(beat) {
        take(&|| "preparation after a connect".to_owned(), stretch(m, op));
    }
    found
}

/// The stretches of an action between which a safe state comes first.
fn steps(m: &Member<'_>, action: &ActionPlan) -> Vec<Duration> {
    let ops = action.operations.iter().chain(&action.on_cancel);
    let mut all: Vec<Duration> = ops.map(|op| stretch(m, op)).collect();
    match &action.done {
        Some(DonePlan::Poll { send, .. }) => all.push(question(m, send)),
        // What its condition is about is a property, counted as one.
        Some(DonePlan::Until { .. } | DonePlan::After(_)) | None => {}
    }
    all
}

/// The longest question that belongs to one operation, and the wait behind it.
fn stretch(m: &Member<'_>, op: &Op) -> Duration {
    match op {
        Op::Text { texts, answered, block, timeout, unless, verify, .. } => {
            let asked = |check: &UnlessPlan| question(m, &check.ask);
            let checks = unless.iter().chain(verify).map(|check| asked(check)).max();
            let silent = m.plan.silent_check.as_ref().filter(|_| !answered);
            let settle = verify.as_deref().or(silent).map_or(Duration::ZERO, |check| check.settle);
            let sent = texts.iter().map(|text| sending(m, text)).max().unwrap_or_default();
            let heard = match (answered, timeout) {
                (false, _) => m.plan.silent_gap,
                (true, None) => m.plan.reply_timeout,
                // On a serial line a block is heard out; anything else is given up.
                (true, Some(timeout)) if block.is_some() && m.serial => *timeout,
                (true, Some(timeout)) => (*timeout).min(LONG_WAIT),
            };
            let silent = silent.map(asked).unwrap_or_default();
            (sent + heard + settle).max(checks.unwrap_or_default()).max(silent)
        }
        Op::Write { .. } | Op::Read { .. } => registers(m),
        Op::Publish { .. } | Op::SetMetric { .. } | Op::Pause(_) => Duration::ZERO,
    }
}

/// One question of those that a property takes.
fn one_question(m: &Member<'_>, property: &PropertyPlan) -> Duration {
    match &property.ask {
        // What a block's numbers mean is asked before it, by properties that are counted themselves.
        Some(AskPlan::Text { template, .. }) => question(m, template),
        Some(AskPlan::Register(_)) => registers(m),
        Some(AskPlan::Topic { .. } | AskPlan::Metric(_)) | None => Duration::ZERO,
    }
}

/// Reading everything a condition is about.
fn condition(m: &Member<'_>, expr: &Expr) -> Duration {
    let names = needs(m.plan, expr);
    names.iter().filter_map(|name| m.plan.properties.get(name)).map(|p| reading(m, p)).sum()
}

fn reading(m: &Member<'_>, property: &PropertyPlan) -> Duration {
    if let Some(computed) = &property.computed {
        let names = needs(m.plan, computed);
        let asked = names.iter().filter_map(|name| m.plan.properties.get(name));
        // One level, as it is read.
        return asked.filter(|p| p.computed.is_none()).map(|p| asking(m, p)).sum();
    }
    asking(m, property)
}

fn asking(m: &Member<'_>, property: &PropertyPlan) -> Duration {
    match &property.ask {
        Some(AskPlan::Text { template, block, .. }) => {
            let names: Vec<String> = block
                .iter()
                .flat_map(|block| block.expressions())
                .flat_map(|expr| needs(m.plan, expr))
                .collect();
            let scales = names.iter().filter_map(|name| m.plan.properties.get(name));
            // A block's scales are no blocks themselves.
            let plain =
                scales.filter(|p| !matches!(&p.ask, Some(AskPlan::Text { block: Some(_), .. })));
            let before: Duration = plain.map(|p| asking(m, p)).sum();
            before + question(m, template)
        }
        Some(AskPlan::Register(_)) => registers(m),
        Some(AskPlan::Topic { .. } | AskPlan::Metric(_)) | None => Duration::ZERO,
    }
}

/// The longest time of one operation of a safe state.
fn op_time(m: &Member<'_>, op: &Op) -> Duration {
    match op {
        Op::Text { texts, answered, block, timeout, unless, verify, .. } => {
            let before =
                unless.as_ref().map_or(Duration::ZERO, |unless| check(m, unless, Duration::ZERO));
            let sent = texts.iter().map(|text| sending(m, text)).max().unwrap_or_default();
            let heard = match (answered, timeout) {
                (false, _) => m.plan.silent_gap,
                (true, None) => m.plan.reply_timeout,
                (true, Some(timeout)) => *timeout,
            };
            let scales: Duration = block
                .iter()
                .flat_map(|block| block.expressions())
                .map(|expr| condition(m, expr))
                .sum();
            let silent = m.plan.silent_check.as_ref().filter(|_| !answered);
            let again = |check: &UnlessPlan| second(m, question(m, &check.ask));
            let after = verify.as_deref().or(silent);
            let after = after.map_or(Duration::ZERO, |v| check(m, v, again(v)));
            before + scales + sent + heard + after
        }
        Op::Write { unless_equal, verify, .. } => {
            let questions = registers(m) * (1 + u32::from(*unless_equal) + u32::from(*verify));
            match verify {
                true => questions + second(m, registers(m)),
                false => questions,
            }
        }
        Op::Read { .. } => registers(m),
        // Over MQTT each message waits for its answer, or for the broker's.
        Op::Publish { .. } | Op::SetMetric { .. } => m.plan.reply_timeout,
        Op::Pause(pause) => *pause,
    }
}

/// A question that proves something is asked a second time when its answer is lost.
fn second(m: &Member<'_>, question: Duration) -> Duration {
    m.quiet + question
}

fn check(m: &Member<'_>, check: &UnlessPlan, again: Duration) -> Duration {
    check.settle + question(m, &check.ask) + again
}

fn question(m: &Member<'_>, template: &Template) -> Duration {
    sending(m, template) + m.plan.reply_timeout
}

/// Rest before a message, its time on the wire, and that of its echo.
fn sending(m: &Member<'_>, template: &Template) -> Duration {
    let Protocol::Text { codec, serial } = &m.plan.protocol else { return Duration::ZERO };
    let echo = if codec.echo { m.plan.reply_timeout } else { Duration::ZERO };
    let wire = if m.serial {
        let bytes = u32::try_from(message_bytes(codec, template)).unwrap_or(u32::MAX);
        serial.character().saturating_mul(bytes)
    } else {
        Duration::ZERO
    };
    m.plan.gap.max(m.plan.silent_gap) + wire + echo
}

/// Bytes of a message at most.
fn message_bytes(codec: &TextCodec, template: &Template) -> usize {
    let inner = codec.prefix.len() + template.longest() + FRAME_EXTRA;
    let inner = if codec.escape.is_some() { 2 * inner } else { inner };
    codec.start.len() + inner + codec.end.len()
}

/// One Modbus request and its answer.
fn registers(m: &Member<'_>) -> Duration {
    let Protocol::Modbus { framing, serial, .. } = &m.plan.protocol else {
        return Duration::ZERO;
    };
    let bytes = u32::try_from(MODBUS_REQUEST).unwrap_or(u32::MAX);
    let silence = match framing {
        Framing::Rtu => serial.rtu_silence(),
        Framing::Tcp | Framing::Ascii => Duration::ZERO,
    };
    let wire = match (framing, m.serial) {
        (Framing::Rtu, true) => serial.character().saturating_mul(bytes),
        // Two digits for each byte.
        (Framing::Ascii, true) => serial.character().saturating_mul(2 * bytes + 1),
        (Framing::Tcp, _) | (_, false) => Duration::ZERO,
    };
    m.plan.gap.max(silence) + wire + m.plan.reply_timeout
}
