//! Lowering: the examples of the language, and what must be refused.

use std::time::Duration;

use proptest::prelude::*;

use super::campaign::{Approve, Campaign, InDoubt, Range};
use super::instrument::{Done, EffectClass, Hazard, Instrument, Wire};
use super::lab::{InterlockAction, InterlockKind, Lab};
use super::protocol::{Protocol, StepKind};
use super::render::{self, Colour};
use super::*;

const PROTOCOL: &str = include_str!("tests/protocol.yaml");
const INSTRUMENT: &str = include_str!("tests/instrument.yaml");
const LAB: &str = include_str!("tests/lab.yaml");
const CAMPAIGN: &str = include_str!("tests/campaign.yaml");

fn source(text: &str) -> Sources {
    let mut sources = Sources::new();
    sources.add("t.yaml", text);
    sources
}

/// Lowers and shows what was found.
fn read<T>(text: &str, lower: fn(&SourceFile) -> Checked<T>) -> (Option<T>, String) {
    let sources = source(text);
    let checked = lower(sources.get(SourceId(0)).unwrap());
    (checked.value, render::text(&checked.report, &sources, Colour::Never))
}

fn good<T>(text: &str, lower: fn(&SourceFile) -> Checked<T>) -> T {
    let (value, shown) = read(text, lower);
    assert!(shown.is_empty(), "{shown}");
    value.unwrap()
}

/// Code, `line:column` and message of each finding.
fn found(text: &str) -> Vec<String> {
    let sources = source(text);
    let checked = lower(sources.get(SourceId(0)).unwrap());
    let line = |d: &Diagnostic| {
        let (_, at) = sources.locate(d.place.span).unwrap();
        format!("{} {}:{} {}", d.code, at.line, at.column, d.message)
    };
    checked.report.diagnostics.iter().map(line).collect()
}

#[test]
fn the_protocol_of_the_language_page_is_read_whole() {
    let protocol = good(PROTOCOL, Protocol::lower);
    assert_eq!(protocol.parameters.len(), 4);
    assert_eq!(protocol.derived.len(), 3);
    assert_eq!(protocol.roles.len(), 5);
    assert_eq!(protocol.steps.len(), 3);
    let StepKind::Do { role, action, with, .. } = &protocol.steps[0].kind else { panic!("a do") };
    assert_eq!((role.value.as_str(), action.value.as_str()), ("valve", "select"));
    let Written::Expression(port) = &with[0].value else { panic!("an expression") };
    let names = port.expr.places_of_names();
    let sources = source(PROTOCOL);
    let at = port.place(names[0].1.clone());
    assert_eq!(sources.get(SourceId(0)).unwrap().slice(at.range()), "params.catalyst");
    let StepKind::Parallel { branches, .. } = &protocol.steps[1].kind else { panic!("parallel") };
    assert!(branches[0].steps[0].retry.as_ref().is_some_and(|r| r.times.value == 2));
    assert!(matches!(branches[0].steps[1].kind, StepKind::WaitUntil { stable_for: Some(_), .. }));
    let StepKind::Group { hold, steps } = &protocol.steps[2].kind else { panic!("a group") };
    assert_eq!(hold.len(), 2);
    assert!(matches!(steps[0].kind, StepKind::Parallel { start_together: Some(_), .. }));
    assert!(matches!(steps[2].kind, StepKind::Repeat { until: Some(_), .. }));
    assert!(matches!(steps[3].kind, StepKind::ForEach { .. }));
    assert!(matches!(steps[5].kind, StepKind::If { .. }));
    assert_eq!(protocol.results.len(), 3);
    assert_eq!(protocol.finally.len(), 1);
}

#[test]
fn the_instrument_of_the_language_page_is_read_whole() {
    let pump = good(INSTRUMENT, Instrument::lower);
    assert!(matches!(&pump.connection.wire, Wire::Bytes(bytes) if bytes.send_end.value == "\r"));
    let dispense = pump.action("dispense").unwrap();
    assert_eq!(dispense.effect.value, EffectClass::Verifiable);
    let witness = dispense.witness.as_ref().unwrap();
    assert_eq!(witness.settle.value, Duration::from_millis(300));
    assert!(witness.void_if_rebooted);
    assert!(matches!(dispense.done, Some(Done::Poll { .. })));
    assert_eq!(pump.hazards(), [Hazard::Pumps]);
    assert!(pump.heartbeat.is_some() && pump.safe_state.is_some());
    assert_eq!(pump.examples[0].bytes[1].value, "\u{2}00S\u{3}");
}

