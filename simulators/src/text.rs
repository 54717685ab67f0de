//! Instruments that talk in lines of text and have no status: a pH circuit and a hot plate stirrer.
//!
//! Atlas Scientific EZO-pH (data sheet, UART mode): `R` answers with the reading after 900 ms, `i` with
//! `?i,pH,<firmware>`; `C,n` sets the continuous mode and `*OK,n` the response codes. IKA NAMUR: `IN_*`
//! answer `<value> <channel>`, `OUT_*`, `START_*` and `STOP_*` say nothing; `OUT_WD1@n` echoes n.
//!
//! Not simulated: the readings that a circuit sends by itself until `C,0`.

use crate::world::Effect;

/// Lab time of one pH reading, s.
const READING_S: f64 = 0.9;
/// Time constant of the plate without a controller of its own, s.
const PLATE_S: f64 = 60.0;
const AMBIENT_C: f64 = 25.0;

/// One of them.
#[derive(Debug)]
pub(crate) enum Text {
    Ezo { codes: bool },
    Ika(Plate),
}

/// State of a hot plate stirrer.
#[derive(Debug, Default)]
pub(crate) struct Plate {
    set_c: f64,
    heats: bool,
    above_ambient: f64,
    set_rpm: f64,
    stirs: bool,
    at: f64,
}

impl Text {
    pub(crate) fn ezo() -> Text {
        Text::Ezo { codes: true }
    }

    pub(crate) fn ika() -> Text {
        Text::Ika(Plate::default())
    }

    pub(crate) fn stirring(&self) -> bool {
        matches!(self, Text::Ika(plate) if plate.stirs && plate.set_rpm > 0.0)
    }

    /// Whether a request needs the reading of the plant.
    pub(crate) fn wants_reading(&self, line: &str) -> bool {
        matches!(self, Text::Ezo { .. }) && line == "R"
    }

    /// Lab time a request takes, s.
    pub(crate) fn busy_s(&self, line: &str) -> f64 {
        if self.wants_reading(line) { READING_S } else { 0.0 }
    }

    /// The answer to a line, if there is one, and what it changed.
    pub(crate) fn request(
        &mut self,
        name: &str,
        line: &str,
        now: f64,
        reading: Option<f64>,
    ) -> (Option<String>, Option<Effect>) {
        match self {
            Text::Ezo { codes } => (ezo(codes, line, reading), None),
            Text::Ika(plate) => plate.request(name, line, now),
        }
    }
}

fn ezo(codes: &mut bool, line: &str, reading: Option<f64>) -> Option<String> {
    let data = match line {
        "R" => Some(format!("{:.3}\r", reading.unwrap_or(7.0).clamp(0.001, 14.0))),
        "i" => Some("?i,pH,2.14\r".to_owned()),
        "*OK,0" | "*OK,1" => {
            *codes = line.ends_with('1');
            None
        }
        "C,0" => None,
        _ => return Some("*ER\r".to_owned()),
    };
    match (data, *codes) {
        (data, true) => Some(data.unwrap_or_default() + "*OK\r"),
        (data, false) => data,
    }
}

impl Plate {
    fn request(&mut self, name: &str, line: &str, now: f64) -> (Option<String>, Option<Effect>) {
        let target = if self.heats { (self.set_c - AMBIENT_C).max(0.0) } else { 0.0 };
        let passed = (now - self.at).max(0.0);
        self.at = self.at.max(now);
        self.above_ambient = target + (self.above_ambient - target) * (-passed / PLATE_S).exp();
        let rpm = if self.stirs { self.set_rpm } else { 0.0 };
        let shown = |value: f64, channel: u8| Some(format!("{value:.1} {channel} \r\n"));
        let said = match line {
            "IN_NAME" => Some("RCT digital \r\n".to_owned()),
            "IN_PV_1" | "IN_PV_2" => {
                shown(AMBIENT_C + self.above_ambient, if line == "IN_PV_1" { 1 } else { 2 })
            }
            "IN_PV_4" => shown(rpm, 4),
            "IN_SP_1" => shown(self.set_c, 1),
            "IN_SP_4" => shown(self.set_rpm, 4),
            _ => None,
        };
        if said.is_some() {
            return (said, None);
        }
        let number =
            |prefix: &str| line.strip_prefix(prefix).and_then(|n| n.trim().parse::<f64>().ok());
        if let Some(celsius) = number("OUT_SP_1 ").filter(|c| (0.0..=310.0).contains(c)) {
            self.set_c = celsius;
        } else if let Some(rpm) = number("OUT_SP_4 ").filter(|r| (0.0..=1500.0).contains(r)) {
            self.set_rpm = rpm;
        } else if let Some(period) = number("OUT_WD1@") {
            return (Some(format!("{period:.0} \r\n")), None);
        }
        let effect = match line {
            "START_1" => Effect::new(name, "heat", &[("celsius", self.set_c)]),
            "START_4" => Effect::new(name, "stir", &[("rpm", self.set_rpm)]),
            "STOP_1" => Effect::new(name, "heat", &[("celsius", 0.0)]),
            "STOP_4" => Effect::new(name, "stir", &[("rpm", 0.0)]),
            _ => return (None, None),
        };
        match line {
            "START_1" | "STOP_1" => self.heats = line == "START_1",
            _ => self.stirs = line == "START_4",
        }
        (None, Some(effect))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_circuit_is_quiet_about_settings_once_its_codes_are_off() {
        let mut probe = Text::ezo();
        let mut say = |line: &str| probe.request("ph_1", line, 0.0, Some(4.7612)).0;
        assert_eq!(say("R").unwrap(), "4.761\r*OK\r");
        assert_eq!(say("*OK,0"), None);
        assert_eq!(say("C,0"), None);
        assert_eq!(say("R").unwrap(), "4.761\r");
        assert_eq!(say("Hello").unwrap(), "*ER\r");
    }

    #[test]
    fn the_plate_answers_questions_only_and_warms_up_slowly() {
        let mut plate = Text::ika();
        let mut say = |line: &str, now: f64| plate.request("plate_1", line, now, None).0;
        assert_eq!(say("OUT_SP_4 300", 0.0), None);
        assert_eq!(say("START_4", 0.0), None);
        assert_eq!(say("IN_PV_4", 0.0).unwrap(), "300.0 4 \r\n");
        say("OUT_SP_1 85", 0.0);
        say("START_1", 0.0);
        assert_eq!(say("IN_PV_2", 60.0).unwrap(), "62.9 2 \r\n"); // 25 + 60 (1 - 1/e)
        say("STOP_4", 60.0);
        assert!(plate.request("plate_1", "IN_PV_4", 60.0, None).0.unwrap().starts_with("0.0"));
        assert!(!plate.stirring());
    }
}
