//! How an instrument misbehaves on demand, and how long it takes to answer when it does not.
//!
//! Settings of the simulation, each for one instrument by its name:
//!
//! | setting | means |
//! |---|---|
//! | `NAME_delay: 30 ms` | answers come so much later (wall time) |
//! | `NAME_effect_delay: 30 ms` | requests are carried out so much later, even if their sender has gone |
//! | `NAME_silence_every: 20` | about one request in 20 is not heard: no effect, no answer |
//! | `NAME_lost_reply_every: 20` | about one in 20 is carried out, and its answer lost |
//!
//! The last is the fault that makes machines dose twice. Which requests it hits depends on the seed.
//! Many more can be ordered in words, also while the simulators run: see [`spec`].

pub mod spec;

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use self::spec::{Fault, Kind};
use crate::model::Upset;

/// Faults of one instrument at most.
const FAULTS_MAX: usize = 64;

/// What happens to one request.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Fate {
    /// It is not heard.
    pub(crate) deaf: bool,
    /// Its answer is lost.
    pub(crate) mute: bool,
    /// Wall time until it is carried out.
    pub(crate) before: Duration,
    /// Wall time from there until the answer: 0.2 to 1.2 ms, and the delay that was set.
    pub(crate) latency: Duration,
    /// Wall time by which its answer comes after others'.
    pub(crate) late: Duration,
    /// What happens to the bytes of its answer, one after the other.
    pub(crate) mangled: Vec<Mangled>,
    /// The line is cut.
    pub(crate) cut: bool,
    /// What begins or ends to upset the device.
    pub(crate) upset: Vec<(Upset, bool)>,
}

/// What happens to the bytes of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mangled {
    /// The byte at this share of its length is damaged.
    Corrupt(f64),
    /// One bit of it is wrong, that at this share of its length.
    Flip(f64),
    /// It ends at this share of its length.
    Truncated(f64),
    Duplicated,
    WrongAddress,
}

/// The faults of one instrument.
#[derive(Debug)]
pub(crate) struct Faults {
    delay_s: f64,
    effect_delay_s: f64,
    silence_every: f64,
    lost_reply_every: f64,
    rng: ChaCha8Rng,
    /// With whether it upsets the device just now.
    ordered: Vec<(Fault, bool)>,
    /// Upsets of faults that were called off.
    over: Vec<Upset>,
}

/// Endings of the settings' names.
const DELAY: &str = "_delay";
const EFFECT: &str = "_effect_delay";
const SILENCE: &str = "_silence_every";
const LOST: &str = "_lost_reply_every";

