//! The engine is killed again and again over real wires. Its instruments live on in a process of
//! their own and count what they are told.
//!
//! `KILLS=10000 cargo test --test crash kills` for long runs, `SEED=7` for other moments.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::bench::labloop;
use crate::lane::{Audit, Draw, Lane, Variant, from_environment, in_lanes};

/// Labs at once, each with its own wires.
const LANES: usize = 6;
/// Kills of the whole file; every test has its share.
const KILLS: u64 = 240;
/// Seed of the moments.
const SEED: u64 = 20_261_125;
/// Experiments of one campaign: it is begun anew when they are done.
const EXPERIMENTS: u32 = 4;
/// An experiment takes about a second when nobody kills anything.
const MOMENTS_MS: (u64, u64) = (5, 900);

fn kills(share: u64) -> u64 {
    from_environment("KILLS", KILLS) * share / 100
}

fn seed(of: u64) -> u64 {
    from_environment("SEED", SEED).wrapping_mul(1_000_003).wrapping_add(of)
}

/// Kills engines at random moments until there were enough, and audits every campaign.
fn kill_at_random(name: &str, variant: Variant, kills: u64, moments: (u64, u64)) -> Vec<Audit> {
    let left = AtomicU64::new(kills);
    let audits = std::sync::Mutex::new(Vec::new());
    in_lanes(LANES, |number| {
        let mut lane = Lane::new(&format!("kills-{name}"), variant);
        let mut draw = Draw::new(seed(number as u64));
        loop {
            let resume = lane.begun();
            let mut engine = lane
                .engine(resume, EXPERIMENTS)
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            let until = Instant::now() + Duration::from_millis(draw.within(moments.0, moments.1));
            let ended = loop {
                if let Some(status) = engine.try_wait().unwrap() {
                    break Some(status);
                }
                if Instant::now() >= until {
                    break None;
                }
                std::thread::sleep(Duration::from_millis(1));
            };
            match ended {
                None => {
                    engine.kill().unwrap();
                    engine.wait().unwrap();
                    let enough = left
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                        .is_err();
                    if !enough {
                        continue;
                    }
                    // The last one of this lane may finish.
                    let (status, said) = lane.finish(lane.begun(), EXPERIMENTS);
                    assert!(status.success(), "{status}\n{said}");
                    audits.lock().unwrap_or_else(PoisonError::into_inner).push(lane.audit(name));
                    return;
                }
                Some(status) => {
                    assert!(status.success(), "it ended by itself: {status}");
                    audits.lock().unwrap_or_else(PoisonError::into_inner).push(lane.audit(name));
                    assert!(second_opinion(&lane, &lane.effects_since()), "{name}");
                    lane.clear();
                    if left.load(Ordering::SeqCst) == 0 {
                        return;
                    }
                }
            }
        }
    });
    audits.into_inner().unwrap()
}

/// What a program says that reads only what the instruments wrote and what labloop exports.
fn second_opinion(lane: &Lane, effects: &[serde_json::Value]) -> bool {
    let lines: Vec<String> = effects.iter().map(ToString::to_string).collect();
    let (log, steps) = (lane.folder().join("log.jsonl"), lane.folder().join("steps.json"));
    std::fs::write(&log, lines.join("\n")).unwrap();
    let exported = labloop()
        .args(["export", "--what", "steps", "--format", "json", "--state"])
        .arg(lane.state())
        .output()
        .unwrap();
    std::fs::write(&steps, exported.stdout).unwrap();
    let mut program = std::process::Command::new("python3");
    let said = program.arg("tests/peers/doses.py").arg(log).arg(steps).output().unwrap();
    assert!(matches!(said.status.code(), Some(0 | 1)), "{said:?}");
    said.status.success()
}

