//! A recorded wire as a simulator: each request is answered as it was when it was recorded.
//!
//! Requests are known by their bytes, so a replay needs no definition, and answers only what was
//! asked while it was recorded. Of equal requests the recorded order counts: a poll that was
//! answered busy, busy, ready is answered so again. Modbus TCP is matched by unit and function with
//! their data and answered with the transaction number of whoever asks.

mod topics;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

pub use self::topics::TopicScript;
use super::modbus;
use super::trace::{Direction, Trace};

/// Chunks of one message arrive within this, s.
const TOGETHER_S: f64 = 0.02;
/// A request that may go on, or that is unknown, is complete after this silence.
const QUIET: Duration = Duration::from_millis(150);
/// Bytes that make no request.
const LONGEST_REQUEST: usize = 64 << 10;
/// Header of Modbus TCP up to the unit.
const HEADER: usize = 6;

/// What a replay tells while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A request was answered as recorded: its number, from 1.
    Answered(usize),
    /// A request was recorded without an answer, and gets none.
    Silent(usize),
    /// A request that was never recorded; printable.
    Unknown(String),
}

#[derive(Debug, Clone, PartialEq)]
struct Turn {
    /// As it is compared.
    request: Vec<u8>,
    /// With the time since the request.
    answers: Vec<(Duration, Vec<u8>)>,
}

/// Requests and answers of a line.
#[derive(Debug, Clone)]
pub struct Script {
    modbus_tcp: bool,
    turns: Vec<Turn>,
    /// What the device said before anybody asked.
    greeting: Vec<Vec<u8>>,
    /// The turn answered last.
    at: Option<usize>,
    /// Answers come after the time they took.
    paced: bool,
}

/// What has arrived.
#[derive(Debug, PartialEq)]
enum Taken {
    /// A recorded request, and what must stand before its answer.
    Turn(usize, Vec<u8>),
    Unknown(Vec<u8>),
    /// It may go on.
    More,
}

impl Script {
    /// The script of a trace; `paced`: answers take as long as they took. The error says why there
    /// is none.
    pub fn new(trace: &Trace, paced: bool) -> Result<Script, String> {
        if trace.head.wire.starts_with("mqtt") {
            return Err("the trace is one of MQTT; replay it at a broker with --at".to_owned());
        }
        let modbus_tcp = trace.head.wire == "modbus+tcp";
        let mut script =
            Script { modbus_tcp, turns: Vec::new(), greeting: Vec::new(), at: None, paced };
        if modbus_tcp {
            script.frames(trace)?
        } else {
            script.chunks(trace)
        }
        if script.turns.is_empty() {
            return Err("nothing was asked while it was recorded".to_owned());
        }
        Ok(script)
    }

    /// Number of recorded requests.
    pub fn requests(&self) -> usize {
        self.turns.len()
    }

    fn chunks(&mut self, trace: &Trace) {
        // When the last request was complete, and whether it can still go on.
        let (mut asked, mut open) = (0.0, false);
        for line in &trace.lines {
            match line.way {
                None => open = false,
                // A request without bytes would be in everything that arrives.
                Some(Direction::Out) if line.bytes().is_empty() => {}
                Some(Direction::Out) => {
                    let bytes = line.bytes();
                    match self.turns.last_mut().filter(|_| open && line.t - asked < TOGETHER_S) {
                        Some(turn) => turn.request.extend(bytes),
                        None => self.turns.push(Turn { request: bytes, answers: Vec::new() }),
                    }
                    (asked, open) = (line.t, true);
                }
                Some(Direction::In) => {
                    open = false;
                    let after = Duration::try_from_secs_f64(line.t - asked).unwrap_or_default();
                    match self.turns.last_mut() {
                        Some(turn) => turn.answers.push((after, line.bytes())),
                        None => self.greeting.push(line.bytes()),
                    }
                }
            }
        }
    }

