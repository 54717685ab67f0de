//! Messages between a broker and an instrument that is described elsewhere, with their faults.
//!
//! MQTT runs over TCP: what arrives is whole and undamaged, or does not arrive. So damage here is that
//! of a gateway, and is such that a reader can see it: a truncated or corrupt message breaks off, and a
//! text without any form, which could break off unseen, is lost instead.
//!
//! What an instrument says keeps its order, as on the one connection it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::delivery::flip;
use crate::faults::{Fate, Mangled};
use crate::lab::{STATE_LEAST, Shared, pause};
use crate::model::{Inward, Outward, Presence, Upset};
use crate::mqtt::Message;
use crate::world::{Device, Placed, World};

/// Wall time for which an instrument that lost its broker is away.
const AWAY: Duration = Duration::from_millis(200);
/// Messages that wait to be published; further ones are lost.
const QUEUE: usize = 1_024;

/// One instrument at its broker.
#[derive(Clone)]
pub(crate) struct Post {
    shared: Shared,
    name: Arc<str>,
    queue: mpsc::Sender<(Instant, Outward)>,
    away: Arc<AtomicBool>,
}

/// What it has to say, in order.
pub(crate) struct Outbox(mpsc::Receiver<(Instant, Outward)>);

impl Outbox {
    /// Publishes until the instrument is gone.
    pub(crate) async fn run(mut self, publish: impl Fn(Outward) + Send) {
        while let Some((due, outward)) = self.0.recv().await {
            if due > Instant::now() {
                tokio::time::sleep_until(due).await;
            }
            publish(outward);
        }
    }
}

impl Post {
    pub(crate) fn new(shared: Shared, name: &str) -> (Post, Outbox) {
        let (queue, outbox) = mpsc::channel(QUEUE);
        (Post { shared, name: name.into(), queue, away: Arc::default() }, Outbox(outbox))
    }

    /// Takes a message, and publishes what follows from it.
    pub(crate) async fn take(self, inward: Inward) {
        let fate = self.shared.fate(&self.name);
        if fate.cut || restarts(&fate) {
            return self.relink().await;
        }
        if fate.deaf || self.away.load(Ordering::SeqCst) {
            return;
        }
        pause(fate.before).await;
        let now = self.shared.now();
        let later = {
            // Posted before anybody else can make it say something.
            let mut world = self.shared.world();
            let outwards = world.tell(&self.name, &inward, now);
            let (now, later): (Vec<_>, Vec<_>) =
                outwards.into_iter().partition(|outward| outward.after_s <= 0.0);
            self.post(now, &fate);
            later
        };
        for outward in later {
            self.shared.lab_pause(outward.after_s).await;
            self.post(vec![outward], &fate);
        }
    }

    /// Publishes by itself, for as long as the runtime lives.
    pub(crate) async fn stream(self) {
        loop {
            let now = self.shared.now();
            let mut fate = None;
            let next_s = {
                let mut world = self.shared.world();
                let (outwards, next_s) = world.stream(&self.name, now);
                if !outwards.is_empty() {
                    let its = world.fate(&self.name);
                    for (upset, on) in &its.upset {
                        world.upset(&self.name, *upset, *on, now);
                    }
                    if !its.deaf && !its.cut && !self.away.load(Ordering::SeqCst) {
                        self.post(outwards, &its);
                    }
                    fate = Some(its);
                }
                next_s
            };
            if fate.is_some_and(|fate| fate.cut || restarts(&fate)) {
                self.relink().await;
            }
            if !next_s.is_finite() {
                return;
            }
            let wait = Duration::try_from_secs_f64(next_s.max(0.0) / self.shared.speed);
            tokio::time::sleep(wait.unwrap_or(STATE_LEAST).max(STATE_LEAST)).await;
        }
    }