impl Faults {
    /// The faults that the settings ask of an instrument; its own stream of random numbers.
    pub(crate) fn new(seed: u64, name: &str, settings: &BTreeMap<String, f64>) -> Faults {
        let setting = |ending: &str| {
            settings.get(&format!("{name}{ending}")).copied().filter(|v| v.is_finite())
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // FNV-1a; any hash that stays the same will do.
        rng.set_stream(name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        }));
        let time = |ending| setting(ending).unwrap_or(0.0).clamp(0.0, 3_600.0);
        Faults {
            delay_s: time(DELAY),
            effect_delay_s: time(EFFECT),
            silence_every: setting(SILENCE).unwrap_or(0.0),
            lost_reply_every: setting(LOST).unwrap_or(0.0),
            rng,
            ordered: Vec::new(),
            over: Vec::new(),
        }
    }

    /// Whether a setting is a fault of an instrument of this name.
    pub(crate) fn knows(setting: &str, name: &str) -> bool {
        setting.strip_prefix(name).is_some_and(|e| [DELAY, EFFECT, SILENCE, LOST].contains(&e))
    }

    /// What happens to the next request. Always as many draws, so that one fault does not move others.
    pub(crate) fn next(&mut self) -> Fate {
        let mut draw = || f64::from(self.rng.next_u32()) / (f64::from(u32::MAX) + 1.0);
        let (a, b, c) = (draw(), draw(), draw());
        let hit = |draw: f64, every: f64| every >= 1.0 && draw * every < 1.0;
        let mut fate = Fate {
            deaf: hit(a, self.silence_every),
            mute: hit(b, self.lost_reply_every),
            before: Duration::from_secs_f64(self.effect_delay_s),
            latency: Duration::from_secs_f64(self.delay_s + (0.2 + c) / 1e3),
            upset: self.over.drain(..).map(|upset| (upset, false)).collect(),
            ..Fate::default()
        };
        for (fault, upsets) in &mut self.ordered {
            let mut draw = || f64::from(self.rng.next_u32()) / (f64::from(u32::MAX) + 1.0);
            let (hit, place) = (draw() < fault.share, draw());
            if let Kind::Upset(upset) = fault.kind {
                // A restart happens again and again, a state begins and ends.
                if hit != *upsets || (hit && upset == Upset::Reboot) {
                    fate.upset.push((upset, hit));
                    *upsets = hit;
                }
                continue;
            }
            if !hit {
                continue;
            }
            match fault.kind {
                Kind::Silence => fate.deaf = true,
                Kind::Lost => fate.mute = true,
                Kind::Delay(time) => fate.latency += time,
                Kind::Late(time) => fate.late = fate.late.max(time),
                Kind::Corrupt => fate.mangled.push(Mangled::Corrupt(place)),
                Kind::Flip => fate.mangled.push(Mangled::Flip(place)),
                Kind::Truncated => fate.mangled.push(Mangled::Truncated(place)),
                Kind::Duplicated => fate.mangled.push(Mangled::Duplicated),
                Kind::WrongAddress => fate.mangled.push(Mangled::WrongAddress),
                Kind::Disconnect => fate.cut = true,
                Kind::Upset(_) => {}
            }
        }
        fate
    }

    /// Adds a fault, or ends all that were added. `false` when there are too many.
    pub(crate) fn order(&mut self, fault: Option<Fault>) -> bool {
        let Some(fault) = fault else {
            let ended = self.ordered.drain(..).filter(|(_, upsets)| *upsets);
            let ended = ended.filter_map(|(fault, _)| match fault.kind {
                Kind::Upset(upset) => Some(upset),
                _ => None,
            });
            self.over.extend(ended);
            return true;
        };
        if self.ordered.len() >= FAULTS_MAX {
            return false;
        }
        self.ordered.push((fault, false));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordered_faults_come_and_go() {
        let mut faults = Faults::new(3, "bath", &BTreeMap::new());
        for order in ["bath:late=1s@50%", "bath:busy", "bath:corrupt@20%"] {
            assert!(faults.order(spec::parse(order).unwrap().1));
        }
        let fates: Vec<Fate> = (0..1000).map(|_| faults.next()).collect();
        assert_eq!(fates[0].upset, [(Upset::Busy, true)]);
        assert!(fates[1..].iter().all(|fate| fate.upset.is_empty()));
        let late = fates.iter().filter(|fate| fate.late == Duration::from_secs(1)).count();
        let damaged = fates.iter().filter(|fate| !fate.mangled.is_empty()).count();
        assert!((400..600).contains(&late), "{late}");
        assert!((120..280).contains(&damaged), "{damaged}");
        assert!(faults.order(None));
        assert_eq!(faults.next().upset, [(Upset::Busy, false)]);
        let calm = faults.next();
        assert!(calm.late.is_zero() && calm.mangled.is_empty() && calm.upset.is_empty());
    }

    #[test]
    fn faults_hit_as_often_as_asked_and_the_same_requests_for_a_seed() {
        let settings = BTreeMap::from([
            ("pump_1_lost_reply_every".to_owned(), 10.0),
            ("pump_1_delay".to_owned(), 0.03),
        ]);
        let fates = |seed| {
            let mut faults = Faults::new(seed, "pump_1", &settings);
            (0..2_000).map(|_| faults.next()).collect::<Vec<_>>()
        };
        let once = fates(1);
        assert_eq!(once, fates(1));
        assert_ne!(once, fates(2));
        let lost = once.iter().filter(|f| f.mute).count();
        assert!((150..250).contains(&lost), "{lost}");
        assert!(once.iter().all(|f| !f.deaf && f.latency >= Duration::from_millis(30)));
        let mut other = Faults::new(1, "pump_2", &settings);
        assert!((0..2_000).all(|_| !other.next().mute));
    }
}