    fn frames(&mut self, trace: &Trace) -> Result<(), String> {
        let (mut out, mut inward) = (Vec::new(), Vec::new());
        // Transactions that wait for their answer: number, time and turn.
        let mut open: Vec<([u8; 2], f64, usize)> = Vec::new();
        for line in &trace.lines {
            match line.way {
                // A new connection begins anew.
                None => {
                    out.clear();
                    inward.clear();
                    open.clear();
                }
                Some(Direction::Out) => {
                    out.extend(line.bytes());
                    while let Some(frame) = take_frame(&mut out)? {
                        let (number, request) = halves(&frame);
                        open.push((number, line.t, self.turns.len()));
                        self.turns.push(Turn { request, answers: Vec::new() });
                    }
                }
                Some(Direction::In) => {
                    inward.extend(line.bytes());
                    while let Some(frame) = take_frame(&mut inward)? {
                        let (number, answer) = halves(&frame);
                        let Some(at) = open.iter().position(|(its, ..)| *its == number) else {
                            continue;
                        };
                        let (_, asked, turn) = open.remove(at);
                        let after = Duration::try_from_secs_f64(line.t - asked).unwrap_or_default();
                        if let Some(turn) = self.turns.get_mut(turn) {
                            turn.answers.push((after, answer));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Which of several equal requests is meant: the next one recorded; behind the last of them
    /// the same again while nothing else was asked, else the first.
    fn next(&self, request: &[u8]) -> Option<usize> {
        let from = self.at.map_or(0, |at| at + 1);
        let same = |(_, turn): &(usize, &Turn)| turn.request == request;
        let all = || self.turns.iter().enumerate();
        if let Some((at, _)) = all().skip(from).find(same) {
            return Some(at);
        }
        let last = self.at.filter(|at| self.turns.get(*at).is_some_and(|t| t.request == request));
        last.or_else(|| all().find(same).map(|(at, _)| at))
    }

    fn take(&mut self, arrived: &mut Vec<u8>, quiet: bool) -> Taken {
        if self.modbus_tcp {
            return match take_frame(arrived) {
                Ok(None) => Taken::More,
                Ok(Some(frame)) => {
                    let (number, request) = halves(&frame);
                    match self.next(&request) {
                        Some(turn) => Taken::Turn(turn, number.to_vec()),
                        None => Taken::Unknown(frame),
                    }
                }
                Err(_) => Taken::Unknown(std::mem::take(arrived)),
            };
        }
        if arrived.is_empty() {
            return Taken::More;
        }
        let requests = || self.turns.iter().map(|turn| turn.request.as_slice());
        let longest = requests().filter(|r| arrived.starts_with(r)).map(<[u8]>::len).max();
        let goes_on = requests().any(|r| r.len() > arrived.len() && r.starts_with(arrived));
        if (goes_on || longest.is_none()) && !quiet && arrived.len() < LONGEST_REQUEST {
            return Taken::More;
        }
        match longest {
            Some(length) => {
                let request: Vec<u8> = arrived.drain(..length).collect();
                match self.next(&request) {
                    Some(turn) => Taken::Turn(turn, Vec::new()),
                    None => Taken::Unknown(request),
                }
            }
            None => Taken::Unknown(std::mem::take(arrived)),
        }
    }

    /// Answers one client until it is gone. Each connection begins at the beginning.
    pub async fn serve<S>(
        &mut self,
        stream: &mut S,
        tell: &mut (dyn FnMut(Told) + Send),
    ) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.at = None;
        for bytes in self.greeting.clone() {
            stream.write_all(&bytes).await?;
        }
        stream.flush().await?;
        let mut arrived = Vec::new();
        let mut space = vec![0; 4096];
        loop {
            let quiet = if arrived.is_empty() {
                let count = stream.read(&mut space).await?;
                if count == 0 {
                    return Ok(());
                }
                arrived.extend(space.get(..count).unwrap_or_default());
                false
            } else {
                match timeout(QUIET, stream.read(&mut space)).await {
                    Err(_) => true,
                    Ok(Ok(0)) => return Ok(()),
                    Ok(count) => {
                        arrived.extend(space.get(..count?).unwrap_or_default());
                        false
                    }
                }
            };
            let asked = Instant::now();
            loop {
                match self.take(&mut arrived, quiet) {
                    Taken::More => break,
                    Taken::Unknown(bytes) => {
                        tell(Told::Unknown(super::printable::printable(&bytes)));
                    }
                    Taken::Turn(turn, number) => {
                        self.at = Some(turn);
                        self.answer(turn, &number, asked, stream, tell).await?;
                    }
                }
            }
            // Half a frame of Modbus TCP does not become whole by silence.
            if quiet && self.modbus_tcp && !arrived.is_empty() {
                tell(Told::Unknown(super::printable::hex(&arrived)));
                arrived.clear();
            }
        }
    }

    async fn answer<S>(
        &self,
        turn: usize,
        number: &[u8],
        asked: Instant,
        stream: &mut S,
        tell: &mut (dyn FnMut(Told) + Send),
    ) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(found) = self.turns.get(turn) else { return Ok(()) };
        for (after, bytes) in &found.answers {
            if self.paced {
                sleep_until(asked + *after).await;
            }
            if self.modbus_tcp {
                let (unit, pdu) = bytes.split_first().map_or((0, &[][..]), |(u, pdu)| (*u, pdu));
                let transaction = match number {
                    [high, low] => u16::from_be_bytes([*high, *low]),
                    _ => 0,
                };
                stream.write_all(&modbus::tcp_frame(transaction, unit, pdu)).await?;
            } else {
                stream.write_all(bytes).await?;
            }
            stream.flush().await?;
        }
        let number = turn + 1;
        tell(if found.answers.is_empty() { Told::Silent(number) } else { Told::Answered(number) });
        Ok(())
    }
}

/// Takes one frame of Modbus TCP; the error means that it is none.
fn take_frame(arrived: &mut Vec<u8>) -> Result<Option<Vec<u8>>, String> {
    let Some(&[_, _, p1, p0, l1, l0]) = arrived.first_chunk::<HEADER>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([l1, l0]));
    if [p1, p0] != [0, 0] || !(2..=modbus::LONGEST_FRAME - HEADER).contains(&length) {
        return Err("it holds bytes that are not Modbus TCP".to_owned());
    }
    if arrived.len() < HEADER + length {
        return Ok(None);
    }
    Ok(Some(arrived.drain(..HEADER + length).collect()))
}

/// Transaction number, and unit with PDU.
fn halves(frame: &[u8]) -> ([u8; 2], Vec<u8>) {
    let number = frame.first_chunk::<2>().copied().unwrap_or_default();
    (number, frame.get(HEADER..).unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests;
