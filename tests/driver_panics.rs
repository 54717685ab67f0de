//! What a panic in a driver costs: a pause, and a doubt about what was under way. Safe states and the
//! emergency stop go out as before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bench;
mod peer;
mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use labloop::driver::{Command, InstrumentSetup, Notice, Outcome, Stopped};
use peer::fragile::{POISON, fragile};
use peer::{
    Do, Lab, Log, answer, broker, command, count, definition, failure, is_done, pipes, setup,
    without_polls,
};

fn pump(name: &str, address: &str) -> InstrumentSetup {
    let config = [("syringe_diameter", "14.57 mm"), ("address", address)];
    let definition = definition("syringe_pump/newera-ne1000.yaml", &[]);
    setup(name, without_polls(definition), "serial:/dev/bus", &config)
}

fn dose(attempt: &str, pump: &str) -> Command {
    command(attempt, pump, "dispense", &[("volume", "1 mL"), ("rate", "1 mL/min")])
}

/// What a healthy pump answers; it is dispensing for as long as `dispenses`.
fn healthy(message: &str, dispenses: bool) -> Do {
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
    let status = if body == "RUN" || (body.is_empty() && dispenses) { "I" } else { "S" };
    answer(&format!("\x02{address}{status}{data}\x03"))
}

fn poison() -> Do {
    answer(&format!("\x0200S{POISON}\x03"))
}

/// Pumps on one line. Of the answers to messages that end so, these many are what no driver survives.
fn pumps(log: &Log, names: &[(&str, &str)], to: &'static str, left: &Arc<AtomicUsize>) -> Lab {
    let left = Arc::clone(left);
    let mut dispensing = [false; 2];
    let pipes = pipes(log, move |message| {
        let dispenses = &mut dispensing[usize::from(message.starts_with('1'))];
        *dispenses |= message.ends_with("RUN");
        *dispenses &= !message.ends_with("STP");
        let dispenses = *dispenses;
        let cursed = message == to
            && left.try_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        if cursed { poison() } else { healthy(message, dispenses) }
    });
    let setups = names.iter().map(|(name, address)| pump(name, address)).collect();
    Lab::start(setups, fragile(pipes))
}

fn times(count: usize) -> Arc<AtomicUsize> {
    Arc::new(AtomicUsize::new(count))
}

async fn lost(lab: &mut Lab, name: &str) -> String {
    lab.wait(|notice| match notice {
        Notice::Link { instrument, up: false, detail } if instrument == name => {
            Some(detail.clone())
        }
        _ => None,
    })
    .await
}

async fn back(lab: &mut Lab, name: &str) {
    lab.wait(|notice| match notice {
        Notice::Link { instrument, up: true, .. } if instrument == name => Some(()),
        _ => None,
    })
    .await;
}

