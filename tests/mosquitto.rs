//! Drivers against Debian's mosquitto: who is let in, what is refused and how that is said, and a
//! broker that goes away in mid-run. Needs `mosquitto`, `mosquitto_passwd`, `mosquitto_sub` and
//! `openssl`; without them it fails, because nothing would have been shown.
#![cfg(feature = "tls")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod bench;
mod peer;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bench::certificates::Authority;
use bench::{Bench, Broker, free_ports};
use labloop::driver::{Fleet, InstrumentSetup, Notice, Outcome, Secret};
use labloop::wire::trust::{Identity, Key};
use labloop::wire::{Clock, Dialer, Trust};
use peer::{Lab, command, definition, failure, setup};
use tokio::sync::mpsc;

const LIGHT: &str = "spectrometer/as7341-picow.yaml";

fn mosquitto() -> PathBuf {
    bench::mosquitto().expect("mosquitto is installed; ./test installs it")
}

/// A broker with settings and a port of its own, in a bench's folder.
fn broker(bench: &Bench, settings: &str) -> (Broker, u16) {
    let port = free_ports(1)[0];
    (Broker::with(&mosquitto(), port, bench.folder(), settings), port)
}

/// The light kit, speaking one version of MQTT, answering within a second or not at all.
fn light(at: &str, version: &str) -> InstrumentSetup {
    let version = format!("version: {version}, qos: 1");
    let changes =
        [("version: 5, qos: 1", version.as_str()), ("reply_timeout: 5 s", "reply_timeout: 1 s")];
    let changes = if version.starts_with("version: 5") { &changes[1..] } else { &changes[..] };
    let changes: Vec<(&str, &str)> = changes
        .iter()
        .copied()
        .chain((version.starts_with("version: 3")).then_some((", expiry: 30 s", "")))
        .collect();
    setup("light", definition(LIGHT, &changes), at, &[])
}

fn start(setup: InstrumentSetup) -> Lab {
    let (sender, notices) = mpsc::channel(1024);
    let fleet = Fleet::start(vec![setup], Clock::real(), Dialer::real(), sender, 1).unwrap();
    Lab { fleet, notices, seen: Vec::new() }
}

/// Whether the broker lets an instrument in; else why not.
async fn comes_up(setup: InstrumentSetup) -> Result<(), String> {
    let lab = start(setup);
    let deadline = Instant::now() + Duration::from_secs(10);
    let state = loop {
        let state = lab.fleet.ready(Duration::from_millis(100)).await.remove("light").unwrap();
        let waits = state == Err("no connection yet".to_owned());
        if !waits || Instant::now() > deadline {
            break state;
        }
    };
    lab.fleet.shutdown().await;
    state
}

fn measure(attempt: &str) -> labloop::driver::Command {
    let args = [("red", "1"), ("green", "2"), ("blue", "3")];
    labloop::driver::Command {
        deadline: Duration::from_millis(500),
        ..command(attempt, "light", "measure", &args)
    }
}

/// A password file with one user.
fn passwords(bench: &Bench) -> String {
    let file = bench.folder().join("passwords");
    let made = Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&file)
        .args(["lab", "open sesame"])
        .status()
        .expect("mosquitto_passwd is installed");
    assert!(made.success());
    format!("allow_anonymous false\npassword_file {}\n", file.display())
}

#[tokio::test]
async fn a_password_lets_in_and_a_wrong_or_missing_one_says_what_to_do() {
    let bench = Bench::new("passwords");
    let (_broker, port) = broker(&bench, &passwords(&bench));
    for version in ["5", "3.1.1"] {
        let with = |user: &str, password: Option<&str>| {
            let at = format!("mqtt://{user}127.0.0.1:{port}/kit");
            let secret = password.map(|p| Secret(p.to_owned()));
            InstrumentSetup { secret, ..light(&at, version) }
        };
        assert_eq!(comes_up(with("lab@", Some("open sesame"))).await, Ok(()), "{version}");

        let wrong = comes_up(with("lab@", Some("open barley"))).await.unwrap_err();
        assert!(wrong.contains("NotAuthorized"), "{version}: {wrong}");
        assert!(wrong.contains("`lab`") && wrong.contains("`secret`"), "{version}: {wrong}");
        assert!(!wrong.contains("barley"), "{version}: {wrong}");

        let none = comes_up(with("", None)).await.unwrap_err();
        assert!(none.contains("NotAuthorized") && none.contains("USER@host"), "{version}: {none}");

        // Without a user it is the instrument's own account, which this broker does not know.
        let own = comes_up(with("", Some("open sesame"))).await.unwrap_err();
        assert!(own.contains("`light`"), "{version}: {own}");
    }
}

