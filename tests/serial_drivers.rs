//! What a driver on a shared half-duplex line promises, against a scripted pump.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod peer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use labloop::driver::{InstrumentSetup, Notice, stop_latencies};
use labloop::expr::Value;
use labloop::wire::Dialer;
use peer::{
    Do, Lab, Log, answer, command, count, definition, failure, is_done, line, quantity, setup,
    value, without_polls,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PUMP: &str = "syringe_pump/newera-ne1000.yaml";

fn pump(name: &str, address: &str) -> InstrumentSetup {
    let config = [("syringe_diameter", "14.57 mm"), ("address", address)];
    setup(name, without_polls(definition(PUMP, &[])), "serial:/dev/bus", &config)
}

/// What a healthy, idle pump at an address answers to questions of preparation.
fn healthy(message: &str) -> Do {
    let (address, body) = match message.strip_prefix('1') {
        Some(body) => ("01", body),
        None => ("00", message),
    };
    let data = match body {
        "DIA" => "14.57",
        "VOL" => "0.000ML",
        "DIS" => "I1.500W0.250ML",
        "RAT" => "1.000MM",
        _ => "",
    };
    let status = if body == "RUN" { "I" } else { "S" };
    answer(&format!("\x02{address}{status}{data}\x03"))
}

#[tokio::test(start_paused = true)]
async fn a_pump_that_is_set_up_already_is_only_asked() {
    let log = Log::default();
    let lab = Lab::start(vec![pump("a", "0")], line(&log, healthy));
    lab.ready().await;
    assert_eq!(*log.lock().unwrap(), ["", "DIA", "VOL"]);
}

#[tokio::test(start_paused = true)]
async fn a_pump_with_another_syringe_is_told() {
    let log = Log::default();
    let dialer = line(&log, |message| match message {
        "DIA" => answer("\x0200S4.610\x03"),
        "VOL" => answer("\x0200S0.000UL\x03"),
        other => healthy(other),
    });
    let lab = Lab::start(vec![pump("a", "0")], dialer);
    lab.ready().await;
    assert_eq!(*log.lock().unwrap(), ["", "DIA", "DIA14.57", "VOL", "VOLML"]);
}

#[tokio::test(start_paused = true)]
async fn a_dispense_ends_when_the_pump_says_so() {
    let log = Log::default();
    let mut polls = 0;
    let mut running = false;
    let dialer = line(&log, move |message| match message {
        "RUN" => {
            running = true;
            healthy(message)
        }
        "" if running => {
            polls += 1;
            answer(if polls < 5 { "\x0200I\x03" } else { "\x0200S\x03" })
        }
        other => healthy(other),
    });
    let mut lab = Lab::start(vec![pump("a", "0")], dialer);
    lab.ready().await;
    let dose = command("d", "a", "dispense", &[("volume", "1.25 mL"), ("rate", "2 mL/min")]);
    assert!(is_done(&lab.run(dose).await));
    let log = log.lock().unwrap();
    assert_eq!(log[3..9], ["", "STP", "PHN2", "FUNSTP", "PHN1", "FUNRAT"]);
    assert_eq!(log[9..13], ["VOL1.250", "RAT 2.000 MM", "DIRINF", "RUN"]);
    assert_eq!(log[13..], ["", "", "", "", ""]);
}

#[tokio::test(start_paused = true)]
async fn the_status_in_every_answer_is_a_signal() {
    let log = Log::default();
    let mut lab = Lab::start(vec![pump("a", "0")], line(&log, healthy));
    let status = |notice: &Notice| match notice {
        Notice::Sample { property, value, .. } if property == "status" => Some(value.clone()),
        _ => None,
    };
    assert_eq!(lab.wait(status).await, Value::text("ready"));
    assert!(is_done(&lab.run(command("s", "a", "start", &[("rate", "1 mL/min")])).await));
    assert_eq!(lab.seen.iter().rev().find_map(status), Some(Value::text("busy")));
}

#[tokio::test(start_paused = true)]
async fn two_pumps_share_a_line_and_do_not_wait_for_each_other() {
    let log = Log::default();
    let mut left = 0;
    let dialer = line(&log, move |message| {
        if message == "1RUN" {
            left = 200;
        }
        // Pump 1 is dispensing for a long time.
        if message == "1" && left > 0 {
            left -= 1;
            return answer("\x0201I\x03");
        }
        healthy(message)
    });
    let mut lab = Lab::start(vec![pump("a", "0"), pump("b", "1")], dialer);
    lab.ready().await;
    let dose = command("long", "b", "dispense", &[("volume", "1 mL"), ("rate", "1 mL/min")]);
    lab.fleet.send(dose).unwrap();
    let start = command("short", "a", "start", &[("rate", "1 mL/min")]);
    assert!(is_done(&lab.run(start).await));
    let unfinished =
        !lab.seen.iter().any(|n| matches!(n, Notice::Outcome { attempt, .. } if attempt == "long"));
    assert!(unfinished);
    assert!(is_done(&lab.outcome("long").await));
}

#[tokio::test(start_paused = true)]
async fn two_pumps_with_one_address_are_refused() {
    let (sender, _notices) = tokio::sync::mpsc::channel(8);
    let wrong = labloop::driver::Fleet::start(
        vec![pump("a", "0"), pump("b", "0")],
        labloop::wire::Clock::virtual_time(labloop::wire::Tick(0)),
        line(&Log::default(), healthy),
        sender,
        1,
    )
    .unwrap_err();
    assert!(wrong[0].reason.contains("same address"), "{wrong:?}");
}

#[tokio::test(start_paused = true)]
async fn pumps_whose_answers_have_no_address_are_told_apart_by_their_messages() {
    let start = |switches: [&str; 2]| {
        let (sender, _notices) = tokio::sync::mpsc::channel(8);
        let pumps = ["a", "b"].into_iter().zip(switches).map(|(name, switch)| {
            let config = [("syringe", "5 mL"), ("switch", switch)];
            let definition = definition("syringe_pump/tecan-cavro.yaml", &[]);
            setup(name, definition, "serial:/dev/bus", &config)
        });
        let clock = labloop::wire::Clock::virtual_time(labloop::wire::Tick(0));
        let dialer = line(&Log::default(), healthy);
        labloop::driver::Fleet::start(pumps.collect(), clock, dialer, sender, 1).is_ok()
    };
    assert!(start(["0", "1"]));
    assert!(!start(["1", "1"]));
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_never_taken_for_another_question() {
    let log = Log::default();
    let mut asked = 0;
    let dialer = line(&log, move |message| match message {
        // Later than the reply timeout of 500 ms, and wrong by now.
        "DIS" => {
            asked += 1;
            if asked == 1 {
                Do::Late(Duration::from_millis(700), b"\x0200SI9.999W0.000ML\x03".to_vec())
            } else {
                healthy("DIS")
            }
        }
        other => healthy(other),
    });
    let mut lab = Lab::start(vec![pump("a", "0")], dialer);
    lab.ready().await;
    assert_eq!(value(&lab.read("a", "dispensed").await), quantity("1.5 mL"));
    assert_eq!(value(&lab.read("a", "rate").await), quantity("1 mL/min"));
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_another_pump_is_passed_over() {
    let log = Log::default();
    let dialer = line(&log, |message| match message {
        "DIS" => answer("\x0201SI9.999W0.000ML\x03noise\x0200SI1.500W0.250ML\x03"),
        other => healthy(other),
    });
    let mut lab = Lab::start(vec![pump("a", "0")], dialer);
    lab.ready().await;
    assert_eq!(value(&lab.read("a", "dispensed").await), quantity("1.5 mL"));
}

#[tokio::test(start_paused = true)]
async fn a_command_without_an_answer_is_sent_once_and_in_doubt() {
    let log = Log::default();
    let dialer = line(&log, |message| match message {
        "RUN" => Do::Silence,
        other => healthy(other),
    });
    let mut lab = Lab::start(vec![pump("a", "0")], dialer);
    lab.ready().await;
    let dose = command("d", "a", "dispense", &[("volume", "1 mL"), ("rate", "1 mL/min")]);
    let outcome = lab.run(dose).await;
    assert_eq!(failure(&outcome), ("timeout", "Unknown".to_owned()));
    assert_eq!(count(&log, "RUN"), 1);
    // It may be running, and then its witness will tell; it is not stopped half-way. The one is
    // from before it began.
    assert_eq!(count(&log, "STP"), 1);
}

#[tokio::test(start_paused = true)]
async fn garbage_is_a_bad_reply_and_nothing_is_sent_again() {
    let log = Log::default();
    let dialer = line(&log, |message| match message {
        "STP" => answer("\x0200Q\x03"),
        other => healthy(other),
    });
    let mut lab = Lab::start(vec![pump("a", "0")], dialer);
    lab.ready().await;
    let outcome = lab.run(command("s", "a", "stop", &[])).await;
    assert_eq!(failure(&outcome), ("bad_reply", "Unknown".to_owned()));
    assert_eq!(count(&log, "STP"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_has_no_effect_but_what_was_taken_before_it_may() {
    for (refused, effect) in [("STP", "NoEffect"), ("VOL1.000", "Unknown")] {
        let log = Log::default();
        let dialer = line(&log, move |message| match message {
            message if message == refused => answer("\x0200S?OOR\x03"),
            other => healthy(other),
        });
        let mut lab = Lab::start(vec![pump("a", "0")], dialer);
        lab.ready().await;
        let dose = command("d", "a", "dispense", &[("volume", "1 mL"), ("rate", "1 mL/min")]);
        let outcome = lab.run(dose).await;
        assert_eq!(failure(&outcome), ("refused", effect.to_owned()));
        assert_eq!(count(&log, "RUN"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_shows_as_an_alarm_and_the_pump_is_prepared_again() {
    let log = Log::default();
    let mut alarms = 0;
    let dialer = line(&log, move |message| match message {
        "STP" if alarms == 0 => {
            alarms += 1;
            answer("\x0200A?R\x03")
        }
        other => healthy(other),
    });
    let mut lab = Lab::start(vec![pump("a", "0")], dialer);
    lab.ready().await;
    let outcome = lab.run(command("s", "a", "stop", &[])).await;
    assert_eq!(failure(&outcome), ("alarm", "Unknown".to_owned()));
    // Said before the outcome, so that nobody counts on a total that began anew.
    assert!(lab.seen.iter().any(|notice| matches!(notice, Notice::Rebooted { .. })));
    assert!(is_done(&lab.run(command("s2", "a", "stop", &[])).await));
    assert_eq!(count(&log, "DIA"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_motor_fails_the_dispense() {
    let log = Log::default();
    let mut running = false;
    let dialer = line(&log, move |message| match message {
        "RUN" => {
            running = true;
            healthy(message)
        }
        "" if running => answer("\x0200A?S\x03"),
        other => healthy(other),
    });
    let mut lab = Lab::start(vec![pump("a", "0")], dialer);
    lab.ready().await;
    let dose = command("d", "a", "dispense", &[("volume", "1 mL"), ("rate", "1 mL/min")]);
    let outcome = lab.run(dose).await;
    assert_eq!(failure(&outcome), ("alarm", "Unknown".to_owned()));
    assert!(lab.seen.iter().any(|notice| matches!(notice, Notice::Alarm { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_alarm_read_by_a_poll_fails_the_dispense_too() {
    let log = Log::default();
    let mut running = false;
    let mut stalled = false;
    let dialer = line(&log, move |message| match message {
        "RUN" => {
            running = true;
            healthy(message)
        }
        // Cleared by being read here; the next status is `stopped`, as after a good dispense.
        "DIS" if running && !stalled => {
            stalled = true;
            answer("\x0200A?S\x03")
        }
        "" if running && !stalled => answer("\x0200I\x03"),
        other => healthy(other),
    });
    let mut lab = Lab::start(vec![pump("a", "0")], dialer);
    lab.ready().await;
    let dose = command("d", "a", "dispense", &[("volume", "1 mL"), ("rate", "1 mL/min")]);
    lab.fleet.send(dose).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    lab.fleet.read("read", "a", "dispensed").unwrap();
    assert_eq!(failure(&lab.outcome("d").await), ("alarm", "Unknown".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_at_once_is_not_called_without_pause() {
    let dials = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = std::sync::Arc::clone(&dials);
    let dialer = labloop::wire::Dialer::memory(move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(tokio::io::duplex(8).0)
    });
    let lab = Lab::start(vec![pump("a", "0")], dialer);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let dials = dials.load(std::sync::atomic::Ordering::Relaxed);
    // About once a second: seldom enough for the server, soon enough for a cable.
    assert!((600..1_300).contains(&dials), "{dials}");
    lab.fleet.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_line_cut_in_the_middle_of_an_answer_leaves_doubt_and_comes_back() {
    let log = Log::default();
    let mut cut = false;
    let dialer = line(&log, move |message| match message {
        "RUN" if !cut => {
            cut = true;
            Do::Close(b"\x0200".to_vec())
        }
        other => healthy(other),
    });
    let mut lab = Lab::start(vec![pump("a", "0")], dialer);
    lab.ready().await;
    let start = command("s", "a", "start", &[("rate", "1 mL/min")]);
    let outcome = lab.run(start).await;
    assert_eq!(failure(&outcome), ("link", "Unknown".to_owned()));
    lab.wait(|notice| matches!(notice, Notice::Link { up: false, .. }).then_some(())).await;
    lab.wait(|notice| matches!(notice, Notice::Link { up: true, .. }).then_some(())).await;
    assert_eq!(count(&log, "RUN"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dispense_goes_on_over_a_lost_connection() {
    let log = Log::default();
    let mut polls = 0;
    let mut running = false;
    let dialer = line(&log, move |message| match message {
        "RUN" => {
            running = true;
            healthy(message)
        }
        "" if running => {
            polls += 1;
            match polls {
                1 => answer("\x0200I\x03"),
                2 => Do::Close(Vec::new()),
                3..6 => answer("\x0200I\x03"),
                _ => answer("\x0200S\x03"),
            }
        }
        other => healthy(other),
    });
    let mut lab = Lab::start(vec![pump("a", "0")], dialer);
    lab.ready().await;
    let dose = command("d", "a", "dispense", &[("volume", "1 mL"), ("rate", "1 mL/min")]);
    assert!(is_done(&lab.run(dose).await));
    assert_eq!(count(&log, "RUN"), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_connection_nothing_is_sent_and_nothing_is_kept_for_later() {
    let dialer = labloop::wire::Dialer::memory(|_| Err(std::io::ErrorKind::NotFound.into()));
    let mut lab = Lab::start(vec![pump("a", "0")], dialer);
    let states = lab.fleet.ready(Duration::from_secs(1)).await;
    assert!(states["a"].is_err());
    let outcome = lab.run(command("s", "a", "stop", &[])).await;
    assert_eq!(failure(&outcome), ("link", "NotSent".to_owned()));
    lab.fleet.safe_state("a").unwrap();
    let confirmed = lab
        .wait(|notice| match notice {
            Notice::SafeState { confirmed, .. } => Some(*confirmed),
            _ => None,
        })
        .await;
    assert!(!confirmed);
}

#[tokio::test(start_paused = true)]
async fn the_safe_state_goes_ahead_of_all_that_waits() {
    let log = Log::default();
    let mut lab = Lab::start(vec![pump("a", "0")], line(&log, healthy));
    lab.ready().await;
    let dose = command("d", "a", "dispense", &[("volume", "1 mL"), ("rate", "1 mL/min")]);
    lab.fleet.send(dose).unwrap();
    lab.fleet.send(command("s", "a", "clear_totals", &[])).unwrap();
    lab.fleet.safe_state("a").unwrap();
    let confirmed = lab
        .wait(|notice| match notice {
            Notice::SafeState { confirmed, .. } => Some(*confirmed),
            _ => None,
        })
        .await;
    assert!(confirmed);
    assert_eq!(log.lock().unwrap()[3], "STP");
    assert_eq!(count(&log, "RUN"), 0);
    for attempt in ["d", "s"] {
        let found = lab.seen.iter().find_map(|notice| match notice {
            Notice::Outcome { attempt: of, outcome } if of == attempt => Some(outcome.clone()),
            _ => None,
        });
        assert_eq!(failure(&found.unwrap()), ("gate", "NotSent".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_may_take_minutes_does_not_keep_a_safe_state_waiting() {
    let log = Log::default();
    let slow = ("{send: RUN, expect: [busy]}", "{send: RUN, expect: [busy], timeout: 2 min}");
    let definition = without_polls(definition(PUMP, &[slow]));
    let setup = setup("a", definition, "serial:/dev/bus", &[("syringe_diameter", "14.57 mm")]);
    let peer = |message: &str| if message == "RUN" { Do::Silence } else { healthy(message) };
    let mut lab = Lab::start(vec![setup], line(&log, peer));
    lab.ready().await;
    lab.fleet.send(command("r", "a", "start", &[("rate", "1 mL/min")])).unwrap();
    // Longer than any other answer may take.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(log.lock().unwrap().last().map(String::as_str), Some("RUN"));
    let asked = tokio::time::Instant::now();
    lab.fleet.safe_state("a").unwrap();
    assert_eq!(failure(&lab.outcome("r").await), ("gate", "Unknown".to_owned()));
    let safe = |notice: &Notice| matches!(notice, Notice::SafeState { .. }).then_some(());
    lab.wait(safe).await;
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert!(count(&log, "STP") >= 2);
}

/// An instrument on a socket whose record comes in drips, and whose stop is heard on any connection.
fn dripping(stopped: &Arc<AtomicBool>) -> Dialer {
    let stopped = Arc::clone(stopped);
    Dialer::memory(move |_| {
        let (near, mut far) = tokio::io::duplex(4096);
        let stopped = Arc::clone(&stopped);
        tokio::spawn(async move {
            let mut message = Vec::new();
            while let Ok(byte) = far.read_u8().await {
                message.push(byte);
                match message.as_slice() {
                    b"STP\r" => {
                        stopped.store(true, Ordering::Relaxed);
                        far.write_all(b"OK\n").await?;
                    }
                    b"CURV?\r" => {
                        far.write_all(b"#6100000").await?;
                        for _ in 0..1_000 {
                            far.write_all(&[b'\n'; 100]).await?;
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    }
                    _ if byte == b'\r' => {}
                    _ => continue,
                }
                message.clear();
            }
            std::io::Result::Ok(())
        });
        Ok(near)
    })
}

const DRIPPING: &str = r#"schema: labloop/instrument/v1
name: dripping
type: oscilloscope
config: {}
connection: {tcp: {}, send_end: "\r", reply: {end: "\n"}, reply_timeout: 500 ms}
actions:
  acquire: {do: [{send: STP}], effect: repeatable, takes: {timeout: 2 s}}
  measure:
    do: [{send: "CURV?", timeout: 2 min, block: {type: u8, axes: {x: {step: 1 us}}}}]
    returns: {series: {x: s, y: V}}
    effect: read
    takes: {timeout: 5 min}
safe_state: [{send: STP}]
"#;

#[tokio::test(start_paused = true)]
async fn a_block_that_comes_in_drips_gives_way_to_a_safe_state() {
    let stopped = Arc::new(AtomicBool::new(false));
    let mut sources = labloop::spec::Sources::new();
    let id = sources.add("dripping.yaml", DRIPPING);
    let definition = labloop::spec::instrument::Instrument::lower(sources.get(id).unwrap());
    let setup = setup("a", Arc::new(definition.value.unwrap()), "tcp://scope:1", &[]);
    let figure = stop_latencies(std::slice::from_ref(&setup)).unwrap().remove(0);
    let mut lab = Lab::start(vec![setup], dripping(&stopped));
    lab.ready().await;
    lab.fleet.send(command("m", "a", "measure", &[])).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked = tokio::time::Instant::now();
    lab.fleet.safe_state("a").unwrap();
    assert_eq!(failure(&lab.outcome("m").await), ("gate", "Unknown".to_owned()));
    let safe = |notice: &Notice| match notice {
        Notice::SafeState { confirmed, .. } => Some(*confirmed),
        _ => None,
    };
    assert!(lab.wait(safe).await && stopped.load(Ordering::Relaxed));
    assert!(asked.elapsed() <= figure.safe, "{:?} {figure:?}", asked.elapsed());
}

/// Two pumps, one of which says nothing any more while the other answers as late as it may.
#[tokio::test(start_paused = true)]
async fn no_safe_state_comes_later_than_the_figure_of_its_line() {
    let log = Log::default();
    let ready = Arc::new(AtomicBool::new(false));
    let is_ready = Arc::clone(&ready);
    let first_stop = Arc::new(Mutex::new(None));
    let stopped = Arc::clone(&first_stop);
    let dialer = line(&log, move |message| {
        if message.ends_with("STP") {
            stopped.lock().unwrap().get_or_insert_with(tokio::time::Instant::now);
        }
        match (is_ready.load(Ordering::Relaxed), message.starts_with('1'), healthy(message)) {
            (true, true, _) => Do::Silence,
            (true, false, Do::Answer(bytes)) => Do::Late(Duration::from_millis(450), bytes),
            (_, _, other) => other,
        }
    });
    let setups = vec![pump("a", "0"), pump("b", "1")];
    let figures = stop_latencies(&setups).unwrap();
    let [figure] = figures.as_slice() else { panic!("{figures:?}") };
    assert_eq!(figure.line, "serial:/dev/bus");
    let mut lab = Lab::start(setups, dialer);
    lab.ready().await;
    assert_eq!(lab.fleet.stop_latencies().get("a"), Some(&figure.starts));
    ready.store(true, Ordering::Relaxed);

    // A question has just been asked that nobody answers.
    lab.fleet.read("r", "b", "rate").unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let asked = tokio::time::Instant::now();
    lab.fleet.safe_state("b").unwrap();
    lab.fleet.safe_state("a").unwrap();
    let safe = |notice: &Notice| match notice {
        Notice::SafeState { instrument, confirmed, .. } if instrument == "a" => Some(*confirmed),
        _ => None,
    };
    assert!(lab.wait(safe).await, "the pump that answers is safe");
    let took = asked.elapsed();
    let began = first_stop.lock().unwrap().unwrap() - asked;
    let of_a = figure.instruments.iter().find(|i| i.name == "a").unwrap();
    assert!(began <= figure.starts, "it began after {began:?}: {figure:?}");
    assert!(took <= of_a.safe, "it took {took:?}: {figure:?}");
    // Nor is the figure so large that nobody would heed it.
    assert!(took * 4 > of_a.safe, "it took {took:?}: {figure:?}");
}

#[tokio::test(start_paused = true)]
async fn a_closed_gate_lets_reads_and_safe_states_pass() {
    let log = Log::default();
    let mut lab = Lab::start(vec![pump("a", "0")], line(&log, healthy));
    lab.ready().await;
    lab.fleet.close_gate("door open");
    let outcome = lab.run(command("s", "a", "start", &[("rate", "1 mL/min")])).await;
    assert_eq!(failure(&outcome), ("gate", "NotSent".to_owned()));
    assert!(is_done(&lab.read("a", "rate").await));
    lab.fleet.open_gate();
    assert!(is_done(&lab.run(command("s2", "a", "stop", &[])).await));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_dispense_is_stopped() {
    let log = Log::default();
    let mut running = false;
    let dialer = line(&log, move |message| {
        if message == "RUN" {
            running = true;
        }
        if message.is_empty() && running { answer("\x0200I\x03") } else { healthy(message) }
    });
    let mut lab = Lab::start(vec![pump("a", "0")], dialer);
    lab.ready().await;
    let dose = command("d", "a", "dispense", &[("volume", "1 mL"), ("rate", "1 mL/min")]);
    lab.fleet.send(dose).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    lab.fleet.cancel("a", "d").unwrap();
    let outcome = lab.outcome("d").await;
    assert_eq!(failure(&outcome), ("person", "Unknown".to_owned()));
    assert_eq!(log.lock().unwrap().last().map(String::as_str), Some("STP"));
}

#[tokio::test(start_paused = true)]
async fn a_dispense_that_never_ends_fails_at_its_deadline() {
    let log = Log::default();
    let mut running = false;
    let dialer = line(&log, move |message| {
        running |= message == "RUN";
        if message.is_empty() && running { answer("\x0200I\x03") } else { healthy(message) }
    });
    let mut lab = Lab::start(vec![pump("a", "0")], dialer);
    lab.ready().await;
    let dose = command("d", "a", "dispense", &[("volume", "1 mL"), ("rate", "1 mL/min")]);
    let begun = tokio::time::Instant::now();
    let outcome = lab.run(dose).await;
    assert_eq!(failure(&outcome), ("timeout", "Unknown".to_owned()));
    // The deadline and one reply timeout.
    assert_eq!(begun.elapsed().as_secs(), 600);
    // One before it began, and two that stop it and end its pause.
    assert_eq!(count(&log, "STP"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_shorter_than_the_pause_between_polls_is_kept() {
    let log = Log::default();
    let mut running = false;
    let dialer = line(&log, move |message| {
        running |= message == "RUN";
        if message.is_empty() && running { answer("\x0200I\x03") } else { healthy(message) }
    });
    let mut lab = Lab::start(vec![pump("a", "0")], dialer);
    lab.ready().await;
    let dose = command("d", "a", "dispense", &[("volume", "1 mL"), ("rate", "1 mL/min")]);
    let begun = tokio::time::Instant::now();
    let deadline = Duration::from_millis(50);
    let outcome = lab.run(labloop::driver::Command { deadline, ..dose }).await;
    assert_eq!(failure(&outcome), ("timeout", "Unknown".to_owned()));
    assert!(begun.elapsed() < Duration::from_millis(700), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_value_out_of_limits_never_reaches_the_wire() {
    let log = Log::default();
    let mut lab = Lab::start(vec![pump("a", "0")], line(&log, healthy));
    lab.ready().await;
    for (volume, rate) in
        [("1 L", "1 mL/min"), ("1 mL", "1 L/min"), ("1 s", "1 mL/min"), ("1.2345 uL", "1 mL/min")]
    {
        let dose = command("d", "a", "dispense", &[("volume", volume), ("rate", rate)]);
        assert_eq!(failure(&lab.run(dose).await), ("internal", "NotSent".to_owned()), "{volume}");
    }
    assert_eq!(log.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn when_nobody_reads_samples_are_dropped_and_outcomes_are_not() {
    let log = Log::default();
    let (sender, mut notices) = tokio::sync::mpsc::channel(2);
    let polled =
        setup("a", definition(PUMP, &[]), "serial:/dev/bus", &[("syringe_diameter", "14.57 mm")]);
    let clock = labloop::wire::Clock::virtual_time(labloop::wire::Tick(0));
    let fleet =
        labloop::driver::Fleet::start(vec![polled], clock, line(&log, healthy), sender, 1).unwrap();
    fleet.ready(Duration::from_secs(60)).await;
    for number in 0..20 {
        fleet.send(command(&format!("s{number}"), "a", "stop", &[])).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(fleet.dropped_samples() > 100);
    let mut outcomes = 0;
    while outcomes < 20 {
        if matches!(notices.recv().await, Some(Notice::Outcome { .. })) {
            outcomes += 1;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn properties_are_polled_and_one_answer_serves_several() {
    let log = Log::default();
    let polled =
        setup("a", definition(PUMP, &[]), "serial:/dev/bus", &[("syringe_diameter", "14.57 mm")]);
    let mut lab = Lab::start(vec![polled], line(&log, healthy));
    lab.ready().await;
    for property in ["dispensed", "withdrawn", "running", "rate"] {
        let value = lab.wait(|notice| match notice {
            Notice::Sample { property: of, value, .. } if of == property => Some(value.clone()),
            _ => None,
        });
        assert!(!matches!(value.await, Value::Missing(_)), "{property}");
        lab.seen.clear();
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_instrument_counts_as_gone_after_three_questions() {
    let log = Log::default();
    let mut dead = 0;
    let dialer = line(&log, move |message| {
        if message == "DIS" || dead > 0 {
            dead += 1;
        }
        if dead > 0 && dead < 6 { Do::Silence } else { healthy(message) }
    });
    let mut lab = Lab::start(vec![pump("a", "0")], dialer);
    lab.ready().await;
    for _ in 0..2 {
        let outcome = lab.read("a", "dispensed").await;
        assert!(!is_done(&outcome));
    }
    assert!(lab.seen.iter().any(|notice| matches!(notice, Notice::Link { up: false, .. })));
    // It is asked again, and found when it is back.
    lab.wait(|notice| matches!(notice, Notice::Link { up: true, .. }).then_some(())).await;
    lab.fleet.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_watchdog_is_armed_fed_and_disarmed() {
    let log = Log::default();
    let watched = (
        "safe_state: [{send: STP",
        "heartbeat: {arm: \"SAF{period:s:d}\", period: 30 s, disarm: SAF0}\nsafe_state: [{send: STP",
    );
    let definition = without_polls(definition(PUMP, &[watched]));
    let setup = setup("a", definition, "serial:/dev/bus", &[("syringe_diameter", "14.57 mm")]);
    let lab = Lab::start(vec![setup], line(&log, healthy));
    lab.ready().await;
    assert_eq!(count(&log, "SAF30"), 1);
    let asked = count(&log, "");
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(count(&log, "") - asked, 6);
    lab.fleet.shutdown().await;
    assert_eq!(log.lock().unwrap().last().map(String::as_str), Some("SAF0"));
}

#[tokio::test(start_paused = true)]
async fn a_watchdog_with_a_message_of_its_own_gets_it_however_much_else_is_said() {
    let log = Log::default();
    let watched = (
        "safe_state: [{send: STP",
        "heartbeat: {arm: \"SAF{period:s:d}\", feed: \"FED{period:s:d}\", period: 30 s, disarm: SAF0}\n\
         safe_state: [{send: STP",
    );
    let definition = definition(PUMP, &[watched]);
    let setup = setup("a", definition, "serial:/dev/bus", &[("syringe_diameter", "14.57 mm")]);
    let lab = Lab::start(vec![setup], line(&log, healthy));
    lab.ready().await;
    let before = count(&log, "DIS");
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(count(&log, "DIS") - before > 30, "it was not polled meanwhile");
    assert_eq!(count(&log, "FED30"), 6);
    lab.fleet.shutdown().await;
}
