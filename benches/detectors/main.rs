//! Measures the detectors: `cargo bench --bench detectors -- [tune|report|speed|series FILE]`.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod bank;
mod lines;
mod series;
mod settle;
mod speed;
mod world;

use bank::{Bank, NAMES};
use labloop::diagnostics::detect::Level;
use world::{Fault, INSTRUMENTS, Nature, World};

/// One row of the set: detector, severities from mild to hard, window to find it in (s).
fn faults(n: &Nature) -> Vec<(usize, &'static str, [Fault; 3], f64)> {
    use Fault::*;
    let (band, rate, tol, swing) =
        (bank::band(n), bank::rate_limit(n), bank::tolerance(n), bank::swing_min(n));
    vec![
        (0, "limit", [Over(0.5), Over(2.0), Over(10.0)], 600.0),
        (1, "rate", [Ramp(1.3 * rate), Ramp(3.0 * rate), Ramp(10.0 * rate)], 600.0),
        (2, "stuck", [Freeze(60.0), Freeze(300.0), Freeze(1e9)], 1200.0),
        (3, "spike", [Spike(12.0), Spike(20.0), Spike(50.0)], 30.0),
        (4, "noise up", [Noise(1.5), Noise(2.0), Noise(5.0)], 1200.0),
        (4, "noise down", [Noise(0.67), Noise(0.5), Noise(0.2)], 1200.0),
        (5, "drift", [Drift(1.5), Drift(3.0), Drift(6.0)], 3600.0),
        (6, "loss of control", [Leave(1.5 * band), Leave(3.0 * band), Leave(10.0 * band)], 1800.0),
        (7, "oscillation", [Swing(1.5 * swing), Swing(3.0 * swing), Swing(6.0 * swing)], 5400.0),
        (8, "saturation", [Pegged(0.0), Pegged(0.0), Pegged(0.0)], 600.0),
        (9, "disagreement", [Apart(1.3 * tol), Apart(2.0 * tol), Apart(5.0 * tol)], 600.0),
    ]
}

fn detection(seeds: std::ops::Range<u64>) {
    println!(
        "| fault | severity | found | median delay | worst delay | worst, samples | found (worst) per instrument |"
    );
    println!("|---|---|---|---|---|---|---|");
    let rows = faults(&INSTRUMENTS[0]).len();
    for row in 0..rows {
        for severity in 0..3 {
            let mut delays: Vec<(f64, f64)> = Vec::new();
            let (mut runs, mut early) = (0, 0);
            let mut per = String::new();
            let mut name = "";
            for n in &INSTRUMENTS {
                let (k, label, faults, window) = faults(n)[row];
                name = label;
                if k == 6 && n.peak.0 > 0.0 {
                    per += "- "; // Absorbance is not regulated.
                    continue;
                }
                let mut found_here = 0;
                let mut worst_here: f64 = 0.0;
                for seed in seeds.clone() {
                    let mut world = World::new(*n, seed * 1009 + row as u64);
                    let onset = 3.0 * 3600.0 + 60.0 * ((seed * 7) % 20) as f64;
                    // The last move leaves time to settle; so the fault meets a quiet signal.
                    world.no_moves_from_s = 3600.0;
                    world.fault = faults[severity];
                    world.fault_from_s = onset;
                    let mut bank = Bank::new(n).unwrap();
                    let end = onset + window;
                    let (mut found, mut before) = (None, false);
                    loop {
                        let s = world.step();
                        let t = s.at as f64 * 1e-9;
                        let level = bank.see(Some(k), n, &s)[k];
                        if t < onset {
                            before = level.is_present();
                        } else if level.is_present() && !before {
                            found = Some(t - onset);
                            break;
                        }
                        if t > end {
                            break;
                        }
                    }
                    runs += 1;
                    early += u32::from(before);
                    if let Some(delay) = found {
                        delays.push((delay, delay / world.period_s()));
                        found_here += 1;
                        worst_here = worst_here.max(delay);
                    }
                }
                per += &format!("{found_here} ({worst_here:.1} s) ");
            }
            delays.sort_by(|a, b| a.0.total_cmp(&b.0));
            let at = |k: usize| delays.get(k).map_or(f64::NAN, |d| d.0);
            let worst = delays.iter().map(|d| d.1).fold(0.0, f64::max);
            println!(
                "| {name} | {} | {}/{runs}{} | {:.1} s | {:.1} s | {:.0} | {per}|",
                ["mild", "medium", "hard"][severity],
                delays.len(),
                if early > 0 { format!(" ({early} before)") } else { String::new() },
                at(delays.len() / 2),
                at(delays.len().saturating_sub(1)),
                worst.ceil(),
            );
        }
    }
}

