//! The driver of Sparkplug B against an edge node of a Python library, through mosquitto.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bench;
mod peer;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use labloop::driver::{Fleet, Notice, Outcome};
use labloop::expr::Value;
use labloop::wire::{Clock, Dialer};
use peer::{command, definition, is_done, setup};
use tokio::sync::mpsc;

/// The edge node, and what it says.
struct Node {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Node {
    fn start(port: u16) -> Node {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/sparkplug_node.py");
        let mut child = Command::new(bench::peers())
            .args([script, "127.0.0.1", &port.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (lines, heard) = (BufReader::new(child.stdout.take().unwrap()), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        Node { child, said }
    }

    fn count(&self, line: &str) -> usize {
        self.said.lock().unwrap().iter().filter(|said| *said == line).count()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Lab {
    fleet: Fleet,
    notices: mpsc::Receiver<Notice>,
}

impl Lab {
    async fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(&Notice) -> Option<T>) -> T {
        let found = async {
            loop {
                let notice = self.notices.recv().await.unwrap();
                if let Some(found) = pick(&notice) {
                    return found;
                }
            }
        };
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, found).await.unwrap_or_else(|_| panic!("no {what}"))
    }

    async fn run(&mut self, attempt: &str, action: &str, args: &[(&str, &str)]) -> Outcome {
        self.fleet.send(command(attempt, "oven", action, args)).unwrap();
        self.outcome(attempt).await
    }

    async fn outcome(&mut self, attempt: &str) -> Outcome {
        self.wait(attempt, |notice| match notice {
            Notice::Outcome { attempt: of, outcome } if of == attempt => Some(outcome.clone()),
            _ => None,
        })
        .await
    }

    async fn read(&mut self, property: &str) -> Value {
        self.fleet.read(property, "oven", property).unwrap();
        match self.outcome(property).await {
            Outcome::Done { value: Some(value), .. } => value,
            other => panic!("{property}: {other:?}"),
        }
    }
}

fn celsius(value: &Value) -> f64 {
    match value {
        Value::Quantity(quantity) => quantity.value - 273.15,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_edge_node_of_somebody_elses_library_is_read_written_lost_and_found() {
    let bench = bench::Bench::new("sparkplug");
    let port = bench::free_ports(1)[0];
    let program = bench::mosquitto().expect("mosquitto is not installed; ./test installs it");
    let _broker = bench::Broker::start(&program, port, bench.folder());
    let node = Node::start(port);
    let thermostat = definition("thermostat/sparkplug-thermostat.yaml", &[]);
    let at = format!("mqtt://127.0.0.1:{port}/lab/edge/oven");
    let (sender, notices) = mpsc::channel(1024);
    let setups = vec![setup("oven", thermostat, &at, &[])];
    let fleet = Fleet::start(setups, Clock::real(), Dialer::real(), sender, 1).unwrap();
    let mut lab = Lab { fleet, notices };
    for (name, state) in lab.fleet.ready(Duration::from_secs(30)).await {
        assert_eq!(state, Ok(()), "{name}");
    }
    assert!((celsius(&lab.read("temperature").await) - 21.5).abs() < 1e-6);
    assert_eq!(lab.read("running").await, Value::Bool(false));
    assert!(is_done(&lab.run("a", "set_temperature", &[("target", "37.5 degC")]).await));
    assert!((celsius(&lab.read("target").await) - 37.5).abs() < 1e-6);
    assert_eq!(lab.read("running").await, Value::Bool(true));
    lab.fleet.safe_state("oven").unwrap();
    let confirmed = lab.wait("safe state", |notice| match notice {
        Notice::SafeState { confirmed, detail, .. } => Some((*confirmed, detail.clone())),
        _ => None,
    });
    assert_eq!(confirmed.await, (true, "confirmed".to_owned()));
    assert_eq!(lab.read("running").await, Value::Bool(false));
    assert_eq!(node.count("Setpoint = 37.5"), 1, "{:?}", node.said);
    assert_eq!((node.count("Enable = True"), node.count("Enable = False")), (1, 1));
    // Killed: the broker publishes the will.
    drop(node);
    let down = lab.wait("death", |notice| match notice {
        Notice::Link { up: false, detail, .. } if detail.contains("death") => Some(()),
        _ => None,
    });
    down.await;
    let node = Node::start(port);
    lab.wait("birth", |notice| matches!(notice, Notice::Link { up: true, .. }).then_some(())).await;
    assert!(is_done(&lab.run("b", "stop", &[]).await));
    assert!(is_done(&lab.run("c", "set_temperature", &[("target", "40.25 degC")]).await));
    assert_eq!(node.count("Setpoint = 40.25"), 1, "{:?}", node.said);
    assert_eq!(node.count("Setpoint = 37.5"), 0, "nothing of before is sent again");
    lab.fleet.shutdown().await;
}
