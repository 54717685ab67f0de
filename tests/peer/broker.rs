//! A broker and a gateway in one, in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use labloop::wire::Dialer;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// A message to the client.
#[derive(Clone, Default)]
pub struct Out {
    pub topic: String,
    pub payload: String,
    pub correlation: Option<Bytes>,
    pub retain: bool,
}

/// What the broker does with one message of the client.
pub enum Do {
    Send(Vec<Out>),
    /// Sends these after a while.
    Later(Duration, Vec<Out>),
    NobodyListens,
    Close,
}

/// All messages of the client.
pub type Received = Arc<Mutex<Vec<Publish>>>;

/// A broker with one instrument behind it. What `greeting` holds is published after each subscribe.
pub fn broker(
    received: &Received,
    greeting: Vec<Out>,
    act: impl FnMut(&Publish) -> Do + Send + 'static,
) -> Dialer {
    let pipe = pipes(received, greeting, act);
    Dialer::memory(move |_| Ok(pipe()))
}

/// New connections to such a broker.
pub fn pipes<F: FnMut(&Publish) -> Do + Send + 'static>(
    received: &Received,
    greeting: Vec<Out>,
    act: F,
) -> impl Fn() -> DuplexStream + Send + Sync + use<F> {
    let act = Arc::new(Mutex::new(act));
    let received = Arc::clone(received);
    move || {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (act, received) = (Arc::clone(&act), Arc::clone(&received));
        let greeting = greeting.clone();
        tokio::spawn(serve(far, received, greeting, act));
        near
    }
}

async fn serve<F: FnMut(&Publish) -> Do + Send>(
    mut far: DuplexStream,
    received: Received,
    greeting: Vec<Out>,
    act: Arc<Mutex<F>>,
) {
    let mut arrived = BytesMut::new();
    loop {
        let Ok(packet) = Packet::read(&mut arrived, None) else {
            if far.read_buf(&mut arrived).await.unwrap_or(0) == 0 {
                return;
            }
            continue;
        };
        let mut out = BytesMut::new();
        match packet {
            Packet::Connect(..) => out.extend([0x20, 3, 0, 0, 0]),
            Packet::Subscribe(subscribe) => {
                let [high, low] = subscribe.pkid.to_be_bytes();
                let count = u8::try_from(subscribe.filters.len()).unwrap();
                out.extend([0x90, 3 + count, high, low, 0]);
                out.extend(std::iter::repeat_n(1, usize::from(count)));
                write(&mut out, &greeting);
            }
            Packet::Publish(publish) => {
                received.lock().unwrap().push(publish.clone());
                let todo = (act.lock().unwrap())(&publish);
                let [high, low] = publish.pkid.to_be_bytes();
                match todo {
                    Do::NobodyListens => out.extend([0x40, 4, high, low, 0x10, 0]),
                    Do::Close => return,
                    Do::Send(messages) => {
                        out.extend([0x40, 2, high, low]);
                        write(&mut out, &messages);
                    }
                    Do::Later(pause, messages) => {
                        far.write_all(&[0x40, 2, high, low]).await.unwrap();
                        tokio::time::sleep(pause).await;
                        write(&mut out, &messages);
                    }
                }
            }
            Packet::PingReq(_) => out.extend([0xd0, 0]),
            _ => {}
        }
        if far.write_all(&out).await.is_err() {
            return;
        }
    }
}

fn write(out: &mut BytesMut, messages: &[Out]) {
    for message in messages {
        let properties = PublishProperties {
            correlation_data: message.correlation.clone(),
            ..PublishProperties::default()
        };
        let payload = message.payload.clone().into_bytes();
        let mut publish =
            Publish::new(message.topic.clone(), QoS::AtMostOnce, payload, Some(properties));
        publish.retain = message.retain;
        publish.write(out).unwrap();
    }
}
