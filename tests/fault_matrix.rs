//! Drivers on a bad cable: each kind of fault on each wire, many seeded runs, and an oracle on the
//! device's side of the wire. On serial lines with addresses a second device is there in half of the
//! runs; half of them break what arrives into pieces; now and then attempts are cancelled or the safe
//! state is sent. A last column has several faults at once.
//!
//! The laws, for every run:
//! 1. A value told as good is one that the device gave for that very property while it was asked
//!    (for a stream: not longer ago than `max_age`). A device that lies (stuck, drift, spike) is
//!    quoted exactly, and what lies outside of the definition's limits is never good.
//! 2. No command is carried out twice.
//! 3. `Done` was carried out, and completely; `NotSent` and `NoEffect` were not, not even later.
//! 4. Each attempt ends once, in bounded time, with a value or with a reason.
//! 5. When the faults end, everything works again at the first try.
//!
//! A wrong bit (`flip`) cannot always be seen where frames have no check sum: there the law is that
//! a good value is at most that one bit from what the device said, and within the limits; in JSON the
//! bit may also hide the name of the field that holds an error, so there it is not combined with
//! refusals. Half an answer that comes twice may pass for a whole one in Modbus TCP. An answer
//! that comes later than the reply timeout and the silence after it cannot be told from the answer
//! to the next question on a wire without any mark of whose it is; a test of its own shows it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking"
)]

mod matrix;

use std::sync::Arc;

use labloop::wire::Dialer;
use matrix::{Account, Between, KINDS, MIXED, Run, Wire};

/// Runs of one cell; `MATRIX_RUNS` makes them more.
fn runs() -> u64 {
    std::env::var("MATRIX_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(200)
}

/// One row of the matrix. A failure names fault and seed.
fn row(wire: Wire) {
    let definition = matrix::definitions::definition(wire);
    let mut wrong = Vec::new();
    for kind in KINDS.into_iter().chain([MIXED]) {
        let begun = std::time::Instant::now();
        let mut sum = Account::default();
        for seed in 0..runs() {
            let definition = Arc::clone(&definition);
            let run = Run { wire, definition, kind: kind.to_owned(), seed, between: None };
            sum.add(run.go());
        }
        println!(
            "{wire:?} {kind}: {} runs, {} good values, {} done, {} failed of which {} in doubt, {} wrong, {} ms",
            runs(),
            sum.good,
            sum.done,
            sum.failed,
            sum.unknown,
            sum.wrong.len(),
            begun.elapsed().as_millis()
        );
        assert!(sum.good > 0 && sum.done > 0, "{wire:?} {kind} shows nothing");
        wrong.extend(sum.wrong);
    }
    let shown: Vec<&String> = wrong.iter().take(30).collect();
    assert!(wrong.is_empty(), "{} wrong\n{shown:#?}", wrong.len());
}

#[test]
fn text_with_an_address() {
    row(Wire::Addressed);
}

#[test]
fn text_without_an_address() {
    row(Wire::Plain);
}

#[test]
fn frames_with_a_check_sum() {
    row(Wire::Binary);
}

#[test]
fn text_over_a_socket() {
    row(Wire::Tcp);
}

#[test]
fn modbus_over_a_socket() {
    row(Wire::ModbusTcp);
}

#[test]
fn modbus_on_a_serial_line() {
    row(Wire::ModbusRtu);
}

#[test]
fn mqtt_5() {
    row(Wire::Mqtt5);
}

#[test]
fn mqtt_3() {
    row(Wire::Mqtt3);
}

/// What the oracle says of some runs.
fn seen(wire: Wire, kind: &str, seeds: u64, between: Option<Between>) -> Vec<String> {
    let definition = matrix::definitions::definition(wire);
    let run = |seed| Run {
        wire,
        definition: Arc::clone(&definition),
        kind: kind.to_owned(),
        seed,
        between: between.clone(),
    };
    (0..seeds).flat_map(|seed| run(seed).go().wrong).collect()
}

/// The limit of the first law: registers and bare numbers have no mark of whose answer they are.
#[test]
fn an_answer_later_than_the_silence_is_only_known_where_answers_have_a_mark() {
    for wire in [Wire::Plain, Wire::ModbusRtu] {
        let wrong = seen(wire, "late=900ms", 40, None);
        let stale = wrong.iter().filter(|wrong| wrong.contains("is told as good")).count();
        // If this ever fails, drivers have become better than the documentation says.
        assert!(stale > 0, "{wire:?}");
    }
    for wire in [Wire::Tcp, Wire::ModbusTcp, Wire::Mqtt5, Wire::Mqtt3] {
        assert_eq!(seen(wire, "late=900ms", 40, None), [""; 0], "{wire:?}");
    }
}

// What follows must be seen by the oracle: if not, it is blind, and the matrix shows nothing.

fn must_see(wrong: &[String], part: &str) {
    assert!(wrong.iter().any(|wrong| wrong.contains(part)), "{part}: {wrong:#?}");
}

#[test]
fn the_oracle_sees_a_driver_that_sends_twice() {
    let twice: Between = Arc::new(|dialer: Dialer| {
        matrix::relayed(dialer, |asked| (asked.repeat(2), Vec::new()), |said| said)
    });
    must_see(&seen(Wire::Plain, "delay=1ms", 5, Some(twice)), "was carried out 2 times");
}

#[test]
fn the_oracle_sees_a_driver_that_takes_any_answer_for_a_success() {
    let liar: Between = Arc::new(|dialer: Dialer| {
        matrix::relayed(
            dialer,
            |asked| match asked.first() {
                Some(b'D') => (Vec::new(), b"OK\r\n".to_vec()),
                _ => (asked, Vec::new()),
            },
            |said| said,
        )
    });
    must_see(&seen(Wire::Plain, "delay=1ms", 5, Some(liar)), "was never carried out");
}

#[test]
fn the_oracle_sees_a_driver_that_calls_an_effect_none() {
    let liar: Between = Arc::new(|dialer: Dialer| {
        matrix::relayed(
            dialer,
            |asked| (asked, Vec::new()),
            |said| match said.as_slice() {
                b"OK\r\n" => b"ERR3\r\n".to_vec(),
                _ => said,
            },
        )
    });
    must_see(&seen(Wire::Plain, "delay=1ms", 5, Some(liar)), "but it was carried out");
}

#[test]
fn the_oracle_sees_a_value_of_another_question() {
    let mixed_up: Between = Arc::new(|dialer: Dialer| {
        let asked_for_b = |asked: Vec<u8>| match asked.as_slice() {
            b"Rb\r" => (b"Ra\r".to_vec(), Vec::new()),
            _ => (asked, Vec::new()),
        };
        matrix::relayed(dialer, asked_for_b, |said| said)
    });
    must_see(&seen(Wire::Plain, "delay=1ms", 5, Some(mixed_up)), "b = 10");
}
