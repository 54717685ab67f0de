//! Eurotherm 3216 temperature controller: its registers and the loop behind them.
//!
//! Facts: register list of a public driver over minimalmodbus. The low area holds 16-bit integers scaled by the decimals of the display,
//! the high area (0x8000 + 2 * address) the same values as 32-bit floats, high word first.
//!
//! | register | meaning | register | meaning |
//! |---|---|---|---|
//! | 1 | process value | 26 | remote set point |
//! | 2 | target set point (writes the selected one) | 35 | set point rate limit per minute, 0 off |
//! | 3, 4 | output % | 39 | deviation |
//! | 5 | working set point | 75 | status bits |
//! | 15 | set point select, 0 SP1, 1 SP2 | 273 | 0 automatic, 1 manual |
//! | 24, 25 | SP1, SP2 (EEPROM) | 276 | 0 local, 1 remote |

use crate::heater::Heater;
use crate::world::Effect;

/// Time between two runs of the control loop, s.
const CYCLE_S: f64 = 0.25;
/// Counts for one degree: the display is set to one decimal.
const SCALE: f64 = 10.0;
/// Lowest and highest set point, degC.
const RANGE_C: std::ops::RangeInclusive<f64> = 0.0..=200.0;
/// First register of the area of 32-bit floats, at twice the number of each.
const FLOATS: u16 = 0x8000;

/// Exception codes of the Modbus specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exception {
    /// Function not known.
    Function = 1,
    /// Address not known.
    Address = 2,
    /// Value not allowed.
    Value = 3,
}

/// The controller with the heater and the chip it heats.
#[derive(Debug)]
pub struct Controller {
    name: String,
    sp1_c: f64,
    sp2_c: f64,
    remote_c: f64,
    select: u16,
    remote: bool,
    manual: bool,
    manual_pct: f64,
    /// Set point rate limit, K per minute; zero means at once.
    rate_k_min: f64,
    working_c: f64,
    output_pct: f64,
    integral_pct: f64,
    last_c: f64,
    heater: Heater,
    /// Lab time, s, and that of the next cycle of the loop.
    at: f64,
    cycle_at: f64,
}

/// Proportional gain, integral and derivative time of the tuned loop.
const GAIN_PCT_K: f64 = 12.0;
const INTEGRAL_S: f64 = 10.0;
const DERIVATIVE_S: f64 = 0.8;

impl Controller {
    /// A controller that was just switched on, in a lab at `ambient` degC.
    pub fn new(name: &str, ambient: f64) -> Controller {
        Controller {
            name: name.to_owned(),
            sp1_c: 25.0,
            sp2_c: 25.0,
            remote_c: 25.0,
            select: 0,
            remote: false,
            manual: false,
            manual_pct: 0.0,
            rate_k_min: 0.0,
            working_c: 25.0,
            output_pct: 0.0,
            integral_pct: 0.0,
            last_c: ambient,
            heater: Heater::chip(ambient),
            at: 0.0,
            cycle_at: 0.0,
        }
    }

    /// Temperature of what flows through the chip, degC.
    pub fn temperature(&self) -> f64 {
        self.heater.block_c
    }

    /// Lets lab time pass until `now`, s.
    pub fn advance(&mut self, now: f64) {
        while self.at < now {
            if self.at >= self.cycle_at {
                self.control();
                self.cycle_at += CYCLE_S;
            }
            let to = now.min(self.cycle_at);
            self.heater.step(self.output_pct / 100.0, to - self.at);
            self.at = to;
        }
    }

    fn control(&mut self) {
        let target_c = self.target_c();
        if self.rate_k_min > 0.0 {
            let most = self.rate_k_min / 60.0 * CYCLE_S;
            self.working_c += (target_c - self.working_c).clamp(-most, most);
        } else {
            self.working_c = target_c;
        }
        let measured_c = self.heater.sensor_c;
        let slope = (measured_c - self.last_c) / CYCLE_S;
        self.last_c = measured_c;
        let error = self.working_c - measured_c;
        // The feed-forward a tuned loop has learnt: the power that holds the set point.
        let hold_w = self.heater.loss_w_k * (self.working_c - self.heater.ambient_c);
        let feed_pct = (100.0 * hold_w / self.heater.power_max_w).clamp(0.0, 100.0);
        let raw = feed_pct + GAIN_PCT_K * (error - DERIVATIVE_S * slope) + self.integral_pct;
        let output = raw.clamp(0.0, 100.0);
        // Integrate only inside the band where the output can follow.
        if raw == output {
            self.integral_pct += GAIN_PCT_K * error * CYCLE_S / INTEGRAL_S;
            self.integral_pct = self.integral_pct.clamp(-50.0, 50.0);
        }
        self.output_pct = if self.manual { self.manual_pct } else { output };
    }

