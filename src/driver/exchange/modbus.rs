//! Modbus questions and answers.

use std::time::Duration;

use super::{Line, Timing, Trace};
use crate::driver::text::Fault;
use crate::driver::types::{FailureKind, Sent, Way};
use crate::wire::modbus::{self, Answer, Framing, ModbusError, Request};
use crate::wire::printable::hex;

/// A Modbus TCP connection on which so many questions in a row got no answer is opened anew.
const MOST_SILENCES: u32 = 5;

impl Line {
    /// Sends a Modbus request and reads its answer.
    pub(in crate::driver) async fn modbus(
        &mut self,
        unit: u8,
        framing: Framing,
        request: &Request,
        timing: &Timing,
        trace: &mut Trace,
    ) -> Result<Answer, Fault> {
        let pdu = request.pdu();
        self.transaction = self.transaction.wrapping_add(1);
        let transaction = self.transaction;
        let frame = framing.frame(transaction, unit, &pdu);
        let silence = match framing {
            Framing::Rtu => self.serial.rtu_silence(),
            Framing::Tcp | Framing::Ascii => Duration::ZERO,
        };
        let out = self.send(&frame, timing.gap.max(silence)).await?;
        trace.add(&self.clock, Way::Out, hex(&[&[unit], pdu.as_slice()].concat()));
        let deadline = out + timing.reply;
        loop {
            match framing.take(&mut self.arrived, transaction, unit) {
                Ok(Some(answer)) => {
                    self.silences = 0;
                    self.answered.insert(unit);
                    self.left_over(self.arrived.len());
                    trace.add(&self.clock, Way::In, hex(&[&[unit], answer.as_slice()].concat()));
                    return request.answer(&answer).map_err(|error| match error {
                        ModbusError::Exception { code } => exception(code),
                        other => {
                            self.spoil();
                            Fault::new(FailureKind::BadReply, Sent::Unknown, other.to_string())
                        }
                    });
                }
                Ok(None) => {}
                Err(error) => {
                    trace.add(&self.clock, Way::In, hex(&self.arrived));
                    self.spoil();
                    return Err(Fault::new(
                        FailureKind::BadReply,
                        Sent::Unknown,
                        error.to_string(),
                    ));
                }
            }
            if !self.more(deadline).await? {
                self.unanswered(framing, unit);
                return Err(Fault::new(
                    FailureKind::Timeout,
                    Sent::Unknown,
                    format!("no answer within {} ms", timing.reply.as_millis()),
                ));
            }
        }
    }

    /// A Modbus question got no answer. Over TCP its number tells a late one from others, so a unit
    /// behind a gateway that never answers does not cost the others their connection; when one that
    /// did answer falls silent, or nobody ever answered, it may be the connection that is dead.
    fn unanswered(&mut self, framing: Framing, unit: u8) {
        self.silences += 1;
        let dead = self.answered.is_empty() || self.answered.contains(&unit);
        let lost = dead && self.silences >= MOST_SILENCES;
        if framing != Framing::Tcp || !self.arrived.is_empty() || lost {
            self.spoil();
        }
        if lost && !self.is_serial() {
            self.port = None;
        }
    }
}

fn exception(code: u8) -> Fault {
    let (kind, effect) = match code {
        // Acknowledge: it has begun something that takes longer.
        5 => (FailureKind::Busy, Sent::Unknown),
        6 => (FailureKind::Busy, Sent::NoEffect),
        4 | 8 => (FailureKind::Alarm, Sent::Unknown),
        // A gateway without a path sent nothing on; one whose target is silent did.
        10 => (FailureKind::Link, Sent::NoEffect),
        11 => (FailureKind::Timeout, Sent::Unknown),
        // Refused before anything was done; 7 is its old name for a program command.
        1..=3 | 7 => (FailureKind::Refused, Sent::NoEffect),
        // A code of the maker's own says nothing about what was done.
        _ => (FailureKind::Refused, Sent::Unknown),
    };
    let text = modbus::exception_text(code);
    Fault::new(kind, effect, format!("it answers with exception {code}, {text}"))
}
