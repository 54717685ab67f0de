//! New Era NE-1000 syringe pump: what it understands, what it answers, what it pumps.
//!
//! Written from the protocol as public drivers and the manual 1200-01 describe it:
//!
//! | state | letter | left by |
//! |---|---|---|
//! | stopped | `S` | `RUN` |
//! | infusing, withdrawing | `I`, `W` | volume reached (`S`), `STP` (`P`), stall or watchdog (alarm) |
//! | paused | `P` | `RUN` (the rest of the volume, unless a new one was set), `STP` (`S`) |
//!
//! An alarm stands in place of the answer to the next request, which is not executed, and is then gone.

use crate::bus::{self, Frame, Framing};
use crate::world::Effect;

/// Fastest travel of the pusher block, cm/min (manual, syringe table).
const SPEED_MAX_CM_MIN: f64 = 5.1005;
/// Slowest travel of the pusher block, cm/h.
const SPEED_MIN_CM_H: f64 = 0.008424;
/// Below and at this diameter volumes count in microlitres unless the unit is set, mm.
const MICROLITRE_DIAMETER_MM: f64 = 14.0;
/// Longest watchdog time, s.
const WATCHDOG_MAX_S: u32 = 255;
/// What the pump says it is.
const VERSION: &str = "NE1000V3.928";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Stopped,
    Running,
    Paused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Infuse,
    Withdraw,
}

/// Something the pump reports in place of its next answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alarm {
    PowerReset,
    Stall,
    Watchdog,
}

