//! One register of a Modbus TCP device, read again and again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Instant;

use super::{Ended, ROUND, ROUNDS, definition, median, part, peer, reads, row};

/// Stack of a thread that serves one connection.
const STACK: usize = 64 << 10;

/// A device with 256 holding registers at every local address, a process of its own: says its port
/// and answers for ever. That of `labloop simulator` takes its time, as instruments do; this one
/// answers as fast as it can.
pub fn server() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    std::io::stdout().flush().unwrap();
    for socket in listener.incoming() {
        let socket = socket.unwrap();
        std::thread::Builder::new().stack_size(STACK).spawn(move || serve(socket)).unwrap();
    }
}

fn serve(mut socket: TcpStream) {
    socket.set_nodelay(true).unwrap();
    // 25.1 degC, and nothing that has to be set.
    let registers: Vec<u16> = (0..256).map(|n| if n == 1 { 251 } else { 0 }).collect();
    let mut frame = [0; 12];
    while socket.read_exact(&mut frame).is_ok() {
        let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let (start, count) = (usize::from(word(8)), usize::from(word(10)));
        let Some(words) = registers.get(start % 256..start % 256 + count) else { return };
        let length = u8::try_from(3 + 2 * count).unwrap();
        let mut answer = vec![frame[0], frame[1], 0, 0, 0, length, frame[6], 3, length - 3];
        answer.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        if socket.write_all(&answer).is_err() {
            return;
        }
    }
}

/// Such a server, and its port.
pub fn device() -> (Ended, u16) {
    let mut child = part(&["registers"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
    (Ended(child), port.trim().parse().unwrap())
}

/// Nothing but a write and a read for each question.
fn bare(port: u16) -> f64 {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_nodelay(true).unwrap();
    let question = [0, 1, 0, 0, 0, 6, 1, 3, 0, 1, 0, 1];
    let mut answer = [0; 11];
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < ROUND {
        socket.write_all(&question).unwrap();
        socket.read_exact(&mut answer).unwrap();
        count += 1;
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}

/// Lines that are busy at once in the second part.
const LINES: usize = 8;

pub fn bench() {
    let (_device, port) = device();
    let text = std::fs::read_to_string("instruments/thermostat/eurotherm-3216.yaml").unwrap();
    let thermostat = definition(&text);
    // Each its own local address, and so its own line.
    let at: Vec<String> =
        (1..=LINES).map(|n| format!("modbus+tcp://127.0.0.{n}:{port}?unit=1")).collect();
    let (port_text, lines) = (port.to_string(), LINES.to_string());
    let mut figures = [const { Vec::new() }; 6];
    for _ in 0..ROUNDS {
        figures[0].push(bare(port));
        figures[1].push(peer(&["modbus", "127.0.0.1", &port_text]));
        figures[2].push(peer(&["async", "127.0.0.1", &port_text, "1"]));
        figures[3].push(reads(&thermostat, &at[..1], "temperature"));
        figures[4].push(peer(&["async", "127.0.0.1", &port_text, &lines]));
        figures[5].push(reads(&thermostat, &at, "temperature"));
    }
    let [bare, sync, one, ours, many, ours_many] = figures.map(median);
    let times = |of: f64, than: f64| format!("{:.1} x", of / than);
    println!("Modbus TCP, one device, one question at a time, median of {ROUNDS} rounds");
    row("  bare write and read", format!("{bare:.0} /s"), "");
    row("    of pymodbus", times(bare, sync), "nobody can be faster");
    row("  pymodbus", format!("{sync:.0} /s"), "");
    row("  pymodbus, asynchronous", format!("{one:.0} /s"), "");
    row("  labloop's driver", format!("{ours:.0} /s"), "");
    row("    of pymodbus", times(ours, sync), "goal 5 x");
    row("    of pymodbus, asynchronous", times(ours, one), "");
    println!("Modbus TCP, {LINES} devices at once, each one question at a time");
    row("  pymodbus, asynchronous", format!("{many:.0} /s"), "");
    row("  labloop's driver", format!("{ours_many:.0} /s"), "");
    row("    of pymodbus", times(ours_many, many), "goal 5 x");
}
