//! Modbus against a program nobody here wrote: labloop's drivers and a pymodbus server, over TCP, RTU
//! and ASCII on a pair of terminals, and RTU through a socket. `modbus_masters.rs` is the other way
//! round.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod bench;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::{Bench, free_ports, peers, wait_for};
use labloop::driver::{self, Definition, Fleet, InstrumentSetup, Notice, Outcome};
use labloop::expr::Value;
use labloop::spec::Sources;
use labloop::wire::{Address, Clock, Dialer, Tick};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

/// A process that ends with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

/// Two terminals that are one line, by socat.
struct Line {
    _socat: Process,
    ours: PathBuf,
    theirs: PathBuf,
}

impl Line {
    fn new(folder: &Path) -> Line {
        let (ours, theirs) = (folder.join("ours"), folder.join("theirs"));
        let end = |path: &Path| format!("pty,raw,echo=0,link={}", path.display());
        let socat = Command::new("socat").args([end(&ours), end(&theirs)]).spawn();
        let socat = Process(socat.expect("socat is missing: run ./test once"));
        wait_for(&ours);
        wait_for(&theirs);
        Line { _socat: socat, ours, theirs }
    }
}

/// A pymodbus server.
struct Peer {
    _server: Process,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    _line: Option<Line>,
    /// Where labloop finds a unit of it.
    at: String,
}

impl Peer {
    fn start(bench: &Bench, wire: &str, units: &[u8], silent: &[u8], cases: &[Case]) -> Peer {
        let port = free_ports(1)[0];
        let mut line = None;
        let (at, place) = match wire {
            "tcp" => (format!("modbus+tcp://127.0.0.1:{port}"), port.to_string()),
            "rtu+tcp" => (format!("modbus+rtu+tcp://127.0.0.1:{port}"), port.to_string()),
            _ => {
                let made = line.insert(Line::new(bench.folder()));
                let at = format!("modbus+serial:{}", made.ours.display());
                (at, made.theirs.display().to_string())
            }
        };
        let mut server = Command::new(peers())
            .arg(script("modbus_server.py"))
            .args([wire, &place])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = server.stdin.take().unwrap();
        let answers = BufReader::new(server.stdout.take().unwrap());
        let mut peer = Peer { _server: Process(server), orders, answers, _line: line, at };
        let cases: Vec<Json> = cases.iter().map(Case::json).collect();
        let setup = json!({"units": units, "silent": silent, "cases": cases}).to_string();
        assert_eq!(peer.ask(&setup), "ready");
        peer
    }

    fn ask(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    }

    fn json(&mut self, order: &str) -> Json {
        serde_json::from_str(&self.ask(order)).unwrap()
    }

    /// Requests that a unit got with a function.
    fn requests(&mut self, unit: u8, function: u8) -> usize {
        let counts = self.json("counts");
        counts[format!("{unit}/{function}")].as_u64().unwrap_or(0) as usize
    }
}

/// One value in one register of the peer.
#[derive(Debug, Clone)]
struct Case {
    table: &'static str,
    at: usize,
    kind: &'static str,
    order: &'static str,
    value: Json,
}

const LENGTH: usize = 6;

impl Case {
    fn json(&self) -> Json {
        let mut case = json!({"table": self.table, "at": self.at, "value": self.value});
        if self.kind != "bool" {
            case["type"] = json!(self.kind);
            case["order"] = json!(self.order);
            case["length"] = json!(LENGTH);
        }
        case
    }

    fn register(&self, functions: &str) -> String {
        let kind = match self.kind {
            "bool" => String::new(),
            "string" => format!(", type: string, length: {LENGTH}, order: {}", self.order),
            kind => format!(", type: {kind}, order: {}", self.order),
        };
        format!("{{{}: {}, base: 0{kind}{functions}}}", self.table, self.at)
    }

    fn shape(&self) -> &'static str {
        match self.kind {
            "bool" => "bool",
            "string" => "text",
            _ => "number",
        }
    }

    /// What labloop must make of it.
    fn is(&self, found: &Value) -> bool {
        match (found, &self.value) {
            (Value::Quantity(found), Json::Number(value)) => found.value == value.as_f64().unwrap(),
            (Value::Text(found), Json::String(value)) => found.as_ref() == value.as_str(),
            (Value::Bool(found), Json::Bool(value)) => found == value,
            _ => false,
        }
    }
}

