//! A plate of twelve wells, a liquid handler with troughs of dye and diluent, and a plate reader.
//!
//! Pipettes are wrong in two ways: each transfer by chance, all by the same part. Readers have an offset
//! and noise, and show less than Beer-Lambert where too little light comes through.

use serde_json::{Value as Json, json};

use crate::config::{Error, PlantConfig};
use crate::plants::{Answer, Plant, number, rounded, setting, unknown, walk, wired};
use crate::world::{Effect, Noise, Placed};

/// Settings: dye in the trough and in the sample of unknown strength, and the common error of the pipette.
pub(crate) const SETTINGS: &[&str] = &["stock", "sample", "pipette_error"];

const WELLS: usize = 12;
/// A well holds no more, uL.
const WELL_UL: f64 = 360.0;
/// Chance error of one transfer.
const CHANCE: f64 = 0.004;
/// Absorbance of 1 mmol/L in 200 uL.
const ABSORBANCE: f64 = 8.0;
/// Stray light of the reader.
const STRAY: f64 = 3e-4;
/// One transfer, and one reading of the whole plate, s.
const TRANSFER_S: f64 = 4.0;
const READ_S: f64 = 30.0;

#[derive(Debug, Clone, Copy, Default)]
struct Well {
    ul: f64,
    /// mmol/L.
    dye: f64,
}

/// The bench.
#[derive(Debug)]
pub(crate) struct Dilution {
    handler: String,
    reader: String,
    stock: f64,
    sample: f64,
    pipette_error: f64,
    wells: [Well; WELLS],
    moved_ul: f64,
    at: f64,
}

impl Dilution {
    pub(crate) fn new(config: &PlantConfig, placed: &[Placed]) -> Result<Dilution, Error> {
        let get = |name, default, range| setting(&config.settings, name, default, range);
        Ok(Dilution {
            handler: wired(config, placed, "handler")?,
            reader: wired(config, placed, "reader")?,
            // mol/m3 are mmol/L.
            stock: get("stock", 0.2, 1e-6..=1e3)?,
            sample: get("sample", 0.03, 0.0..=1e3)?,
            pipette_error: get("pipette_error", 0.0, -0.2..=0.2)?,
            wells: [Well::default(); WELLS],
            moved_ul: 0.0,
            at: 0.0,
        })
    }

    fn transfer(&mut self, input: &Json, noise: &mut Noise<'_>) -> Result<f64, String> {
        let place = |key: &str| {
            input
                .get(key)
                .and_then(Json::as_str)
                .map(str::to_owned)
                .ok_or(format!("{key} is missing"))
        };
        let (from, to) = (place("from")?, place("to")?);
        let wanted = number(input, "volume_ul", 1.0..=WELL_UL)?;
        let taken = wanted * (1.0 + self.pipette_error + CHANCE * noise.normal());
        let well = |name: &str| match name.trim_start_matches("well ").parse::<usize>() {
            Ok(number @ 1..=WELLS) => Ok(number - 1),
            _ => Err(format!("there is no well {name}")),
        };
        let source = from.as_str();
        let target = if to == "waste" { None } else { Some(well(&to)?) };
        if target.and_then(|t| self.wells.get(t)).is_some_and(|w| w.ul + taken > WELL_UL) {
            return Err(format!("{to} would run over"));
        }
        let dye = match source {
            "dye" => self.stock,
            "diluent" => 0.0,
            "sample" => self.sample,
            source => {
                let source = self.wells.get_mut(well(source)?).ok_or("no such well")?;
                if source.ul < taken {
                    return Err(format!("{from} holds only {:.0} uL", source.ul));
                }
                source.ul -= taken;
                source.dye
            }
        };
        self.moved_ul += wanted;
        if let Some(target) = target.and_then(|target| self.wells.get_mut(target)) {
            target.dye = (target.dye * target.ul + dye * taken) / (target.ul + taken);
            target.ul += taken;
        }
        Ok(wanted)
    }

    fn absorbance(&self, index: usize, noise: &mut Noise<'_>) -> f64 {
        let well = self.wells.get(index).copied().unwrap_or_default();
        // The path is the height of the liquid.
        let clean = ABSORBANCE * well.dye * well.ul / 200.0;
        let light = (10f64.powf(-clean) + STRAY) / (1.0 + STRAY);
        rounded(0.040 - light.log10() + 0.0015 * noise.normal(), 4)
    }
}