#[test]
fn the_lab_of_the_language_page_is_read_whole() {
    // The page shows an emergency stop of an instrument it leaves out.
    let text = LAB.replace("places:", "  io_1: {use: io, at: \"null:\"}\nplaces:");
    let lab = good(&text, Lab::lower);
    assert_eq!(lab.instruments.len(), 4);
    let InterlockKind::Trip { actions, latch, held_for, .. } = &lab.interlocks[0].kind else {
        panic!("trips")
    };
    assert!(*latch && held_for.is_some());
    assert!(matches!(&actions[0], InterlockAction::SafeState(name) if name.value == "bath_1"));
    assert!(matches!(actions[1], InterlockAction::HoldUsers(_)));
    assert!(matches!(lab.interlocks[1].kind, InterlockKind::Forbid { .. }));
    assert_eq!(lab.places[1].batch_wait.as_ref().unwrap().value, Duration::from_secs(1200));
    assert!(lab.estop.is_some_and(|estop| estop.reset_by_operator));
    assert_eq!(lab.notify[0].severity.value, "critical");
}

#[test]
fn the_campaign_of_the_language_page_is_read_whole() {
    let campaign = good(CAMPAIGN, Campaign::lower);
    assert_eq!(campaign.space.len(), 4);
    assert!(matches!(campaign.space[1].range, Range::Interval { log: true, .. }));
    assert!(matches!(campaign.space[2].range, Range::Interval { step: Some(_), .. }));
    assert!(matches!(&campaign.space[3].range, Range::Options { values, .. } if values.len() == 2));
    assert!(campaign.objectives[0].maximize && !campaign.objectives[1].maximize);
    assert_eq!((campaign.in_doubt, campaign.approve), (InDoubt::Ask, Approve::Never));
    assert_eq!(campaign.stop.any.len(), 2);
    assert_eq!(campaign.budget.time.as_ref().unwrap().value, Duration::from_secs(5 * 86_400));
}

#[test]
fn all_mistakes_of_a_protocol_are_shown_at_once_in_file_order() {
    let text = "\
schema: labloop/protocol/v1
name: p
parameters:
  t: {unit: degC, min: 90 degC, max: 20 degC}
  r: {type: number, min: 1 s}
roles:
  pump: {type: syringe_pump}
steps:
  - {do: pump.start, with: {rate: 1 mL/min}, timout: 5 s}
  - wait: 5
  - wait_until: roles.pump.rate > 1
  - repeat: {until: true, steps: [{wait: 1 s}]}
  - {wait: 1 s, retry: {times: 2}}
  - {ask: Go on?, options: [a, b], timeout: 1 min, on_timeout: c}
  - if: 1 +
    then: []
";
    let expected = [
        "LL0207 4:24 exchange `min` and `max`",
        "LL0205 5:26 remove the unit from `min`: it is a plain number",
        "LL0105 9:46 write `timeout` instead of `timout`",
        "LL0201 10:11 add the unit to `wait`: 5 of what?",
        "LL0401 11:5 add a `timeout` to `wait_until`: say when to give up",
        "LL0402 12:5 add `max_times` to `repeat`: at most how many rounds?",
        "LL0420 13:17 remove `retry`: it has no meaning for `wait`",
        "LL0117 14:64 take one of the options on timeout, such as `a`",
    ];
    let found = found(text);
    assert_eq!(found.get(..8).unwrap_or_default(), expected, "{found:#?}");
    assert!(found[8].starts_with("LL0301 15:") && found[9].starts_with("LL0419 16:"), "{found:?}");
}

#[test]
fn an_error_inside_an_expression_points_into_the_yaml() {
    let cases = [
        ("        value: \"${ 1 ++* 2 }\"\n", "1 +"),
        ("        value: '${ it''s }'\n", "''"),
        ("        value: \"\\u00b5 ${ ) }\"\n", ")"),
        ("        value: >-\n          a long\n          ${ ) } text\n", ")"),
    ];
    for (line, near) in cases {
        let text = format!(
            "schema: labloop/protocol/v1\nname: p\nsteps: [{{wait: 1 s}}]\nresults:\n    x:\n{line}"
        );
        let sources = source(&text);
        let file = sources.get(SourceId(0)).unwrap();
        let checked = Protocol::lower(file);
        let first = &checked.report.diagnostics[0];
        assert_eq!(first.code, codes::EXPRESSION, "{line}");
        let start = text.find(line).unwrap() + line.find(near).unwrap();
        let at = first.place.span.start as usize;
        assert!(at.abs_diff(start) <= 3, "{line}: at {:?}", file.slice(at..text.len()));
    }
}

