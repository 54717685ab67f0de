//! What was recorded is answered, and only that.

use tokio::io::duplex;

use super::*;
use crate::wire::trace::{Head, Line, to_hex};

fn line(t: f64, way: Direction, bytes: &[u8]) -> Line {
    Line { t, way: Some(way), hex: Some(to_hex(bytes)), ..Line::default() }
}

fn trace(address: &str, lines: &[(f64, Direction, &[u8])]) -> Trace {
    Trace {
        head: Head::new(address, None),
        lines: lines.iter().map(|(t, way, bytes)| line(*t, *way, bytes)).collect(),
    }
}

use Direction::{In, Out};

/// Sends messages one after the other and gives what came back for each, and what was told.
async fn talk(script: Script, messages: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<Told>) {
    let (mut near, mut far) = duplex(1024);
    let server = tokio::spawn(async move {
        let (mut script, mut told) = (script, Vec::new());
        let _ = script.serve(&mut far, &mut |what| told.push(what)).await;
        told
    });
    let mut answers = Vec::new();
    for message in messages {
        near.write_all(message).await.unwrap();
        let mut space = [0; 256];
        let count = timeout(Duration::from_secs(5), near.read(&mut space)).await;
        answers.push(space[..count.map_or(0, |count| count.unwrap())].to_vec());
    }
    drop(near);
    (answers, server.await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_in_the_order_they_were_recorded() {
    let trace = trace(
        "serial:/dev/x",
        &[
            (0.0, Out, b"RUN\r"),
            (0.1, In, b"ok"),
            (1.0, Out, b"\r"),
            (1.1, In, b"busy"),
            (2.0, Out, b"\r"),
            (2.1, In, b"ready"),
            (3.0, Out, b"D"),
            (3.005, Out, b"IS\r"),
            (3.2, In, b"1."),
            (3.3, In, b"5"),
            (4.0, Out, b"mute\r"),
        ],
    );
    let script = Script::new(&trace, true).unwrap();
    assert_eq!(script.requests(), 5);
    let messages: [&[u8]; 6] = [b"RUN\r", b"\r", b"\r", b"\r", b"what\r", b"RUN\r"];
    let (answers, told) = talk(script, &messages).await;
    // A poll behind the last recorded one is answered like that; after something else the
    // recording begins anew.
    let expected: [&[u8]; 6] = [b"ok", b"busy", b"ready", b"ready", b"", b"ok"];
    assert_eq!(answers, expected);
    assert_eq!(told[4], Told::Unknown("what\\r".to_owned()));
    let (_, told) = talk(Script::new(&trace, false).unwrap(), &[b"DIS\r", b"mute\r"]).await;
    assert_eq!(told, [Told::Answered(4), Told::Silent(5)]);
}

#[tokio::test(start_paused = true)]
async fn answers_take_as_long_as_they_took() {
    let trace = trace("tcp://h:1", &[(5.0, Out, b"?"), (7.5, In, b"!")]);
    let started = Instant::now();
    talk(Script::new(&trace, true).unwrap(), &[b"?"]).await;
    assert_eq!(started.elapsed().as_millis(), 2_500);
    let started = Instant::now();
    talk(Script::new(&trace, false).unwrap(), &[b"?"]).await;
    assert!(started.elapsed().as_millis() < 200);
}

#[tokio::test(start_paused = true)]
async fn modbus_tcp_is_answered_with_the_number_of_whoever_asks() {
    let read = |number| modbus::tcp_frame(number, 1, &[3, 0, 1, 0, 1]);
    let answer = |number| modbus::tcp_frame(number, 1, &[3, 2, 0, 251]);
    let frames = [(0.0, Out, read(7)), (0.01, In, answer(7))];
    let lines: Vec<(f64, Direction, &[u8])> =
        frames.iter().map(|(t, way, bytes)| (*t, *way, bytes.as_slice())).collect();
    let script = Script::new(&trace("modbus+tcp://h:502", &lines), true).unwrap();
    let other = modbus::tcp_frame(9, 1, &[3, 0, 2, 0, 1]);
    let (answers, told) = talk(script, &[&read(400), &other]).await;
    assert_eq!(answers, [answer(400), Vec::new()]);
    assert!(matches!(told.as_slice(), [Told::Answered(1), Told::Unknown(_)]));
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic_and_everything_is_taken(
        lines: Vec<(bool, Vec<u8>)>,
        arrived: Vec<u8>,
        modbus: bool,
    ) {
        let lines: Vec<(f64, Direction, &[u8])> = lines
            .iter()
            .enumerate()
            .map(|(at, (out, bytes))| (at as f64, if *out { Out } else { In }, bytes.as_slice()))
            .collect();
        let address = if modbus { "modbus+tcp://h:502" } else { "tcp://h:1" };
        if let Ok(mut script) = Script::new(&trace(address, &lines), true) {
            let mut arrived = arrived;
            let mut left = arrived.len() + 1;
            while script.take(&mut arrived, true) != Taken::More {
                proptest::prop_assert!(left > 0, "it takes nothing for ever");
                left -= 1;
            }
        }
    }
}

#[test]
fn a_trace_without_requests_is_refused() {
    assert!(Script::new(&trace("serial:/dev/x", &[(0.0, In, b"hello")]), true).is_err());
    assert!(Script::new(&trace("mqtt://h/x", &[(0.0, Out, b"x")]), true).is_err());
    let noise = [(0.0, Out, &[1, 2, 3, 4, 5, 6, 7][..])];
    assert!(Script::new(&trace("modbus+tcp://h", &noise), true).is_err());
}
