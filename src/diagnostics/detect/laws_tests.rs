//! Laws that hold for every detector, and one story for each.

use proptest::prelude::*;

use super::*;

const S: u64 = 1_000_000_000;

fn every() -> Vec<Box<dyn Detector>> {
    vec![
        Box::new(limit(0.0)),
        Box::new(
            Rate::new(RateSettings {
                rise_per_s: Some(1.0),
                fall_per_s: Some(1.0),
                window_s: 16.0,
                gap_s: 60.0,
            })
            .unwrap(),
        ),
        Box::new(Stuck::new(StuckSettings::default()).unwrap()),
        Box::new(Spike::new(SpikeSettings::default()).unwrap()),
        Box::new(Noise::new(NoiseSettings::default()).unwrap()),
        Box::new(
            Drift::new(DriftSettings { block_s: 5.0, learn_blocks: 20, ..Default::default() })
                .unwrap(),
        ),
        Box::new(control()),
        Box::new(Steady::new(SteadySettings::default()).unwrap()),
        Box::new(oscillation()),
        Box::new(
            Saturation::new(SaturationSettings {
                low: Some(-5.0),
                high: Some(5.0),
                margin: 0.0,
                hold_s: 0.0,
            })
            .unwrap(),
        ),
        Box::new(ReplyTime::new(ReplyTimeSettings::default()).unwrap()),
    ]
}

fn limit(on_delay_s: f64) -> Limit {
    Limit::new(LimitSettings {
        limit: 120.0,
        side: Side::Above,
        hysteresis: 2.0,
        on_delay_s,
        off_delay_s: 2.0,
    })
    .unwrap()
}

fn control() -> Control {
    let mut control = Control::new(ControlSettings {
        band: 1.0,
        gain: 1.0,
        gain_time_s: 30.0,
        excess_max: 60.0,
        overshoot: 0.05,
        lag_s: 10.0,
        gap_s: 60.0,
    })
    .unwrap();
    control.set_point(0, 50.0);
    control
}

fn oscillation() -> Oscillation {
    Oscillation::new(OscillationSettings {
        amplitude_min: 1.0,
        period_max_s: 300.0,
        period_min_s: 8.0,
        settle_s: 0.0,
        gap_s: 60.0,
    })
    .unwrap()
}

/// Repeatable noise between -0.5 and 0.5.
fn noise(n: u64) -> f64 {
    let mut x = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    x ^= x >> 29;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 32;
    (x >> 11) as f64 / (1u64 << 53) as f64 - 0.5
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -10.0..10.0f64,
        1 => Just(0.0),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::MAX), Just(-f64::MAX)],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn no_input_breaks_a_detector_and_equal_input_gives_equal_levels(
        input in prop::collection::vec((value(), 0u64..5, 0u8..40), 1..600),
    ) {
        for (mut a, mut b) in every().into_iter().zip(every()) {
            let mut at = 10 * S;
            for (value, step, special) in &input {
                at += step * S;
                match special {
                    0 => at = at.saturating_sub(7 * S),
                    1 => at += 10_000 * S,
                    2 => { a.moved(at); b.moved(at); }
                    _ => {}
                }
                let level = a.push(Sample::good(at, *value));
                prop_assert_eq!(level, a.level());
                prop_assert_eq!(format!("{level:?}"), format!("{:?}", b.push(Sample::good(at, *value))));
                if let Level::Learning { share } = level {
                    prop_assert!((0.0..=1.0).contains(&share));
                }
                if let Level::Present(symptom) = level {
                    prop_assert!(!symptom.sentence("it", "u").to_string().is_empty());
                }
            }
            let seen = a.intake();
            prop_assert_eq!(seen.taken + seen.backwards + seen.unusable, input.len() as u64);
        }
    }

    #[test]
    fn bad_nan_and_late_samples_change_no_level(cut in 1u64..2000) {
        for mut d in every() {
            for n in 0..cut {
                d.push(Sample::good(n * S + 1, noise(n)));
            }
            let level = d.level();
            d.push(Sample::good(cut * S + 1, f64::NAN));
            d.push(Sample { at: cut * S + 2, value: 1e9, quality: Quality::Bad });
            d.push(Sample::good(0, 1e9));
            prop_assert_eq!(d.level(), level);
            prop_assert_eq!(d.intake().backwards, 1);
        }
    }
}