/// Every type in every order: the least, the greatest and one between.
fn cases() -> Vec<Case> {
    let two = ["AB", "BA"].as_slice();
    let four = ["ABCD", "CDAB", "BADC", "DCBA"].as_slice();
    let exact = 9_007_199_254_740_991_i64;
    let types: [(&'static str, &[&'static str], usize, [Json; 3]); 9] = [
        ("u16", two, 1, [json!(0), json!(258), json!(65535)]),
        ("i16", two, 1, [json!(-32768), json!(-2), json!(32767)]),
        ("u32", four, 2, [json!(1), json!(16_909_060), json!(4_294_967_295_u32)]),
        ("i32", four, 2, [json!(-2_147_483_648), json!(-305_419_896), json!(2_147_483_647)]),
        ("u64", four, 4, [json!(1), json!(72_623_859_790_382_i64), json!(exact)]),
        ("i64", four, 4, [json!(-exact), json!(-2), json!(exact)]),
        ("f32", four, 2, [json!(-1.5e-20), json!(78.2), json!(3.4e38)]),
        ("f64", four, 4, [json!(-1e-300), json!(0.1), json!(1.7e308)]),
        ("string", two, LENGTH, [json!("A"), json!("labloop 1"), json!("twelve chars")]),
    ];
    let mut all = Vec::new();
    let mut at = 100;
    for (kind, orders, length, values) in types {
        for order in orders {
            for value in &values {
                for table in ["holding", "input"] {
                    all.push(Case { table, at, kind, order, value: value.clone() });
                }
                at += length;
            }
        }
    }
    for (at, value) in [(3, true), (17, false), (100, true)] {
        for table in ["coil", "discrete"] {
            all.push(Case { table, at, kind: "bool", order: "", value: json!(value) });
        }
    }
    all
}

/// A definition that reads every case, and writes those that can be written: once by the usual
/// function and, where there is another, by that too.
fn definition(framing: &str, cases: &[Case]) -> Arc<Definition> {
    let mut text = format!(
        "schema: labloop/instrument/v1\nname: peer\ntype: test_peer\nconnection:\n  modbus: \
         {{framing: {framing}}}\n  serial: {{baud: 115200, frame: 8N1}}\n  reply_timeout: 400 ms\n\
         identify: [{{read: {{holding: 10, base: 0, type: u16, order: AB}}}}]\nsafe_state: []\n\
         examples: []\nproperties:\n  unit: {{type: int, register: {{holding: 10, base: 0, type: \
         u16, order: AB}}}}\n"
    );
    for code in EXCEPTIONS.map(|(code, ..)| code) {
        let at = 9000 + u16::from(code);
        writeln!(
            text,
            "  e{code}: {{type: int, register: {{holding: {at}, base: 0, type: u16, order: AB}}}}"
        )
        .unwrap();
    }
    for (number, case) in cases.iter().enumerate() {
        let (shape, register) = (case.shape(), case.register(""));
        writeln!(text, "  r{number}: {{type: {shape}, register: {register}}}").unwrap();
    }
    text.push_str("actions:\n");
    let mut action = |name: String, shape: &str, register: &str| {
        writeln!(text, "  {name}: {{args: {{v: {{type: {shape}}}}}, do: [{{write: {register}, value: \"${{ args.v }}\"}}], effect: repeatable, takes: {{timeout: 20 s}}}}").unwrap();
    };
    for code in EXCEPTIONS.map(|(code, ..)| code) {
        let at = 9000 + u16::from(code);
        let register = format!("{{holding: {at}, base: 0, type: u16, order: AB}}");
        action(format!("e{code}"), "number", &register);
    }
    for (number, case) in cases.iter().enumerate() {
        let other = match (case.table, case.kind) {
            ("holding", "u16" | "i16") => ", functions: {write: 6}",
            ("coil", _) => ", functions: {write: 15}",
            ("holding", _) => "",
            _ => continue,
        };
        action(format!("w{number}"), case.shape(), &case.register(""));
        if !other.is_empty() {
            action(format!("o{number}"), case.shape(), &case.register(other));
        }
    }
    let mut sources = Sources::new();
    let id = sources.add("peer.yaml".to_owned(), text.as_str());
    let checked = Definition::lower(sources.get(id).unwrap());
    assert!(!checked.report.has_errors(), "{:#?}\n{text}", checked.report);
    Arc::new(checked.value.unwrap())
}

/// Exceptions, and what a question and a command that get one must come to.
const EXCEPTIONS: [(u8, &str, &str); 9] = [
    (1, "refused", "NoEffect"),
    (2, "refused", "NoEffect"),
    (3, "refused", "NoEffect"),
    (4, "alarm", "Unknown"),
    (5, "busy", "Unknown"),
    (6, "busy", "NoEffect"),
    (8, "alarm", "Unknown"),
    (10, "link", "NoEffect"),
    (11, "timeout", "Unknown"),
];

/// labloop's side.
struct Lab {
    fleet: Fleet,
    notices: mpsc::Receiver<Notice>,
}

