//! Eurotherm 3216 temperature controller: Modbus registers over a PID loop.
//!
//! Facts: register list of a public driver over minimalmodbus: 1 process value, 2 target set
//! point, 3 manual output, 4 working output, 5 working set point, 15 set point select, 24/25 SP1
//! and SP2, 26 remote set point, 75 status, 273 auto/manual, 276 local/remote. Integers scaled by
//! the decimals of the display, one here.

use crate::world::Effect;

const DECIMALS: f64 = 10.0;
/// Proportional band, integral and derivative time of the loop.
const GAIN: f64 = 0.1;
const INTEGRAL_S: f64 = 10.0;
/// Step of the loop.
const PERIOD_S: f64 = 0.2;

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

/// The controller with the heater and the mass it heats.
#[derive(Debug)]
pub struct Controller {
    name: String,
    set_point: [f64; 2],
    selected: usize,
    remote: Option<f64>,
    use_remote: bool,
    manual: Option<f64>,
    integral: f64,
    output: f64,
    /// Temperature of the heated block, degC.
    block: f64,
    /// Temperature the sensor shows, degC.
    sensor: f64,
    ambient: f64,
    at: f64,
}

impl Controller {
    /// A controller that was just switched on in a cool lab.
    pub fn new(name: &str, ambient: f64) -> Controller {
        Controller {
            name: name.to_owned(),
            set_point: [25.0, 25.0],
            selected: 0,
            remote: None,
            use_remote: false,
            manual: None,
            integral: 0.0,
            output: 0.0,
            block: ambient,
            sensor: ambient,
            ambient,
            at: 0.0,
        }
    }

    /// Temperature of what flows through the block, degC.
    pub fn temperature(&self) -> f64 {
        self.block
    }

    fn working_set_point(&self) -> f64 {
        match (self.use_remote, self.remote) {
            (true, Some(remote)) => remote,
            _ => self.set_point.get(self.selected).copied().unwrap_or(25.0),
        }
    }

    /// Lets lab time pass, in seconds.
    pub fn advance(&mut self, now: f64) {
        // A chip reactor on a cartridge heater with a fan: 6 K/s at full power less losses, cooled
        // by convection with a time constant of 40 s; the sensor follows within 1 s.
        const HEATING: f64 = 6.0;
        const COOLING_S: f64 = 40.0;
        const SENSOR_S: f64 = 1.0;
        while self.at + PERIOD_S <= now {
            self.at += PERIOD_S;
            let error = self.working_set_point() - self.sensor;
            self.output = match self.manual {
                Some(output) => output,
                None => {
                    let wanted = GAIN * error + self.integral;
                    // Integrate only where the output is not at its stop.
                    if (0.0..=1.0).contains(&wanted) || (wanted > 1.0) == (error < 0.0) {
                        self.integral += GAIN * error * PERIOD_S / INTEGRAL_S;
                        self.integral = self.integral.clamp(0.0, 1.0);
                    }
                    wanted.clamp(0.0, 1.0)
                }
            };
            let loss = (self.block - self.ambient) / COOLING_S;
            self.block += (HEATING * self.output - loss) * PERIOD_S;
            self.sensor += (self.block - self.sensor) * PERIOD_S / SENSOR_S;
        }
    }

    /// Reads registers; function 3 or 4.
    pub fn read(&mut self, start: u16, count: u16, now: f64) -> Result<Vec<u16>, Exception> {
        if count == 0 || count > 125 {
            return Err(Exception::Value);
        }
        self.advance(now);
        (start..start.saturating_add(count)).map(|n| self.register(n)).collect()
    }

    fn register(&self, number: u16) -> Result<u16, Exception> {
        let scaled = |v: f64| ((v * DECIMALS).round().clamp(-32768.0, 32767.0) as i16) as u16;
        Ok(match number {
            1 => scaled(self.sensor),
            2 => scaled(self.set_point.get(self.selected).copied().unwrap_or(25.0)),
            3 | 4 => scaled(self.output * 100.0),
            5 => scaled(self.working_set_point()),
            15 => self.selected as u16,
            24 => scaled(self.set_point[0]),
            25 => scaled(self.set_point[1]),
            26 => scaled(self.remote.unwrap_or(0.0)),
            75 => 0,
            273 => u16::from(self.manual.is_some()),
            276 => u16::from(self.use_remote),
            _ => return Err(Exception::Address),
        })
    }

    /// Writes one register; functions 6 and 16.
    pub fn write(
        &mut self,
        number: u16,
        value: u16,
        now: f64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Exception> {
        self.advance(now);
        let scaled = f64::from(value as i16) / DECIMALS;
        match number {
            2 | 24 | 25 => {
                if !(0.0..=200.0).contains(&scaled) {
                    return Err(Exception::Value);
                }
                let which = if number == 2 { self.selected } else { usize::from(number - 24) };
                if let Some(entry) = self.set_point.get_mut(which) {
                    *entry = scaled;
                }
                let detail = [("target_degc", scaled)];
                effects.push(Effect::new(&self.name, "set_temperature", &detail));
            }
            3 => self.manual = Some((scaled / 100.0).clamp(0.0, 1.0)),
            15 if value <= 1 => self.selected = usize::from(value),
            26 => self.remote = Some(scaled),
            273 => self.manual = (value == 1).then_some(self.output),
            276 if value <= 1 => self.use_remote = value == 1,
            15 | 276 => return Err(Exception::Value),
            _ => return Err(Exception::Address),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reaches_its_set_point_fast_and_stays_there() {
        let mut c = Controller::new("bath", 25.0);
        let mut effects = Vec::new();
        c.write(24, 900, 0.0, &mut effects).unwrap();
        assert_eq!(effects.len(), 1);
        let pv = |c: &mut Controller, t: f64| f64::from(c.read(1, 1, t).unwrap()[0]) / 10.0;
        assert!(pv(&mut c, 0.0) < 26.0);
        let settled = (60..600).all(|t| (pv(&mut c, f64::from(t)) - 90.0).abs() < 0.6);
        assert!(settled, "after a minute it is at {}", pv(&mut c, 600.0));
        c.write(24, 300, 600.0, &mut effects).unwrap();
        assert!((pv(&mut c, 760.0) - 30.0).abs() < 2.0);
    }

    #[test]
    fn unknown_registers_and_values_are_exceptions() {
        let mut c = Controller::new("bath", 25.0);
        let mut effects = Vec::new();
        assert_eq!(c.read(7, 1, 0.0), Err(Exception::Address));
        assert_eq!(c.write(24, 5000, 0.0, &mut effects), Err(Exception::Value));
        assert_eq!(c.write(99, 1, 0.0, &mut effects), Err(Exception::Address));
        assert!(effects.is_empty());
    }
}
