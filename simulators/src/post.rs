//! Messages between a broker and an instrument that is described elsewhere, with their faults.
//!
//! MQTT runs over TCP: what arrives is whole and undamaged, or does not arrive. So damage here is that
//! of a gateway, and is such that a reader can see it: a truncated or corrupt message breaks off, and a
//! text without any form, which could break off unseen, is lost instead.

use std::time::Duration;

use crate::faults::{Fate, Mangled};
use crate::lab::{STATE_LEAST, Shared, pause};
use crate::model::{Inward, Outward, Upset};
use crate::mqtt::Message;

/// Wall time for which an instrument that lost its broker is away.
const AWAY: Duration = Duration::from_millis(200);

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

/// An instrument takes a message, and publishes what follows from it.
pub(crate) async fn take(
    shared: Shared,
    name: String,
    inward: Inward,
    publish: impl Fn(Outward) + Send,
) {
    let fate = shared.fate(&name);
    if fate.cut || restarts(&fate) {
        return relink(&shared, &name, &publish).await;
    }
    if fate.deaf {
        return;
    }
    pause(fate.before).await;
    let now = shared.now();
    let outwards = shared.world().tell(&name, &inward, now);
    pause(fate.latency).await;
    deliver(&shared, outwards, &fate, &publish).await;
}

/// An instrument publishes by itself, for as long as the runtime lives.
pub(crate) async fn stream(shared: Shared, name: String, publish: impl Fn(Outward) + Send) {
    loop {
        let now = shared.now();
        let (outwards, next_s) = shared.world().stream(&name, now);
        if !outwards.is_empty() {
            let fate = shared.fate(&name);
            if fate.cut || restarts(&fate) {
                relink(&shared, &name, &publish).await;
            } else if !fate.deaf {
                deliver(&shared, outwards, &fate, &publish).await;
            }
        }
        if !next_s.is_finite() {
            return;
        }
        let wait = Duration::try_from_secs_f64(next_s.max(0.0) / shared.speed);
        tokio::time::sleep(wait.unwrap_or(STATE_LEAST).max(STATE_LEAST)).await;
    }
}

fn restarts(fate: &Fate) -> bool {
    fate.upset.iter().any(|(upset, on)| *on && *upset == Upset::Reboot)
}

/// The instrument loses its broker and comes back: will and birth.
async fn relink(shared: &Shared, name: &str, publish: &(impl Fn(Outward) + Send)) {
    let will = shared.world().vanish(name);
    if let Some(will) = will {
        publish(will);
    }
    tokio::time::sleep(AWAY).await;
    let now = shared.now();
    let presence = shared.world().appear(name, now);
    for birth in presence.into_iter().flat_map(|presence| presence.births) {
        publish(birth);
    }
}

async fn deliver(
    shared: &Shared,
    outwards: Vec<Outward>,
    fate: &Fate,
    publish: &(impl Fn(Outward) + Send),
) {
    if fate.mute {
        return;
    }
    for outward in outwards {
        shared.lab_pause(outward.after_s).await;
        pause(fate.late).await;
        let twice = fate.mangled.contains(&Mangled::Duplicated);
        if let Some(outward) = mangled(outward, &fate.mangled) {
            if twice {
                publish(outward.clone());
            }
            publish(outward);
        }
    }
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