#[test]
fn a_document_of_another_kind_is_named_as_such() {
    let (_, shown) = read(LAB, Protocol::lower);
    assert!(shown.contains("error[LL0115]: give the path of a protocol: this file is a lab"));
    assert_eq!(
        found("schema: labloop/protocl/v1\nname: a\n"),
        ["LL0115 1:9 write `schema: labloop/protocol/v1`"]
    );
    assert!(
        found("name: a\n")[0].starts_with("LL0115 1:1 begin the file with `schema:` and one of")
    );
}

#[test]
fn a_definition_is_checked_against_its_type_its_wire_and_itself() {
    let base = INSTRUMENT;
    let cases = [
        ("safe_state: [{send: STP}]", "", "LL0511"),
        (
            "safe_state: [{send: STP}]",
            "safe_state: [{send: STP}]\nhold_state: [{publish: x, json: {}}]",
            "LL0514",
        ),
        (
            "safe_state: [{send: STP}]",
            "safe_state: [{send: STP}]\nhold_state: {do: [{send: STP}], confirm: dispensd > 1 mL}",
            "LL0302",
        ),
        (
            "    witness: {property: dispensed, counts: volume, settle: 300 ms, void_if: rebooted}\n",
            "",
            "LL0508",
        ),
        ("counts: volume", "counts: rate", "LL0510"),
        ("property: dispensed,", "property: dispensd,", "LL0315"),
        ("{send: RUN}]\n    effect: repeatable", "{send: RUN}]\n    effect: repeatabel", "LL0117"),
        ("    takes: {expected: 300 ms, timeout: 2 s}\n", "", "LL0515"),
        ("connection: {serial", "connection: {mqtt: {version: 5}, seril", "LL0105"),
        ("send_end: \"\\r\", ", "", "LL0518"),
        (
            "do: [{send: \"RAT {rate:mL/min:4s} MM\"}, {send: RUN}]\n    effect: repeatable",
            "do: [{publish: x, json: {}}]\n    effect: repeatable",
            "LL0514",
        ),
        (
            "timeout: \"${ 2 * args.volume / args.rate + 10 s }\"",
            "timeout: \"${ 2 * args.volume + 10 s }\"",
            "LL0303",
        ),
        ("args.volume / args.rate }", "args.volum / args.rate }", "LL0302"),
        (
            "rate: {unit: mL/min, min: 0.001 mL/min, max: 20 mL/min}",
            "speed: {unit: mL/min}",
            "LL0517",
        ),
        ("until: ready, every: 200 ms", "until: ready", "LL0523"),
        ("ask: DIS, parse: \"I{value:f}W{_:f}ML\", ", "", "LL0524"),
    ];
    for (from, to, code) in cases {
        assert!(base.contains(from), "{from}");
        let found = found(&base.replace(from, to));
        assert!(found.iter().any(|line| line.starts_with(code)), "{code}: {found:#?}");
    }
}

#[test]
fn a_register_without_base_type_or_order_is_refused() {
    let text = |register: &str| {
        format!(
            "schema: labloop/instrument/v1\nname: t\ntype: other\nconnection: {{modbus: {{}}, reply_timeout: 1 s}}\n\
             properties:\n  temperature: {{unit: degC, register: {register}}}\nexamples: []\n"
        )
    };
    assert_eq!(found(&text("{holding: 1, base: 0, type: i16, scale: 0.1, order: ABCD}")), [""; 0]);
    for (register, code, word) in [
        ("{holding: 1, type: i16, order: AB}", "LL0513", "`base`"),
        ("{holding: 1, base: 0, order: AB}", "LL0513", "`type`"),
        ("{holding: 1, base: 0, type: f32}", "LL0513", "`order`"),
        ("{holding: 1, base: 0, type: f32, order: AB}", "LL0513", "four bytes"),
        ("{holding: 0, base: 1, type: i16, order: AB}", "LL0513", "at least `base`"),
        ("{base: 0, type: i16, order: AB}", "LL0513", "which table"),
    ] {
        let found = found(&text(register));
        assert!(found.len() == 1 && found[0].starts_with(code), "{register}: {found:?}");
        assert!(found[0].contains(word), "{register}: {found:?}");
    }
}

