//! mosquitto is killed and started again while a campaign runs through it, over TLS with a client
//! certificate. The instrument is a program of its own, on the other side of the broker. Needs
//! `mosquitto`, `mosquitto_sub` and `openssl`.
#![cfg(feature = "tls")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bench::certificates::Authority;
use bench::{Bench, Broker, free_ports, labloop};

const EXPERIMENTS: usize = 8;
/// The broker is gone so long.
const GONE: Duration = Duration::from_millis(1_200);

/// A child that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A lab behind a broker: what labloop sees of it through TLS, and the instrument behind it.
struct Site {
    bench: Bench,
    port: u16,
    settings: String,
    /// The instrument, once the broker is there.
    device: Option<Ended>,
    listener: Option<Ended>,
}

const PROTOCOL: &str = "\
schema: labloop/protocol/v1
name: light
parameters:
  red: {type: int, min: 0, max: 255}
roles:
  light: {type: spectrometer}
steps:
  - id: spectrum
    do: light.measure
    with: {red: \"${ params.red }\", green: 10, blue: 20}RETRY
  - id: distance
    analyse: spectral_distance
    with: {of: \"${ steps.spectrum }\", target: [65, 10718, 30359, 15666, 5790, 840, 3320, 239]}
results:
  distance: {value: \"${ steps.distance.mean_absolute }\", unit: \"1\"}
";

const CAMPAIGN: &str = "\
schema: labloop/campaign/v1
name: light
protocol: protocol.yaml
lab: lab.yaml
space:
  red: {from: 0, to: 255}
objectives:
  - {result: distance, goal: minimize}
planner: {initial: 4, seed: 1}
in_doubt: discard
budget: {experiments: 8}
";

impl Site {
    /// `retry`: what the measuring step does after a failure; `effect`: whether it may be sent again.
    fn new(name: &str, retry: &str, effect: &str) -> Site {
        let bench = Bench::new(name);
        let ports = free_ports(2);
        let (port, secure) = (ports[0], ports[1]);
        let write = |file: &str, text: &str| {
            std::fs::write(bench.folder().join(file), text).unwrap();
        };
        let lab = |at: &str, more: &str| {
            format!(
                "schema: labloop/lab/v1\nname: bench\ninstruments:\n  light_1:\n    \
                 use: as7341-picow\n    at: \"{at}\"\n    plays: [light]\n{more}"
            )
        };
        let tls = "    tls: {ca: lab-ca.pem, certificate: keys/labloop.pem, key: file:keys/labloop.key}\n";
        write("lab.yaml", &lab(&format!("mqtts://localhost:{secure}/kit"), tls));
        write("device.yaml", &lab(&format!("mqtt://127.0.0.1:{port}/kit"), ""));
        write("protocol.yaml", &PROTOCOL.replace("RETRY", retry));
        write("campaign.yaml", CAMPAIGN);
        // The stock definition, and a sign of life: nothing is sent before the instrument is back.
        let stock = "instruments/spectrometer/as7341-picow.yaml";
        let mut definition = std::fs::read_to_string(stock).unwrap();
        for (from, to) in [
            (
                "expiry: 30 s}",
                "expiry: 30 s}\n  liveness: {topic: status, online: online, offline: offline}",
            ),
            ("    effect: repeatable\n    takes", &format!("    effect: {effect}\n    takes")),
        ] {
            assert!(definition.contains(from), "{from}");
            definition = definition.replacen(from, to, 1);
        }
        write("as7341-picow.yaml", &definition);
        let authority = Authority::new(bench.folder(), "lab-ca");
        let broker = authority.sign("broker", "DNS:localhost");
        let client = authority.sign("labloop", "DNS:labloop");
        std::fs::create_dir(bench.folder().join("keys")).unwrap();
        for file in [client.0, client.1] {
            let to = bench.folder().join("keys").join(file.file_name().unwrap());
            std::fs::rename(file, to).unwrap();
        }
        let settings = format!(
            "allow_anonymous true\nlistener {secure} 127.0.0.1\nrequire_certificate true\n\
             cafile {}\ncertfile {}\nkeyfile {}\n",
            authority.certificate().display(),
            broker.0.display(),
            broker.1.display()
        );
        Site { bench, port, settings, device: None, listener: None }
    }

    /// Starts the broker, with somebody who listens in; and the instrument, once.
    fn broker(&mut self) -> Broker {
        let program = bench::mosquitto().expect("mosquitto is installed; ./test installs it");
        let broker = Broker::with(&program, self.port, self.bench.folder(), &self.settings);
        let heard = File::options().create(true).append(true).open(self.heard()).unwrap();
        let listener = Command::new("mosquitto_sub")
            .args(["-p", &self.port.to_string(), "-q", "1", "-F", "%t %p", "-t", "kit/GPIO/28/"])
            .stdout(heard)
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto_sub is installed");
        self.listener = Some(Ended(listener));
        if self.device.is_none() {
            let device = labloop()
                .arg("simulator")
                .arg(self.bench.folder().join("device.yaml"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            self.device = Some(Ended(device));
            self.wait_for("SUBACK to sim-light_1", 1);
        }
        broker
    }

    fn heard(&self) -> std::path::PathBuf {
        self.bench.folder().join("heard.txt")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.bench.folder().join("mosquitto.log")).unwrap()
    }

    /// Messages that the broker has had from labloop.
    fn published(&self) -> usize {
        self.log()
            .lines()
            .filter(|l| l.contains("Received PUBLISH from labloop-") && l.contains("kit/GPIO/28/"))
            .count()
    }

    fn wait_for(&self, text: &str, times: usize) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.log().matches(text).count() < times {
            assert!(Instant::now() < until, "no `{text}`:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn start(&self, document: &str, more: &[&str]) -> Ended {
        let said = File::create(self.bench.folder().join("said.txt")).unwrap();
        let mut run = labloop();
        run.arg("run").arg(self.bench.folder().join(document)).args(more);
        run.arg("--state").arg(self.bench.state());
        Ended(run.stdout(Stdio::null()).stderr(said).spawn().unwrap())
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.bench.folder().join("said.txt")).unwrap()
    }

    /// No attempt was published twice, and the journal knows of each that was. How many engines
    /// published: what the ids of one begin with is its own, for devices that do nothing twice.
    fn nothing_twice(&self) -> usize {
        let mut origins = BTreeSet::new();
        let mut ids: BTreeMap<String, usize> = BTreeMap::new();
        for line in std::fs::read_to_string(self.heard()).unwrap().lines() {
            let (_, payload) = line.split_once(' ').unwrap();
            let payload: serde_json::Value = serde_json::from_str(payload).unwrap();
            let (origin, id) = payload["_experiment_id"].as_str().unwrap().split_once(':').unwrap();
            origins.insert(origin.to_owned());
            *ids.entry(id.to_owned()).or_default() += 1;
        }
        assert!(ids.values().all(|count| *count == 1), "{ids:?}");
        assert!(ids.len() >= 2, "{ids:?}");
        let runs = self.bench.json(&["export", "--what", "steps", "--format", "json"]);
        let mut attempts = 0;
        for run in runs.as_array().unwrap() {
            for step in run["steps"].as_array().unwrap() {
                attempts += usize::from(step["action"] == "measure");
            }
        }
        let safe_states = 2 * runs.as_array().unwrap().len();
        eprintln!("{} published, {} heard, {attempts} attempts", self.published(), ids.len());
        assert!(self.published() <= attempts + safe_states, "{attempts}\n{}", self.log());
        origins.len()
    }
}

fn wait(run: &mut Ended, limit: Duration) -> Option<i32> {
    let until = Instant::now() + limit;
    while Instant::now() < until {
        if let Some(status) = run.0.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it does not end");
}

#[test]
fn a_campaign_goes_on_by_itself_after_its_broker_was_killed_in_the_middle_of_a_measurement() {
    let retry = "\n    retry: {times: 30, wait: 300 ms, if: link}";
    let mut site = Site::new("restart", retry, "repeatable");
    let mut broker = site.broker();
    let mut run = site.start("campaign.yaml", &[]);
    for outage in 1..=3 {
        // A measurement takes half a second: the broker dies while one is under way.
        let before = site.published();
        let until = Instant::now() + Duration::from_secs(20);
        while site.published() == before {
            assert!(Instant::now() < until, "outage {outage}: {}\n{}", site.said(), site.log());
            std::thread::sleep(Duration::from_millis(2));
        }
        drop(broker);
        std::thread::sleep(GONE);
        broker = site.broker();
    }
    assert_eq!(wait(&mut run, Duration::from_secs(120)), Some(0), "{}", site.said());
    let all = site.bench.json(&["export", "--format", "json"]);
    let experiments = all["experiments"].as_array().unwrap();
    assert_eq!(experiments.len(), EXPERIMENTS);
    for experiment in experiments {
        assert!(experiment["conclusion"]["measured"].is_object(), "{experiment:#}");
    }
    assert_eq!(site.nothing_twice(), 1);
    // One more for each that was lost with the broker, and not one besides.
    assert_eq!(site.published(), EXPERIMENTS + 3, "{}", site.log());
    site.bench.ok(&["verify"]);
    drop(broker);
}

#[test]
fn what_must_not_be_sent_twice_is_not_and_its_experiment_is_told_as_lost() {
    let mut site = Site::new("once", "", "once");
    let broker = site.broker();
    let mut run = site.start("campaign.yaml", &[]);
    let until = Instant::now() + Duration::from_secs(20);
    while site.published() < 2 {
        assert!(Instant::now() < until, "{}\n{}", site.said(), site.log());
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(broker);
    std::thread::sleep(GONE);
    let broker = site.broker();
    // It stops with the first sample lost and the next ones refused, and says so.
    assert_eq!(wait(&mut run, Duration::from_secs(120)), Some(1), "{}", site.said());
    assert!(site.said().contains("failed in a row"), "{}", site.said());
    assert_eq!(site.published(), 2, "{}", site.log());
    let endings = |site: &Site, ending: &str| {
        let runs = site.bench.json(&["export", "--what", "steps", "--format", "json"]);
        runs.as_array().unwrap().iter().filter(|run| run["ending"] == ending).count()
    };
    assert_eq!(endings(&site, "complete"), 1);
    assert_eq!(endings(&site, "invalid"), 1);
    let failed = endings(&site, "failed");

    // With the broker back the rest is done on request; the lost one is not sent again.
    let out = labloop().arg("resume").arg("--state").arg(site.bench.state()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(0), "{said}");
    assert_eq!(endings(&site, "complete"), EXPERIMENTS - failed, "{said}");
    assert_eq!(site.published(), EXPERIMENTS - failed + 1, "{}", site.log());
    assert_eq!(site.nothing_twice(), 2);
    site.bench.ok(&["verify"]);
    drop(broker);
}