#[tokio::test]
async fn a_broker_that_closes_without_a_word_gets_the_same_advice() {
    // As rumqttd does with a wrong password, and a TLS port with a client that does not greet.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let at = format!("mqtt://lab@127.0.0.1:{port}/kit");
    let secret = Some(Secret("open barley".to_owned()));
    let why = comes_up(InstrumentSetup { secret, ..light(&at, "5") }).await.unwrap_err();
    assert!(why.contains("`lab` is wrong (`secret`)") && why.contains("mqtts://"), "{why}");
    assert!(!why.contains("barley"), "{why}");
}

#[tokio::test]
async fn a_message_that_the_broker_does_not_allow_is_refused_at_once_or_in_doubt() {
    let bench = Bench::new("acl");
    let acl = bench.folder().join("acl");
    std::fs::write(&acl, "topic read kit/as7341/\n").unwrap();
    let settings = format!("allow_anonymous true\nacl_file {}\n", acl.display());
    let (_broker, port) = broker(&bench, &settings);
    let at = format!("mqtt://127.0.0.1:{port}/kit");

    // MQTT 5 has a word for it: nothing happened, and there is no need to wait.
    let mut lab = start(light(&at, "5"));
    lab.ready().await;
    let begun = Instant::now();
    let outcome = lab.run(measure("a")).await;
    assert_eq!(failure(&outcome), ("refused", "NoEffect".to_owned()));
    let text = format!("{outcome:?}");
    assert!(text.contains("NotAuthorized") && text.contains("kit/GPIO/28/"), "{text}");
    assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
    lab.fleet.shutdown().await;

    // 3.1.1 has none: the broker says that it has the message and drops it. Only silence follows,
    // and silence proves nothing.
    let mut lab = start(light(&at, "3.1.1"));
    lab.ready().await;
    let outcome = lab.run(measure("b")).await;
    assert_eq!(failure(&outcome), ("timeout", "Unknown".to_owned()));
    let text = format!("{outcome:?}");
    assert!(text.contains("the broker has it, but nobody answers"), "{text}");
    lab.fleet.shutdown().await;
    let log = std::fs::read_to_string(bench.folder().join("mosquitto.log")).unwrap();
    assert_eq!(log.matches("Denied PUBLISH from").count(), 2, "{log}");
}

/// Files of a broker behind TLS, by its authority.
fn tls(authority: &Authority, broker: &(PathBuf, PathBuf), more: &str) -> String {
    format!(
        "allow_anonymous true\ncafile {}\ncertfile {}\nkeyfile {}\n{more}",
        authority.certificate().display(),
        broker.0.display(),
        broker.1.display()
    )
}

fn trusting(
    at: &str,
    authority: Option<&Path>,
    identity: Option<&(PathBuf, PathBuf)>,
) -> InstrumentSetup {
    let trust = Trust {
        authorities: authority.map(Path::to_owned),
        identity: identity.map(|(certificate, key)| Identity {
            certificate: certificate.clone(),
            key: Key::File(key.clone()),
        }),
    };
    InstrumentSetup { trust, ..light(at, "5") }
}

