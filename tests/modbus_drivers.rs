//! What a driver on Modbus promises, against a scripted controller.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod peer;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use labloop::driver::{InstrumentSetup, Notice};
use labloop::wire::Dialer;
use labloop::wire::modbus::{crc16, rtu_frame, tcp_frame};
use peer::{Lab, command, definition, failure, is_done, quantity, setup, value, without_polls};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// What the controller does with one request.
enum Do {
    Answer(Vec<u8>),
    /// Answers the request before, too late.
    Stale(Vec<u8>),
    Silence,
    /// The right answer, when nobody waits for it any more.
    Late,
    Raw(Vec<u8>),
}

type Requests = Arc<Mutex<Vec<Vec<u8>>>>;

/// A controller whose registers hold what was written to them; `act` may step in.
fn controller(
    rtu: bool,
    requests: &Requests,
    act: impl FnMut(&[u8]) -> Option<Do> + Send + 'static,
) -> Dialer {
    let act = Arc::new(Mutex::new(act));
    let registers = Arc::new(Mutex::new(std::collections::BTreeMap::from([
        (1_u16, 251_u16),
        (4, 0),
        (5, 250),
        (15, 0),
        (24, 250),
        (276, 0),
        // The same temperature as a 32-bit number.
        (0x8002, 0x41C8),
        (0x8003, 0xCCCD),
    ])));
    let requests = Arc::clone(requests);
    Dialer::memory(move |_| {
        let (near, far) = tokio::io::duplex(4096);
        let (act, registers) = (Arc::clone(&act), Arc::clone(&registers));
        let requests = Arc::clone(&requests);
        tokio::spawn(async move {
            let _ = serve(rtu, far, requests, registers, act).await;
        });
        Ok(near)
    })
}

async fn serve<F: FnMut(&[u8]) -> Option<Do>>(
    rtu: bool,
    mut far: DuplexStream,
    requests: Requests,
    registers: Arc<Mutex<std::collections::BTreeMap<u16, u16>>>,
    act: Arc<Mutex<F>>,
) -> io::Result<()> {
    loop {
        let mut header = [0; 6];
        let (unit, pdu) = if rtu {
            let mut frame = vec![0; 8];
            far.read_exact(&mut frame).await?;
            if frame[1] == 16 {
                let rest = usize::from(frame[6]) + 9 - 8;
                let mut more = vec![0; rest];
                far.read_exact(&mut more).await?;
                frame.extend(more);
            }
            assert_eq!(crc16(&frame), 0, "{frame:?}");
            (frame[0], frame[1..frame.len() - 2].to_vec())
        } else {
            far.read_exact(&mut header).await?;
            let mut body = vec![0; usize::from(header[5])];
            far.read_exact(&mut body).await?;
            (body[0], body[1..].to_vec())
        };
        requests.lock().unwrap().push(pdu.clone());
        let transaction = u16::from_be_bytes([header[0], header[1]]);
        let todo = (act.lock().unwrap())(&pdu);
        let frame = |transaction: u16, pdu: &[u8]| {
            if rtu { rtu_frame(unit, pdu) } else { tcp_frame(transaction, unit, pdu) }
        };
        let todo = match todo {
            Some(Do::Late) => {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                None
            }
            other => other,
        };
        let bytes = match todo {
            Some(Do::Silence | Do::Late) => continue,
            Some(Do::Answer(pdu)) => frame(transaction, &pdu),
            Some(Do::Stale(pdu)) => frame(transaction.wrapping_sub(1), &pdu),
            Some(Do::Raw(bytes)) => bytes,
            None => {
                let start = u16::from_be_bytes([pdu[1], pdu[2]]);
                let mut registers = registers.lock().unwrap();
                match (pdu[0], registers.get(&start).copied()) {
                    (3, Some(word)) if pdu[4] == 2 => {
                        let low = registers.get(&(start + 1)).copied().unwrap_or_default();
                        let words = [word.to_be_bytes(), low.to_be_bytes()].concat();
                        frame(transaction, &[&[3, 4], &words[..]].concat())
                    }
                    (3, Some(word)) => {
                        frame(transaction, &[&[3, 2], &word.to_be_bytes()[..]].concat())
                    }
                    (16, Some(_)) => {
                        registers.insert(start, u16::from_be_bytes([pdu[6], pdu[7]]));
                        frame(transaction, &pdu[..5])
                    }
                    (function, _) => frame(transaction, &[function | 0x80, 2]),
                }
            }
        };
        far.write_all(&bytes).await?;
    }
}

