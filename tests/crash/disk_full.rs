//! The disk under the state folder fills up, or cannot be written from the start. On a small tmpfs
//! of its own, which takes root: without it the tests are left out, loudly.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::bench::Bench;
use crate::lane::{AtWork, Lane, Variant};
use labloop::engine::core::RunState;

const LIMIT: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;
/// Room for a journal of some experiments, and small enough to be filled at once.
const SIZE_MIB: u64 = 32;

/// A small disk, and a state folder on it.
struct Small {
    disk: PathBuf,
}

impl Small {
    /// With a lab whose simulators keep their log elsewhere: they do not run out of disk.
    fn new(name: &str) -> Option<(Small, Lane)> {
        let bench = Bench::new(name);
        let disk = bench.folder().join("disk");
        std::fs::create_dir(&disk).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={SIZE_MIB}m"), "labloop-test"])
            .arg(&disk)
            .output();
        if !mounted.is_ok_and(|done| done.status.success()) {
            let why = "a small disk cannot be mounted here; run the tests as root";
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("SKIPPED: {why}");
            return None;
        }
        let (state, elsewhere) = (disk.join("state"), bench.folder().join("simulators"));
        std::fs::create_dir(&state).unwrap();
        std::fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(elsewhere, state.join("simulators")).unwrap();
        Some((Small { disk }, Lane::in_folder(bench, state, Variant::default())))
    }

    fn filler(&self) -> PathBuf {
        self.disk.join("filler")
    }

    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.disk).unwrap();
        found.f_bavail * found.f_frsize
    }

    /// Fills it but for so much.
    fn fill(&self, but: u64) {
        let mut file = File::options().create(true).append(true).open(self.filler()).unwrap();
        let block = vec![0_u8; 1 << 16];
        while self.free() > but {
            let part = usize::try_from(self.free() - but).unwrap().min(block.len());
            if file.write_all(&block[..part]).is_err() {
                return;
            }
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn remount(&self, how: &str) {
        let how = format!("remount,{how}");
        let done = Command::new("mount").args(["-o", &how]).arg(&self.disk).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.disk).status();
    }
}

fn start(lane: &Lane, resume: bool) -> AtWork {
    let mut engine = AtWork::start(lane.engine(resume, 3), lane.folder().join("said.txt"));
    if !resume {
        engine.until("a first dose", LIMIT, |_| {
            lane.effects_since().iter().any(|e| e["effect"] == "dispense")
        });
    }
    engine
}

fn held(lane: &Lane) -> bool {
    let (history, states) = (lane.history().unwrap(), lane.run_states());
    history.open_runs().all(|run| states.get(&run.run) == Some(&RunState::Held))
}

/// What the disk does while the engine is at work, and what the engine makes of it.
fn fills_up_and_is_emptied(name: &str, leave: u64) {
    let Some((small, lane)) = Small::new(name) else { return };
    let mut engine = start(&lane, false);
    assert!(lane.state().join("reserve").exists(), "there is no reserve");
    // In one moment, as the engine sees it.
    engine.signal("STOP");
    small.fill(leave);
    engine.signal("CONT");
    engine.until("told", LIMIT, |said| said.contains("nearly full"));
    engine.until("held", LIMIT, |_| held(&lane));
    // The reserve is for when there is nothing else.
    assert_eq!(lane.state().join("reserve").exists(), leave > 0);
    let before = lane.effects_since().len();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(lane.effects_since().len(), before, "a held run goes on\n{}", engine.said());
    assert!(!engine.said().contains("room on the disk again"));

    small.empty();
    let (status, said) = engine.end(Duration::from_secs(120));
    assert!(status.success(), "{status}\n{said}");
    assert!(said.contains("room on the disk again"), "{said}");
    assert!(lane.state().join("reserve").exists(), "there is no reserve again");
    let kinds: Vec<String> = lane.engine_facts().into_iter().map(|(kind, _)| kind).collect();
    let disk: Vec<&str> =
        kinds.iter().map(String::as_str).filter(|k| k.starts_with("engine_disk")).collect();
    assert_eq!(disk, ["engine_disk_low", "engine_disk_back"]);
    let audit = lane.audit(name);
    assert_eq!(audit.complete, 3, "{said}");
}

#[test]
fn row_10_a_disk_that_fills_up_holds_the_runs_and_they_go_on_when_there_is_room() {
    fills_up_and_is_emptied("disk-mark", MIB);
}

#[test]
fn row_10_on_a_disk_filled_to_the_last_byte_the_reserve_carries_the_hold() {
    fills_up_and_is_emptied("disk-brim", 0);
}

/// Held, killed, started again on the full disk: held still; and goes on when there is room.
#[test]
fn row_10_an_engine_started_on_a_full_disk_holds_what_it_finds() {
    let Some((small, lane)) = Small::new("disk-again") else { return };
    let mut engine = start(&lane, false);
    small.fill(MIB);
    engine.until("held", LIMIT, |said| said.contains("nearly full") && held(&lane));
    engine.signal("KILL");
    engine.child.wait().unwrap();
    let before = lane.effects_since().len();
    let mut engine = start(&lane, true);
    engine.until("told again", LIMIT, |said| said.contains("nearly full"));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(lane.effects_since().len(), before, "{}", engine.said());
    assert!(held(&lane));
    small.empty();
    let (status, said) = engine.end(Duration::from_secs(120));
    assert!(status.success(), "{status}\n{said}");
    assert_eq!(lane.audit("started on a full disk").complete, 3, "{said}");
}

/// No reserve, and no room: the journal cannot be written, and that is the end. What was started is
/// made safe; with room again the same run goes on.
#[test]
fn row_10_a_journal_that_cannot_be_written_all_the_same_ends_the_engine_safely() {
    let Some((small, lane)) = Small::new("disk-end") else { return };
    let mut engine = start(&lane, false);
    engine.signal("STOP");
    std::fs::remove_file(lane.state().join("reserve")).unwrap();
    small.fill(0);
    engine.signal("CONT");
    let (status, said) = engine.end(LIMIT);
    assert_eq!(status.code(), Some(7), "{said}");
    assert!(said.contains("journal.db") && said.contains("full"), "{said}");
    assert!(!said.contains("NOT CONFIRMED SAFE"), "{said}");
    small.empty();
    let (status, said) = lane.finish(true, 3);
    assert!(status.success(), "{status}\n{said}");
    assert_eq!(lane.audit("after a full disk").complete, 3, "{said}");
}

#[test]
fn row_11_a_state_folder_that_cannot_be_written_is_refused_with_the_reason() {
    let Some((small, lane)) = Small::new("disk-ro") else { return };
    for resume in [false, true] {
        small.remount("ro");
        let (status, said) = lane.finish(resume, 1);
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains("Read-only") && said.contains("state"), "{said}");
        small.remount("rw");
        if !resume {
            // Something to resume.
            let mut engine = start(&lane, false);
            engine.signal("KILL");
            engine.child.wait().unwrap();
        }
    }
    let (status, said) = lane.finish(true, 3);
    assert!(status.success(), "{status}\n{said}");
    lane.audit("after a read-only disk");
}
