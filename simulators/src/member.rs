//! An instrument that is described elsewhere, as a client of somebody else's broker.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};

use crate::lab::Shared;
use crate::model::{Inward, Outward, Presence};
use crate::post::Post;
use crate::serve::Open;

/// Messages that wait for the broker; further ones are lost.
const QUEUE: usize = 256;
/// Pause before the broker is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// Connects, listens and publishes, again and again.
pub(crate) async fn join(shared: Shared, host: String, name: String, open: Open) {
    loop {
        let now = shared.now();
        let presence = shared.world().appear(&name, now).unwrap_or_default();
        session(&shared, &host, &name, &open, presence).await;
        tokio::time::sleep(AGAIN).await;
    }
}

/// One connection, until it breaks: the will belongs to the birth of this one.
async fn session(shared: &Shared, host: &str, name: &str, open: &Open, presence: Presence) {
    let (server, port) = host.rsplit_once(':').unwrap_or((host, "1883"));
    let mut options = MqttOptions::new(format!("sim-{name}"), server, port.parse().unwrap_or(1883));
    options.set_keep_alive(Duration::from_secs(30)).set_clean_start(true);
    if let Some(will) = presence.will {
        options.set_last_will(LastWill {
            topic: will.topic.into(),
            message: will.payload.into(),
            qos: QoS::AtLeastOnce,
            retain: will.retain,
            properties: None,
        });
    }
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    let (client, mut events) = AsyncClient::new(options, QUEUE);
    let publish = {
        let client = client.clone();
        move |outward| send(&client, outward)
    };
    let (post, outbox) = Post::new(shared.clone(), name);
    let (mut guard, mut outbox, mut running) = (None, Some(outbox), Vec::new());
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                guard = Some(open.one());
                for filter in &presence.filters {
                    let _ = client.try_subscribe(filter.clone(), QoS::AtLeastOnce);
                }
                presence.births.iter().cloned().for_each(&publish);
                if let Some(outbox) = outbox.take() {
                    running.push(tokio::spawn(outbox.run(publish.clone())));
                    running.push(tokio::spawn(post.clone().stream()));
                }
            }
            // A command that the broker kept is none.
            Ok(Event::Incoming(Packet::Publish(message))) if !message.retain => {
                open.heard();
                // The loop that must go on polling neither measures nor waits.
                tokio::spawn(post.clone().take(inward(message)));
            }
            Ok(_) => {}
            // Another connection is another session: with another will, and from its birth.
            Err(_) => break,
        }
    }
    for task in running {
        task.abort();
    }
    drop(guard);
}

fn inward(message: Publish) -> Inward {
    let properties = message.properties.unwrap_or_default();
    Inward {
        topic: String::from_utf8_lossy(&message.topic).into_owned(),
        payload: message.payload.to_vec(),
        response_topic: properties.response_topic,
        correlation: properties.correlation_data.map(|data| data.to_vec()),
    }
}

fn send(client: &AsyncClient, outward: Outward) {
    let properties = PublishProperties {
        correlation_data: outward.correlation.map(Into::into),
        ..PublishProperties::default()
    };
    let _ = client.try_publish_with_properties(
        outward.topic,
        QoS::AtLeastOnce,
        outward.retain,
        outward.payload,
        properties,
    );
}