impl Lab {
    /// Instruments called `u1`, `u2`... at the units of a peer.
    fn start(peer: &Peer, definition: &Arc<Definition>, units: &[u8]) -> Lab {
        let setup = |unit: &u8| InstrumentSetup {
            name: format!("u{unit}"),
            definition: Arc::clone(definition),
            at: Address::parse(&format!("{}?unit={unit}", peer.at)).unwrap(),
            config: BTreeMap::new(),
            secret: None,
            trust: labloop::wire::Trust::default(),
        };
        let setups = units.iter().map(setup).collect();
        let (sender, notices) = mpsc::channel(4096);
        let clock = Clock::scaled(1.0, Tick(0));
        let fleet = Fleet::start(setups, clock, Dialer::real(), sender, 1).unwrap();
        Lab { fleet, notices }
    }

    async fn outcome(&mut self) -> Outcome {
        loop {
            if let Notice::Outcome { outcome, .. } = self.notices.recv().await.unwrap() {
                return outcome;
            }
        }
    }

    async fn read(&mut self, unit: u8, property: &str) -> Outcome {
        self.fleet.read("read", &format!("u{unit}"), property).unwrap();
        self.outcome().await
    }

    async fn write(&mut self, unit: u8, action: &str, value: &Json) -> Outcome {
        let value = match value {
            Json::Number(number) => Value::number(number.as_f64().unwrap()),
            Json::String(text) => Value::text(text),
            Json::Bool(on) => Value::Bool(*on),
            _ => panic!("{value}"),
        };
        let command = driver::Command {
            attempt: "write".to_owned(),
            instrument: format!("u{unit}"),
            action: action.to_owned(),
            args: BTreeMap::from([("v".to_owned(), value)]),
            deadline: Duration::from_secs(20),
        };
        self.fleet.send(command).unwrap();
        self.outcome().await
    }
}

fn found(outcome: &Outcome) -> &Value {
    match outcome {
        Outcome::Done { value: Some(value), .. } => value,
        _ => panic!("{outcome:?}"),
    }
}

fn failure(outcome: &Outcome) -> (&'static str, String) {
    match outcome {
        Outcome::Failed { kind, effect, .. } => (kind.as_str(), format!("{effect:?}")),
        Outcome::Done { .. } => panic!("{outcome:?}"),
    }
}

fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn same(written: &Json, found: &Json, kind: &str) -> bool {
    match kind {
        "f32" => written.as_f64().unwrap() as f32 == found.as_f64().unwrap() as f32,
        "string" => written == found,
        _ => written.as_f64() == found.as_f64(),
    }
}

