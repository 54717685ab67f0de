//! Prints what the examples search for, computed without noise:
//! `cargo run --release -p labloop-simulators --example optimum`.

use labloop_simulators::{chemistry, light};

fn main() {
    let ([celsius, seconds, ratio], best) = chemistry::optimum();
    println!(
        "flow-synthesis: {:.2} % yield at {celsius:.1} degC, {seconds:.1} s, ratio {ratio:.3}",
        100.0 * best
    );
    let target = light::spectrum([20.0, 120.0, 200.0]).map(|(_, counts)| counts.round() + 12.0);
    println!("light-mixing: R 20, G 120, B 200 show {target:?}");
}
