//! Questions and answers over a pseudo-terminal whose far end takes the time of a UART.
//!
//! A pseudo-terminal passes bytes on at once. The far end waits until the last bit of the question
//! would have arrived, and hands the answer over, at most sixteen bytes at a time as a UART with a
//! buffer does, when the last bit of those would have. What the terminal itself costs stands beside
//! it: bare system calls on the same line.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use labloop::spec::instrument::Instrument;
use labloop::wire::modbus::rtu_frame;
use tokio_serial::{SerialPort, SerialStream};

use super::{Ended, ROUND, ROUNDS, definition, median, part, peer, reads, row};

/// A multimeter that answers at once.
const ASCII: &str = "\
schema: labloop/instrument/v1
name: meter
type: bench_meter
vendor: bench
doc: Answers one question.
connection: {serial: {baud: BAUD, frame: 8N1}, send_end: \"\\n\", reply: {end: \"\\n\"}, reply_timeout: 1 s}
properties:
  voltage: {doc: Voltage, unit: V, ask: \"MEAS:VOLT?\", parse: \"{value:f}\"}
safe_state: []
";

/// A Modbus device with a floating point number.
const RTU: &str = "\
schema: labloop/instrument/v1
name: meter
type: bench_meter
vendor: bench
doc: Answers one question.
connection: {modbus: {}, serial: {baud: BAUD, frame: 8N1}, reply_timeout: 1 s}
properties:
  voltage:
    doc: Voltage
    unit: V
    register: {holding: 1, base: 0, type: f32, scale: 1, order: ABCD}
safe_state: []
";

const ANSWER: &[u8] = b"+1.23456789E-01\n";
const QUESTION: &[u8] = b"MEAS:VOLT?\n";
/// Bytes of a question and an answer for two registers over RTU.
const RTU_QUESTION: usize = 8;
const RTU_ANSWER: usize = 9;

/// Bytes that a UART keeps until it hands them over.
const BUFFER: usize = 16;

/// Ten bits: start, eight, stop.
fn character(baud: u32) -> Duration {
    Duration::from_secs_f64(10.0 / f64::from(baud))
}

/// Silence between RTU frames: 3.5 characters, and above 19200 baud 1.75 ms (MODBUS over serial
/// line 1.02, 2.5.1.1).
fn silence(baud: u32) -> Duration {
    if baud > 19_200 { Duration::from_micros(1_750) } else { character(baud).mul_f64(3.5) }
}

/// Waits for a moment: sleeps while it is far, then spins.
fn until(moment: Instant) {
    let near = Duration::from_micros(150);
    loop {
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        if left > near {
            std::thread::sleep(left - near);
        } else {
            std::hint::spin_loop();
        }
    }
}

/// The far end, a process of its own: says the path of the near one and answers for ever.
pub fn uart(kind: &str, baud: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let (mut master, slave) = SerialStream::pair().unwrap();
    let path = slave.name().unwrap();
    // Keeps the line alive while nobody has it open; its lock would keep the driver out.
    let keep = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    drop(slave);
    println!("{path}");
    std::io::stdout().flush().unwrap();
    let (length, answer) = match kind {
        "ascii" => (QUESTION.len(), ANSWER.to_vec()),
        _ => (RTU_QUESTION, rtu_frame(1, &[3, 4, 0x3d, 0xfc, 0xd6, 0xe9])),
    };
    let one = character(baud);
    runtime.block_on(async {
        let _keep = keep;
        let mut space = [0; 256];
        loop {
            let mut came = 0;
            let mut begun = None;
            while came < length {
                master.readable().await.unwrap();
                let more = master.try_read(&mut space[came..]).unwrap_or(0);
                // Readiness may be left over from what was read before.
                if more > 0 {
                    begun.get_or_insert_with(Instant::now);
                }
                came += more;
            }
            let mut due = begun.unwrap() + one * u32::try_from(length).unwrap();
            for bytes in answer.chunks(BUFFER) {
                due += one * u32::try_from(bytes.len()).unwrap();
                until(due);
                let mut left = bytes;
                while !left.is_empty() {
                    match master.try_write(left) {
                        Ok(count) => left = &left[count..],
                        Err(_) => master.writable().await.unwrap(),
                    }
                }
            }
        }
    });
}

fn line(kind: &str, baud: u32) -> (Ended, String) {
    let mut child =
        part(&["uart", kind, &baud.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
    let mut path = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut path).unwrap();
    (Ended(child), path.trim().to_owned())
}

/// Nothing but a write and reads for each question, and the silence where there must be one.
fn bare(kind: &str, baud: u32, path: &str) -> f64 {
    let patience = Duration::from_secs(2);
    let mut port = tokio_serial::new(path, baud).timeout(patience).open().unwrap();
    let (question, answer) = match kind {
        "ascii" => (QUESTION.to_vec(), ANSWER.len()),
        _ => (rtu_frame(1, &[3, 0, 1, 0, 2]), RTU_ANSWER),
    };
    let rest = if kind == "rtu" { silence(baud) } else { Duration::ZERO };
    let mut space = [0; 64];
    let begun = Instant::now();
    let mut count = 0;
    let mut free = begun;
    while begun.elapsed() < ROUND {
        until(free);
        port.write_all(&question).unwrap();
        port.read_exact(&mut space[..answer]).unwrap();
        free = Instant::now() + rest;
        count += 1;
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}

/// What is measured.
pub const LINES: [(&str, u32); 4] =
    [("ascii", 9_600), ("ascii", 115_200), ("rtu", 9_600), ("rtu", 115_200)];

pub fn bench(kind: &str, baud: u32) {
    let rtu = kind == "rtu";
    let (text, other) = if rtu { (RTU, "pymodbus") } else { (ASCII, "pyserial") };
    let (_far, path) = line(kind, baud);
    let meter: Arc<Instrument> = definition(&text.replace("BAUD", &baud.to_string()));
    let at = if rtu { format!("modbus+serial:{path}?unit=1") } else { format!("serial:{path}") };
    let (mut others, mut ours, mut bares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        others.push(peer(&[kind, &path, &baud.to_string()]));
        bares.push(bare(kind, baud, &path));
        ours.push(reads(&meter, std::slice::from_ref(&at), "voltage"));
    }
    let (others, ours, bares) = (median(others), median(ours), median(bares));
    let bytes = if rtu { RTU_QUESTION + RTU_ANSWER } else { QUESTION.len() + ANSWER.len() };
    let rest = if rtu { silence(baud) } else { Duration::ZERO };
    let least = character(baud) * u32::try_from(bytes).unwrap() + rest;
    let most = 1.0 / least.as_secs_f64();
    println!("serial, {kind}, {baud} baud, {bytes} bytes, median of {ROUNDS} rounds");
    row("  the wire allows", format!("{most:.1} /s"), "");
    row("  bare system calls", format!("{bares:.1} /s"), "");
    row("    bare system calls, of the wire", percent(bares / most), "what the terminal allows");
    row(&format!("  {other}"), format!("{others:.1} /s"), "");
    row(&format!("    {other}, of the wire"), percent(others / most), "");
    row("  labloop's driver", format!("{ours:.1} /s"), "");
    row("    labloop, of the wire", percent(ours / most), "goal 95 %");
    row("    labloop, of bare system calls", percent(ours / bares), "");
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
