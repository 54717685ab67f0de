//! New Era NE-1000 syringe pump, basic protocol.
//!
//! Facts: manual 1200-01 as quoted by the public nesp-lib driver. Request `[addr]<command><CR>`,
//! answer `<STX><2-digit addr><status><data><ETX>`. After power-up the alarm `A?R` stands instead
//! of the first answer.

use crate::world::Effect;

const STX: char = '\x02';
const ETX: char = '\x03';
/// Longest command that is kept; a real pump forgets what its buffer cannot hold.
const COMMAND_MAX: usize = 80;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Infuse,
    Withdraw,
}

/// One pump on a shared line.
#[derive(Debug)]
pub struct Pump {
    name: String,
    address: u8,
    diameter_mm: f64,
    /// mL/min.
    rate: f64,
    rate_unit: &'static str,
    volume_unit: &'static str,
    /// Target volume in mL; zero = until stopped.
    volume: f64,
    direction: Direction,
    running: bool,
    paused: bool,
    /// mL moved since RUN.
    moved: f64,
    infused: f64,
    withdrawn: f64,
    power_alarm: bool,
    at: f64,
}

impl Pump {
    /// A pump that was just switched on.
    pub fn new(name: &str, address: u8) -> Pump {
        Pump {
            name: name.to_owned(),
            address,
            diameter_mm: 20.0,
            rate: 1.0,
            rate_unit: "MM",
            volume_unit: "ML",
            volume: 0.0,
            direction: Direction::Infuse,
            running: false,
            paused: false,
            moved: 0.0,
            infused: 0.0,
            withdrawn: 0.0,
            power_alarm: true,
            at: 0.0,
        }
    }

    /// Flow out of the syringe now, mL/min; negative while withdrawing.
    pub fn flow(&self) -> f64 {
        match (self.running, self.direction) {
            (false, _) => 0.0,
            (true, Direction::Infuse) => self.rate,
            (true, Direction::Withdraw) => -self.rate,
        }
    }

    /// Lab time of the next change it makes by itself, if one is due.
    pub fn stops_at(&self) -> Option<f64> {
        (self.running && self.volume > 0.0)
            .then(|| self.at + (self.volume - self.moved) / self.rate * 60.0)
    }

    /// Lets lab time pass, in seconds.
    pub fn advance(&mut self, now: f64) {
        let dt = (now - self.at).max(0.0);
        self.at = self.at.max(now);
        if !self.running {
            return;
        }
        let mut moved = self.rate * dt / 60.0;
        if self.volume > 0.0 && self.moved + moved >= self.volume - 1e-12 {
            moved = (self.volume - self.moved).max(0.0);
            self.running = false;
        }
        self.moved += moved;
        match self.direction {
            Direction::Infuse => self.infused += moved,
            Direction::Withdraw => self.withdrawn += moved,
        }
    }

    /// Takes one command without its end; `None` if it is for another pump.
    pub fn command(&mut self, line: &str, now: f64, effects: &mut Vec<Effect>) -> Option<String> {
        let digits = line.bytes().take(2).take_while(u8::is_ascii_digit).count();
        let (address, text) = line.split_at(digits);
        let address: u8 = if address.is_empty() { 0 } else { address.parse().ok()? };
        if address != self.address {
            return None;
        }
        self.advance(now);
        let text: String = text.chars().filter(|c| *c != ' ').collect::<String>().to_uppercase();
        if self.power_alarm {
            self.power_alarm = false;
            return Some(format!("{STX}{:02}A?R{ETX}", self.address));
        }
        let data =
            if text.len() > COMMAND_MAX { "?COM".to_owned() } else { self.answer(&text, effects) };
        Some(format!("{STX}{:02}{}{data}{ETX}", self.address, self.status()))
    }

    fn status(&self) -> char {
        match (self.running, self.paused, self.direction) {
            (true, _, Direction::Infuse) => 'I',
            (true, _, Direction::Withdraw) => 'W',
            (false, true, _) => 'P',
            (false, false, _) => 'S',
        }
    }