impl Alarm {
    fn letter(self) -> char {
        match self {
            Self::PowerReset => 'R',
            Self::Stall => 'S',
            Self::Watchdog => 'T',
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum VolumeUnit {
    Millilitre,
    Microlitre,
}

impl VolumeUnit {
    fn per_ml(self) -> f64 {
        match self {
            Self::Millilitre => 1.0,
            Self::Microlitre => 1000.0,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Millilitre => "ML",
            Self::Microlitre => "UL",
        }
    }
}

/// The syringe's mechanics: how much it can hold and how much is in it, mL.
#[derive(Debug, Clone, Copy)]
struct Barrel {
    capacity_ml: f64,
    content_ml: f64,
}

/// One pump.
#[derive(Debug)]
pub struct Pump {
    name: String,
    address: u8,
    /// Lab time, s.
    now: f64,
    state: State,
    direction: Direction,
    alarm: Option<Alarm>,
    diameter_mm: f64,
    rate_ml_min: f64,
    rate_unit: &'static str,
    /// Volume of the program, mL; zero pumps until stopped.
    volume_ml: f64,
    volume_unit: Option<VolumeUnit>,
    /// What is left of the program's volume, mL.
    remaining_ml: Option<f64>,
    infused_ml: f64,
    withdrawn_ml: f64,
    /// Both totals when the pump was last started, mL.
    moved_before_ml: f64,
    barrel: Option<Barrel>,
    /// Watchdog time, s; none in basic mode.
    watchdog_s: Option<f64>,
    heard_at: f64,
}

impl Pump {
    /// A pump that was just switched on, with a syringe that never runs empty.
    pub fn new(name: &str, address: u8) -> Pump {
        Pump {
            name: name.to_owned(),
            address,
            now: 0.0,
            state: State::Stopped,
            direction: Direction::Infuse,
            alarm: Some(Alarm::PowerReset),
            diameter_mm: 20.0,
            rate_ml_min: 0.0,
            rate_unit: "MM",
            volume_ml: 0.0,
            volume_unit: None,
            remaining_ml: None,
            infused_ml: 0.0,
            withdrawn_ml: 0.0,
            moved_before_ml: 0.0,
            barrel: None,
            watchdog_s: None,
            heard_at: 0.0,
        }
    }

    /// Gives the pump a full syringe that stalls the motor at either end, mL.
    pub fn fit_syringe(&mut self, capacity_ml: f64) {
        let capacity_ml = if capacity_ml.is_finite() { capacity_ml.max(0.0) } else { 0.0 };
        self.barrel = Some(Barrel { capacity_ml, content_ml: capacity_ml });
    }

    pub(crate) fn address(&self) -> u8 {
        self.address
    }

    /// Flow into the plant now, mL/min; withdrawing draws from the reservoir, not from the plant.
    pub fn flow(&self) -> f64 {
        match (self.state, self.direction) {
            (State::Running, Direction::Infuse) => self.rate_ml_min,
            _ => 0.0,
        }
    }

    /// Lab time of the next change the pump makes by itself, if one is due.
    pub fn next_change(&self) -> Option<f64> {
        let bark = self.watchdog_s.map(|w| self.heard_at + w);
        match (self.run_end(), bark) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// When volume or syringe end the run.
    fn run_end(&self) -> Option<f64> {
        if self.state != State::Running {
            return None;
        }
        let room = self.barrel.map(|b| match self.direction {
            Direction::Infuse => b.content_ml,
            Direction::Withdraw => b.capacity_ml - b.content_ml,
        });
        let left = match (self.remaining_ml, room) {
            (Some(a), Some(b)) => a.min(b),
            (a, b) => a.or(b)?,
        };
        Some(self.now + left.max(0.0) / self.rate_ml_min * 60.0)
    }

    /// Lets the pump run until the lab time `to`, s.
    pub fn advance(&mut self, to: f64) {
        // At most two things happen by themselves: the run ends and the watchdog barks.
        for _ in 0..2 {
            let Some(change) = self.next_change().filter(|at| *at <= to) else { break };
            let run_ends = self.run_end().is_some_and(|end| end <= change);
            self.pump_until(change);
            if run_ends {
                self.end_run();
            }
            if self.watchdog_s.is_some_and(|w| self.heard_at + w <= self.now) {
                self.watchdog_s = None;
                self.alarm = Some(Alarm::Watchdog);
                self.state = State::Stopped;
                self.remaining_ml = None;
            }
        }
        self.pump_until(to);
    }

    fn pump_until(&mut self, to: f64) {
        let elapsed_s = (to - self.now).max(0.0);
        self.now = self.now.max(to);
        if self.state == State::Running {
            self.move_volume(self.rate_ml_min * elapsed_s / 60.0);
        }
    }

    fn move_volume(&mut self, volume_ml: f64) {
        let signed = match self.direction {
            Direction::Infuse => {
                self.infused_ml += volume_ml;
                -volume_ml
            }
            Direction::Withdraw => {
                self.withdrawn_ml += volume_ml;
                volume_ml
            }
        };
        if let Some(barrel) = &mut self.barrel {
            barrel.content_ml = (barrel.content_ml + signed).clamp(0.0, barrel.capacity_ml);
        }
        if let Some(left) = &mut self.remaining_ml {
            *left -= volume_ml;
        }
    }

    /// The run has reached its volume, or the end of the syringe.
    fn end_run(&mut self) {
        self.state = State::Stopped;
        // What rounding left over, far below what the totals show.
        match self.remaining_ml.take() {
            Some(left) if left < 1e-9 => self.move_volume(left),
            _ => self.alarm = Some(Alarm::Stall),
        }
        self.remaining_ml = None;
    }

    /// Answers a request; `None` if it is for another pump.
    pub(crate) fn request(
        &mut self,
        frame: &Frame,
        now: f64,
        effects: &mut Vec<Effect>,
    ) -> Option<Vec<u8>> {
        if frame.address != self.address {
            return None;
        }
        self.advance(now);
        let data = self.answer(frame, effects);
        Some(bus::encode(&format!("{:02}{data}", self.address), self.framing()))
    }

    /// Status letter or alarm, and data.
    fn answer(&mut self, frame: &Frame, effects: &mut Vec<Effect>) -> String {
        let guarded = self.watchdog_s.is_some() && frame.framing == Framing::Basic;
        if !frame.intact || (guarded && frame.command != "SAF0") {
            return format!("{}?COM", self.letter());
        }
        self.heard_at = self.now;
        if let Some(alarm) = self.alarm.take() {
            return format!("A?{}", alarm.letter());
        }
        let data = match self.execute(&frame.command) {
            Ok((data, effect)) => {
                effects.extend(effect);
                data
            }
            Err(refusal) => refusal.to_owned(),
        };
        format!("{}{data}", self.letter())
    }

    fn framing(&self) -> Framing {
        if self.watchdog_s.is_some() { Framing::Safe } else { Framing::Basic }
    }

    fn letter(&self) -> char {
        match (self.state, self.direction) {
            (State::Stopped, _) => 'S',
            (State::Paused, _) => 'P',
            (State::Running, Direction::Infuse) => 'I',
            (State::Running, Direction::Withdraw) => 'W',
        }
    }

    fn execute(&mut self, command: &str) -> Result<(String, Option<Effect>), &'static str> {
        // Blanks between a command and its argument do not matter.
        let compact: String = command.chars().filter(|c| *c != ' ').collect();
        let Some((verb, argument)) = compact.split_at_checked(3) else {
            return if compact.is_empty() { Ok((String::new(), None)) } else { Err("?") };
        };
        match verb {
            "DIA" => self.diameter(argument),
            "RAT" => self.rate(argument),
            "VOL" => self.volume(argument),
            "DIR" => self.set_direction(argument),
            "RUN" => self.run(argument),
            "STP" if argument.is_empty() => self.stop(),
            "DIS" if argument.is_empty() => Ok((self.totals(), None)),
            "CLD" => self.clear(argument),
            "SAF" => self.set_watchdog(argument),
            "PHN" | "FUN" => self.set_program(argument),
            "VER" if argument.is_empty() => Ok((VERSION.to_owned(), None)),
            _ => Err("?"),
        }
    }

    fn diameter(&mut self, argument: &str) -> Result<(String, Option<Effect>), &'static str> {
        if argument.is_empty() {
            return Ok((four_digits(self.diameter_mm), None));
        }
        let diameter_mm = parse_number(argument)?;
        if self.state != State::Stopped {
            return Err("?NA");
        }
        if !(0.1..=50.0).contains(&diameter_mm) {
            return Err("?OOR");
        }
        self.diameter_mm = diameter_mm;
        Ok((String::new(), None))
    }

    fn rate(&mut self, argument: &str) -> Result<(String, Option<Effect>), &'static str> {
        if argument.is_empty() {
            let value = self.rate_ml_min / ml_min_per(self.rate_unit);
            return Ok((format!("{}{}", four_digits(value), self.rate_unit), None));
        }
        let digits = argument.trim_end_matches(|c: char| c.is_ascii_uppercase());
        let unit = argument.get(digits.len()..).unwrap_or_default();
        let unit = match unit {
            "" => self.rate_unit,
            "MM" => "MM",
            "UM" => "UM",
            "MH" => "MH",
            "UH" => "UH",
            _ => return Err("?"),
        };
        let rate_ml_min = parse_number(digits)? * ml_min_per(unit);
        let area_cm2 = std::f64::consts::PI * (self.diameter_mm / 20.0).powi(2);
        let (low, high) = (area_cm2 * SPEED_MIN_CM_H / 60.0, area_cm2 * SPEED_MAX_CM_MIN);
        if rate_ml_min < low || rate_ml_min > high {
            return Err("?OOR");
        }
        if self.state == State::Running && unit != self.rate_unit {
            return Err("?NA");
        }
        (self.rate_ml_min, self.rate_unit) = (rate_ml_min, unit);
        Ok((String::new(), None))
    }

    fn unit(&self) -> VolumeUnit {
        self.volume_unit.unwrap_or(if self.diameter_mm > MICROLITRE_DIAMETER_MM {
            VolumeUnit::Millilitre
        } else {
            VolumeUnit::Microlitre
        })
    }

    fn volume(&mut self, argument: &str) -> Result<(String, Option<Effect>), &'static str> {
        let unit = match argument {
            "" => {
                let unit = self.unit();
                let value = four_digits(self.volume_ml * unit.per_ml());
                return Ok((format!("{value}{}", unit.text()), None));
            }
            "ML" => Some(VolumeUnit::Millilitre),
            "UL" => Some(VolumeUnit::Microlitre),
            _ => None,
        };
        if self.state == State::Running {
            return Err("?NA");
        }
        if let Some(unit) = unit {
            self.volume_unit = Some(unit);
            return Ok((String::new(), None));
        }
        self.volume_ml = parse_number(argument)? / self.unit().per_ml();
        // A paused program starts anew with its new volume.
        self.remaining_ml = None;
        Ok((String::new(), None))
    }

