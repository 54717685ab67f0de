//! The n-th call of the operating system fails, for one n after the other: a disk that says no is
//! never asked again, nothing is sent after it but safe states, and it is said which file it was.
//!
//! Needs `strace`. `ALL_POINTS=1` tries every n.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use labloop::engine::core::RunState;

use crate::lane::{AtWork, Lane, Variant, ended, from_environment, in_lanes, strace};

const LANES: usize = 6;
const PASSES: u64 = 2;
const LIMIT: Duration = Duration::from_secs(180);

/// A labloop whose `n`-th call of this name meets `fault`, with a record of its calls.
fn failing(call: &str, fault: &str, n: &str, trace: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "--seccomp-bpf", "-y", "-s", "80", "-o"]).arg(trace);
    command.args(["-e", &format!("trace=write,fsync,fdatasync,pwrite64,sendto,{call}")]);
    command.args(["-e", &format!("inject={call}:{fault}:when={n}")]);
    command.arg(env!("CARGO_BIN_EXE_labloop"));
    command
}

/// What an engine did after the call that failed.
struct After {
    /// The file of the call that failed.
    file: String,
    /// Syncs of the same file.
    syncs: Vec<String>,
    /// Something was written to the same file.
    written: bool,
    /// Pumps, a controller or a lamp had been set going before.
    begun: bool,
    /// Lines to the pumps that make them do something.
    commands: Vec<String>,
}

/// The file that the call of a line is about. Where another thread came between, the line that began
/// it has the name.
fn file_of(lines: &[&str], at: usize) -> String {
    let thread = |line: &str| line.split_whitespace().next().unwrap().to_owned();
    let its = thread(lines[at]);
    let begun = |line: &&&str| line.contains("<unfinished ...>") && thread(line) == its;
    let line = match lines[at].contains(" resumed>") {
        true => lines[..at].iter().rev().find(begun).unwrap(),
        false => lines[at],
    };
    line.split_once('<').unwrap().1.split_once('>').unwrap().0.to_owned()
}

fn after(trace: &Path) -> Option<After> {
    let text = std::fs::read_to_string(trace).unwrap();
    let sets_going = |line: &&str| {
        (line.contains("/pts/") || line.contains("/dev/")) && line.contains("RUN\\r")
            || line.contains("GPIO/28/") && !line.contains("\\\"R\\\":0")
            || line.contains("/measure")
    };
    // The history has a thread of its own, whose n-th call fails as well, and tries again: it is what
    // failed only where nothing else did.
    let lines: Vec<&str> = text.lines().collect();
    let injected = |at: &usize| lines[*at].contains("(INJECTED)");
    let failed = (0..lines.len()).filter(injected).map(|at| (at, file_of(&lines, at)));
    let failed: Vec<(usize, String)> = failed.collect();
    let of_others = failed.iter().find(|(_, file)| !file.contains("telemetry.db"));
    let (at, file) = of_others.or(failed.first())?.clone();
    let begun = lines[..at].iter().any(sets_going);
    let rest = &lines[at + 1..];
    let this = format!("<{file}>");
    let syncs = rest.iter().filter(|l| l.contains("sync(") && l.contains(&this));
    // What sets a pump, a controller or a lamp going. STP and a temperature of zero are safe states.
    let commands = rest.iter().filter(|line| sets_going(line));
    let written = rest.iter().any(|l| l.contains("pwrite64(") && l.contains(&this));
    let own = |lines: &mut dyn Iterator<Item = &&str>| lines.map(|l| (*l).to_owned()).collect();
    let (syncs, commands) = (own(&mut { syncs }), own(&mut { commands }));
    Some(After { file, syncs, written, begun, commands })
}

