//! What is run: real protocols through the public compiler, some written, some made from a seed.
//!
//! Every effect class, block, kind of error policy and wait of the language stands in one of them.
//! Steps named `grip` and `free` stand first and last in a block that holds its instruments: what
//! another run sends in between shows that the hold was broken.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use labloop::compiler::graph::{Graph, NodeKind};
use labloop::compiler::{self, Bundle};

use super::rng::Rng;

/// Instruments of the lab.
pub const UNITS: [&str; 3] = ["unit_a", "unit_b", "unit_c"];
/// How many protocols are made from seeds, beside those written here.
pub const GENERATED: u64 = 36;
/// Longest time from a command to the beginning of its effect that the definition admits, and so the
/// settle time of its witnesses. In seconds.
pub const SETTLE_S: u64 = 5;

const LAB: &str = "schema: labloop/lab/v1
name: simulation
instruments:
  unit_a: {use: sim-unit, at: \"serial:/dev/a\", plays: [a, stand_in]}
  unit_b: {use: sim-unit, at: \"serial:/dev/b\", plays: [b, stand_in]}
  unit_c: {use: sim-unit, at: \"serial:/dev/c\", plays: [c]}
";

const UNIT: &str = "schema: labloop/instrument/v1
name: sim-unit
type: sim_unit
vendor: nobody
doc: One action of every effect class.
connection:
  serial: {baud: 9600, frame: 8N1}
  send_end: \"\\r\"
  reply: {end: \"\\r\"}
  reply_timeout: 500 ms
properties:
  dosed: {unit: mL, ask: D, parse: \"{value:f}\"}
  position: {unit: mm, ask: P, parse: \"{value:f}\"}
  level: {unit: mm, ask: L, parse: \"{value:f}\", every: 5 s}
actions:
  set:
    args: {rate: {unit: mL/min, min: 0.1 mL/min, max: 10 mL/min}}
    do: [{send: \"S{rate:mL/min:4s3}\"}]
    effect: repeatable
    starts: [pumps]
    takes: {expected: 1 s, timeout: 10 s}
  grip: {do: [{send: G}], effect: repeatable, takes: {expected: 1 s, timeout: 10 s}}
  free: {do: [{send: F}], effect: repeatable, takes: {expected: 1 s, timeout: 10 s}}
  stop: {do: [{send: X}], effect: repeatable, stops: true, takes: {expected: 1 s, timeout: 10 s}}
  dose:
    args: {volume: {unit: mL, min: 0.1 mL, max: 10 mL}}
    do: [{send: \"V{volume:mL:4s3}\"}]
    effect: verifiable
    witness: {property: dosed, counts: volume, settle: 5 s, void_if: rebooted}
    starts: [pumps]
    takes: {expected: 4 s, timeout: 20 s}
    on_cancel: [{send: X}]
  move:
    args: {to: {unit: mm, min: 1 mm, max: 100 mm}}
    do: [{send: \"M{to:mm:4s3}\"}]
    effect: verifiable
    witness: {property: position, equals: to, settle: 5 s, void_if: rebooted}
    takes: {expected: 4 s, timeout: 20 s}
  inject: {do: [{send: I}], effect: once, takes: {expected: 2 s, timeout: 15 s}}
  measure:
    do: [{send: Q, parse: \"{value:f}\"}]
    returns: {unit: mm}
    effect: read
    takes: {expected: 2 s, timeout: 15 s}
safe_state: [{send: X}]
";

/// Of protocols that leave an instrument free to stand in for another.
const ROLES_FEWER: &str = "roles: {stand_in: {type: sim_unit}, c: {type: sim_unit}}\n";
const ROLES: &str = "roles: {a: {type: sim_unit}, b: {type: sim_unit}, c: {type: sim_unit}}\n";

/// Steps, `finally` and results of the written ones.
const WRITTEN: &[(&str, &str)] = &[
    (
        "plain",
        "steps:
  - {do: a.set, with: {rate: 2 mL/min}}
  - {do: a.dose, with: {volume: 2 mL}}
  - {do: b.inject}
  - {id: seen, do: c.measure}
finally: [{do: a.stop}]
results: {y: {value: \"${ steps.seen }\", unit: mm}}
",
    ),
    (
        "retried",
        "steps:
  - {do: a.dose, with: {volume: 3 mL}, retry: {times: 2, wait: 5 s}}
  - {do: b.move, with: {to: 20 mm}, retry: {times: 3, wait: 1 s}, on_error: continue}
  - {id: seen, do: c.measure, retry: {times: 3, wait: 2 s, if: [timeout, bad_reply]}}
  - {do: a.dose, with: {volume: 1 mL}, on_error: invalid}
results: {y: {value: \"${ steps.seen }\", unit: mm}}
",
    ),
    (
        "side-by-side",
        "steps:
  - parallel:
      one: [{do: a.set, with: {rate: 1 mL/min}}, {do: a.dose, with: {volume: 2 mL}}]
      two: [{do: b.inject}, {id: seen, do: b.measure}]
      three: [{wait: 20 s}, {do: c.move, with: {to: 10 mm}}]
  - {id: last, do: a.measure}
finally:
  - parallel:
      x: [{do: a.stop}]
      y: [{do: b.stop}]
results:
  y: {value: \"${ steps.seen }\", unit: mm}
  z: {value: \"${ steps.last }\", unit: mm}
",
    ),
    (
        "rounds",
        "steps:
  - id: again
    repeat:
      max_times: 4
      until: loop.index >= 3
      steps:
        - {do: a.dose, with: {volume: 1 mL}}
        - {id: seen, do: b.measure}
  - id: each
    for_each: {n: [1, 2, 3]}
    steps:
      - {do: c.move, with: {to: \"${ n * 10 mm }\"}}
      - {id: there, do: c.measure}
results: {y: {value: \"${ steps.seen }\", unit: mm}}
",
    ),
    (
        "held",
        "steps:
  - id: kept
    hold: [a, b]
    steps:
      - {do: a.grip}
      - {do: a.set, with: {rate: 1 mL/min}}
      - {wait: 30 s}
      - {do: b.dose, with: {volume: 2 mL}}
      - {do: a.free}
  - {id: seen, do: c.measure}
finally: [{do: a.stop}, {do: b.stop}]
results: {y: {value: \"${ steps.seen }\", unit: mm}}
",
    ),
    (
        "held-crosswise",
        "steps:
  - id: kept
    hold: [b, c]
    steps:
      - {do: b.grip}
      - {do: c.inject}
      - {do: a.dose, with: {volume: 1 mL}}
      - {do: b.free}
  - id: more
    hold: [a]
    steps:
      - {do: a.grip}
      - {do: c.move, with: {to: 7 mm}}
      - {do: a.free}
",
    ),
    (
        "asks",
        "steps:
  - {do: a.inject, on_error: ask}
  - {do: b.dose, with: {volume: 2 mL}, on_error: ask}
  - {id: which, ask: Which way?, options: [left, right, invalid], timeout: 30 min, on_timeout: right}
  - if: steps.which == \"left\"
    then: [{do: c.dose, with: {volume: 1 mL}}]
    else: [{do: c.inject}]
  - {id: seen, do: c.measure, on_error: ask}
results: {y: {value: \"${ steps.seen }\", unit: mm}}
",
    ),
    (
        "mends",
        "steps:
  - do: a.dose
    with: {volume: 2 mL}
    on_error: {do: [{do: a.stop}, {do: b.dose, with: {volume: 2 mL}}]}
  - id: part
    on_error: continue
    steps:
      - {do: b.inject}
      - {do: b.move, with: {to: 30 mm}, retry: {times: 1, wait: 1 s}}
  - do: c.set
    with: {rate: 5 mL/min}
    on_error: {do: [{do: c.stop}]}
  - {id: seen, do: c.measure}
finally: [{do: a.stop}, {do: b.stop}, {do: c.stop}]
results: {y: {value: \"${ steps.seen }\", unit: mm}}
",
    ),
    (
        "waits",
        "steps:
  - {do: a.set, with: {rate: 3 mL/min}}
  - {wait_until: roles.a.level > 5 mm, stable_for: 20 s, timeout: 10 min}
  - {wait: 2 min}
  - {do: b.dose, with: {volume: 2 mL}, within: 30 s, on_error: continue}
  - {wait_until: roles.b.level >= 0 mm, timeout: 5 min, on_error: continue}
  - {id: seen, do: b.measure}
finally: [{do: a.stop}]
results: {y: {value: \"${ steps.seen }\", unit: mm}}
",
    ),
    (
        "limits",
        "steps:
  - parallel:
      one: [{do: a.set, with: {rate: 1 mL/min}}]
      two: [{do: b.set, with: {rate: 1 mL/min}}]
    start_together: 1 s
  - {do: c.inject, within: 60 s}
  - {id: seen, do: a.measure, within: 5 min, on_error: ask}
  - {id: mean, analyse: summary, with: {of: \"${ [1, 2, 3] }\"}}
finally:
  - {do: a.stop}
  - {do: b.stop}
results: {y: {value: \"${ steps.seen }\", unit: mm}}
",
    ),
    (
        "long",
        "steps:
  - {do: a.set, with: {rate: 1 mL/min}}
  - {wait: 3 h}
  - {do: a.dose, with: {volume: 1 mL}, on_error: ask}
  - {wait: 1 h}
  - {id: seen, do: a.measure, retry: {times: 5, wait: 1 min}}
finally: [{do: a.stop}, {do: a.move, with: {to: 1 mm}}]
results: {y: {value: \"${ steps.seen }\", unit: mm}}
",
    ),
    (
        "block-again",
        "steps:
  - id: part
    on_error: ask
    steps:
      - {do: a.dose, with: {volume: 1 mL}}
      - {do: b.inject}
      - {id: seen, do: b.measure}
  - {do: c.dose, with: {volume: 1 mL}}
results: {y: {value: \"${ steps.seen }\", unit: mm}}
",
    ),
    (
        "stand-in",
        "steps:
  - {wait: 1 s}
  - {do: stand_in.dose, with: {volume: 2 mL}, retry: {times: 1, wait: 2 s}, on_error: fallback}
  - {do: c.inject, within: 2 min, on_error: ask}
  - {id: seen, do: c.measure}
results: {y: {value: \"${ steps.seen }\", unit: mm}}
",
    ),
    (
        "stand-in-once",
        "steps:
  - {do: stand_in.inject, on_error: fallback}
  - {id: seen, do: c.measure, within: 1 min}
results: {y: {value: \"${ steps.seen }\", unit: mm}}
",
    ),
    ("short", "steps:\n  - {do: a.dose, with: {volume: 1 mL}}\n"),
    ("once", "steps:\n  - {do: c.inject}\n  - {do: c.inject}\n"),
];

/// A protocol, ready to run.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// For the story.
    pub name: String,
    /// Text it was compiled from.
    pub text: String,
    /// Compiled.
    pub graph: Arc<Graph>,
}

impl Recipe {
    /// Results and the steps they are the values of, by the text.
    pub fn results(&self) -> Vec<(String, String)> {
        let (_, results) = self.text.split_once("results:").unwrap_or_default();
        results
            .split("{value: \"${ steps.")
            .zip(results.split("{value: \"${ steps.").skip(1))
            .map(|(before, after)| {
                let name = before.trim_end().trim_end_matches(':');
                let name = name.rsplit([' ', '\n', '{']).next().unwrap_or_default();
                let step = after.split(' ').next().unwrap_or_default();
                (name.to_owned(), step.to_owned())
            })
            .collect()
    }
}

/// All recipes: the written ones first.
pub fn pool() -> Vec<Recipe> {
    let written = WRITTEN.iter().map(|(name, body)| ((*name).to_owned(), (*body).to_owned()));
    let made = (0..GENERATED).map(|seed| (format!("made-{seed}"), made(seed)));
    written.chain(made).map(|(name, body)| recipe(name, &body)).collect()
}

/// The same with a planted defect in every graph.
pub fn spoilt(pool: &[Recipe], spoil: impl Fn(&mut NodeKind)) -> Vec<Recipe> {
    let mut pool = pool.to_vec();
    for recipe in &mut pool {
        let graph = Arc::make_mut(&mut recipe.graph);
        graph.nodes.iter_mut().for_each(|node| spoil(&mut node.kind));
    }
    pool
}

/// Compiles one protocol for the lab of three units.
pub fn recipe(name: String, body: &str) -> Recipe {
    let roles = if body.contains("stand_in") { ROLES_FEWER } else { ROLES };
    let text = format!("schema: labloop/protocol/v1\nname: {name}\n{roles}{body}");
    let kept = serde_json::json!({
        "document": "p.yaml",
        "lab": "lab.yaml",
        "uses": {"sim-unit": "unit.yaml"},
        "texts": {"p.yaml": text, "lab.yaml": LAB, "unit.yaml": UNIT},
    });
    let bundle = Bundle::from_kept(&kept.to_string()).expect("a bundle");
    let shown = |report: &labloop::spec::Report| {
        let texts: Vec<String> = report.diagnostics.iter().map(|d| format!("{d:?}")).collect();
        format!("{name}\n{text}\n{}", texts.join("\n"))
    };
    assert!(!bundle.report.has_errors(), "{}", shown(&bundle.report));
    let checked = compiler::compile(compiler::Request {
        sources: &bundle.sources,
        protocol: bundle.protocol.as_deref().expect("a protocol"),
        lab: bundle.lab.as_deref().expect("a lab"),
        definitions: &bundle.definitions,
        protocols: &bundle.protocols,
        pins: &[],
        parameters: &BTreeMap::new(),
        ranges: &BTreeMap::new(),
    });
    assert!(!checked.report.has_errors(), "{}", shown(&checked.report));
    let graph = Arc::new(checked.value.expect("a graph"));
    Recipe { name, text, graph }
}

/// A protocol made from a seed: random steps in random blocks, at most two deep.
fn made(seed: u64) -> String {
    let mut maker = Maker { rng: Rng::new(seed, 0x7072_6F74), text: String::new(), steps: 0 };
    maker.text.push_str("steps:\n");
    for _ in 0..maker.rng.between(2, 5) {
        maker.step(1, 0, &["a", "b", "c"]);
    }
    maker.line(1, "- {id: last, do: c.measure, retry: {times: 2, wait: 3 s}}");
    if maker.rng.permille(700) {
        maker.text.push_str("finally:\n");
        for role in ["a", "b", "c"] {
            if maker.rng.permille(600) {
                maker.line(1, &format!("- {{do: {role}.stop}}"));
            } else {
                maker.line(1, &format!("- {{do: {role}.measure}}"));
            }
        }
    }
    maker.text.push_str("results: {y: {value: \"${ steps.last }\", unit: mm}}\n");
    maker.text
}

struct Maker {
    rng: Rng,
    text: String,
    steps: u32,
}

impl Maker {
    fn line(&mut self, depth: usize, line: &str) {
        writeln!(self.text, "{}{line}", "  ".repeat(depth)).expect("memory");
    }

    /// One step with the instruments it may use. Branches of a parallel block share none.
    fn step(&mut self, depth: usize, nested: u32, roles: &[&str]) {
        self.steps += 1;
        let n = self.steps;
        match self.rng.below(if nested < 2 { 16 } else { 10 }) {
            0..=8 => self.action(depth, roles),
            9 if self.rng.permille(400) => {
                let of = "${ [1, 2, 3] }";
                let line = format!("- {{analyse: summary, with: {{of: \"{of}\"}}}}");
                self.line(depth, &line);
            }
            9 => {
                let wait = *self.rng.pick(&["5 s", "40 s", "10 min"]);
                self.line(depth, &format!("- {{wait: {wait}}}"));
            }
            10 if roles.len() > 1 => {
                self.line(depth, "- parallel:");
                for (index, role) in roles.iter().enumerate() {
                    self.line(depth + 3, &format!("way_{n}_{index}:"));
                    for _ in 0..self.rng.between(1, 2) {
                        self.step(depth + 4, nested + 1, &[role]);
                    }
                }
            }
            11 => {
                let times = self.rng.between(1, 3);
                self.line(depth, "- repeat:");
                self.line(depth + 3, &format!("max_times: {times}"));
                self.line(depth + 3, "steps:");
                for _ in 0..self.rng.between(1, 2) {
                    self.step(depth + 4, nested + 1, roles);
                }
            }
            12 | 13 => {
                let role = *self.rng.pick(roles);
                self.line(depth, &format!("- id: kept_{n}"));
                self.line(depth + 1, &format!("hold: [{role}]"));
                self.line(depth + 1, "steps:");
                self.line(depth + 2, &format!("- {{do: {role}.grip}}"));
                for _ in 0..self.rng.between(1, 3) {
                    self.step(depth + 2, nested + 1, roles);
                }
                self.line(depth + 2, &format!("- {{do: {role}.free}}"));
            }
            14 => {
                let policy = *self.rng.pick(&["continue", "ask", "invalid", "fail"]);
                self.line(depth, &format!("- id: part_{n}"));
                self.line(depth + 1, &format!("on_error: {policy}"));
                self.line(depth + 1, "steps:");
                for _ in 0..self.rng.between(1, 3) {
                    self.step(depth + 2, nested + 1, roles);
                }
            }
            _ => {
                let text = format!(
                    "- {{id: asked_{n}, ask: Go on?, options: [yes_{n}, no_{n}], timeout: 20 min, \
                     on_timeout: yes_{n}}}"
                );
                self.line(depth, &text);
            }
        }
    }

    fn action(&mut self, depth: usize, roles: &[&str]) {
        let role = *self.rng.pick(roles);
        let tail = match self.rng.below(8) {
            0 => ", on_error: continue",
            1 => ", on_error: ask",
            2 => ", on_error: invalid",
            _ => "",
        };
        let retry = match self.rng.below(3) {
            0 => ", retry: {times: 2, wait: 4 s}",
            _ => "",
        };
        let volume = self.rng.between(1, 9);
        let line = match self.rng.below(10) {
            0..=3 => format!("- {{do: {role}.dose, with: {{volume: {volume} mL}}{retry}{tail}}}"),
            4 => format!("- {{do: {role}.move, with: {{to: {volume} mm}}{retry}{tail}}}"),
            5 | 6 => format!("- {{do: {role}.inject{tail}}}"),
            7 => format!("- {{do: {role}.set, with: {{rate: {volume} mL/min}}{retry}{tail}}}"),
            8 => format!("- {{do: {role}.measure{retry}{tail}}}"),
            _ => format!("- {{do: {role}.stop{tail}}}"),
        };
        self.line(depth, &line);
    }
}
