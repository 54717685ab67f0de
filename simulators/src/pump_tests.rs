use super::*;

fn pump(address: u8) -> Pump {
    let mut pump = Pump::new("pump", address);
    say(&mut pump, "", 0.0);
    pump
}

/// Sends one request in basic mode; the data of the answer.
fn say(pump: &mut Pump, command: &str, now: f64) -> String {
    exchange(pump, command, Framing::Basic, now).0
}

fn exchange(pump: &mut Pump, command: &str, framing: Framing, now: f64) -> (String, Vec<Effect>) {
    let mut effects = Vec::new();
    let frame = Frame { address: pump.address, command: command.into(), framing, intact: true };
    let bytes = pump.request(&frame, now, &mut effects).unwrap();
    let data = match pump.framing() {
        Framing::Basic => &bytes[1..bytes.len() - 1],
        Framing::Safe => &bytes[2..bytes.len() - 3],
    };
    (String::from_utf8(data.to_vec()).unwrap(), effects)
}

#[track_caller]
fn ask(pump: &mut Pump, command: &str, expect: &str) -> Option<Effect> {
    let now = pump.now;
    let (answer, mut effects) = exchange(pump, command, Framing::Basic, now);
    assert_eq!(answer, expect, "to {command:?}");
    effects.pop()
}

#[test]
fn the_alarm_replaces_the_first_answer_after_power_up_and_the_request_is_not_executed() {
    let mut pump = Pump::new("p", 0);
    ask(&mut pump, "DIA14.43", "00A?R");
    ask(&mut pump, "DIA", "00S20.00");
    ask(&mut pump, "", "00S");
}

#[test]
fn a_volume_is_dispensed_at_its_rate_and_counted() {
    let mut pump = pump(1);
    for command in ["DIA14.57", "VOLML", "VOL 0.500", "RAT 1.000 MM", "DIRINF"] {
        ask(&mut pump, command, "01S");
    }
    let effect = ask(&mut pump, "RUN", "01I").unwrap();
    assert_eq!((effect.effect, effect.detail["volume_ml"]), ("dispense", 0.5));
    pump.advance(12.0);
    ask(&mut pump, "DIS", "01II0.200W0.000ML");
    assert_eq!(pump.flow(), 1.0);
    pump.advance(30.001);
    ask(&mut pump, "", "01S");
    ask(&mut pump, "DIS", "01SI0.500W0.000ML");
    assert_eq!(pump.flow(), 0.0);
    ask(&mut pump, "CLDINF", "01S");
    ask(&mut pump, "DIS", "01SI0.000W0.000ML");
}

#[test]
fn the_phases_of_its_program_may_be_set_while_it_stands_still() {
    let mut pump = pump(0);
    for command in ["PHN2", "FUNSTP", "PHN1", "FUNRAT", "VOL1.0", "RAT6.0MM", "DIRINF"] {
        ask(&mut pump, command, "00S");
    }
    ask(&mut pump, "PHN99", "00S?OOR");
    ask(&mut pump, "RUN", "00I");
    ask(&mut pump, "PHN2", "00I?NA");
}

#[test]
fn stop_pauses_first_and_run_resumes_the_rest_of_the_volume() {
    let mut pump = pump(0);
    for command in ["VOL1.0", "RAT6.0MM", "DIRWDR"] {
        ask(&mut pump, command, "00S");
    }
    ask(&mut pump, "RUN", "00W");
    pump.advance(4.0);
    ask(&mut pump, "STP", "00P");
    pump.advance(60.0);
    let rest = ask(&mut pump, "RUN", "00W").unwrap();
    assert!((rest.detail["volume_ml"] - 0.6).abs() < 1e-12);
    pump.advance(67.0);
    ask(&mut pump, "DIS", "00SI0.000W1.000ML");
    ask(&mut pump, "RUN", "00W");
    ask(&mut pump, "STP", "00P");
    ask(&mut pump, "STP", "00S");
    assert_eq!(ask(&mut pump, "STP", "00S"), None);
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    let mut pump = pump(0);
    ask(&mut pump, "RUN", "00S?NA"); // no rate yet
    ask(&mut pump, "FOO", "00S?");
    ask(&mut pump, "X", "00S?");
    ask(&mut pump, "DIA99", "00S?OOR");
    ask(&mut pump, "DIA14.57", "00S");
    ask(&mut pump, "RAT8.6MM", "00S?OOR"); // 14.57 mm allows 8.50 mL/min
    ask(&mut pump, "RAT8.5MM", "00S");
    ask(&mut pump, "RAT1e3MM", "00S?");
    ask(&mut pump, "VOL12345", "00S?OOR");
    ask(&mut pump, "RUN", "00I");
    for command in ["RUN", "VOL1", "DIRWDR", "CLDINF", "DIA20", "RAT5UM"] {
        ask(&mut pump, command, "00I?NA");
    }
    ask(&mut pump, "RAT2.000MM", "00I");
}