    fn target_c(&self) -> f64 {
        match (self.remote, self.select) {
            (true, _) => self.remote_c,
            (false, 1) => self.sp2_c,
            (false, _) => self.sp1_c,
        }
    }

    /// The value behind a register of the low area, in its unit.
    fn value(&self, register: u16) -> Option<f64> {
        Some(match register {
            1 => self.heater.sensor_c,
            2 => self.target_c(),
            3 | 4 => self.output_pct,
            5 => self.working_c,
            24 => self.sp1_c,
            25 => self.sp2_c,
            26 => self.remote_c,
            35 => self.rate_k_min,
            39 => self.working_c - self.heater.sensor_c,
            _ => return None,
        })
    }

    /// Registers that hold a plain integer.
    fn integer(&self, register: u16) -> Option<u16> {
        Some(match register {
            15 => self.select,
            75 => self.status(),
            273 => u16::from(self.manual),
            276 => u16::from(self.remote),
            _ => return None,
        })
    }

    /// Status bits: 4 manual, 10 beyond range.
    fn status(&self) -> u16 {
        let beyond = self.heater.sensor_c > RANGE_C.end() + 50.0;
        u16::from(self.manual) << 4 | u16::from(beyond) << 10
    }

    /// Reads registers; function 3 or 4.
    pub fn read(&mut self, start: u16, count: u16, now: f64) -> Result<Vec<u16>, Exception> {
        if count == 0 || count > 125 {
            return Err(Exception::Value);
        }
        self.advance(now);
        let end = start.checked_add(count).ok_or(Exception::Address)?;
        (start..end).map(|register| self.register(register)).collect()
    }

    fn register(&self, register: u16) -> Result<u16, Exception> {
        if let Some(high) = register.checked_sub(FLOATS) {
            let low = high / 2;
            let value = self.value(low).or_else(|| self.integer(low).map(f64::from));
            let [a, b, c, d] = (value.ok_or(Exception::Address)? as f32).to_be_bytes();
            return Ok(u16::from_be_bytes(if high % 2 == 0 { [a, b] } else { [c, d] }));
        }
        if let Some(integer) = self.integer(register) {
            return Ok(integer);
        }
        let counts = (self.value(register).ok_or(Exception::Address)? * SCALE).round();
        Ok((counts.clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16).cast_unsigned())
    }