/// Reads and writes every type in every order on one wire.
fn every_type_and_order(wire: &str) {
    let bench = Bench::new("modbus-peers");
    let cases = cases();
    let mut peer = Peer::start(&bench, wire, &[1], &[], &cases);
    let framing = if wire == "ascii" { "ascii" } else { "rtu" };
    let definition = definition(framing, &cases);
    on_a_runtime(async {
        let mut lab = Lab::start(&peer, &definition, &[1]);
        assert_eq!(lab.fleet.ready(Duration::from_secs(10)).await["u1"], Ok(()));
        let mut wrong = Vec::new();
        for (number, case) in cases.iter().enumerate() {
            let outcome = lab.read(1, &format!("r{number}")).await;
            if !matches!(&outcome, Outcome::Done { value: Some(v), .. } if case.is(v)) {
                wrong.push(format!("{case:?} is read as {outcome:?}"));
            }
        }
        // Each register gets the value of another of its type, by each function that can.
        let mut written: BTreeMap<u8, usize> = BTreeMap::new();
        let other = |case: &Case, steps: usize| {
            let like: Vec<&Case> = cases
                .iter()
                .filter(|c| (c.table, c.kind, c.order) == (case.table, case.kind, case.order))
                .collect();
            let at = like.iter().position(|c| c.at == case.at).unwrap();
            like[(at + steps) % like.len()].value.clone()
        };
        for (steps, prefix) in [(1, "o"), (2, "w")] {
            for (number, case) in cases.iter().enumerate() {
                let action = format!("{prefix}{number}");
                if definition.action(&action).is_none() {
                    continue;
                }
                let outcome = lab.write(1, &action, &other(case, steps)).await;
                assert!(matches!(outcome, Outcome::Done { .. }), "{case:?} {action}: {outcome:?}");
                let function = match (case.table, prefix) {
                    ("coil", "w") => 5,
                    ("coil", _) => 15,
                    (_, "o") => 6,
                    _ => 16,
                };
                *written.entry(function).or_default() += 1;
            }
            // What the peer decodes is what was written; a coil is asked for again.
            let dump = peer.json("dump 1");
            let holding = cases.iter().filter(|case| case.table == "holding");
            for (case, found) in holding.zip(dump.as_array().unwrap()) {
                let short = case.kind.ends_with("16");
                let value =
                    if prefix == "w" || short { other(case, steps) } else { case.value.clone() };
                if !same(&value, found, case.kind) {
                    wrong.push(format!("{case:?}: {value} was written, the peer has {found}"));
                }
            }
            for (number, case) in cases.iter().enumerate().filter(|(_, c)| c.table == "coil") {
                let outcome = lab.read(1, &format!("r{number}")).await;
                let value = other(case, steps);
                if found(&outcome).as_bool() != value.as_bool() {
                    wrong.push(format!("{case:?}: {value} was written, it reads {outcome:?}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{wire}:\n{}", wrong.join("\n"));
        // 30 pairs of type and order, three values, in two tables; three coils and three inputs.
        assert_eq!(cases.len(), 30 * 3 * 2 + 6);
        assert_eq!(written, BTreeMap::from([(5, 3), (6, 12), (15, 3), (16, 90)]));
        for (function, count) in written {
            assert_eq!(peer.requests(1, function), count, "function {function} on {wire}");
        }
        lab.fleet.shutdown().await;
    });
}

#[test]
fn a_server_over_tcp_agrees_on_every_type_and_order() {
    every_type_and_order("tcp");
}

#[test]
fn a_server_on_a_terminal_agrees_on_every_type_and_order() {
    every_type_and_order("rtu");
}

#[test]
fn a_server_behind_a_socket_agrees_on_every_type_and_order() {
    every_type_and_order("rtu+tcp");
}

#[test]
fn a_server_in_ascii_agrees_on_every_type_and_order() {
    every_type_and_order("ascii");
}

#[test]
fn each_exception_of_a_server_is_what_it_means() {
    for wire in ["tcp", "rtu", "rtu+tcp", "ascii"] {
        let bench = Bench::new("modbus-peers");
        let mut peer = Peer::start(&bench, wire, &[1], &[], &[]);
        let definition = definition(if wire == "ascii" { "ascii" } else { "rtu" }, &[]);
        on_a_runtime(async {
            let mut lab = Lab::start(&peer, &definition, &[1]);
            assert_eq!(lab.fleet.ready(Duration::from_secs(10)).await["u1"], Ok(()));
            for (code, kind, effect) in EXCEPTIONS {
                let outcome = lab.read(1, &format!("e{code}")).await;
                assert_eq!(failure(&outcome).0, kind, "{wire}, reading, exception {code}");
                assert_eq!(found(&lab.read(1, "unit").await), &Value::number(100.0), "{wire}");
                let outcome = lab.write(1, &format!("e{code}"), &json!(7)).await;
                let expected = (kind, effect.to_owned());
                assert_eq!(failure(&outcome), expected, "{wire}, writing, exception {code}");
                // None of them upsets what comes after it.
                assert_eq!(found(&lab.read(1, "unit").await), &Value::number(100.0), "{wire}");
            }
            lab.fleet.shutdown().await;
        });
        // No command was sent a second time.
        assert_eq!(peer.requests(1, 16), EXCEPTIONS.len(), "{wire}");
    }
}

#[test]
fn four_units_share_a_bus_with_one_that_is_silent() {
    for wire in ["rtu", "rtu+tcp", "tcp"] {
        let bench = Bench::new("modbus-peers");
        let units = [1, 2, 3, 4];
        let mut peer = Peer::start(&bench, wire, &units, &[9], &[]);
        let definition = definition("rtu", &[]);
        on_a_runtime(async {
            let mut lab = Lab::start(&peer, &definition, &[1, 2, 3, 4, 9]);
            let ready = lab.fleet.ready(Duration::from_secs(4)).await;
            for unit in units {
                assert_eq!(ready[&format!("u{unit}")], Ok(()), "{wire}");
            }
            let why = ready["u9"].clone().unwrap_err();
            assert!(why.contains("no answer within 400 ms"), "{wire}: {why}");
            for round in 0..25 {
                for unit in units {
                    // A question to the silent one may stand in between; its answer never counts.
                    let outcome = lab.read(unit, "unit").await;
                    let expected = Value::number(100.0 * f64::from(unit));
                    assert_eq!(found(&outcome), &expected, "{wire}, round {round}");
                }
            }
            let started = Instant::now();
            assert_eq!(failure(&lab.read(9, "unit").await).0, "link", "{wire}");
            assert!(started.elapsed() < Duration::from_secs(2), "{wire}");
            lab.fleet.shutdown().await;
        });
        assert!(peer.requests(9, 3) >= 1, "{wire}: the silent unit was never asked");
    }
}
