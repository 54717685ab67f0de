//! The light-mixing kit: one RGB LED in front of an AS7341 sensor.
//!
//! Facts: firmware and client of the public repository sparks-baird/self-driving-lab-demo; the
//! channels of the AS7341 after its data sheet (ams, centres and widths at half height).

use serde_json::{Map, Value as Json, json};

use crate::world::{Effect, Noise};

/// Centre and width at half height of the eight channels, nm.
const CHANNELS: [(&str, f64, f64); 8] = [
    ("ch410", 415.0, 26.0),
    ("ch440", 445.0, 30.0),
    ("ch470", 480.0, 36.0),
    ("ch510", 515.0, 39.0),
    ("ch550", 555.0, 39.0),
    ("ch583", 590.0, 40.0),
    ("ch620", 630.0, 50.0),
    ("ch670", 680.0, 52.0),
];
/// Peak and width of the three LEDs in nm, and counts of a channel that sees all of one.
const LEDS: [(&str, f64, f64, f64); 3] =
    [("R", 625.0, 20.0, 38_000.0), ("G", 525.0, 34.0, 30_000.0), ("B", 470.0, 25.0, 42_000.0)];

/// How long the sensor takes for a request, s: two passes over its channels, each of
/// (ATIME + 1) (ASTEP + 1) steps of 2.78 us (data sheet; the firmware's defaults are 100 and 999).
pub(crate) fn measuring_s(input: &Json) -> f64 {
    let field = |name: &str, default: f64, most: f64| {
        input.get(name).and_then(Json::as_f64).unwrap_or(default).clamp(0.0, most)
    };
    2.0 * (field("atime", 100.0, 255.0) + 1.0) * (field("astep", 999.0, 65_534.0) + 1.0) * 2.78e-6
}

/// The kit.
#[derive(Debug, Default)]
pub struct LightBox {
    lit: u32,
}

impl LightBox {
    /// Lights the LED, reads, and switches it off, as the firmware does.
    pub(crate) fn command(
        &mut self,
        name: &str,
        input: &Json,
        mut noise: Noise<'_>,
    ) -> (Json, Option<Effect>) {
        let mut colour = [0.0; 3];
        for (value, (key, ..)) in colour.iter_mut().zip(LEDS) {
            match input.get(key).and_then(Json::as_f64) {
                Some(v) if (0.0..=255.0).contains(&v) => *value = v,
                _ => return (with_input(json!({"error": format!("Invalid {key}")}), input), None),
            }
        }
        let mut answer = Map::new();
        for (channel, _) in spectrum(colour) {
            answer.insert(channel.to_owned(), Json::Null);
        }
        for (channel, clean) in spectrum(colour) {
            let seen = clean * (1.0 + 0.005 * noise.normal()) + 12.0 + 3.0 * noise.normal();
            answer.insert(channel.to_owned(), json!(seen.round().clamp(0.0, 65_535.0)));
        }
        self.lit += 1;
        let detail = [("r", colour[0]), ("g", colour[1]), ("b", colour[2])];
        let effect = Effect::new(name, "light", &detail);
        (with_input(Json::Object(answer), input), Some(effect))
    }
}

fn with_input(answer: Json, input: &Json) -> Json {
    let mut answer = match answer {
        Json::Object(fields) => fields,
        _ => Map::new(),
    };
    answer.insert("_input_message".to_owned(), input.clone());
    Json::Object(answer)
}

/// Counts of each channel without noise and dark counts.
pub fn spectrum(colour: [f64; 3]) -> [(&'static str, f64); 8] {
    CHANNELS.map(|(channel, centre, width)| {
        let sum: f64 = LEDS
            .iter()
            .zip(colour)
            .map(|((_, peak, led_width, counts), value)| {
                // Two bell curves that overlap; widths at half height add in squares.
                let spread = (width * width + led_width * led_width) / (8.0 * 2f64.ln());
                let overlap = (-(centre - peak).powi(2) / (2.0 * spread)).exp();
                // An LED gives a little less than in proportion.
                counts * (value / 255.0).powf(0.95) * overlap
            })
            .sum();
        (channel, sum)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_led_lights_its_own_channels_most() {
        let top = |colour| {
            let all = spectrum(colour);
            all.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0
        };
        assert_eq!(top([255.0, 0.0, 0.0]), "ch620");
        assert_eq!(top([0.0, 255.0, 0.0]), "ch510");
        assert_eq!(top([0.0, 0.0, 255.0]), "ch470");
        assert!(spectrum([255.0; 3]).iter().all(|(_, v)| *v < 65_000.0));
    }
}