#[test]
fn schemas_name_every_key_and_resolve_every_reference() {
    for kind in Kind::ALL {
        let schema = schema::schema(kind);
        let text = schema.to_string();
        assert_eq!(schema["properties"]["schema"]["const"], kind.schema());
        for reference in text.split("\"$ref\":\"#/$defs/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schema["$defs"][name].is_object(), "{name}");
        }
    }
    let protocol = schema::schema(Kind::Protocol).to_string();
    for word in ["wait_until", "stable_for", "start_together", "on_timeout", "max_times"] {
        assert!(protocol.contains(word), "{word}");
    }
}

/// Texts of the language page with some characters replaced: near misses of every kind.
fn damaged() -> impl Strategy<Value = String> {
    let page = prop::sample::select(vec![PROTOCOL, INSTRUMENT, LAB, CAMPAIGN]);
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<char>(), 0..4_u8), 1..6);
    (page, edits).prop_map(|(page, edits)| {
        let mut chars: Vec<char> = page.chars().collect();
        for (at, c, how) in edits {
            let at = at.index(chars.len());
            match how {
                0 => chars[at] = c,
                1 => chars.insert(at, c),
                2 => drop(chars.remove(at)),
                _ => {
                    let end = (at + 40).min(chars.len());
                    chars.drain(at..end);
                }
            }
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_damaged_document_makes_lowering_panic(text in damaged()) {
        let sources = source(&text);
        let file = sources.get(SourceId(0)).unwrap();
        let checked = lower(file);
        prop_assert!(checked.value.is_some() || checked.report.has_errors());
        render::text(&checked.report, &sources, Colour::Never);
        render::json(&checked.report, &sources);
    }
}

#[test]
fn a_written_value_is_read_as_what_another_document_wants() {
    let protocol = good(PROTOCOL, Protocol::lower);
    let temperature = protocol.parameter("temperature").unwrap();
    let catalyst = protocol.parameter("catalyst").unwrap();
    let show = |text: &str, spec: &ValueSpec| match literal::parse(text, spec) {
        Ok(value) => value.show(),
        Err(message) => message,
    };
    assert_eq!(
        literal::parse("60 degC", temperature).unwrap().as_quantity().unwrap().value,
        333.15
    );
    assert_eq!(
        show("130 degC", temperature),
        "choose `temperature` at most 120 degC (this is 130 degC)"
    );
    assert_eq!(
        show("60", temperature),
        "add the unit to `temperature`: 60 of what? (a number without a unit)"
    );
    assert_eq!(show("Pd-2", catalyst), "Pd-2");
    assert_eq!(show("Pd2", catalyst), "write `Pd-2` instead of `Pd2` (not one of the options)");
}

#[test]
fn a_file_with_a_mistake_on_every_line_is_read_in_time_and_its_findings_are_bounded() {
    let mut text = "schema: labloop/protocol/v1\nname: p\nsteps:\n".to_owned();
    for n in 0..40_000 {
        text.push_str(&format!("  - {{id: s{n}, wait: 1 s, after: [x{n}]}}\n"));
    }
    let sources = source(&text);
    let checked = Protocol::lower(sources.get(SourceId(0)).unwrap());
    assert_eq!(checked.report.count(Severity::Error), 1_001);
}

#[test]
fn a_long_chain_of_after_is_sorted_and_a_circle_in_it_is_found() {
    let chain = |last: &str| {
        let mut text = "schema: labloop/protocol/v1\nname: p\nsteps:\n".to_owned();
        text.push_str(&format!("  - {{id: s0, wait: 1 s{last}}}\n"));
        for n in 1..20_000 {
            text.push_str(&format!("  - {{id: s{n}, wait: 1 s, after: [s{}]}}\n", n - 1));
        }
        text
    };
    assert_eq!(found(&chain("")), [""; 0]);
    let found = found(&chain(", after: [s19999]"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("LL0413 4:"), "{found:?}");
}

#[test]
fn what_the_language_page_only_names_is_read_too() {
    let protocol = good(
        "\
schema: labloop/protocol/v1
name: more
unattended: forbidden
roles: {pump: {type: syringe_pump}, valve: {type: selector_valve, ports: [wash, waste]}}
steps:
  - id: rinse
    call: ../common/rinse.yaml
    with: {volume: 2 mL}
    roles: {rinse_pump: pump}
  - id: dose
    doc: One shot
    do: pump.dispense
    with: {volume: 1 mL, rate: 1 mL/min}
    consumes: {feed_a: 1 mL}
    expires: 2 h
    timeout: \"${ 2 * params.t }\"
    on_error: {do: [{log: \"dose failed at ${ run.elapsed }\"}, {do: pump.stop}]}
  - {id: rest, wait: 1 h 30 min, after: [rinse]}
  - {id: both, steps: [{do: pump.stop, on_error: continue}], after: [dose, rest], on_error: ask}
  - {for_each: {x: \"${ params.list }\"}, steps: [{log: \"${ loop.x }\"}]}
  - {repeat: {max_times: \"${ params.n }\", steps: [{wait: 0 s, within: 0 s}]}}
  - {if: params.n > 1, else: [{log: nothing}]}
",
        Protocol::lower,
    );
    assert_eq!(protocol.unattended.map(|u| u.value), Some(false));
    let kinds: Vec<&StepKind> = protocol.steps.iter().map(|step| &step.kind).collect();
    assert!(matches!(kinds[0], StepKind::Call { roles, .. } if roles[0].value.value == "pump"));
    let StepKind::Do { consumes, expires, .. } = kinds[1] else { panic!("a do") };
    let amount = consumes[0].value.expr.as_literal().unwrap().as_quantity().unwrap();
    assert!((amount.value - 1e-6).abs() < 1e-18, "{amount:?}");
    assert!(expires.is_some());
    assert_eq!(protocol.steps[1].children().count(), 2);
    assert!(matches!(protocol.steps[3].on_error, Some(protocol::OnErrorDecl::Ask(_))));
    assert!(matches!(kinds[4], StepKind::ForEach { values: Written::Expression(_), .. }));
    assert!(
        matches!(kinds[6], StepKind::If { then, otherwise, .. } if then.is_empty() && otherwise.len() == 1)
    );

    let lab = good(
        "\
schema: labloop/lab/v1
name: l
instruments:
  valve: {use: v, at: \"tcp://10.0.0.7:10001\", plays: [valve], ports: {wash: 3, waste: 4}}
  pump: {use: p, at: \"modbus+serial:/dev/ttyUSB0?unit=3\", limits: {start: {rate: {max: 2 mL/min}}}}
  cam: {use: c, at: \"mqtt://[::1]:1883/cam\", secret: file:/run/secrets/mqtt}
interlocks:
  - {id: all_off, trip_if: cam.smoke, action: safe_state all, latch: false}
  - {id: tell, trip_if: cam.warm, action: [alarm, abort: users]}
  - {id: closed, forbid: pump.*, when: cam.open}
estop: {input: cam.ok, reset: auto}
notify: {high: [\"command:/usr/bin/mail\"]}
simulation: {plant: snar-flow, seed: 7, wiring: {pump_a: pump}, settings: {dead_volume: 0.2 mL, noise: 0.01}}
",
        Lab::lower,
    );
    assert_eq!(lab.instruments[1].limits[0].argument.value, "rate");
    let InterlockKind::Forbid { action, .. } = &lab.interlocks[2].kind else { panic!("forbids") };
    assert_eq!(action.value, "*");
    assert_eq!(lab.simulation.unwrap().settings.len(), 2);

    let campaign = good(
        "\
schema: labloop/campaign/v1
name: c
protocol: p.yaml
roles: {pump: pump_1}
space:
  solvent: {options: [MeCN, DMF], descriptors: {MeCN: [37.5, 0.1], DMF: [36.7, 0.2]}}
  time: [1 min, 2 min]
fixed: {ratio: 1.5}
objectives: [{result: yield, goal: maximize}]
replicates: 2
on_failed_run: {count_as: nothing}
in_doubt: discard
budget: {time: 12 h}
approve: first_batch
",
        Campaign::lower,
    );
    assert!(campaign.on_failed_run.leave_out && campaign.in_doubt == InDoubt::Discard);
    assert!(
        matches!(&campaign.space[0].range, Range::Options { descriptors, .. } if descriptors.len() == 2)
    );
    assert_eq!(campaign.approve, Approve::FirstBatch);
}
