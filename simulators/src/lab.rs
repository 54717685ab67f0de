//! The world behind a lock, and lab time from the runtime's clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Error, LabConfig};
use crate::delivery::Delivery;
use crate::faults::{self, Fate};
use crate::model::Answer;
use crate::world::{Models, Publication, World};

/// States follow each other no faster (wall time), whatever the speed.
pub(crate) const STATE_LEAST: Duration = Duration::from_millis(10);

/// An answer before its faults.
#[derive(Debug)]
pub(crate) struct Raw {
    bytes: Vec<u8>,
    fate: Fate,
}

impl Raw {
    /// Puts a frame around an answer, where there is one.
    pub(crate) fn framed(mut self, frame: impl FnOnce(&[u8]) -> Vec<u8>) -> Raw {
        if !self.bytes.is_empty() {
            self.bytes = frame(&self.bytes);
        }
        self
    }

    /// The answer after its faults.
    pub(crate) fn mangled(
        self,
        misaddress: impl Fn(&[u8]) -> Option<Vec<u8>>,
        damage: impl Fn(&mut [u8], f64),
    ) -> Delivery {
        let Fate { late, cut, mangled, .. } = self.fate;
        Delivery { bytes: self.bytes, late, cut }.mangle(&mangled, misaddress, damage)
    }
}

/// One simulated lab, shared by all its wires.
#[derive(Clone)]
pub(crate) struct Shared {
    world: Arc<Mutex<World>>,
    start: Instant,
    pub(crate) speed: f64,
}

impl Shared {
    pub(crate) fn new(config: &LabConfig, models: Models) -> Result<Shared, Error> {
        Ok(Shared {
            world: Arc::new(Mutex::new(World::new(config, models)?)),
            start: Instant::now(),
            speed: config.speed,
        })
    }

    /// The world. Never held across an await; a panic inside leaves plain numbers behind, which
    /// are as good as any.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lab time in seconds since power-up.
    pub(crate) fn now(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * self.speed
    }

    /// Carries out a request to an instrument on a line, with its faults and its latency.
    pub(crate) async fn request(
        &self,
        name: &str,
        request: impl FnOnce(&mut World, f64) -> Option<Answer>,
    ) -> Raw {
        let fate = self.fate(name);
        if fate.deaf || fate.cut {
            return Raw { bytes: Vec::new(), fate };
        }
        pause(fate.before).await;
        let now = self.now();
        let answer = request(&mut self.world(), now);
        let Some(answer) = answer.filter(|_| !fate.mute) else {
            pause(fate.latency).await;
            return Raw { bytes: Vec::new(), fate };
        };
        self.lab_pause(answer.after_s).await;
        pause(fate.latency).await;
        Raw { bytes: answer.bytes, fate }
    }

    /// What happens to the next request to an instrument; what upsets the instrument itself has
    /// begun when this returns.
    pub(crate) fn fate(&self, name: &str) -> Fate {
        let now = self.now();
        let mut world = self.world();
        let fate = world.fate(name);
        for (upset, on) in &fate.upset {
            world.upset(name, *upset, *on, now);
        }
        fate
    }

    /// Orders a fault, or ends all of an instrument; the error says what is wrong.
    pub(crate) fn order(&self, text: &str) -> Result<(), String> {
        let (name, fault) = faults::spec::parse(text)?;
        self.world().order(&name, fault)
    }

    /// Lets lab time pass.
    pub(crate) async fn lab_pause(&self, seconds: f64) {
        if seconds > 0.0 {
            pause(Duration::from_secs_f64(seconds / self.speed)).await;
        }
    }

    /// What a bridge publishes of itself, and the wall time until the next.
    pub(crate) fn state(&self, name: &str) -> Option<(Duration, Vec<u8>)> {
        let now = self.now();
        let (every_s, state) = self.world().state(name, now)?;
        let wait = Duration::from_secs_f64(every_s / self.speed);
        Some((wait.max(STATE_LEAST), state))
    }

    /// What an MQTT instrument publishes in answer to a message below its base topic, once it has
    /// measured (lab time) and thought (wall time). A fault may swallow the message or the answer.
    pub(crate) async fn ask(&self, name: &str, below: &str, payload: &[u8]) -> Vec<Publication> {
        let fate = self.fate(name);
        if fate.deaf {
            return Vec::new();
        }
        pause(fate.before).await;
        let now = self.now();
        let busy_s = self.world().begin(name, below, payload, now);
        self.lab_pause(busy_s).await;
        let now = self.now();
        let published = self.world().message(name, below, payload, now);
        pause(fate.latency).await;
        if fate.mute { Vec::new() } else { published }
    }
}

/// Wall time; no timer for none.
pub(crate) async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// Scheme, place and query of an address: `modbus+tcp`, `10.0.0.1:502`, `unit=1`.
pub(crate) fn split(address: &str) -> (&str, &str, &str) {
    let (scheme, rest) = address.split_once(':').unwrap_or((address, ""));
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    (scheme, place, query)
}

/// Host and port, and the path below it, of an MQTT address.
pub(crate) fn broker_and_base(address: &str) -> (&str, &str) {
    let (_, place, _) = split(address);
    let (host, base) = place.split_once('/').unwrap_or((place, ""));
    (host.rsplit('@').next().unwrap_or(host), base.trim_end_matches('/'))
}

/// Unit of a Modbus address; 1 if it does not say.
pub(crate) fn unit_of(address: &str) -> u8 {
    split(address)
        .2
        .split('&')
        .find_map(|part| part.strip_prefix("unit="))
        .and_then(|n| n.parse().ok())
        .unwrap_or(1)
}