    /// Writes one register; functions 6 and 16.
    pub fn write(
        &mut self,
        register: u16,
        raw: u16,
        now: f64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Exception> {
        self.advance(now);
        let value = f64::from(raw.cast_signed()) / SCALE;
        let within = |range: std::ops::RangeInclusive<f64>| {
            if range.contains(&value) { Ok(value) } else { Err(Exception::Value) }
        };
        let switch = if raw <= 1 { Ok(raw) } else { Err(Exception::Value) };
        let set = |slot: &mut f64, value: f64, name: &str| {
            *slot = value;
            Effect::new(name, "set_temperature", &[("target_degc", value)])
        };
        match register {
            2 | 24 | 25 => {
                let second = register == 25 || (register == 2 && self.select == 1);
                let slot = if second { &mut self.sp2_c } else { &mut self.sp1_c };
                effects.push(set(slot, within(RANGE_C)?, &self.name));
            }
            26 => effects.push(set(&mut self.remote_c, within(RANGE_C)?, &self.name)),
            3 => {
                self.manual_pct = within(0.0..=100.0)?;
                effects.push(Effect::new(&self.name, "set_output", &[("output_pct", value)]));
            }
            35 => self.rate_k_min = within(0.0..=3000.0)?,
            15 => self.select = switch?,
            273 => {
                self.manual = switch? == 1;
                self.manual_pct = self.output_pct;
            }
            276 => self.remote = switch? == 1,
            _ => return Err(Exception::Address),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modbus::answer;

    fn controller() -> Controller {
        Controller::new("bath", 22.0)
    }

    #[track_caller]
    fn ask(device: &mut Controller, pdu: &[u8], expect: &[u8]) -> Vec<Effect> {
        let mut effects = Vec::new();
        let now = device.at;
        assert_eq!(answer(device, pdu, now, &mut effects), expect);
        effects
    }

    #[test]
    fn temperatures_are_integers_with_one_decimal_and_floats_in_the_high_area() {
        let mut device = controller();
        ask(&mut device, &[3, 0, 1, 0, 1], &[3, 2, 0, 220]); // 22.0 degC
        let effects = ask(&mut device, &[16, 0, 24, 0, 1, 2, 3, 0x20], &[16, 0, 24, 0, 1]);
        assert_eq!(effects[0].detail["target_degc"], 80.0);
        ask(&mut device, &[3, 0, 24, 0, 1], &[3, 2, 3, 0x20]);
        ask(&mut device, &[6, 0, 2, 1, 0x90], &[6, 0, 2, 1, 0x90]); // 40.0 degC
        ask(&mut device, &[3, 0, 24, 0, 2], &[3, 4, 1, 0x90, 0, 250]);
        ask(&mut device, &[3, 0x80, 48, 0, 2], &[3, 4, 0x42, 0x20, 0, 0]); // 40.0 as a float
    }

    #[test]
    fn what_it_does_not_have_is_an_exception() {
        let mut device = controller();
        ask(&mut device, &[3, 0, 200, 0, 1], &[0x83, 2]);
        ask(&mut device, &[3, 0, 1, 0, 0], &[0x83, 3]);
        ask(&mut device, &[3, 0xff, 0xff, 0, 2], &[0x83, 2]);
        ask(&mut device, &[6, 0, 1, 0, 0], &[0x86, 2]); // the process value is read only
        ask(&mut device, &[6, 0, 24, 0x0f, 0xa0], &[0x86, 3]); // 400 degC
        ask(&mut device, &[6, 1, 20, 0, 2], &[0x86, 3]); // 276 knows 0 and 1
        ask(&mut device, &[16, 0, 24, 0, 1, 2, 3], &[0x90, 3]); // cut short
        ask(&mut device, &[5, 0, 1, 0xff, 0], &[0x85, 1]);
        ask(&mut device, &[], &[0x80, 1]);
    }

    #[test]
    fn the_loop_reaches_its_set_point_and_stays() {
        for (from_c, to_c, within_s) in
            [(25.0, 60.0, 25.0), (40.0, 120.0, 40.0), (120.0, 60.0, 60.0), (60.0, 65.0, 20.0)]
        {
            let mut device = controller();
            device.heater.block_c = from_c;
            device.heater.sensor_c = from_c;
            device.last_c = from_c;
            device.sp1_c = to_c;
            let (mut settled_s, mut beyond) = (0.0, 0.0_f64);
            for step in 1..960 {
                let now = f64::from(step) * 0.25;
                device.advance(now);
                let off = device.heater.sensor_c - to_c;
                if off.abs() > 0.5 {
                    settled_s = now;
                }
                beyond = beyond.max(off * (to_c - from_c).signum());
            }
            assert!(settled_s < within_s, "{from_c} to {to_c}: settled after {settled_s} s");
            assert!(beyond < 2.0, "{from_c} to {to_c} overshoots by {beyond} K");
        }
    }

    #[test]
    fn the_loop_does_not_depend_on_when_it_is_asked() {
        let (mut often, mut once) = (controller(), controller());
        (often.sp1_c, once.sp1_c) = (90.0, 90.0);
        for step in 1..=1000 {
            often.advance(f64::from(step) * 0.07);
        }
        once.advance(70.0);
        assert!((often.temperature() - once.temperature()).abs() < 1e-3);
    }

    #[test]
    fn set_points_may_ramp_and_the_output_may_be_taken_by_hand() {
        let mut device = controller();
        ask(&mut device, &[6, 0, 35, 2, 0x58], &[6, 0, 35, 2, 0x58]); // 60 K/min
        ask(&mut device, &[6, 0, 24, 3, 0x34], &[6, 0, 24, 3, 0x34]); // 82 degC, from 25
        device.advance(30.0);
        assert!((device.working_c - 55.0).abs() < 0.3);
        ask(&mut device, &[6, 1, 17, 0, 1], &[6, 1, 17, 0, 1]);
        ask(&mut device, &[6, 0, 3, 0, 0], &[6, 0, 3, 0, 0]);
        device.advance(400.0);
        assert!((device.heater.sensor_c - 22.0).abs() < 0.5);
        ask(&mut device, &[3, 0, 75, 0, 1], &[3, 2, 0, 16]);
    }
}
