//! Commands to a running engine from another terminal, with the real binary on both sides.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use bench::{Bench, labloop, wait_for};
use serde_json::Value;

/// How long anything may take that takes a moment.
const SOON: Duration = Duration::from_secs(30);

/// An engine at work on a simulated lab, 60 times as fast as the clock on the wall.
struct Running {
    bench: Bench,
    engine: Child,
}

impl Running {
    fn campaign(name: &str) -> Running {
        Running::of(name, "examples/flow-synthesis/campaign.yaml")
    }

    fn of(name: &str, document: &str) -> Running {
        let bench = Bench::new(name);
        let engine = labloop()
            .args(["run", document, "--simulate", "--speed", "60", "--state"])
            .arg(bench.state())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(bench.folder().join("engine.log")).unwrap())
            .spawn()
            .unwrap();
        let running = Running { bench, engine };
        wait_for(&running.bench.state().join("control.sock"));
        running
    }

    /// What the engine has said so far.
    fn said(&self) -> String {
        std::fs::read_to_string(self.bench.folder().join("engine.log")).unwrap_or_default()
    }

    /// Its exit code, once it ends.
    fn ended(&mut self) -> i32 {
        let until = Instant::now() + SOON;
        loop {
            if let Some(status) = self.engine.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "the engine goes on: {}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A command with `--json`; its exit code and what it told.
    fn json(&self, args: &[&str]) -> (i32, Value) {
        let (code, out, said) = self.bench.run(&[args, &["--json"]].concat());
        (code, serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out}{said}")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.engine.kill();
        let _ = self.engine.wait();
    }
}

#[test]
fn an_abort_from_another_terminal_leaves_everything_safe_and_says_so() {
    let mut lab = Running::campaign("abort");
    let (code, out, said) = lab.bench.run(&["abort", "--by", "anna", "--reason", "it smells"]);
    assert_eq!(code, 0, "{out}{said}");
    assert_eq!(lab.ended(), 6, "ended by a person: {}", lab.said());
    assert!(lab.said().contains("abort by anna: it smells"), "{}", lab.said());
    assert!(!lab.bench.state().join("control.sock").exists(), "the socket goes with the engine");
    let (code, _, said) = lab.bench.run(&["abort"]);
    assert_eq!(code, 2);
    assert!(said.contains("no engine is at work") && said.contains("labloop resume"), "{said}");
}
