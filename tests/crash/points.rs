//! Enumerated crash points: the engine is killed as it enters its n-th write, sync, send and receive,
//! for one n after the other until a run passes unharmed. After each kill `labloop resume` ends the
//! run, and what the instruments counted is compared with the journal. Before every call means
//! after the one before as well.
//!
//! Needs `strace`. All points of all calls (1,600) take ten minutes of two cores and are tried with
//! `ALL_POINTS=1`; otherwise every sync, send and receive of a wire, and a part of the others. Which
//! part moves with `SEED`.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::lane::{Lane, Variant, ended, from_environment, in_lanes, strace};

/// Labs at once; they wait more than they compute.
const LANES: usize = 8;
/// The number of calls differs a little from run to run: so many must pass to call it the end.
const PASSES: u64 = 3;

/// A labloop that is killed as it enters its `n`-th call of this name.
fn killed_at(call: &str, n: u64) -> Command {
    let mut command = Command::new("strace");
    // Not with --seccomp-bpf, where strace 6.1 swallows the signal.
    command.args(["-f", "-qq", "-o", "/dev/null"]);
    command.args(["-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=KILL:when={n}")]);
    command.arg(env!("CARGO_BIN_EXE_labloop"));
    command
}

/// Kills at every `stride`-th call of this name, beginning with one that follows from the seed.
fn every(call: &str, stride: u64) {
    if !strace() {
        return;
    }
    let stride = if std::env::var_os("ALL_POINTS").is_some() { 1 } else { stride };
    let first = 1 + from_environment("SEED", 1) % stride;
    let (next, passes) = (AtomicU64::new(0), AtomicU64::new(0));
    let (points, questions) = (AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    in_lanes(LANES, |_| {
        let mut lane = Lane::new("points", Variant::default());
        while passes.load(Ordering::SeqCst) < PASSES {
            let n = first + stride * next.fetch_add(1, Ordering::SeqCst);
            let at = format!("killed at {call} {n}");
            let mut killed = lane.engine_in(killed_at(call, n), false, 1);
            let (status, said) = ended(&mut killed, Duration::from_secs(120));
            if status.signal().is_none() {
                assert!(status.success(), "not {at}: {status}\n{said}");
                passes.fetch_add(1, Ordering::SeqCst);
            } else {
                points.fetch_add(1, Ordering::SeqCst);
                let (status, said) = lane.finish(lane.begun(), 1);
                assert!(status.success(), "{at}: {status}\n{said}");
            }
            let audit = lane.audit(&at);
            assert_eq!(audit.complete, 1, "{at}");
            // A sample given up because nothing could tell whether its light was on.
            questions.fetch_add(audit.invalid as u64, Ordering::SeqCst);
            assert!(audit.invalid <= 1, "{at}");
            lane.clear();
        }
    });
    println!(
        "{call}: killed at {} points, stride {stride}, {} samples given up, {:.0} s",
        points.load(Ordering::SeqCst),
        questions.load(Ordering::SeqCst),
        begun.elapsed().as_secs_f64()
    );
    assert!(points.load(Ordering::SeqCst) >= 20, "the calls of labloop have other names now");
}

/// The journal: before and after every commit.
#[test]
fn row_01_03_killed_at_every_sync() {
    every("fsync", 1);
}

/// The journal: within commits.
#[test]
fn row_05_killed_at_writes_of_the_journal() {
    every("pwrite64", 4);
}

/// Modbus and MQTT.
#[test]
fn row_01_02_killed_at_sends() {
    every("sendto", 1);
}

/// Modbus and MQTT.
#[test]
fn row_03_killed_at_receives() {
    every("recvfrom", 2);
}

/// The serial line, and what is written to files and the terminal.
#[test]
fn row_01_02_killed_at_writes_of_the_serial_line() {
    every("write", 3);
}

/// The serial line.
#[test]
fn row_03_killed_at_reads_of_the_serial_line() {
    every("read", 4);
}