async fn made_safe(lab: &mut Lab, name: &str) -> (bool, String) {
    lab.wait(|notice| match notice {
        Notice::SafeState { instrument, confirmed, detail, .. } if instrument == name => {
            Some((*confirmed, detail.clone()))
        }
        _ => None,
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn what_was_under_way_is_in_doubt_at_once_and_the_line_comes_back() {
    let log = Log::default();
    let mut lab = pumps(&log, &[("a", "0"), ("b", "1")], "RUN", &times(1));
    lab.ready().await;
    lab.fleet.send(dose("other", "b")).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let begun = tokio::time::Instant::now();
    lab.fleet.send(dose("d", "a")).unwrap();
    // The other one on the line too: nobody looks after it just now.
    for attempt in ["other", "d"] {
        assert_eq!(failure(&lab.outcome(attempt).await), ("internal", "Unknown".to_owned()));
    }
    assert!(begun.elapsed() < Duration::from_millis(500), "left to a backstop");
    for name in ["a", "b"] {
        let why = lost(&mut lab, name).await;
        assert!(why.starts_with("its driver panicked: no such byte; it is set up again"), "{why}");
    }
    // What comes meanwhile is refused, and was not sent.
    let refused = lab.run(dose("early", "a")).await;
    assert_eq!(failure(&refused), ("link", "NotSent".to_owned()));
    let sent = log.lock().unwrap().len();
    back(&mut lab, "a").await;
    back(&mut lab, "b").await;
    // Asked who they are, and prepared, before anything else.
    assert_eq!(log.lock().unwrap()[sent..sent + 3], ["", "DIA", "VOL"]);
    assert!(count(&log, "RUN") == 1, "a dose was sent again");
    // The first goes on in the pump, whatever became of its driver.
    assert_eq!(failure(&lab.run(dose("later", "a")).await).0, "refused");
    lab.fleet.safe_state("a").unwrap();
    made_safe(&mut lab, "a").await;
    lab.fleet.send(dose("later", "a")).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(count(&log, "RUN"), 2);
    lab.fleet.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_safe_state_goes_out_after_a_panic_without_waiting_for_the_rest() {
    let log = Log::default();
    let mut lab = pumps(&log, &[("a", "0")], "RUN", &times(1));
    lab.ready().await;
    lab.run(dose("d", "a")).await;
    let begun = tokio::time::Instant::now();
    lab.fleet.safe_state("a").unwrap();
    assert_eq!(made_safe(&mut lab, "a").await, (true, "confirmed".to_owned()));
    assert_eq!(count(&log, "STP"), 3, "one of the dose and two of the safe state: {log:?}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_emergency_stop_pressed_while_the_driver_panics_is_obeyed() {
    let log = Log::default();
    let mut lab = pumps(&log, &[("a", "0"), ("b", "1")], "RUN", &times(1));
    lab.ready().await;
    lab.fleet.send(dose("d", "a")).unwrap();
    // Its answer, which the driver does not survive, is on its way when the button is pressed.
    while count(&log, "RUN") == 0 {
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    let stop = lab.fleet.emergency();
    stop.press("ada");
    for name in ["a", "b"] {
        assert_eq!(made_safe(&mut lab, name).await, (true, "confirmed".to_owned()));
        assert_eq!(stop.outcomes()[name], Stopped::Confirmed);
    }
    assert!(lab.seen.iter().any(|notice| matches!(notice, Notice::Link { up: false, .. })));
    assert!(count(&log, "1STP") >= 2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_over_one_message_of_a_safe_state_does_not_keep_the_next_from_the_wire() {
    let log = Log::default();
    let mut lab = pumps(&log, &[("a", "0"), ("b", "1")], "STP", &times(1));
    lab.ready().await;
    lab.fleet.safe_state("a").unwrap();
    lab.fleet.safe_state("b").unwrap();
    let (confirmed, why) = made_safe(&mut lab, "a").await;
    assert!(!confirmed && why.contains("its driver panicked: no such byte"), "{why}");
    assert_eq!(count(&log, "STP"), 2);
    assert_eq!(made_safe(&mut lab, "b").await, (true, "confirmed".to_owned()));
    // And asked again it is confirmed.
    lab.fleet.safe_state("a").unwrap();
    assert_eq!(made_safe(&mut lab, "a").await, (true, "confirmed".to_owned()));
    back(&mut lab, "a").await;
}

#[tokio::test(start_paused = true)]
async fn one_that_panics_again_and_again_stays_down_and_is_still_made_safe() {
    let log = Log::default();
    let left = times(usize::MAX);
    let mut lab = pumps(&log, &[("a", "0")], "DIA", &left);
    let why = lab
        .wait(|notice| match notice {
            Notice::Link { up: false, detail, .. } if detail.contains("nothing but its safe") => {
                Some(detail.clone())
            }
            _ => None,
        })
        .await;
    assert!(why.contains("after 4 times within an hour"), "{why}");
    tokio::time::sleep(Duration::from_secs(24 * 3_600)).await;
    assert_eq!(count(&log, "DIA"), 4, "it goes on for ever");
    let why = lab.fleet.why_not_ready("a").unwrap();
    assert!(why.contains("until labloop is restarted"), "{why}");
    let refused = lab.run(dose("d", "a")).await;
    assert_eq!(failure(&refused), ("link", "NotSent".to_owned()));
    for _ in 0..5 {
        lab.fleet.safe_state("a").unwrap();
        assert_eq!(made_safe(&mut lab, "a").await, (true, "confirmed".to_owned()));
    }
    assert_eq!((count(&log, "STP"), count(&log, "DIA")), (10, 4));
    lab.fleet.emergency().press("ada");
    assert_eq!(made_safe(&mut lab, "a").await, (true, "confirmed".to_owned()));
    let ended = tokio::time::timeout(Duration::from_secs(10), lab.fleet.shutdown()).await;
    assert!(ended.is_ok(), "it does not end");
}

#[tokio::test(start_paused = true)]
async fn reads_that_were_under_way_are_answered_too() {
    let log = Log::default();
    let mut lab = pumps(&log, &[("a", "0")], "DIS", &times(1));
    lab.ready().await;
    assert!(matches!(lab.read("a", "dispensed").await, Outcome::Failed { .. }));
    back(&mut lab, "a").await;
    assert!(is_done(&lab.read("a", "dispensed").await));
}

mod over_mqtt {
    use broker::{Do, Out, Received};
    use rumqttc::v5::mqttbytes::v5::Publish;

    use super::*;

    fn light() -> InstrumentSetup {
        let definition = definition("spectrometer/as7341-picow.yaml", &[]);
        setup("light", definition, "mqtt://b/sdl-demo/picow/7", &[])
    }

    fn said(request: &Publish, word: &str) -> Vec<Out> {
        let input = String::from_utf8(request.payload.to_vec()).unwrap();
        let channels = [410, 440, 470, 510, 550, 583, 620, 670];
        let values: Vec<_> = channels.iter().map(|channel| format!("\"ch{channel}\":1")).collect();
        let payload =
            format!("{{\"_input_message\":{input},\"n\":\"{word}\",{}}}", values.join(","));
        let topic = "sdl-demo/picow/7/as7341/".to_owned();
        vec![Out { topic, payload, ..Out::default() }]
    }

    /// A light whose answers number `from..to` no driver survives.
    fn lab(received: &Received, from: usize, to: usize) -> Lab {
        let mut number = 0;
        let pipes = broker::pipes(received, Vec::new(), move |request| {
            number += 1;
            let cursed = (from..to).contains(&number);
            let word = if cursed { POISON.to_string() } else { "fine".to_owned() };
            Do::Send(said(request, &word))
        });
        Lab::start(vec![light()], fragile(pipes))
    }

    fn color(attempt: &str) -> Command {
        command(attempt, "light", "measure", &[("red", "10"), ("green", "0"), ("blue", "255")])
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_holds_behind_a_broker() {
        let received = Received::default();
        let mut lab = lab(&received, 1, 2);
        lab.ready().await;
        let outcome = lab.run(color("c")).await;
        assert_eq!(failure(&outcome), ("internal", "Unknown".to_owned()));
        assert!(lost(&mut lab, "light").await.contains("its driver panicked: no such byte"));
        lab.fleet.safe_state("light").unwrap();
        assert_eq!(made_safe(&mut lab, "light").await, (true, "confirmed".to_owned()));
        assert!(is_done(&lab.run(color("again")).await));
        assert_eq!(received.lock().unwrap().len(), 3, "a command was published again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_safe_state_over_which_it_panics_is_not_called_confirmed() {
        let received = Received::default();
        let mut lab = lab(&received, 1, 2);
        lab.ready().await;
        let stop = lab.fleet.emergency();
        stop.press("ada");
        let (confirmed, why) = made_safe(&mut lab, "light").await;
        assert!(!confirmed && why.contains("its driver panicked"), "{why}");
        // The stop insists, and is obeyed.
        assert_eq!(made_safe(&mut lab, "light").await, (true, "confirmed".to_owned()));
        assert_eq!(stop.outcomes()["light"], Stopped::Confirmed);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_panics_again_and_again_stays_down_too() {
        let received = Received::default();
        let mut lab = lab(&received, 1, 5);
        for attempt in ["1", "2", "3", "4"] {
            lab.ready().await;
            assert_eq!(failure(&lab.run(color(attempt)).await), ("internal", "Unknown".to_owned()));
            lost(&mut lab, "light").await;
        }
        tokio::time::sleep(Duration::from_secs(24 * 3_600)).await;
        let why = lab.fleet.why_not_ready("light").unwrap();
        assert!(why.contains("nothing but its safe state is sent"), "{why}");
        assert_eq!(failure(&lab.run(color("no")).await), ("link", "NotSent".to_owned()));
        lab.fleet.safe_state("light").unwrap();
        assert_eq!(made_safe(&mut lab, "light").await, (true, "confirmed".to_owned()));
        assert_eq!(received.lock().unwrap().len(), 5);
    }
}

mod under_an_engine {
    use std::collections::BTreeMap;

    use labloop::compiler::{self, Bundle};
    use labloop::engine::core::{Core, Ending, InDoubt};
    use labloop::engine::shell::{
        Engine, EngineSetup, History, Instruments, LabInstruments, control,
    };
    use labloop::store::{Durability, Journal};
    use labloop::wire::Clock;
    use tokio::sync::mpsc;

    use super::*;
    use crate::bench::Bench;

    const STEPS: &str = "  - {id: heat, do: rig_1.heat, with: {power: 40}}
  - {id: dose, do: rig_1.dose, with: {count: 2}}
";

    /// A rig that doses, and whose first answer to that no driver survives.
    fn rig(log: &Log) -> labloop::wire::Dialer {
        let (mut total, mut power) = (0, 0);
        fragile(pipes(log, move |message| match message {
            "ID" => answer("rig 1\n"),
            "P?" => answer(&format!("{power}\n")),
            "T?" => answer(&format!("{total}\n")),
            "HEAT 40" => {
                power = 40;
                answer("OK\n")
            }
            "DOSE 2" => {
                total += 2;
                answer(&format!("{POISON}\n"))
            }
            _ => {
                power = 0;
                answer("OK\n")
            }
        }))
    }

    #[tokio::test]
    async fn a_dose_under_way_when_the_driver_panicked_is_read_back_and_not_given_again() {
        let bench = Bench::new("driver-panics");
        let text = crate::rig::definition(None).replace(r#"send_end: "\n""#, r#"send_end: "\r""#);
        let device = crate::rig::Rig::start("rig 1", None);
        let (lab_file, protocol) =
            crate::rig::lab(bench.folder(), &[("rig_1", &device)], &text, STEPS);
        let mut bundle = Bundle::load(&protocol, Some(&lab_file)).unwrap();
        compiler::check_bundle(&mut bundle);
        let graph = compiler::compile(compiler::Request {
            sources: &bundle.sources,
            protocol: bundle.protocol.as_ref().unwrap(),
            lab: bundle.lab.as_ref().unwrap(),
            definitions: &bundle.definitions,
            protocols: &bundle.protocols,
            pins: &[],
            parameters: &BTreeMap::new(),
            ranges: &BTreeMap::new(),
        });
        let (log, clock) = (Log::default(), Clock::real());
        let (sender, notices) = mpsc::channel(4_096);
        let lab = bundle.lab.clone().unwrap();
        let instruments =
            LabInstruments::start(&lab, &bundle.definitions, &clock, rig(&log), sender, 1).unwrap();
        let (_handle, controls) = control::channel(instruments.emergency());
        std::fs::create_dir_all(bench.state()).unwrap();
        let mut engine = Engine::new(EngineSetup {
            journal: Journal::open(&bench.state(), Durability::Power).unwrap(),
            telemetry: None,
            clock,
            instruments,
            notices,
            controls,
            observer: Box::new(|_| {}),
            core: Core::new(InDoubt::Ask, Duration::ZERO),
        });
        engine.begin(1, "real").unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        engine.start_run("trial".into(), Arc::new(graph.value.unwrap())).unwrap();
        // The backstop for a driver that never says how a command ended is far behind this.
        let worked = tokio::time::timeout(Duration::from_secs(20), engine.work()).await;
        let history = History::read(engine.journal(), None).unwrap();
        assert!(worked.is_ok(), "it waits still: {:#?}", history.runs["trial"]);
        worked.unwrap().unwrap();
        let run = &history.runs["trial"];
        assert_eq!(run.ending, Some(Ending::Complete), "{run:#?}");
        assert_eq!(count(&log, "DOSE 2"), 1, "it was given again: {log:?}");
        let dose = run.steps.iter().find(|step| step.action == "dose").unwrap();
        assert!(dose.outcome.contains("by "), "not by its witness: {}", dose.outcome);
        let after = log.lock().unwrap();
        let at = after.iter().position(|message| message == "DOSE 2").unwrap();
        assert!(after[at..].iter().any(|message| message == "ID"), "not asked who it is");
        assert!(after[at..].iter().any(|message| message == "OFF"), "not made safe at the end");
    }
}
