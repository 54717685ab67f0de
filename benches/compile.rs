//! What a check costs as protocols grow: `cargo bench --bench compile`.
//!
//! Each size is compiled in a process of its own, so that its greatest memory is its own. The text
//! is what a lab engineer could write: doses, waits, parallel branches, loops, measurements and
//! results that read them, over a box of parameters.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench that cannot go on has no figure to give"
)]

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use labloop::compiler::{Bundle, protocol_over_its_box};

/// A protocol of about so many steps.
fn protocol(steps: usize) -> String {
    let mut out = String::from(
        "schema: labloop/protocol/v1\nname: long\nparameters:\n  rate: {unit: mL/min, min: 0.1 mL/min, max: 5 mL/min}\n  \
         volume: {unit: mL, min: 0.01 mL, max: 1 mL}\nderived:\n  half: ${ params.volume / 2 }\nroles:\n  \
         pump_a: {type: syringe_pump}\n  pump_b: {type: syringe_pump}\n  uv: {type: spectrometer}\nsteps:\n",
    );
    // Eight steps to a block.
    for block in 0..steps.div_ceil(8) {
        let _ = write!(
            out,
            "  - {{id: dose_{block}, do: pump_a.dispense, with: {{volume: \"${{ params.volume }}\", rate: \"${{ params.rate }}\"}}}}\n  \
             - parallel:\n      a:\n        - {{do: pump_a.dispense, with: {{volume: \"${{ derived.half }}\", rate: 2 mL/min}}}}\n      \
             b:\n        - {{do: pump_b.dispense, with: {{volume: 0.2 mL, rate: \"${{ params.rate }}\"}}}}\n  \
             - {{wait: 5 s}}\n  \
             - {{id: seen_{block}, do: uv.measure, with: {{integration: 50 ms, averages: 20}}, within: 30 s}}\n  \
             - if: params.volume > 0.5 mL\n    then:\n      - {{log: \"dose {block} of ${{ params.volume }}\"}}\n  \
             - {{id: change_{block}, analyse: absorbance_at, with: {{spectra: \"${{ steps.seen_{block} }}\", wavelength: 412 nm}}}}\n",
        );
    }
    out.push_str("finally:\n  - {do: pump_a.stop}\n  - {do: pump_b.stop}\n");
    out
}

const LAB: &str = "schema: labloop/lab/v1\nname: bench\ninstruments:\n  \
  p1: {use: newera-ne1000, at: \"serial:/dev/p\", plays: [pump_a], config: {syringe_diameter: 14.57 mm, address: 0}}\n  \
  p2: {use: newera-ne1000, at: \"serial:/dev/p\", plays: [pump_b], config: {syringe_diameter: 14.57 mm, address: 1}}\n  \
  uv1: {use: mqtt5-spectrometer, at: \"mqtt://localhost:1883/x\", plays: [uv]}\n";

fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("labloop-compile-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Greatest memory of this process so far, MB.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or("0 0");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

fn one(steps: usize) {
    let folder = folder();
    let path = folder.join("protocol.yaml");
    std::fs::write(&path, protocol(steps)).unwrap();
    std::fs::write(folder.join("lab.yaml"), LAB).unwrap();
    let start = Instant::now();
    let bundle = Bundle::load(&path, None).unwrap();
    let read = start.elapsed();
    assert!(!bundle.report.has_errors(), "{:?}", bundle.report);
    let report = protocol_over_its_box(&bundle);
    let all = start.elapsed();
    assert!(!report.has_errors(), "{:?}", report.diagnostics.first());
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!(
        "{steps:>8} {:>9.2} {:>9.1} {:>9.1} {:>9.1} {:>9.2} {:>9.1}",
        bytes as f64 / 1e6,
        read.as_secs_f64() * 1e3,
        (all - read).as_secs_f64() * 1e3,
        all.as_secs_f64() * 1e3,
        all.as_secs_f64() * 1e6 / steps as f64,
        peak(),
    );
    let _ = std::fs::remove_dir_all(folder);
}

fn main() {
    if let Ok(steps) = std::env::var("LABLOOP_BENCH_STEPS") {
        return one(steps.parse().unwrap());
    }
    println!(
        "{:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "steps", "MB text", "read ms", "check ms", "all ms", "us/step", "peak MB"
    );
    for steps in [100, 1_000, 10_000, 100_000] {
        let program = std::env::current_exe().unwrap();
        let status =
            Command::new(program).env("LABLOOP_BENCH_STEPS", steps.to_string()).status().unwrap();
        assert!(status.success(), "{steps} steps");
    }
}
