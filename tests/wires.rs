//! Drivers over a real pseudo-terminal and a real socket, with lab time sixty times faster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod peer;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use labloop::driver::{Fleet, Notice};
use labloop::wire::{Address, Clock, Dialer, SerialSettings, Tick};
use peer::{Lab, command, definition, is_done, quantity, setup, value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_serial::{SerialPort, SerialStream};

fn start(setups: Vec<labloop::driver::InstrumentSetup>, dialer: Dialer) -> Lab {
    let (sender, notices) = mpsc::channel(4096);
    let clock = Clock::scaled(60.0, Tick(0));
    let fleet = Fleet::start(setups, clock, dialer, sender, 1).unwrap();
    Lab { fleet, notices, seen: Vec::new() }
}

/// A pseudo-terminal: the far end, the path of the near one, and what keeps that one alive while
/// nobody has it open.
fn terminal() -> (SerialStream, String, File) {
    let (master, slave) = SerialStream::pair().unwrap();
    let path = slave.name().unwrap();
    let no_controlling_terminal = 0o400;
    let keep =
        File::options().read(true).write(true).custom_flags(no_controlling_terminal).open(&path);
    // Its lock would keep the driver out.
    drop(slave);
    (master, path, keep.unwrap())
}

/// A pump at the far end of a pseudo-terminal that takes two polls to dispense anything.
async fn pump(mut port: SerialStream) {
    let mut message = Vec::new();
    let mut busy = 0;
    while let Ok(byte) = port.read_u8().await {
        if byte != b'\r' {
            message.push(byte);
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut message)).unwrap();
        let data = match text.as_str() {
            "DIA" => "14.57",
            "VOL" => "0.000ML",
            "DIS" => "I0.500W0.000ML",
            "RAT" => "1.000MM",
            _ => "",
        };
        busy = if text == "RUN" { 3_u32 } else { busy };
        let status = if busy > 0 { "I" } else { "S" };
        if text.is_empty() {
            busy = busy.saturating_sub(1);
        }
        let answer = format!("\x0200{status}{data}\x03");
        if port.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_pump_dispenses_over_a_pseudo_terminal() {
    let (master, path, _keep) = terminal();
    let device = tokio::spawn(pump(master));
    // The lab names a port that is not there; the redirect puts the terminal in its place.
    let at = "serial:/dev/serial/by-id/pump-1";
    let redirect = BTreeMap::from([(at.to_owned(), format!("serial:{path}"))]);
    let config = [("syringe_diameter", "14.57 mm")];
    let file = "syringe_pump/newera-ne1000.yaml";
    let dialer = Dialer::redirected(&redirect).unwrap();
    let mut lab = start(vec![setup("pump", definition(file, &[]), at, &config)], dialer);
    lab.ready().await;
    let dose = command("d", "pump", "dispense", &[("volume", "0.5 mL"), ("rate", "1 mL/min")]);
    assert!(is_done(&lab.run(dose).await));
    assert_eq!(value(&lab.read("pump", "dispensed").await), quantity("0.5 mL"));
    let polled = lab.wait(|notice| match notice {
        Notice::Sample { property, .. } if property == "rate" => Some(()),
        _ => None,
    });
    polled.await;
    // The cable is pulled.
    device.abort();
    let _ = device.await;
    lab.wait(|notice| matches!(notice, Notice::Link { up: false, .. }).then_some(())).await;
    lab.fleet.shutdown().await;
}

#[tokio::test]
async fn a_serial_port_has_one_owner() {
    let (_master, path, _keep) = terminal();
    let at = Address::parse(&format!("serial:{path}")).unwrap();
    let dialer = Dialer::real();
    let first = dialer.open(&at, &SerialSettings::default()).await.unwrap();
    assert!(dialer.open(&at, &SerialSettings::default()).await.is_err());
    drop(first);
}

#[tokio::test]
async fn a_thermostat_is_read_over_a_socket_and_found_again_after_it_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for connection in 0.. {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            let mut served = 0;
            loop {
                let mut frame = [0; 12];
                if socket.read_exact(&mut frame).await.is_err() {
                    break;
                }
                served += 1;
                // The first connection is closed in the middle of an answer.
                let answer = [frame[0], frame[1], 0, 0, 0, 5, frame[6], 3, 2, 0, 0];
                if connection == 0 && served > 4 {
                    let _ = socket.write_all(&answer[..7]).await;
                    break;
                }
                socket.write_all(&answer).await.unwrap();
            }
        }
    });
    let at = format!("modbus+tcp://127.0.0.1:{port}?unit=1");
    let file = "thermostat/eurotherm-3216.yaml";
    let mut lab = start(vec![setup("bath", definition(file, &[]), &at, &[])], Dialer::real());
    lab.ready().await;
    lab.wait(|notice| matches!(notice, Notice::Link { up: false, .. }).then_some(())).await;
    lab.wait(|notice| matches!(notice, Notice::Link { up: true, .. }).then_some(())).await;
    assert_eq!(value(&lab.read("bath", "temperature").await), quantity("0 degC"));
    lab.fleet.shutdown().await;
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_reported_and_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let at = format!("modbus+tcp://127.0.0.1:{port}");
    let file = "thermostat/eurotherm-3216.yaml";
    let lab = start(vec![setup("bath", definition(file, &[]), &at, &[])], Dialer::real());
    let states = lab.fleet.ready(Duration::from_millis(300)).await;
    assert!(states["bath"].as_ref().unwrap_err().contains("refused"), "{states:?}");
    lab.fleet.shutdown().await;
}
