//! Prints what the examples search for, computed without noise, and how it falls off around the best:
//! `cargo run --release -p labloop-simulators --example optimum`.

use std::io::{self, Write};

use labloop_simulators::chemistry::{BOX, noiseless_yield, optimum};
use labloop_simulators::light;

fn main() -> io::Result<()> {
    let ([celsius, seconds, ratio], best) = optimum();
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "flow-synthesis: {:.2} % yield at {celsius:.1} degC, {seconds:.1} s, ratio {ratio:.3}",
        100.0 * best
    )?;
    for (at, label) in [
        ([BOX[0].0, seconds, ratio], "coldest"),
        ([BOX[0].1, seconds, ratio], "hottest"),
        ([celsius, BOX[1].0, ratio], "shortest"),
        ([celsius, BOX[1].1, ratio], "longest"),
        ([celsius, seconds, BOX[2].0], "least amine"),
        ([celsius, seconds, BOX[2].1], "most amine"),
    ] {
        let [t, s, r] = at;
        writeln!(
            out,
            "  {:5.2} % at {t:.1} degC, {s:.1} s, ratio {r:.3} ({label})",
            100.0 * noiseless_yield(t, s, r)
        )?;
    }
    // Best of each face of the box: how far inside the optimum lies. Shares of the box near the top.
    let n = 24_u32;
    let at = |i: u32, (low, high): (f64, f64)| low + (high - low) * f64::from(i) / f64::from(n);
    let log_time = (BOX[1].0.ln(), BOX[1].1.ln());
    let (mut faces, mut near, mut all) = ([0.0_f64; 6], 0_u32, Vec::new());
    for i in 0..=n {
        for j in 0..=n {
            for k in 0..=n {
                let y = noiseless_yield(at(i, BOX[0]), at(j, log_time).exp(), at(k, BOX[2]));
                near += u32::from(y > 0.95 * best);
                all.push(y);
                for (face, on) in
                    faces.iter_mut().zip([i == 0, i == n, j == 0, j == n, k == 0, k == n])
                {
                    if on {
                        *face = face.max(y);
                    }
                }
            }
        }
    }
    all.sort_by(f64::total_cmp);
    let faces: Vec<String> = faces.iter().map(|y| format!("{:.1}", 100.0 * y)).collect();
    writeln!(
        out,
        "best on the faces (T low, high; time low, high; ratio low, high): {} %",
        faces.join(", ")
    )?;
    let median = all.get(all.len() / 2).copied().unwrap_or_default();
    writeln!(
        out,
        "median of the box {:.1} %; {:.1} % of it is within 5 % of the best",
        100.0 * median,
        100.0 * f64::from(near) / all.len() as f64
    )?;
    let target = light::spectrum([20.0, 120.0, 200.0]).map(|(_, counts)| counts.round() + 12.0);
    writeln!(out, "light-mixing: R 20, G 120, B 200 show {target:?}")
}
