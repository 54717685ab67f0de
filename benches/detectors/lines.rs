//! Faults of lines, clocks and volumes.

use labloop::diagnostics::detect::*;

use crate::world::Dice;

const NS: f64 = 1e9;
const FROM_S: f64 = 7200.0;

/// Time from onset to the symptom (s) and alarms before the onset, for one run.
type Found = (Option<f64>, u32);

#[derive(Clone, Copy)]
struct Run {
    seed: u64,
    size: f64,
    from_s: f64,
    end_s: f64,
    poll_s: f64,
}

fn watch(run: Run, mut step: impl FnMut(&mut Dice, f64, bool) -> Level) -> Found {
    let mut dice = Dice::new(run.seed);
    let (mut t, mut on, mut alarms, mut found) = (0.001, false, 0, None);
    while t < run.end_s && found.is_none() {
        let faulty = t >= run.from_s;
        let now = step(&mut dice, t, faulty).is_present();
        if now && !on {
            if faulty { found = Some(t - run.from_s) } else { alarms += 1 }
        }
        on = now;
        t += run.poll_s;
    }
    (found, alarms)
}

fn at(t: f64) -> u64 {
    (t * NS) as u64
}

fn errors(run: Run) -> Found {
    let mut d = ErrorRate::new(ErrorRateSettings::default()).unwrap();
    watch(run, |dice, t, bad| {
        let share = if bad { run.size } else { 0.002 };
        d.exchange(at(t), dice.even() < share)
    })
}

fn replies(run: Run) -> Found {
    let mut d = ReplyTime::new(ReplyTimeSettings::default()).unwrap();
    let mut slow = 0.0;
    watch(run, |dice, t, bad| {
        slow = 0.9 * slow + 0.1 * dice.normal();
        let tail = if dice.even() < 0.01 { 8.0 } else { 1.0 };
        let s = 0.02 * (0.25 * dice.normal() + 0.3 * slow).exp() * tail;
        d.push(Sample::good(at(t), s * if bad { run.size } else { 1.0 }))
    })
}

fn periodic(run: Run) -> Found {
    let mut d = PeriodicLoss::new(PeriodicLossSettings {
        poll_s: run.poll_s,
        period_max_s: 900.0,
        limit: 14.0,
    })
    .unwrap();
    let period = 20.0 + (run.seed % 50) as f64;
    let mut last = -1.0;
    watch(run, |dice, t, bad| {
        let mut lost = dice.even() < 0.005;
        if bad {
            let turn = (t / period + 0.1 * (1.0 - run.size) * dice.normal()).floor();
            if turn > last {
                last = turn;
                lost |= dice.even() < run.size;
            }
        }
        if lost { d.lost(at(t)) } else { d.tick(at(t)) }
    })
}

fn clock(run: Run) -> Found {
    let mut d = ClockSkew::new(ClockSettings::default()).unwrap();
    watch(run, |dice, t, bad| {
        let ppm = 20.0 + if bad { run.size } else { 0.0 };
        let mut device = t * (1.0 - 20e-6);
        if bad {
            device -= (t - run.from_s) * (ppm - 20.0) * 1e-6;
        }
        let delay = 0.005 - 0.02 * (1.0 - dice.even()).ln();
        d.message(at(t + delay.min(0.9 * run.poll_s)), (device * NS) as i64)
    })
}

fn jump(run: Run) -> Found {
    let mut d = ClockSkew::new(ClockSettings::default()).unwrap();
    watch(run, |dice, t, bad| {
        let device = t - if bad { run.size } else { 0.0 };
        let delay = 0.005 - 0.02 * (1.0 - dice.even()).ln();
        d.message(at(t + delay.min(0.9 * run.poll_s)), (device * NS) as i64)
    })
}

fn volume(run: Run) -> Found {
    let mut d = VolumeBalance::new(VolumeSettings {
        density: 0.998,
        density_uncertainty: 0.001,
        pump_uncertainty: 0.01,
        pump_offset: 0.02,
        weighing: 0.005,
        evaporation_max: 2e-5,
        underway_max: 0.05,
        gap_s: 30.0,
    })
    .unwrap();
    let (mut mass, mut seed_gain) = (100.0, None);
    watch(run, |dice, t, bad| {
        let gain = *seed_gain.get_or_insert(1.0 + 0.01 * dice.normal().clamp(-2.5, 2.5));
        // One delivery of ten minutes at 2 mL/min each half hour.
        let within = t % 1800.0;
        let rate = if within < 600.0 { 2.0 / 60.0 } else { 0.0 };
        if within < run.poll_s {
            d.start();
        }
        d.rate(Sample::good(at(t), rate));
        mass += run.poll_s * (gain * rate * if bad { 1.0 - run.size } else { 1.0 } - 1e-5) * 0.998;
        d.mass(Sample::good(at(t), ((mass + 0.004 * dice.normal()) / 0.001).round() * 0.001))
    })
}

pub fn table(seeds: std::ops::Range<u64>) {
    println!("\nLines, clocks, volumes\n");
    println!("| fault | size | found | median delay | worst delay | false alarms per week |");
    println!("|---|---|---|---|---|---|");
    type Make = fn(Run) -> Found;
    let rows: [(&str, Make, [f64; 3], f64, f64); 6] = [
        ("error rate", errors, [0.05, 0.2, 1.0], 1.0, 1800.0),
        ("reply time", replies, [1.7, 2.5, 5.0], 1.0, 1800.0),
        ("periodic loss", periodic, [0.8, 0.9, 1.0], 1.0, 5400.0),
        ("clock skew ppm", clock, [200.0, 500.0, 2000.0], 1.0, 3600.0),
        ("clock jump s", jump, [2.0, 10.0, 3600.0], 1.0, 1800.0),
        ("volume share lost", volume, [0.1, 0.3, 1.0], 1.0, 600.0),
    ];
    for (name, make, sizes, poll_s, window) in rows {
        let weeks = (seeds.end - seeds.start).min(4);
        let mut alarms = 0;
        for seed in seeds.start..seeds.start + weeks {
            let week = 7.0 * 86400.0;
            alarms +=
                make(Run { seed: seed + 77, size: 0.0, from_s: week + 1.0, end_s: week, poll_s }).1;
        }
        for size in sizes {
            let mut delays = Vec::new();
            for seed in seeds.clone() {
                let run = Run { seed, size, from_s: FROM_S, end_s: FROM_S + window, poll_s };
                delays.extend(make(run).0);
            }
            delays.sort_by(f64::total_cmp);
            println!(
                "| {name} | {size} | {}/{} | {:.0} s | {:.0} s | {:.2} |",
                delays.len(),
                seeds.end - seeds.start,
                delays.get(delays.len() / 2).unwrap_or(&f64::NAN),
                delays.last().unwrap_or(&f64::NAN),
                f64::from(alarms) / weeks as f64
            );
        }
    }
}