#[test]
fn what_was_learnt_survives_a_restart() {
    for (mut d, mut fresh) in every().into_iter().zip(every()) {
        for n in 0..5000 {
            d.push(Sample::good(n * S + 1, 2.0 + noise(n)));
        }
        let Some(learnt) = d.learnt() else { continue };
        let text = serde_json::to_string(&learnt).unwrap();
        let learnt: Learnt = serde_json::from_str(&text).unwrap();
        assert!(fresh.restore(&learnt));
        let again = fresh.learnt().unwrap();
        let off = |a: f64, b: f64| (a - b).abs() / a.abs().max(1e-6);
        assert!(learnt.kind == Kind::Drift || off(learnt.centre, again.centre) < 1e-9);
        assert!(off(learnt.spread, again.spread) < 1e-9);
        assert_eq!(learnt.count, again.count);
        let wrong = Learnt { spread: f64::NAN, ..learnt };
        assert!(!fresh.restore(&wrong));
    }
}

#[test]
fn a_limit_crossed_at_the_first_sample_counts_at_once() {
    assert!(limit(0.0).push(Sample::good(1, 140.0)).is_present());
}

#[test]
fn a_limit_waits_for_its_delays_and_its_hysteresis() {
    let mut d = limit(3.0);
    let levels: Vec<bool> =
        [121.0, 119.0, 121.0, 122.0, 121.0, 121.0, 119.0, 117.0, 119.0, 117.0, 117.0, 117.0]
            .iter()
            .enumerate()
            .map(|(n, v)| d.push(Sample::good((n as u64 + 1) * S, *v)).is_present())
            .collect();
    assert_eq!(
        levels,
        [false, false, false, false, false, true, true, true, true, true, true, false]
    );
}

#[test]
fn a_step_is_no_spike_and_a_spike_is_found_one_sample_later() {
    let mut d = Spike::new(SpikeSettings::default()).unwrap();
    for n in 0..300 {
        let level = if n < 200 { 0.0 } else { 50.0 };
        assert!(!d.push(Sample::good(n * S + 1, level + noise(n))).is_present());
    }
    assert!(!d.push(Sample::good(300 * S + 1, 80.0)).is_present());
    assert!(d.push(Sample::good(301 * S + 1, 50.0)).is_present());
}

#[test]
fn a_signal_that_never_repeats_is_stuck_at_the_third_equal_reading() {
    let mut d = Stuck::new(StuckSettings::default()).unwrap();
    for n in 0..200 {
        d.push(Sample::good(n * S + 1, noise(n)));
    }
    assert_eq!(d.allowed(), 2);
    let levels: Vec<bool> =
        (200..203).map(|n| d.push(Sample::good(n * S + 1, 7.0)).is_present()).collect();
    assert_eq!(levels, [false, false, true]);
}

#[test]
fn a_value_that_ignores_its_actuator_is_stuck() {
    let settings = StuckSettings {
        actuator_move: 10.0,
        actuator_delay_s: 20.0,
        dead_band: 0.1,
        ..Default::default()
    };
    let mut d = Stuck::new(settings).unwrap();
    let mut first = None;
    for n in 0..100 {
        d.actuator(n * S + 1, if n < 50 { 0.0 } else { 30.0 });
        if d.push(Sample::good(n * S + 1, 25.0 + 0.05 * noise(n))).is_present() && first.is_none() {
            first = Some(n);
        }
    }
    assert!((69..=71).contains(&first.unwrap()));
}

#[test]
fn a_heater_that_does_nothing_loses_control_and_a_ramp_does_not() {
    let mut d = control();
    let first = (1..100).find(|n| d.push(Sample::good(n * S, 20.0)).is_present());
    assert_eq!(first, Some(31));
    let mut d = control();
    for n in 1..600u64 {
        let set_point = 50.0 + 0.2 * n as f64;
        d.set_point(n * S, set_point);
        // The response lags by ten seconds: two units, twice the band.
        assert!(!d.push(Sample::good(n * S, set_point - 2.0)).is_present(), "second {n}");
    }
}

#[test]
fn steady_is_said_after_a_step_has_faded_and_not_on_a_ramp() {
    let mut d = Steady::new(SteadySettings::default()).unwrap();
    let mut first = None;
    for n in 0..400 {
        let v = 10.0 * (1.0 - (-(n as f64) / 20.0).exp());
        if d.push(Sample::good(n * S + 1, v + 0.1 * noise(n))).is_present() && first.is_none() {
            first = Some(n);
        }
    }
    assert!((80..250).contains(&first.unwrap()), "{first:?}");
    for n in 400..800u64 {
        let level = d.push(Sample::good(n * S + 1, 10.0 + 0.1 * ((n - 400) as f64 + noise(n))));
        assert!(n < 420 || !level.is_present());
    }
}