    fn answer(&mut self, text: &str, effects: &mut Vec<Effect>) -> String {
        match text {
            "" => String::new(),
            "RUN" => self.run(effects),
            "STP" => {
                // The first STP pauses a running program, the next resets it.
                let was = self.running;
                self.paused = self.running;
                self.running = false;
                if was {
                    effects.push(Effect::new(&self.name, "stop", &[("moved_ml", self.moved)]));
                }
                String::new()
            }
            "DIS" => self.totals(),
            "CLDINF" => {
                self.infused = 0.0;
                String::new()
            }
            "CLDWDR" => {
                self.withdrawn = 0.0;
                String::new()
            }
            "DIRINF" | "DIRWDR" if self.running => "?NA".to_owned(),
            "DIRINF" => {
                self.direction = Direction::Infuse;
                String::new()
            }
            "DIRWDR" => {
                self.direction = Direction::Withdraw;
                String::new()
            }
            "DIR" => if self.direction == Direction::Infuse { "INF" } else { "WDR" }.to_owned(),
            "DIA" => four(self.diameter_mm),
            "VOL" => format!("{}{}", four(self.volume / self.per_volume()), self.volume_unit),
            "RAT" => format!("{}{}", four(self.rate / per_rate(self.rate_unit)), self.rate_unit),
            "VER" => "NE1000V3.928".to_owned(),
            _ => self.set(text),
        }
    }

    fn run(&mut self, effects: &mut Vec<Effect>) -> String {
        if self.running || self.rate <= 0.0 {
            return "?NA".to_owned();
        }
        if !self.paused || self.volume <= 0.0 || self.moved >= self.volume - 1e-9 {
            self.moved = 0.0;
        }
        self.paused = false;
        self.running = true;
        let what = match (self.volume > 0.0, self.direction) {
            (true, Direction::Infuse) => "dispense",
            (true, Direction::Withdraw) => "refill",
            (false, Direction::Infuse) => "start",
            (false, Direction::Withdraw) => "withdraw",
        };
        let detail = [("volume_ml", self.volume), ("rate_ml_min", self.rate)];
        effects.push(Effect::new(&self.name, what, &detail));
        String::new()
    }

    fn set(&mut self, text: &str) -> String {
        let number = |text: &str| -> Option<f64> {
            // At most four digits and three decimals; more are cut off without a word.
            let digits = text.chars().filter(char::is_ascii_digit).count();
            let value: f64 = text.parse().ok()?;
            (digits <= 4 || value.is_finite()).then_some(value)
        };
        if let Some(rest) = text.strip_prefix("DIA") {
            return match number(rest) {
                _ if self.running => "?NA".to_owned(),
                Some(d) if (0.1..=50.0).contains(&d) => {
                    self.diameter_mm = d;
                    self.volume_unit = if d <= 14.0 { "UL" } else { "ML" };
                    String::new()
                }
                _ => "?OOR".to_owned(),
            };
        }
        if let Some(rest) = text.strip_prefix("RAT") {
            let (digits, unit) =
                rest.split_at(rest.find(|c: char| c.is_alphabetic()).unwrap_or(rest.len()));
            let unit = match unit {
                "MM" => "MM",
                "UM" => "UM",
                "MH" => "MH",
                "UH" => "UH",
                "" => self.rate_unit,
                _ => return "?".to_owned(),
            };
            return match number(digits) {
                _ if self.running => "?NA".to_owned(),
                Some(value) if value >= 0.0 && value * per_rate(unit) <= self.fastest() => {
                    self.rate = value * per_rate(unit);
                    self.rate_unit = unit;
                    String::new()
                }
                _ => "?OOR".to_owned(),
            };
        }
        if let Some(rest) = text.strip_prefix("VOL") {
            return match rest {
                _ if self.running => "?NA".to_owned(),
                "ML" | "UL" => {
                    self.volume_unit = if rest == "ML" { "ML" } else { "UL" };
                    String::new()
                }
                _ => match number(rest) {
                    Some(value) if (0.0..=9999.0).contains(&value) => {
                        self.volume = value * self.per_volume();
                        String::new()
                    }
                    _ => "?OOR".to_owned(),
                },
            };
        }
        "?".to_owned()
    }

