//! Samples per second through each detector and through the bank, on one core.

use std::hint::black_box;
use std::time::Instant;

use labloop::diagnostics::detect::Level;

use crate::bank::{Bank, NAMES};
use crate::world::{INSTRUMENTS, Scene, World};

pub fn table() {
    println!("\nSamples per second on one core (quiet signal, best of three)\n");
    println!("| detector | million samples/s |\n|---|---|");
    let n = &INSTRUMENTS[1];
    let mut world = World::new(*n, 3);
    world.no_moves_from_s = 0.0;
    let scenes: Vec<Scene> = (0..500_000).map(|_| world.step()).collect();
    let best = |pass: &mut dyn FnMut()| {
        (0..3)
            .map(|_| {
                let start = Instant::now();
                pass();
                start.elapsed().as_secs_f64()
            })
            .fold(f64::INFINITY, f64::min)
    };
    let report = |name: &str, s: f64| println!("| {name} | {:.1} |", scenes.len() as f64 / s / 1e6);
    for (k, name) in NAMES.iter().enumerate() {
        let s = best(&mut || {
            let mut bank = Bank::new(n).unwrap();
            let mut hits = 0u32;
            for scene in &scenes {
                hits += u32::from(bank.see(Some(k), n, scene)[k].is_present());
            }
            black_box(hits);
        });
        report(name, s);
    }
    let s = best(&mut || {
        let mut bank = Bank::new(n).unwrap();
        let mut hits = 0u32;
        for scene in &scenes {
            let levels = bank.see(None, n, scene);
            hits += levels.iter().map(Level::is_present).map(u32::from).sum::<u32>();
        }
        black_box(hits);
    });
    report("all eleven together (two sensors)", s);
}