    /// Phases of the program: one that pumps, and its end.
    fn set_program(&self, argument: &str) -> Result<(String, Option<Effect>), &'static str> {
        match (self.state, argument) {
            (State::Running, _) => Err("?NA"),
            (_, "1" | "2" | "RAT" | "STP") => Ok((String::new(), None)),
            _ => Err("?OOR"),
        }
    }

    fn set_direction(&mut self, argument: &str) -> Result<(String, Option<Effect>), &'static str> {
        let direction = match argument {
            "" => {
                let text = match self.direction {
                    Direction::Infuse => "INF",
                    Direction::Withdraw => "WDR",
                };
                return Ok((text.to_owned(), None));
            }
            "INF" => Direction::Infuse,
            "WDR" => Direction::Withdraw,
            _ => return Err("?"),
        };
        if self.state == State::Running {
            return Err("?NA");
        }
        self.direction = direction;
        Ok((String::new(), None))
    }

    fn run(&mut self, argument: &str) -> Result<(String, Option<Effect>), &'static str> {
        if !matches!(argument, "" | "1") {
            return Err("?OOR");
        }
        if self.state == State::Running || self.rate_ml_min <= 0.0 {
            return Err("?NA");
        }
        if self.remaining_ml.is_none() && self.volume_ml > 0.0 {
            self.remaining_ml = Some(self.volume_ml);
        }
        self.state = State::Running;
        let name = match (self.direction, self.remaining_ml) {
            (Direction::Infuse, Some(_)) => "dispense",
            (Direction::Infuse, None) => "start",
            (Direction::Withdraw, Some(_)) => "refill",
            (Direction::Withdraw, None) => "withdraw",
        };
        self.moved_before_ml = self.infused_ml + self.withdrawn_ml;
        let volume_ml = self.remaining_ml.unwrap_or(0.0);
        let detail = [("volume_ml", volume_ml), ("rate_ml_min", self.rate_ml_min)];
        Ok((String::new(), Some(Effect::new(&self.name, name, &detail))))
    }

    fn stop(&mut self) -> Result<(String, Option<Effect>), &'static str> {
        let was = self.state;
        self.state = match was {
            State::Running => State::Paused,
            // The second STP ends the program. One public driver reports that a pump at rest
            // refuses STP, others do not; here it is taken without a word.
            State::Paused | State::Stopped => {
                self.remaining_ml = None;
                State::Stopped
            }
        };
        let moved_ml = self.infused_ml + self.withdrawn_ml - self.moved_before_ml;
        let effect = (was == State::Running)
            .then(|| Effect::new(&self.name, "stop", &[("moved_ml", moved_ml)]));
        Ok((String::new(), effect))
    }

    fn totals(&self) -> String {
        let unit = self.unit();
        format!(
            "I{}W{}{}",
            four_digits(self.infused_ml * unit.per_ml()),
            four_digits(self.withdrawn_ml * unit.per_ml()),
            unit.text()
        )
    }

    fn clear(&mut self, argument: &str) -> Result<(String, Option<Effect>), &'static str> {
        let total = match argument {
            "INF" => &mut self.infused_ml,
            "WDR" => &mut self.withdrawn_ml,
            _ => return Err("?"),
        };
        if self.state == State::Running {
            return Err("?NA");
        }
        *total = 0.0;
        Ok((String::new(), None))
    }

    fn set_watchdog(&mut self, argument: &str) -> Result<(String, Option<Effect>), &'static str> {
        if argument.is_empty() {
            return Ok((format!("{:.0}", self.watchdog_s.unwrap_or(0.0)), None));
        }
        let period_s: u32 = argument.parse().map_err(|_| "?")?;
        if period_s > WATCHDOG_MAX_S {
            return Err("?OOR");
        }
        self.watchdog_s = (period_s > 0).then(|| f64::from(period_s));
        Ok((String::new(), None))
    }
}

/// mL/min in one of a rate unit.
fn ml_min_per(unit: &str) -> f64 {
    match unit {
        "MM" => 1.0,
        "UM" => 1e-3,
        "MH" => 1.0 / 60.0,
        _ => 1e-3 / 60.0,
    }
}

/// A number as the pump prints it: four digits and a point, three decimals at most.
fn four_digits(value: f64) -> String {
    for (decimals, limit) in [(3, 9.9995), (2, 99.995), (1, 999.95)] {
        if value < limit {
            return format!("{value:.decimals$}");
        }
    }
    format!("{:.0}.", value.min(9999.0))
}

/// A number as the pump reads it: after four digits or three decimals it looks at no more.
fn parse_number(text: &str) -> Result<f64, &'static str> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return Err("?");
    }
    if whole.len() > 4 {
        return Err("?OOR");
    }
    let kept = fraction.len().min(3).min(4 - whole.len());
    let fraction = fraction.get(..kept).unwrap_or_default();
    format!("0{whole}.{fraction}0").parse().map_err(|_| "?")
}

#[cfg(test)]
#[path = "pump_tests.rs"]
mod tests;
