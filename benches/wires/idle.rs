//! Memory of instruments that are connected and have nothing to do.

use std::process::Stdio;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{definition, modbus, mosquitto, mqtt, part, row};

const COUNT: usize = 1_000;

/// Connects so many instruments and says how much memory the process has.
pub fn child(kind: &str, port: u16, count: usize) {
    let file = match kind {
        "mqtt" => "instruments/spectrometer/as7341-picow.yaml",
        _ => "instruments/thermostat/eurotherm-3216.yaml",
    };
    let instrument = definition(&std::fs::read_to_string(file).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (sender, mut notices) = mpsc::channel(4_096);
        let at = |n: usize| match kind {
            "mqtt" => format!("mqtt://127.0.0.1:{port}/idle/{n}"),
            // Each its own address, so that each has its own line.
            _ => format!("modbus+tcp://127.1.{}.{}:{port}?unit=1", n / 250, 1 + n % 250),
        };
        let fleet = mqtt::connect(&instrument, count, at, &sender).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        while notices.try_recv().is_ok() {}
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        println!("{}", resident.trim().trim_end_matches(" kB"));
        fleet.shutdown().await;
    });
}

pub fn bench() {
    let (_broker, broker) = mosquitto();
    let (_device, device) = modbus::device();
    let ports = [("mqtt", broker), ("modbus", device)];
    println!("memory of {COUNT} connected instruments (VmRSS with them, less that with none)");
    for (kind, port) in ports {
        let resident = |count: usize| {
            let words = [port.to_string(), count.to_string()];
            let out = part(&["idle", kind, &words[0], &words[1]])
                .stderr(Stdio::inherit())
                .output()
                .unwrap();
            let text = String::from_utf8(out.stdout).unwrap();
            text.trim().parse::<f64>().unwrap_or_else(|_| panic!("idle {kind} said {text:?}"))
        };
        let each = (resident(COUNT) - resident(0)) / COUNT as f64;
        row(&format!("  {kind}, each"), format!("{each:.1} kB"), "goal 100 kB");
    }
}
