//! A heated reactor chip with its thermocouple: two first-order lags driven by limited power.
//!
//! `C dT/dt = P - UA (T - ambient)` for the chip and `dM/dt = (T - M) / tau` for the sensor. Both are
//! solved exactly over a step of constant power, so the step length does not matter.

/// A heated block.
#[derive(Debug, Clone)]
pub(crate) struct Heater {
    /// Temperature of the chip, °C.
    pub(crate) block_c: f64,
    /// What the thermocouple shows, °C.
    pub(crate) sensor_c: f64,
    pub(crate) ambient_c: f64,
    pub(crate) power_max_w: f64,
    /// Heat capacity of chip and heater, J/K.
    pub(crate) capacity_j_k: f64,
    /// Loss to the fan-cooled sink, W/K.
    pub(crate) loss_w_k: f64,
    /// Lag of the thermocouple, s.
    pub(crate) sensor_s: f64,
}

impl Heater {
    /// A glass chip on a fan-cooled aluminium block: 200 W lift it from 40 to 120 °C in about
    /// 20 s, the fan takes it down with a time constant of 40 s.
    pub(crate) fn chip(ambient_c: f64) -> Self {
        Self {
            block_c: ambient_c,
            sensor_c: ambient_c,
            ambient_c,
            power_max_w: 200.0,
            capacity_j_k: 35.0,
            loss_w_k: 0.875,
            sensor_s: 1.0,
        }
    }

    /// Lets `dt_s` seconds pass at `output` (0 to 1) of full power.
    pub(crate) fn step(&mut self, output: f64, dt_s: f64) {
        let power_w = output.clamp(0.0, 1.0) * self.power_max_w;
        let target_c = self.ambient_c + power_w / self.loss_w_k;
        let tau_s = self.capacity_j_k / self.loss_w_k;
        let before_c = self.block_c;
        self.block_c = target_c + (self.block_c - target_c) * (-dt_s / tau_s).exp();
        // The sensor follows the mean of the block over the step; the error is of second order in dt.
        let mean_c = 0.5 * (before_c + self.block_c);
        self.sensor_c = mean_c + (self.sensor_c - mean_c) * (-dt_s / self.sensor_s).exp();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_power_ends_at_the_balance_of_heat() {
        let mut heater = Heater::chip(22.0);
        for _ in 0..10_000 {
            heater.step(1.0, 0.1);
        }
        assert!((heater.block_c - (22.0 + 200.0 / 0.875)).abs() < 1e-6);
        assert!((heater.sensor_c - heater.block_c).abs() < 1e-6);
    }

    #[test]
    fn the_step_length_does_not_matter() {
        let (mut coarse, mut fine) = (Heater::chip(22.0), Heater::chip(22.0));
        for _ in 0..100 {
            coarse.step(0.5, 0.2);
        }
        for _ in 0..2000 {
            fine.step(0.5, 0.01);
        }
        assert!((coarse.block_c - fine.block_c).abs() < 1e-9);
        assert!((coarse.sensor_c - fine.sensor_c).abs() < 0.02);
    }
}