fn report(name: &str, kills: u64, audits: &[Audit]) {
    let sum = |of: fn(&Audit) -> usize| audits.iter().map(of).sum::<usize>();
    let doses = |of: fn(&crate::lane::Count) -> usize| -> usize {
        let pumps = ["pump_1", "pump_2"];
        audits.iter().flat_map(|a| pumps.map(|p| of(&a.count(p, "dispense")))).sum()
    };
    println!(
        "{name}: {kills} kills, {} campaigns, {} runs ({} complete, {} invalid), {} doses counted, \
         {} in the journal, {} attempts",
        audits.len(),
        sum(|a| a.runs),
        sum(|a| a.complete),
        sum(|a| a.invalid),
        doses(|c| c.effects),
        doses(|c| c.done),
        doses(|c| c.attempts),
    );
}

#[test]
fn row_01_02_03_campaigns_killed_at_random_lose_nothing_and_repeat_nothing() {
    let kills = kills(45);
    let audits = kill_at_random("random", Variant::default(), kills, MOMENTS_MS);
    report("random moments", kills, &audits);
    assert!(audits.iter().all(|a| a.complete >= 1));
}

/// The pump does what it is told 40 ms after it has been told, also when who told it is gone: a
/// witness that is read too early lies. (Starting an engine takes longer than that here, so this alone
/// would not find a missing settle time; the tests of the core and the simulation do.)
#[test]
fn row_02_a_slow_instrument_is_given_time_before_its_witness_is_believed() {
    let variant = Variant {
        settings: "pump_1_effect_delay: 40 ms, pump_2_effect_delay: 40 ms, ",
        settle: "12 s",
        ..Variant::default()
    };
    let kills = kills(25);
    let audits = kill_at_random("slow", variant, kills, MOMENTS_MS);
    report("slow effects", kills, &audits);
    assert!(audits.iter().all(|a| a.complete >= 1));
}

/// Most moments are those of recovery.
#[test]
fn row_04_an_engine_killed_twenty_times_in_a_row_while_it_recovers_repeats_nothing() {
    let (rounds, in_a_row) = (kills(30).div_ceil(20 * 2), 20);
    in_lanes(2, |number| {
        let mut lane = Lane::new("kills-recovery", Variant::default());
        let mut draw = Draw::new(seed(100 + number as u64));
        for _ in 0..rounds {
            // Somewhere in the middle of a run first.
            let mut engine =
                lane.engine(false, 2).stderr(std::process::Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(draw.within(500, 1_100)));
            engine.kill().unwrap();
            engine.wait().unwrap();
            assert!(lane.begun());
            for _ in 0..in_a_row {
                let mut engine =
                    lane.engine(true, 2).stderr(std::process::Stdio::null()).spawn().unwrap();
                std::thread::sleep(Duration::from_millis(draw.within(1, 500)));
                engine.kill().unwrap();
                engine.wait().unwrap();
            }
            let (status, said) = lane.finish(true, 2);
            assert!(status.success(), "{status}\n{said}");
            let audit = lane.audit("in recovery");
            report("in recovery", in_a_row, &[audit]);
            lane.clear();
        }
    });
}

/// The oracle itself: what must not be is found.
#[test]
fn a_dose_too_many_and_one_too_few_are_found() {
    let mut lane = Lane::new("kills-oracle", Variant::default());
    let (status, said) = lane.finish(false, 1);
    assert!(status.success(), "{said}");
    let audit = lane.audit("unharmed");
    assert!(audit.count("pump_1", "dispense").done >= 4, "{audit:?}");
    assert_eq!(audit.count("light_1", "light").effects, 1, "{audit:?}");
    let (history, effects) = (lane.history().unwrap(), lane.effects_since());
    let dose = effects.iter().position(|e| e["effect"] == "dispense").unwrap();
    let mut doubled = effects.clone();
    doubled.push(effects[dose].clone());
    assert!(!Audit::of(&history, &doubled).wrong().is_empty());
    assert!(second_opinion(&lane, &effects));
    assert!(!second_opinion(&lane, &doubled));
    let mut missing = effects.clone();
    missing.remove(dose);
    assert!(!Audit::of(&history, &missing).wrong().is_empty());
    assert!(!second_opinion(&lane, &missing));
    let mut lit = effects.clone();
    lit.push(effects.iter().find(|e| e["effect"] == "light").unwrap().clone());
    assert!(!Audit::of(&history, &lit).wrong().is_empty());
    lane.clear();
}