#[tokio::test]
async fn a_broker_of_the_labs_own_authority_is_trusted_and_no_other() {
    let bench = Bench::new("authority");
    let ours = Authority::new(bench.folder(), "ours");
    let theirs = Authority::new(bench.folder(), "theirs");
    let good = ours.sign("broker", "DNS:localhost");
    let (_broker, port) = broker(&bench, &tls(&ours, &good, ""));
    let at = |host: &str| format!("mqtts://{host}:{port}/kit");
    let ca = ours.certificate();

    assert_eq!(comes_up(trusting(&at("localhost"), Some(&ca), None)).await, Ok(()));

    let public = comes_up(trusting(&at("localhost"), None, None)).await.unwrap_err();
    assert!(public.contains("authority that is not trusted"), "{public}");
    assert!(public.contains("tls: {ca: FILE}"), "{public}");
    let other = Some(theirs.certificate());
    let foreign = comes_up(trusting(&at("localhost"), other.as_deref(), None)).await.unwrap_err();
    assert!(foreign.contains("authority that is not trusted"), "{foreign}");

    let name = comes_up(trusting(&at("127.0.0.1"), Some(&ca), None)).await.unwrap_err();
    assert!(name.contains("not for 127.0.0.1") && name.contains("localhost"), "{name}");

    let plain = format!("mqtt://localhost:{port}/kit");
    let plain = comes_up(light(&plain, "5")).await.unwrap_err();
    assert!(plain.contains("without a word") && plain.contains("mqtts://"), "{plain}");

    let (_plain, port) = {
        let bench = Bench::new("plain");
        broker(&bench, "allow_anonymous true\n")
    };
    let at = format!("mqtts://localhost:{port}/kit");
    let spoken = comes_up(trusting(&at, Some(&ca), None)).await.unwrap_err();
    assert!(spoken.contains("TLS") && spoken.contains("mqtt://"), "{spoken}");
}

#[tokio::test]
async fn a_broker_whose_certificate_has_expired_is_refused() {
    let bench = Bench::new("expired");
    let ours = Authority::new(bench.folder(), "ours");
    let old = ours.sign_expired("broker", "DNS:localhost");
    let (_broker, port) = broker(&bench, &tls(&ours, &old, ""));
    let at = format!("mqtts://localhost:{port}/kit");
    let ca = ours.certificate();
    let why = comes_up(trusting(&at, Some(&ca), None)).await.unwrap_err();
    assert!(why.contains("has expired") && why.contains("clock"), "{why}");
}

