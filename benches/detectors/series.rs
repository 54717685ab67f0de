//! Runs the signal detectors over a public series: lines of `seconds,value`.

use labloop::diagnostics::detect::*;

/// `FILE LEARN_BLOCKS`: prints the onset of each symptom as `row kind sentence`.
pub fn show(args: &[String]) {
    let text = std::fs::read_to_string(&args[0]).unwrap();
    let rows: Vec<(f64, f64)> = text
        .lines()
        .filter_map(|line| {
            let (t, v) = line.split_once(',')?;
            Some((t.trim().parse().ok()?, v.trim().parse().ok()?))
        })
        .collect();
    let step = (rows[rows.len() - 1].0 - rows[0].0) / (rows.len() - 1) as f64;
    let mut stuck = Stuck::new(StuckSettings::default()).unwrap();
    let mut spike =
        Spike::new(SpikeSettings { hold_s: 20.0 * step, ..Default::default() }).unwrap();
    let mut noise =
        Noise::new(NoiseSettings { learn_blocks: 8, gap_s: 20.0 * step, ..Default::default() })
            .unwrap();
    let mut drift = Drift::new(DriftSettings {
        block_s: 0.9 * step,
        gap_s: 40.0 * step,
        learn_blocks: 48,
        ..Default::default()
    })
    .unwrap();
    let mut on = [false; 4];
    for (row, (t, v)) in rows.iter().enumerate() {
        let sample = Sample::good((t * 1e9) as u64 + 1, *v);
        let levels =
            [stuck.push(sample), spike.push(sample), noise.push(sample), drift.push(sample)];
        for (k, level) in levels.iter().enumerate() {
            if let (Level::Present(symptom), false) = (level, on[k]) {
                println!("{row} {:?} {}", symptom.kind, symptom.sentence("it", "u"));
            }
            on[k] = level.is_present();
        }
    }
}