    /// Loses its broker and comes back: will and birth.
    async fn relink(&self) {
        if self.away.swap(true, Ordering::SeqCst) {
            return;
        }
        let will = self.shared.world().vanish(&self.name);
        self.post(will.into_iter().collect(), &Fate::default());
        tokio::time::sleep(AWAY).await;
        let now = self.shared.now();
        let mut world = self.shared.world();
        let births = world.appear(&self.name, now).unwrap_or_default().births;
        self.post(births, &Fate::default());
        self.away.store(false, Ordering::SeqCst);
    }

    fn post(&self, outwards: Vec<Outward>, fate: &Fate) {
        if fate.mute {
            return;
        }
        let due = Instant::now() + fate.latency + fate.late;
        let twice = fate.mangled.contains(&Mangled::Duplicated);
        for outward in outwards.into_iter().filter_map(|one| mangled(one, &fate.mangled)) {
            if twice {
                let _ = self.queue.try_send((due, outward.clone()));
            }
            let _ = self.queue.try_send((due, outward));
        }
    }
}

fn restarts(fate: &Fate) -> bool {
    fate.upset.iter().any(|(upset, on)| *on && *upset == Upset::Reboot)
}

impl World {
    /// Whether an instrument is described elsewhere.
    pub(crate) fn is_model(&self, name: &str) -> bool {
        let its = |p: &Placed| p.name == name && matches!(p.device, Device::Model(_));
        self.placed.iter().any(its)
    }

    /// One of them connects to its broker; `None` where it is no such instrument.
    pub(crate) fn appear(&mut self, name: &str, now: f64) -> Option<Presence> {
        self.model(name, |model| model.appear(now))
    }

    /// One of them loses its broker.
    pub(crate) fn vanish(&mut self, name: &str) -> Option<Outward> {
        self.model(name, |model| model.vanish()).flatten()
    }

    /// One of them takes a message.
    pub(crate) fn tell(&mut self, name: &str, message: &Inward, now: f64) -> Vec<Outward> {
        self.model(name, |model| model.message(message, now)).unwrap_or_default()
    }

    /// What one of them publishes by itself, and the lab time until the next, s.
    pub(crate) fn stream(&mut self, name: &str, now: f64) -> (Vec<Outward>, f64) {
        self.model(name, |model| model.stream(now)).unwrap_or((Vec::new(), f64::INFINITY))
    }
}

/// A message as the instrument takes it.
pub(crate) fn inward(message: &Message) -> Inward {
    Inward {
        topic: message.topic.clone(),
        payload: message.payload.to_vec(),
        response_topic: message.properties.response_topic.clone(),
        correlation: message.properties.correlation_data.as_ref().map(|data| data.to_vec()),
    }
}

/// A message of the instrument on its way.
pub(crate) fn message(outward: Outward) -> Message {
    let mut message = Message {
        topic: outward.topic,
        payload: outward.payload.into(),
        qos: 1,
        retain: outward.retain,
        ..Message::default()
    };
    message.properties.correlation_data = outward.correlation.map(Into::into);
    message
}

/// A message after its faults; `None` when it is lost.
fn mangled(mut outward: Outward, faults: &[Mangled]) -> Option<Outward> {
    for fault in faults {
        match fault {
            Mangled::Corrupt(place) | Mangled::Truncated(place) => {
                let formed = matches!(outward.payload.first(), Some(b'{' | b'['))
                    || std::str::from_utf8(&outward.payload).is_err();
                if !formed {
                    return None;
                }
                // Never nothing: an empty message is another message.
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a place in it"
                )]
                let length = (place * outward.payload.len() as f64) as usize;
                outward.payload.truncate(length.max(1));
            }
            Mangled::Flip(place) => flip(&mut outward.payload, *place),
            Mangled::Duplicated => {}
            // For somebody else: with MQTT 5 by its correlation, else by its topic.
            Mangled::WrongAddress => match &mut outward.correlation {
                Some(data) => data.push(b'x'),
                None => outward.topic.push_str("/other"),
            },
        }
    }
    Some(outward)
}