#[tokio::test]
async fn a_broker_that_wants_to_know_its_clients_lets_in_only_those_of_its_authority() {
    let bench = Bench::new("mutual");
    let ours = Authority::new(bench.folder(), "ours");
    let theirs = Authority::new(bench.folder(), "theirs");
    let server = ours.sign("broker", "DNS:localhost");
    let client = ours.sign("labloop", "DNS:labloop");
    let stranger = theirs.sign("stranger", "DNS:labloop");
    let outdated = ours.sign_expired("outdated", "DNS:labloop");
    let more = "require_certificate true\nuse_identity_as_username true\n";
    let (_broker, port) = broker(&bench, &tls(&ours, &server, more));
    let at = format!("mqtts://localhost:{port}/kit");
    let ca = ours.certificate();
    let shown = |identity| trusting(&at, Some(&ca), identity);

    assert_eq!(comes_up(shown(Some(&client))).await, Ok(()));
    let log = std::fs::read_to_string(bench.folder().join("mosquitto.log")).unwrap();
    assert!(log.contains("u'labloop'"), "{log}");

    let none = comes_up(shown(None)).await.unwrap_err();
    assert!(none.contains("wants a client certificate") && none.contains("`tls: {"), "{none}");
    let wrong = comes_up(shown(Some(&stranger))).await.unwrap_err();
    assert!(wrong.contains("does not know the authority"), "{wrong}");
    let old = comes_up(shown(Some(&outdated))).await.unwrap_err();
    assert!(old.contains("our `certificate` has expired"), "{old}");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_found_before_anything_connects() {
    let bench = Bench::new("files");
    let ours = Authority::new(bench.folder(), "ours");
    let client = ours.sign("labloop", "DNS:labloop");
    let other = ours.sign("other", "DNS:other");
    let at = "mqtts://localhost:1/kit";
    let why = |setup: InstrumentSetup| {
        let (sender, _notices) = mpsc::channel(8);
        let wrong = Fleet::start(vec![setup], Clock::real(), Dialer::real(), sender, 1);
        wrong.unwrap_err()[0].to_string()
    };
    let missing = bench.folder().join("missing.pem");
    let text = why(trusting(at, Some(&missing), None));
    assert!(text.contains("missing.pem") && text.contains("No such file"), "{text}");
    let text = why(trusting(at, Some(&client.1), None));
    assert!(text.contains("no `-----BEGIN CERTIFICATE-----`"), "{text}");
    let text = why(trusting(at, None, Some(&(client.0.clone(), other.1))));
    assert!(text.contains("the key does not belong to the certificate"), "{text}");
    let text = why(trusting(at, None, Some(&(client.0.clone(), client.0))));
    assert!(text.contains("no private key"), "{text}");
}

#[tokio::test]
async fn a_driver_is_back_within_two_seconds_of_its_broker_however_long_that_was_gone() {
    let bench = Bench::new("back");
    let (first, port) = broker(&bench, "allow_anonymous true\n");
    let mut lab = start(light(&format!("mqtt://127.0.0.1:{port}/kit"), "5"));
    lab.ready().await;
    drop(first);
    lab.wait(|notice| matches!(notice, Notice::Link { up: false, .. }).then_some(())).await;
    // Long enough for the pauses between attempts to reach their bound.
    for gone in [Duration::from_millis(300), Duration::from_secs(8)] {
        tokio::time::sleep(gone).await;
        let broker = Broker::with(&mosquitto(), port, bench.folder(), "allow_anonymous true\n");
        let back = Instant::now();
        lab.wait(|notice| matches!(notice, Notice::Link { up: true, .. }).then_some(())).await;
        let took = back.elapsed();
        eprintln!("gone for {gone:?}: back {took:?} after the broker");
        assert!(took < Duration::from_secs(2), "{took:?}");
        drop(broker);
        lab.wait(|notice| matches!(notice, Notice::Link { up: false, .. }).then_some(())).await;
    }
    lab.fleet.shutdown().await;
}

#[tokio::test]
async fn a_command_under_way_when_the_broker_dies_is_in_doubt_and_never_sent_again() {
    let bench = Bench::new("doubt");
    let (first, port) = broker(&bench, "allow_anonymous true\n");
    let mut lab = start(light(&format!("mqtt://127.0.0.1:{port}/kit"), "5"));
    lab.ready().await;
    // Somebody listens and never answers, so that the command stays under way.
    let mut listener = Command::new("mosquitto_sub")
        .args(["-p", &port.to_string(), "-q", "1", "-t", "kit/GPIO/28/"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("mosquitto_sub is installed");
    let log = bench.folder().join("mosquitto.log");
    let said = || std::fs::read_to_string(&log).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while !said().contains("Sending SUBACK to auto-") && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let slow = labloop::driver::Command { deadline: Duration::from_secs(60), ..measure("a") };
    lab.fleet.send(slow).unwrap();
    while !said().contains("Received PUBLISH from labloop-") && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(first);
    let outcome = lab.outcome("a").await;
    assert_eq!(failure(&outcome), ("link", "Unknown".to_owned()));
    // What comes while it is down was not sent, and is not sent later.
    let outcome = lab.run(measure("b")).await;
    assert_eq!(failure(&outcome), ("link", "NotSent".to_owned()));
    let _second = Broker::with(&mosquitto(), port, bench.folder(), "allow_anonymous true\n");
    lab.wait(|notice| matches!(notice, Notice::Link { up: true, .. }).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(said().matches("Received PUBLISH from labloop-").count(), 1, "{}", said());
    assert!(matches!(lab.run(measure("c")).await, Outcome::Failed { .. }));
    lab.fleet.shutdown().await;
    let _ = listener.kill();
    let _ = listener.wait();
}