impl Plant for Dilution {
    fn advance(&mut self, now: f64, placed: &mut [Placed]) {
        let mut at = self.at;
        walk(&mut at, now, 3_600.0, placed, |_, _| {});
        self.at = at;
    }

    fn begin(&mut self, instrument: &str, command: &str, _: &Json) -> f64 {
        match command {
            "transfer" if instrument == self.handler => TRANSFER_S,
            "read" if instrument == self.reader => READ_S,
            _ => 0.0,
        }
    }

    fn command(
        &mut self,
        instrument: &str,
        command: &str,
        input: &Json,
        mut noise: Noise<'_>,
    ) -> Answer {
        match command {
            "transfer" if instrument == self.handler => {
                let ul = self.transfer(input, &mut noise)?;
                let effect = Effect::new(instrument, "transfer", &[("ul", ul)]);
                Ok((json!({"moved_ul": self.moved_ul}), Some(effect)))
            }
            "new_plate" if instrument == self.handler => {
                self.wells = [Well::default(); WELLS];
                Ok((
                    json!({"moved_ul": self.moved_ul}),
                    Some(Effect::new(instrument, "new_plate", &[])),
                ))
            }
            "park" if instrument == self.handler => Ok((json!({"moved_ul": self.moved_ul}), None)),
            "read" if instrument == self.reader => {
                let wells: Vec<usize> = (1..=WELLS).collect();
                let absorbance: Vec<f64> =
                    (0..WELLS).map(|well| self.absorbance(well, &mut noise)).collect();
                Ok((json!({"well": wells, "absorbance": absorbance}), None))
            }
            "read_well" if instrument == self.reader => {
                let well = number(input, "well", 1.0..=WELLS as f64)? as usize;
                Ok((json!({"absorbance": self.absorbance(well - 1, &mut noise)}), None))
            }
            _ => Err(unknown(command)),
        }
    }

    fn state(&self, instrument: &str) -> Option<(f64, Json)> {
        (instrument == self.handler).then(|| (5.0, json!({"moved_ul": self.moved_ul})))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DeviceConfig, LabConfig};
    use crate::world::{Models, World};

    #[test]
    fn a_well_that_is_halved_shows_half_and_refuses_what_does_not_fit() {
        let device = |name: &str, model: &str| DeviceConfig {
            name: name.into(),
            model: model.into(),
            address: format!("mqtt://broker/{name}"),
            config: std::collections::BTreeMap::new(),
        };
        let wiring = [("handler", "h"), ("reader", "r")];
        let config = LabConfig {
            seed: 1,
            speed: 1.0,
            devices: vec![device("h", "mqtt5-liquid-handler"), device("r", "mqtt5-plate-reader")],
            plant: Some(PlantConfig {
                name: "dilution".into(),
                wiring: wiring.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect(),
                settings: [("stock".to_owned(), 0.1)].into(),
            }),
        };
        let mut world = World::new(&config, Models::new()).unwrap();
        let mut say = |name: &str, command: &str, input: Json| {
            let payload = input.to_string();
            let said = world.message(name, &format!("do/{command}"), payload.as_bytes(), 0.0);
            serde_json::from_slice::<Json>(&said.last().unwrap().payload).unwrap()
        };
        let mut carry = |from: &str, to: &str, ul: f64| {
            let answer = say("h", "transfer", json!({"from": from, "to": to, "volume_ul": ul}));
            answer["error"].as_str().map(str::to_owned)
        };
        assert_eq!(carry("dye", "well 1", 200.0), None);
        assert_eq!(carry("diluent", "well 2", 100.0), None);
        assert_eq!(carry("well 1", "well 2", 100.0), None);
        assert!(carry("well 1", "well 2", 200.0).unwrap().contains("run over"));
        assert!(carry("well 1", "well 3", 150.0).unwrap().contains("holds only"));
        assert!(carry("well 1", "well 13", 10.0).unwrap().contains("no well"));
        let seen = say("r", "read_well", json!({"well": 2}))["absorbance"].as_f64().unwrap();
        // 8 AU of 1 mmol/L; half of 0.1, and the reader's own 0.04.
        assert!((seen - 0.44).abs() < 0.02, "{seen}");
    }
}
