//! An instrument on a real socket that does what a test wants of it, and remembers what it was told.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How the device is kept from stopping by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// By a message of its own.
    Own,
    /// By any message.
    Any,
}

/// A definition for it. `fed`: it has a watchdog of so many milliseconds.
pub fn definition(fed: Option<(Fed, u64)>) -> String {
    let heartbeat = match fed {
        None => String::new(),
        Some((Fed::Own, ms)) => format!(
            "heartbeat: {{arm: [{{send: \"ARM {ms}\", parse: OK}}], \
             feed: [{{send: FEED, parse: OK}}], period: {ms} ms}}\n"
        ),
        Some((Fed::Any, ms)) => {
            format!("heartbeat: {{arm: [{{send: \"ARM {ms}\", parse: OK}}], period: {ms} ms}}\n")
        }
    };
    format!(
        r#"schema: labloop/instrument/v1
name: rig
type: probe
vendor: nobody
connection:
  tcp: {{}}
  send_end: "\n"
  reply: {{end: "\n"}}
  reply_timeout: 400 ms
identify: [{{send: ID, parse: "{{value:s}}"}}]
{heartbeat}properties:
  power: {{type: int, ask: "P?", parse: "{{value:d}}", every: 100 ms}}
  total: {{type: int, ask: "T?", parse: "{{value:d}}"}}
actions:
  heat:
    args: {{power: {{type: int, min: 0, max: 100}}}}
    do: [{{send: "HEAT {{power:d}}", parse: OK}}]
    effect: repeatable
    starts: [heats]
    takes: {{expected: 50 ms, timeout: 2 s}}
  dose:
    args: {{count: {{type: int, min: 1, max: 10}}}}
    do: [{{send: "DOSE {{count:d}}", parse: OK}}]
    effect: verifiable
    witness: {{property: total, counts: count, settle: 100 ms}}
    takes: {{expected: 50 ms, timeout: 2 s}}
  soak:
    do: [{{send: SOAK, parse: OK}}]
    done: {{when: "power == 0", every: 50 ms}}
    effect: once
    takes: {{expected: 1 s, timeout: 60 s}}
  halt: {{do: [{{send: "OFF", parse: OK}}], effect: repeatable, stops: true, takes: {{expected: 50 ms, timeout: 2 s}}}}
safe_state: {{do: [{{send: "OFF", parse: OK}}], confirm: power == 0}}
"#
    )
}

/// What the device is and knows.
#[derive(Debug)]
pub struct State {
    pub id: String,
    pub power: i64,
    pub total: i64,
    /// It hears and says nothing.
    pub deaf: bool,
    /// It says OK to `OFF` and goes on.
    pub stubborn: bool,
    pub watchdog: Option<Duration>,
    pub fed: Instant,
    /// When it stopped by itself.
    pub tripped: Option<Instant>,
    /// All it was told, and when.
    pub told: Vec<(Instant, String)>,
    pub connections: Vec<TcpStream>,
}

/// The device; lives as long as the test's process.
#[derive(Debug, Clone)]
pub struct Rig {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Rig {
    pub fn start(id: &str, fed: Option<Fed>) -> Rig {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            id: id.to_owned(),
            power: 0,
            total: 0,
            deaf: false,
            stubborn: false,
            watchdog: None,
            fed: Instant::now(),
            tripped: None,
            told: Vec::new(),
            connections: Vec::new(),
        }));
        let rig = Rig { port, state };
        let served = rig.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let _ = stream.set_nodelay(true);
                let (rig, copy) = (served.clone(), stream.try_clone().unwrap());
                rig.state.lock().unwrap().connections.push(copy);
                std::thread::spawn(move || rig.serve(stream, fed));
            }
        });
        let watched = rig.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_millis(2));
                let mut state = watched.state.lock().unwrap();
                let starved = state.watchdog.is_some_and(|wait| state.fed.elapsed() > wait);
                if starved && state.power > 0 {
                    state.power = 0;
                    state.tripped = Some(Instant::now());
                }
            }
        });
        rig
    }

    fn serve(&self, stream: TcpStream, fed: Option<Fed>) {
        let mut write = stream.try_clone().unwrap();
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            let answer = {
                let mut state = self.state.lock().unwrap();
                state.told.push((Instant::now(), line.clone()));
                if fed == Some(Fed::Any) || line == "FEED" || line.starts_with("ARM") {
                    state.fed = Instant::now();
                }
                let answer = state.answer(&line);
                if state.deaf { continue } else { answer }
            };
            if write.write_all(format!("{answer}\n").as_bytes()).is_err() {
                return;
            }
        }
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }

    /// How often it was told something.
    pub fn count(&self, message: &str) -> usize {
        self.with(|state| state.told.iter().filter(|(_, told)| told == message).count())
    }

    /// Waits until something is so.
    pub fn wait(&self, what: &str, mut holds: impl FnMut(&mut State) -> bool) {
        let until = Instant::now() + Duration::from_secs(30);
        while !self.with(&mut holds) {
            assert!(
                Instant::now() < until,
                "not within 30 s: {what}; {:?}",
                self.with(|s| {
                    s.told.iter().rev().take(20).map(|(_, m)| m.clone()).collect::<Vec<_>>()
                })
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The cable is pulled and plugged in again.
    pub fn cut(&self) {
        self.with(|state| {
            for connection in state.connections.drain(..) {
                let _ = connection.shutdown(std::net::Shutdown::Both);
            }
        });
    }

    pub fn at(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }
}

impl State {
    fn answer(&mut self, line: &str) -> String {
        let number = || line.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
        match line.split(' ').next().unwrap_or_default() {
            "ID" => return self.id.clone(),
            "P?" => return self.power.to_string(),
            "T?" => return self.total.to_string(),
            "HEAT" => self.power = number(),
            "DOSE" => self.total += number(),
            "SOAK" => self.power = 50,
            "ARM" => {
                let wait = u64::try_from(number()).unwrap_or(0);
                self.watchdog = Some(Duration::from_millis(wait));
            }
            "DISARM" => self.watchdog = None,
            "OFF" if !self.stubborn => self.power = 0,
            _ => {}
        }
        "OK".to_owned()
    }
}

/// A lab with these instruments, and a protocol; the paths of both.
pub fn lab(
    folder: &Path,
    rigs: &[(&str, &Rig)],
    definition: &str,
    steps: &str,
) -> (PathBuf, PathBuf) {
    std::fs::write(folder.join("rig.yaml"), definition).unwrap();
    let instruments: String = rigs
        .iter()
        .map(|(name, rig)| {
            format!("  {name}: {{use: rig, at: \"{}\", plays: [{name}]}}\n", rig.at())
        })
        .collect();
    let lab = folder.join("lab.yaml");
    let text = format!("schema: labloop/lab/v1\nname: rigs\ninstruments:\n{instruments}");
    std::fs::write(&lab, text).unwrap();
    let roles: String =
        rigs.iter().map(|(name, _)| format!("  {name}: {{type: probe}}\n")).collect();
    let protocol = folder.join("protocol.yaml");
    let text =
        format!("schema: labloop/protocol/v1\nname: trial\nroles:\n{roles}\nsteps:\n{steps}");
    std::fs::write(&protocol, text).unwrap();
    (lab, protocol)
}