fn bath(at: &str) -> InstrumentSetup {
    setup("bath", without_polls(definition("thermostat/eurotherm-3216.yaml", &[])), at, &[])
}

const TCP: &str = "modbus+tcp://h:502?unit=1";
const RTU: &str = "modbus+serial:/dev/bus?unit=1";

fn writes(requests: &Requests) -> usize {
    requests.lock().unwrap().iter().filter(|pdu| pdu[0] == 16).count()
}

#[tokio::test(start_paused = true)]
async fn a_set_point_is_written_once_and_read_back_on_tcp_and_rtu() {
    for (at, rtu) in [(TCP, false), (RTU, true)] {
        let requests = Requests::default();
        let mut lab = Lab::start(vec![bath(at)], controller(rtu, &requests, |_| None));
        lab.ready().await;
        assert_eq!(value(&lab.read("bath", "temperature").await), quantity("25.1 degC"));
        let set = |id| command(id, "bath", "set_temperature", &[("target", "80 degC")]);
        assert!(is_done(&lab.run(set("s")).await), "{at}");
        assert_eq!(writes(&requests), 1);
        // The same again spares the EEPROM.
        assert!(is_done(&lab.run(set("s2")).await));
        assert_eq!(writes(&requests), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_point_that_does_not_read_back_is_no_success() {
    let requests = Requests::default();
    let dialer = controller(false, &requests, |pdu| {
        // Accepts the write and does nothing.
        (pdu[0] == 16).then(|| Do::Answer(pdu[..5].to_vec()))
    });
    let mut lab = Lab::start(vec![bath(TCP)], dialer);
    lab.ready().await;
    let outcome = lab.run(command("s", "bath", "set_temperature", &[("target", "80 degC")])).await;
    assert_eq!(failure(&outcome), ("bad_reply", "Unknown".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_an_earlier_question_is_passed_over() {
    let requests = Requests::default();
    let mut asked = 0;
    let dialer = controller(false, &requests, move |pdu| {
        if pdu[..3] == [3, 0, 1] {
            asked += 1;
            // The first is the identification.
            if asked == 2 {
                return Some(Do::Stale(vec![3, 2, 0x7f, 0xff]));
            }
        }
        None
    });
    let mut lab = Lab::start(vec![bath(TCP)], dialer);
    lab.ready().await;
    // It is not taken for an answer, and a question that changes nothing is asked again.
    assert_eq!(value(&lab.read("bath", "temperature").await), quantity("25.1 degC"));
    assert_eq!(requests.lock().unwrap().iter().filter(|pdu| pdu[..3] == [3, 0, 1]).count(), 3);
    assert!(!lab.seen.iter().any(|notice| matches!(notice, Notice::Link { up: false, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_never_that_of_the_next_question() {
    for (at, rtu) in [(TCP, false), (RTU, true), ("modbus+rtu+tcp://h:4001?unit=1", true)] {
        let requests = Requests::default();
        let mut asked = 0;
        let dialer = controller(rtu, &requests, move |pdu| {
            if pdu[..3] == [3, 0, 1] {
                asked += 1;
                // The first is the identification; the next two come 500 ms too late.
                return (2..=3).contains(&asked).then_some(Do::Late);
            }
            None
        });
        let mut lab = Lab::start(vec![bath(at)], dialer);
        lab.ready().await;
        let outcome = lab.read("bath", "temperature").await;
        assert_eq!(failure(&outcome).0, "timeout", "{at}");
        assert_eq!(value(&lab.read("bath", "setpoint").await), quantity("25 degC"), "{at}");
        assert_eq!(value(&lab.read("bath", "temperature").await), quantity("25.1 degC"), "{at}");
        lab.fleet.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_rtu_answer_is_asked_for_again_after_a_silence() {
    let requests = Requests::default();
    let mut asked = 0;
    let dialer = controller(true, &requests, move |pdu| {
        if pdu[..3] == [3, 0, 1] {
            asked += 1;
            if asked == 2 {
                return Some(Do::Raw(vec![1, 3, 2, 0, 251, 0, 0]));
            }
        }
        None
    });
    let mut lab = Lab::start(vec![bath(RTU)], dialer);
    lab.ready().await;
    let begun = tokio::time::Instant::now();
    assert_eq!(value(&lab.read("bath", "temperature").await), quantity("25.1 degC"));
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn exceptions_say_whether_anything_happened() {
    for (code, expected) in
        [(3, ("refused", "NoEffect")), (6, ("busy", "NoEffect")), (4, ("alarm", "Unknown"))]
    {
        let requests = Requests::default();
        let dialer = controller(false, &requests, move |pdu| {
            (pdu[0] == 16).then(|| Do::Answer(vec![0x90, code]))
        });
        let mut lab = Lab::start(vec![bath(TCP)], dialer);
        lab.ready().await;
        let set = command("s", "bath", "set_temperature", &[("target", "80 degC")]);
        let outcome = lab.run(set).await;
        assert_eq!(failure(&outcome), (expected.0, expected.1.to_owned()), "{code}");
        assert_eq!(writes(&requests), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_is_in_doubt_and_not_repeated() {
    let requests = Requests::default();
    let dialer = controller(false, &requests, |pdu| (pdu[0] == 16).then_some(Do::Silence));
    let mut lab = Lab::start(vec![bath(TCP)], dialer);
    lab.ready().await;
    let outcome = lab.run(command("s", "bath", "set_temperature", &[("target", "80 degC")])).await;
    assert_eq!(failure(&outcome), ("timeout", "Unknown".to_owned()));
    assert_eq!(writes(&requests), 1);
}

#[tokio::test(start_paused = true)]
async fn the_safe_state_is_written_and_confirmed_by_reading_back() {
    let requests = Requests::default();
    let mut lab = Lab::start(vec![bath(TCP)], controller(false, &requests, |_| None));
    lab.ready().await;
    lab.fleet.safe_state("bath").unwrap();
    let confirmed = lab
        .wait(|notice| match notice {
            Notice::SafeState { confirmed, detail, .. } => Some((*confirmed, detail.clone())),
            _ => None,
        })
        .await;
    assert_eq!(confirmed, (true, "confirmed".to_owned()));
    assert_eq!(writes(&requests), 1);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_does_not_fit_the_definition_says_what_to_write() {
    let (sender, _notices) = tokio::sync::mpsc::channel(8);
    let wrong = labloop::driver::Fleet::start(
        vec![bath("serial:/dev/bus")],
        labloop::wire::Clock::virtual_time(labloop::wire::Tick(0)),
        Dialer::memory(|_| Err(io::ErrorKind::NotFound.into())),
        sender,
        1,
    )
    .unwrap_err();
    assert!(wrong[0].reason.contains("modbus+serial:"), "{wrong:?}");
}

#[tokio::test(start_paused = true)]
async fn rtu_and_ascii_cannot_share_a_line() {
    let ascii = ("modbus: {}", "modbus: {framing: ascii}");
    let file = "thermostat/eurotherm-3216.yaml";
    let other = without_polls(definition(file, &[ascii]));
    let setups = vec![
        bath("modbus+serial:/dev/bus?unit=1"),
        setup("oven", other, "modbus+serial:/dev/bus?unit=2", &[]),
    ];
    let (sender, _notices) = tokio::sync::mpsc::channel(8);
    let wrong = labloop::driver::Fleet::start(
        setups,
        labloop::wire::Clock::virtual_time(labloop::wire::Tick(0)),
        Dialer::memory(|_| Err(io::ErrorKind::NotFound.into())),
        sender,
        1,
    )
    .unwrap_err();
    assert!(wrong[0].reason.contains("in other frames"), "{wrong:?}");
}