fn false_alarms(seeds: std::ops::Range<u64>) {
    println!("\nFalse alarms in fault-free weeks ({} weeks each)\n", seeds.end - seeds.start);
    println!("| instrument | {} | all per week |", NAMES[..10].join(" | "));
    println!("|---|{}---|", "---|".repeat(10));
    for n in &INSTRUMENTS {
        let mut counts = [0u32; 11];
        let mut steady = 0u64;
        let mut total = 0u64;
        for seed in seeds.clone() {
            let mut world = World::new(*n, seed * 7919 + 5);
            if seed % 2 == 1 {
                world.no_moves_from_s = 0.0; // A week at rest: the whole day cycle, no fresh start.
            }
            let mut bank = Bank::new(n).unwrap();
            let mut on = [false; 11];
            let ticks = (7.0 * 86400.0 * n.rate_hz) as u64;
            for _ in 0..ticks {
                let s = world.step();
                let levels = bank.see(None, n, &s);
                for (k, level) in levels.iter().enumerate() {
                    let now = level.is_present();
                    if now && !on[k] {
                        counts[k] += 1;
                        if std::env::var_os("SHOW").is_some()
                            && k != 10
                            && let Level::Present(p) = level
                        {
                            eprintln!(
                                "{} s={seed} t={:.0}: {} {}",
                                n.name,
                                s.at as f64 * 1e-9,
                                NAMES[k],
                                p.sentence("it", "u")
                            );
                        }
                    }
                    on[k] = now;
                }
                steady += u64::from(on[10]);
                total += 1;
            }
        }
        let weeks = (seeds.end - seeds.start) as f64;
        let cells: Vec<String> = counts[..10].iter().map(|c| c.to_string()).collect();
        let all: u32 = counts[..10].iter().sum();
        println!(
            "| {} | {} | {:.2} (steady {:.0} % of the time) |",
            n.name,
            cells.join(" | "),
            f64::from(all) / weeks,
            100.0 * steady as f64 / total as f64
        );
    }
}

fn main() {
    let args: Vec<String> = std::env::args().filter(|a| a != "--bench").collect();
    match args.get(1).map(String::as_str) {
        Some("tune") => {
            detection(1..4);
            false_alarms(1..3);
            lines::table(1..4);
            settle::table(1..2);
        }
        Some("sigma") => {
            // Standard deviation of the quiet samples over ten minutes: what "3 sigma" means.
            for n in &INSTRUMENTS {
                let mut world = World::new(*n, 11);
                world.no_moves_from_s = 0.0;
                let skip = (7200.0 * n.rate_hz) as u64;
                for _ in 0..skip {
                    world.step();
                }
                let v: Vec<f64> =
                    (0..(600.0 * n.rate_hz) as u64).map(|_| world.step().value).collect();
                let mean = v.iter().sum::<f64>() / v.len() as f64;
                let sd =
                    (v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64).sqrt();
                println!(
                    "{}: {:.4} of samples, {:.4} of noise and ripple",
                    n.name,
                    sd,
                    n.sd.hypot(std::f64::consts::FRAC_1_SQRT_2 * n.ripple.0)
                );
            }
        }
        Some("speed") => speed::table(),
        Some("series") => series::show(&args[2..]),
        _ => {
            detection(1000..1005);
            false_alarms(1000..1004);
            lines::table(1000..1010);
            settle::table(1000..1001);
            speed::table();
        }
    }
}
