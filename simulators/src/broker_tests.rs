use bytes::BytesMut;

use super::matches;
use crate::mqtt::{self, Message, Outgoing, Version};

#[test]
fn filters_follow_the_standard() {
    for (filter, topic, fits) in [
        ("a/b", "a/b", true),
        ("a/+", "a/b", true),
        ("a/#", "a/b/c", true),
        ("a/#", "a", true),
        ("#", "a", true),
        ("a/+", "a/b/c", false),
        ("a/b/", "a/b", false),
        ("a/b/", "a/b/", true),
        ("+/b", "a/c", false),
        ("#", "$SYS/load", false),
        ("$SYS/#", "$SYS/load", true),
    ] {
        assert_eq!(matches(filter, topic), fits, "{filter} {topic}");
    }
}

/// Packets that the codec of both versions can make, to be damaged.
fn packets() -> Vec<(Version, BytesMut)> {
    let message = Message {
        topic: "a/b".into(),
        payload: "payload".into(),
        qos: 1,
        properties: rumqttc::v5::mqttbytes::v5::PublishProperties {
            response_topic: Some("r".into()),
            correlation_data: Some("c".into()),
            ..Default::default()
        },
        ..Message::default()
    };
    let mut packets = Vec::new();
    for version in [Version::Old, Version::New] {
        for packet in [
            Outgoing::Connected,
            Outgoing::Publish { id: 7, qos: 1, message: &message },
            Outgoing::Published { id: 7 },
            Outgoing::Subscribed { id: 7, granted: vec![Some(1), None] },
            Outgoing::Unsubscribed { id: 7, count: 1 },
            Outgoing::Pong,
        ] {
            packets.push((version, mqtt::write(version, packet).unwrap()));
        }
    }
    let mut connect = BytesMut::new();
    let will = rumqttc::LastWill::new("w", "gone", rumqttc::QoS::AtLeastOnce, true);
    let mut old = rumqttc::Connect::new("me");
    old.last_will = Some(will);
    old.write(&mut connect).unwrap();
    packets.push((Version::Old, connect));
    packets
}

#[test]
fn a_damaged_packet_is_an_error_or_another_packet_but_never_a_panic() {
    let mut noise = 1u64;
    let mut draw = move |below: usize| {
        noise =
            noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 33) as usize % below
    };
    for (version, packet) in packets() {
        for _ in 0..3_000 {
            let mut bytes = packet.clone();
            for _ in 0..=draw(3) {
                let at = draw(bytes.len());
                bytes[at] = draw(256) as u8;
            }
            bytes.truncate(1 + draw(bytes.len() + 1));
            for known in [Some(version), None] {
                let _ = mqtt::read(&mut known.clone(), &mut bytes.clone());
            }
        }
    }
}