    /// mL in one of the unit volumes are shown in.
    fn per_volume(&self) -> f64 {
        if self.volume_unit == "ML" { 1.0 } else { 1e-3 }
    }

    /// Fastest rate in mL/min: the plunger goes at most 5.1 cm/min.
    fn fastest(&self) -> f64 {
        std::f64::consts::PI * (self.diameter_mm / 20.0).powi(2) * 5.1
    }

    fn totals(&self) -> String {
        let per = self.per_volume();
        let show = |v: f64| four(v / per);
        format!("I{}W{}{}", show(self.infused), show(self.withdrawn), self.volume_unit)
    }
}

/// mL/min in one of a rate unit.
fn per_rate(unit: &str) -> f64 {
    match unit {
        "MM" => 1.0,
        "UM" => 1e-3,
        "MH" => 1.0 / 60.0,
        _ => 1e-3 / 60.0,
    }
}

/// Four digits with at most three decimals, as the pump prints numbers.
fn four(value: f64) -> String {
    match value.abs() {
        v if v < 10.0 => format!("{value:.3}"),
        v if v < 100.0 => format!("{value:.2}"),
        v if v < 1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(pump: &mut Pump, line: &str, now: f64) -> String {
        let mut effects = Vec::new();
        let answer = pump.command(line, now, &mut effects).unwrap();
        answer.trim_start_matches(STX).trim_end_matches(ETX).to_owned()
    }

    #[test]
    fn the_power_alarm_stands_instead_of_the_first_answer_only() {
        let mut pump = Pump::new("p", 0);
        assert_eq!(say(&mut pump, "DIA14.57", 0.0), "00A?R");
        assert_eq!(say(&mut pump, "DIA14.57", 0.0), "00S");
        assert_eq!(say(&mut pump, "DIA", 0.0), "00S14.57");
    }

    #[test]
    fn a_volume_is_dispensed_once_and_counted() {
        let mut pump = Pump::new("p", 0);
        say(&mut pump, "", 0.0);
        for line in ["DIA20", "VOLML", "VOL0.500", "RAT 1.000 MM", "DIRINF"] {
            assert_eq!(say(&mut pump, line, 0.0), "00S", "{line}");
        }
        assert_eq!(say(&mut pump, "RUN", 0.0), "00I");
        assert_eq!(say(&mut pump, "RUN", 1.0), "00I?NA");
        assert_eq!(say(&mut pump, "DIS", 15.0), "00II0.250W0.000ML");
        assert_eq!(pump.stops_at(), Some(30.0));
        assert_eq!(say(&mut pump, "", 31.0), "00S");
        assert_eq!(say(&mut pump, "DIS", 99.0), "00SI0.500W0.000ML");
    }

    #[test]
    fn a_small_syringe_counts_in_microlitres_and_limits_hold() {
        let mut pump = Pump::new("p", 1);
        let mut effects = Vec::new();
        assert_eq!(pump.command("00DIS", 0.0, &mut effects), None);
        assert_eq!(say(&mut pump, "01", 0.0), "01A?R");
        assert_eq!(say(&mut pump, "1DIA4.61", 0.0), "01S");
        assert_eq!(say(&mut pump, "1DIS", 0.0), "01SI0.000W0.000UL");
        assert_eq!(say(&mut pump, "1RAT 900 MM", 0.0), "01S?OOR");
        assert_eq!(say(&mut pump, "1FOO", 0.0), "01S?");
    }

    #[test]
    fn stop_pauses_first_and_a_running_pump_refuses_new_rates() {
        let mut pump = Pump::new("p", 0);
        say(&mut pump, "", 0.0);
        say(&mut pump, "VOL0", 0.0);
        assert_eq!(say(&mut pump, "RUN", 0.0), "00I");
        assert_eq!(say(&mut pump, "RAT 2 MM", 1.0), "00I?NA");
        assert_eq!(say(&mut pump, "STP", 60.0), "00P");
        assert_eq!(say(&mut pump, "STP", 61.0), "00S");
        assert!((pump.infused - 1.0).abs() < 1e-9);
    }
}
