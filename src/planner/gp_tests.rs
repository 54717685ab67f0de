use super::*;

fn line(n: usize) -> Vec<Vec<f64>> {
    (0..n).map(|i| vec![i as f64 / (n.max(2) - 1) as f64]).collect()
}

fn fit(x: Vec<Vec<f64>>, y: &[f64]) -> Gp {
    let noise = vec![None; y.len()];
    let width = x[0].len();
    Gp::fit(x, y, &noise, &vec![Comparison::Difference; width], width).unwrap()
}

#[test]
fn a_smooth_function_is_predicted_between_its_points() {
    let f = |x: f64| (5.0 * x).sin();
    let x = line(9);
    let y: Vec<f64> = x.iter().map(|x| f(x[0])).collect();
    let gp = fit(x, &y);
    for i in 0..50 {
        let at = f64::from(i) / 49.0;
        let belief = gp.belief(&[at]);
        assert!((belief.mean - f(at)).abs() < 0.02, "{at}: {belief:?} {}", f(at));
        assert!((belief.mean - gp.mean(&[at])).abs() < 1e-9);
        assert!(belief.sd < 0.05);
    }
}

#[test]
fn noise_is_found_from_repeats() {
    let mut rng = super::super::sobol::random(5, 0);
    let x: Vec<Vec<f64>> = (0..60).map(|i| vec![f64::from(i / 6) / 9.0]).collect();
    let y: Vec<f64> = x
        .iter()
        .map(|x| 10.0 * (3.0 * x[0]).cos() + 0.7 * super::super::sobol::normal(&mut rng))
        .collect();
    let noise = fit(x, &y).noise_sd();
    assert!((0.5..1.0).contains(&noise), "{noise}");
}

#[test]
fn duplicates_constants_one_point_and_extreme_scales_are_fitted() {
    let same = fit(vec![vec![0.5]; 6], &[1.0, 1.0, 1.0, 1.2, 0.8, 1.0]);
    assert!((same.belief(&[0.5]).mean - 1.0).abs() < 0.1);
    let constant = fit(line(5), &[7.0; 5]).belief(&[0.3]);
    assert!((constant.mean - 7.0).abs() < 0.01 && constant.sd < 0.1);
    let zero = fit(line(4), &[0.0; 4]).belief(&[0.3]);
    assert!(zero.mean.abs() < 1e-6 && zero.sd.is_finite());
    let one = fit(line(1), &[-3.0]).belief(&[0.9]);
    assert!((one.mean + 3.0).abs() < 0.1 && one.sd.is_finite() && one.sd > 0.0);
    for size in [1e-150, 1e150] {
        let y: Vec<f64> = line(6).iter().map(|x| size * (1.0 + x[0])).collect();
        let belief = fit(line(6), &y).belief(&[0.5]);
        assert!((belief.mean / size - 1.5).abs() < 0.02, "{size}: {belief:?}");
        assert!(belief.sd > 0.0 && belief.sd < size);
    }
}

#[test]
fn a_point_left_out_is_predicted_as_by_a_process_without_it() {
    let x = line(7);
    let y: Vec<f64> = x.iter().map(|x| (4.0 * x[0]).sin() + 0.3 * x[0]).collect();
    let gp = fit(x.clone(), &y);
    let left_out = gp.left_out();
    let mut data = gp.data.clone();
    data.x.remove(3);
    data.y.remove(3);
    data.known_noise.remove(3);
    let without = Gp::with(data, gp.hyper.clone(), gp.shift, gp.scale).unwrap();
    let belief = without.belief(&x[3]);
    let noise = gp.scale * (NOISE_FLOOR + gp.hyper.noise.exp()).sqrt();
    assert!((belief.mean - left_out[3].0.mean).abs() < 1e-6);
    assert!((belief.sd.hypot(noise) - left_out[3].0.sd).abs() < 1e-6);
    assert!((left_out[3].1 - y[3]).abs() < 1e-12);
}

#[test]
fn believing_a_measurement_keeps_the_mean_and_shrinks_the_doubt() {
    let x = line(5);
    let y: Vec<f64> = x.iter().map(|x| (6.0 * x[0]).sin()).collect();
    let gp = fit(x, &y);
    let before = gp.belief(&[0.4]);
    let after = gp.believe(vec![0.4]).unwrap().belief(&[0.4]);
    assert!((after.mean - before.mean).abs() < 1e-3);
    assert!(after.sd < 0.6 * before.sd);
}