#[test]
fn numbers_are_cut_after_four_digits_and_three_decimals_without_a_word() {
    for (text, value) in
        [("12.345", 12.34), ("0.12345", 0.123), ("1234.5", 1234.0), (".5", 0.5), ("7.", 7.0)]
    {
        assert_eq!(parse_number(text), Ok(value), "{text}");
    }
    for text in ["", ".", "-1", "1.2.3", "1,5"] {
        assert_eq!(parse_number(text), Err("?"), "{text}");
    }
    for (value, text) in [(0.5, "0.500"), (14.57, "14.57"), (9.9996, "10.00"), (1234.4, "1234.")] {
        assert_eq!(four_digits(value), text);
    }
}

#[test]
fn a_small_syringe_counts_in_microlitres_unless_told_otherwise() {
    let mut pump = pump(0);
    ask(&mut pump, "DIA4.610", "00S");
    ask(&mut pump, "VOL250.0", "00S");
    ask(&mut pump, "VOL", "00S250.0UL");
    ask(&mut pump, "DIS", "00SI0.000W0.000UL");
    ask(&mut pump, "VOLML", "00S");
    ask(&mut pump, "VOL", "00S0.250ML");
}

#[test]
fn an_empty_syringe_stalls_the_motor() {
    let mut pump = pump(0);
    pump.fit_syringe(0.25);
    ask(&mut pump, "RAT1.0MM", "00S");
    ask(&mut pump, "RUN", "00I");
    pump.advance(20.0);
    assert_eq!(pump.flow(), 0.0);
    ask(&mut pump, "DIS", "00A?S");
    ask(&mut pump, "DIS", "00SI0.250W0.000ML");
}

#[test]
fn silence_longer_than_the_watchdog_stops_the_pump() {
    let mut pump = pump(0);
    ask(&mut pump, "RAT1.0MM", "00S");
    let armed = exchange(&mut pump, "SAF5", Framing::Safe, 0.0).0;
    assert_eq!((armed.as_str(), pump.framing()), ("00S", Framing::Safe));
    assert_eq!(exchange(&mut pump, "RUN", Framing::Basic, 0.0).0, "00S?COM");
    assert_eq!(exchange(&mut pump, "RUN", Framing::Safe, 0.0).0, "00I");
    assert_eq!(exchange(&mut pump, "", Framing::Safe, 4.9).0, "00I");
    assert_eq!(pump.next_change(), Some(9.9));
    pump.advance(20.0);
    assert_eq!((pump.flow(), pump.framing()), (0.0, Framing::Basic));
    ask(&mut pump, "DIS", "00A?T");
    ask(&mut pump, "DIS", "00SI0.165W0.000ML"); // 9.9 s at 1 mL/min
}

#[test]
fn a_request_for_another_pump_gets_no_answer_and_a_damaged_one_changes_nothing() {
    let mut pump = pump(7);
    let mut effects = Vec::new();
    let other = bus::basic("1RUN").unwrap();
    assert_eq!(pump.request(&other, 0.0, &mut effects), None);
    let frame = Frame { intact: false, framing: Framing::Safe, ..bus::basic("7RAT1.0MM").unwrap() };
    assert_eq!(pump.request(&frame, 0.0, &mut effects).unwrap(), b"\x0207S?COM\x03");
    ask(&mut pump, "RUN", "07S?NA");
}
