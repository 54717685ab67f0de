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
        let well = |name: &str| match name.parse::<usize>() {
            Ok(number @ 1..=WELLS) => Ok(number - 1),
            _ => Err(format!("there is no well {name}")),
        };
        let (source, target) = (from.as_str(), well(&to)?);
        let dye = match source {
            "stock" => self.stock,
            "diluent" => 0.0,
            "sample" => self.sample,
            source => {
                let source = self.wells.get_mut(well(source)?).ok_or("no such well")?;
                if source.ul < taken {
                    return Err(format!("well {from} holds only {:.0} uL", source.ul));
                }
                source.ul -= taken;
                source.dye
            }
        };
        if to == "waste" {
            return Ok(wanted);
        }
        let target = self.wells.get_mut(target).ok_or("no such well")?;
        if target.ul + taken > WELL_UL {
            return Err(format!("well {to} would run over"));
        }
        target.dye = (target.dye * target.ul + dye * taken) / (target.ul + taken);
        target.ul += taken;
        self.moved_ul += wanted;
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