/// Lets the n-th call fail, for every `stride`-th n, until a run passes; what the engine makes of it.
fn every(call: &str, fault: &str, stride: u64, word: &str) {
    if !strace() {
        return;
    }
    let stride = if std::env::var_os("ALL_POINTS").is_some() { 1 } else { stride };
    let first = 1 + from_environment("SEED", 1) % stride;
    let (next, passes) = (AtomicU64::new(0), AtomicU64::new(0));
    let (fatal, refused, unharmed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    in_lanes(LANES, |_| {
        let mut lane = Lane::new("failing", Variant::default());
        let trace = lane.folder().join("calls.txt");
        while passes.load(Ordering::SeqCst) < PASSES {
            let n = first + stride * next.fetch_add(1, Ordering::SeqCst);
            let at = format!("{call} {n} {fault}");
            let command = failing(call, fault, &n.to_string(), &trace);
            let mut command = lane.engine_in(command, false, 1);
            let (status, said) = ended(&mut command, Duration::from_secs(120));
            let Some(after) = after(&trace) else {
                assert!(status.success(), "{at}: {status}\n{said}");
                passes.fetch_add(1, Ordering::SeqCst);
                lane.audit(&at);
                lane.clear();
                continue;
            };
            // A checkpoint that fails leaves everything in the log, and is made again from there.
            let journal = after.file.ends_with("journal.db-wal");
            match status.code() {
                // While a run was under way: safe states, and the reason.
                Some(7) => {
                    fatal.fetch_add(1, Ordering::SeqCst);
                    // The journal, or a large value beside it.
                    let named = said.contains("journal.db") && said.contains(word);
                    assert!(named || said.contains("/files/"), "{at}: {said}");
                    assert!(!said.contains("NOT CONFIRMED SAFE"), "{at}: {said}");
                    assert_eq!(after.syncs, Vec::<String>::new(), "{at}: synced again\n{said}");
                    assert_eq!(after.commands, Vec::<String>::new(), "{at}: sent after it");
                }
                // Before anything was begun: it does not begin.
                Some(code @ (2 | 5)) => {
                    refused.fetch_add(1, Ordering::SeqCst);
                    assert!(said.contains("error:"), "{at}: {code}\n{said}");
                    assert!(after.commands.is_empty(), "{at}: {:?}", after.commands);
                }
                // Telemetry, a log, a lock, the checkpoint after the last commit: what no promise
                // depends on.
                Some(0) => {
                    unharmed.fetch_add(1, Ordering::SeqCst);
                    // The checkpoint when the journal is looked at before a run makes nothing durable
                    // that was not, and the next opening reads the log anew.
                    assert!(
                        !(journal && after.written && after.begun && word.contains("I/O")),
                        "{at}: {}\n{said}",
                        after.file
                    );
                }
                _ => panic!("{at}: {status}\n{said}"),
            }
            // The disk is well again: the run goes on where it was, and nothing happens twice.
            if status.code() != Some(0) {
                let (status, said) = lane.finish(lane.begun(), 1);
                assert!(status.success(), "{at}, resumed: {status}\n{said}");
            }
            lane.audit(&at);
            lane.clear();
        }
    });
    println!(
        "{call} {fault}, stride {stride}: {} gave up safely, {} did not begin, {} went on",
        fatal.load(Ordering::SeqCst),
        refused.load(Ordering::SeqCst),
        unharmed.load(Ordering::SeqCst)
    );
    assert!(fatal.load(Ordering::SeqCst) >= 5, "the calls of labloop have other names now");
}

#[test]
fn row_08_a_sync_that_fails_is_the_last_and_everything_is_made_safe() {
    every("fsync", "error=EIO", 2, "I/O error");
}

#[test]
fn row_10_a_write_that_finds_no_room_is_the_last_and_everything_is_made_safe() {
    every("pwrite64", "error=ENOSPC", 9, "full");
}

#[test]
fn row_11_a_disk_that_turned_read_only_is_as_one_that_fails() {
    every("pwrite64", "error=EROFS", 29, "I/O error");
}

/// Calls that are interrupted are gone on with; what no system interrupts (a call that never waits)
/// costs a connection at most.
#[test]
fn row_13_interrupted_calls_are_gone_on_with() {
    if !strace() {
        return;
    }
    let faults = [
        ("pwrite64", "3+7", true),
        ("epoll_wait", "2+3", true),
        ("openat", "9", false),
        ("recvfrom", "20", false),
        ("sendto", "25", false),
    ];
    in_lanes(faults.len(), |lane| {
        let (call, when, waits) = faults[lane];
        let lane = Lane::new("interrupted", Variant::default());
        let trace = lane.folder().join("calls.txt");
        let command = failing(call, "error=EINTR", when, &trace);
        let (status, said) = ended(&mut lane.engine_in(command, false, 1), LIMIT);
        assert!(after(&trace).is_some(), "{call} is not called");
        assert!(status.success() || (!waits && status.code() == Some(1)), "{call}: {said}");
        lane.audit(call);
    });
}

/// No file can be opened any more, for a while: instruments that are connected stay so, and those
/// that are not are tried again.
#[test]
fn row_13_files_that_cannot_be_opened_are_an_answer_and_no_end() {
    if !strace() {
        return;
    }
    let faults = [
        ("socket", "error=EMFILE", "1..2"),
        ("openat", "error=EMFILE", "60..61"),
        ("socket", "error=ENFILE", "2"),
    ];
    in_lanes(faults.len(), |lane| {
        let (call, fault, when) = faults[lane];
        let lane = Lane::new("files", Variant::default());
        let trace = lane.folder().join("calls.txt");
        let mut command = lane.engine_in(failing(call, fault, when, &trace), false, 1);
        let (status, said) = ended(&mut command, Duration::from_secs(180));
        if status.success() {
            lane.audit(call);
            return;
        }
        assert!(matches!(status.code(), Some(2 | 5 | 7)), "{call} {fault}: {status}\n{said}");
        assert!(said.contains("error:"), "{said}");
        let (status, said) = lane.finish(lane.begun(), 1);
        assert!(status.success(), "{call} {fault}, resumed: {status}\n{said}");
        lane.audit(call);
    });
}

/// As few file numbers as a process can be given: it works, or says what it lacks.
#[test]
fn row_13_too_few_file_numbers_are_told_and_nothing_is_lost() {
    let numbers = [14, 18, 22, 32];
    in_lanes(numbers.len(), |lane| {
        let number = numbers[lane];
        let lane = Lane::new("numbers", Variant::default());
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {number} && exec \"$@\""), "sh"]);
        shell.arg(env!("CARGO_BIN_EXE_labloop"));
        let mut command = lane.engine_in(shell, false, 1);
        let (status, said) = ended(&mut command, Duration::from_secs(60));
        if !status.success() {
            assert!(matches!(status.code(), Some(2 | 5 | 7)), "{number}: {status}\n{said}");
            assert!(said.contains("error:"), "{number}: {said}");
            let (status, said) = lane.finish(lane.begun(), 1);
            assert!(status.success(), "{number}, with more of them: {status}\n{said}");
        }
        assert_eq!(lane.audit("file numbers").complete, 1, "{number}");
    });
}

