//! How soon after a move of the set point `Steady` says steady, and whether it was right.

use crate::bank::{Bank, band};
use crate::world::{INSTRUMENTS, World};

pub fn table(seeds: std::ops::Range<u64>) {
    println!("\nSteady state: moves of the set point over a week\n");
    println!(
        "| instrument | moves | still over a tenth of the step off | median time to steady | time constant |"
    );
    println!("|---|---|---|---|---|");
    for n in INSTRUMENTS.iter().filter(|n| n.peak.0 == 0.0) {
        let (mut moves, mut early, mut times) = (0, 0, Vec::new());
        for seed in seeds.clone() {
            let mut world = World::new(*n, seed * 31 + 9);
            let mut bank = Bank::new(n).unwrap();
            let mut waiting: Option<(f64, f64)> = None;
            let mut before = world.step();
            for _ in 0..(7.0 * 86400.0 * n.rate_hz) as u64 {
                let s = world.step();
                let t = s.at as f64 * 1e-9;
                if s.moved {
                    moves += 1;
                    waiting = Some((t, (s.set_point - before.set_point).abs()));
                }
                let steady = bank.see(Some(10), n, &s)[10].is_present();
                if let (Some((from, step)), true) = (waiting, steady) {
                    let off = (s.value - s.set_point).abs();
                    early += u32::from(off > (0.1 * step).max(band(n)));
                    times.push(t - from);
                    waiting = None;
                }
                before = s;
            }
        }
        times.sort_by(f64::total_cmp);
        println!(
            "| {} | {moves} | {early} | {:.0} s | {:.0} s |",
            n.name,
            times.get(times.len() / 2).unwrap_or(&f64::NAN),
            n.tau_s
        );
    }
}