#[test]
fn a_sine_is_an_oscillation_of_its_amplitude_and_period() {
    let mut d = oscillation();
    let mut last = Level::Quiet;
    for n in 0..600 {
        let v = 3.0 * (std::f64::consts::TAU * n as f64 / 40.0).sin();
        last = d.push(Sample::good(n * S + 1, v + noise(n)));
    }
    let Some(Symptom { evidence: Evidence::Oscillation { amplitude, period_s, .. }, .. }) =
        last.symptom()
    else {
        panic!("{last:?}")
    };
    assert!((amplitude - 3.0).abs() < 0.5 && (period_s - 40.0).abs() < 2.0);
}

#[test]
fn two_sensors_read_at_different_times_on_a_ramp_agree() {
    let mut d = Disagreement::new(DisagreementSettings {
        tolerance: 0.5,
        time_s: 0.0,
        learn: 0,
        on_delay_s: 0.0,
        gap_s: 60.0,
    })
    .unwrap();
    let mut parted = None;
    for n in 0..2000u64 {
        let t = n as f64 * 0.1;
        let off = if n >= 1000 { 1.0 } else { 0.0 };
        let at = n * S / 10 + 1;
        if n % 3 == 0 {
            d.first(Sample::good(at, 2.0 * t));
        }
        if n % 7 == 0 && d.second(Sample::good(at, 2.0 * t + off)).is_present() {
            parted.get_or_insert(n);
        }
    }
    let parted = parted.unwrap();
    assert!((1000..1035).contains(&parted), "{parted}");
}

#[test]
fn a_dead_line_is_found_at_the_third_failure() {
    let mut d = ErrorRate::new(ErrorRateSettings::default()).unwrap();
    for n in 0..1000 {
        assert!(!d.exchange(n * S, false).is_present());
    }
    let levels: Vec<bool> = (1000..1003).map(|n| d.exchange(n * S, true).is_present()).collect();
    assert_eq!(levels, [false, false, true]);
    assert!((1003..1400).any(|n| !d.exchange(n * S, false).is_present()));
}

#[test]
fn losses_every_half_minute_are_periodic_and_chance_ones_are_not() {
    let settings = PeriodicLossSettings { poll_s: 1.0, period_max_s: 900.0, limit: 14.0 };
    let mut d = PeriodicLoss::new(settings).unwrap();
    let mut level = Level::Quiet;
    for n in 0..40 {
        level = d.lost(n * 30 * S + S);
    }
    let period = level.symptom().unwrap().size;
    assert!((period - 30.0).abs() < 0.7, "{period}");
    let mut d = PeriodicLoss::new(settings).unwrap();
    for n in 0..200_000u64 {
        if noise(n) > 0.49 {
            assert!(!d.lost(n * S).is_present());
        }
    }
}

#[test]
fn a_clock_that_loses_a_second_in_an_hour_is_found() {
    let mut d = ClockSkew::new(ClockSettings::default()).unwrap();
    let mut level = Level::Quiet;
    for n in 0..1200u64 {
        let device = n as f64 * (1.0 - 1.0 / 3600.0);
        let delay = 0.01 + 0.05 * (0.5 + noise(n));
        level = d.message(n * S + (delay * 1e9) as u64, (device * 1e9) as i64);
    }
    let Some(Symptom { evidence: Evidence::ClockSkew { ppm, .. }, .. }) = level.symptom() else {
        panic!("{level:?}")
    };
    assert!((ppm - 277.8).abs() < 30.0, "{ppm}");
}

#[test]
fn a_leak_of_a_tenth_shows_in_the_volume_balance() {
    for (leak, found) in [(0.0, false), (0.1, true)] {
        let mut d = VolumeBalance::new(VolumeSettings {
            density: 1.0,
            density_uncertainty: 0.0,
            pump_uncertainty: 0.01,
            pump_offset: 0.0,
            weighing: 0.01,
            evaporation_max: 1e-5,
            underway_max: 0.05,
            gap_s: 60.0,
        })
        .unwrap();
        let mut any = false;
        for n in 0..600u64 {
            d.rate(Sample::good(n * S + 1, 0.05));
            let mass = 20.0 + 0.05 * (1.0 - leak) * n as f64;
            any |= d.mass(Sample::good(n * S + 1, mass)).is_present();
        }
        assert_eq!(any, found);
        assert!((d.pumped() - 0.05 * 599.0).abs() < 0.2);
    }
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let bad = SpikeSettings { threshold: f64::NAN, ..Default::default() };
    assert_eq!(
        Spike::new(bad).unwrap_err().to_string(),
        "`threshold` must be a finite number above zero"
    );
}