/// Somebody else writes into the journal's database and does not let go.
#[test]
fn row_12_a_journal_that_is_locked_is_waited_for_and_then_given_up() {
    in_lanes(2, |number| {
        let lane = Lane::new("locked", Variant::default());
        let mut engine = AtWork::start(lane.engine(false, 1), lane.folder().join("said.txt"));
        engine.until("a dose", Duration::from_secs(60), |_| {
            lane.effects_since().iter().any(|e| e["effect"] == "dispense")
        });
        let other = rusqlite::Connection::open(lane.state().join("journal.db")).unwrap();
        other.busy_timeout(Duration::from_secs(5)).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        if number == 0 {
            // For a while only.
            std::thread::sleep(Duration::from_millis(1_500));
            other.execute_batch("ROLLBACK").unwrap();
            let (status, said) = engine.end(Duration::from_secs(60));
            assert!(status.success(), "{status}\n{said}");
        } else {
            let (status, said) = engine.end(Duration::from_secs(60));
            assert_eq!(status.code(), Some(7), "{said}");
            assert!(said.contains("journal.db") && said.contains("locked"), "{said}");
            assert!(!said.contains("NOT CONFIRMED SAFE"), "{said}");
            other.execute_batch("ROLLBACK").unwrap();
            // What it made safe does not go on by itself.
            let mut next = AtWork::start(lane.engine(true, 1), lane.folder().join("next.txt"));
            next.until("its run is held", Duration::from_secs(60), |said| {
                let why = said.contains("gave up and made its instruments safe");
                why && lane.run_states().values().all(|state| *state == RunState::Held)
            });
            // A person has set the instruments as they should be, and says so.
            let (code, _, told) = lane.labloop(&["resume"]);
            assert_eq!(code, 0, "{told}");
            let (status, said) = next.end(Duration::from_secs(60));
            assert!(status.success(), "{status}\n{said}");
        }
        assert_eq!(lane.audit("locked").complete, 1);
    });
}
