//! What a person sees of a command by hand: its messages as they cross, and how it went.

use serde_json::json;
use tokio::sync::mpsc;

use super::super::args::CallArgs;
use super::super::{Exit, output};
use super::chosen::Chosen;
use crate::compiler::graph::FailureKind;
use crate::driver::decode::Decoder;
use crate::driver::{Exchange, Sent, Way};
use crate::engine::shell::ManualOutcome;
use crate::expr::Value;
use crate::spec::Shape;

/// Messages that wait to be shown.
const SHOWN: usize = 1_024;
/// Characters of a message that are shown; `--json` has all.
const LINE: usize = 100;
/// Messages kept for `--json`.
const KEPT: usize = 10_000;

/// Shows messages as they cross.
pub(super) struct Watch {
    tap: crate::driver::Tap,
    shown: tokio::task::JoinHandle<Vec<serde_json::Value>>,
}

impl Watch {
    pub fn new(chosen: &Chosen, action: Option<&str>, json: bool) -> Watch {
        let (tap, mut messages) = mpsc::channel::<Exchange>(SHOWN);
        let mut decoder = Decoder::new(&chosen.setup, action).ok().map(Decoder::from_connection);
        let shown = tokio::spawn(async move {
            let mut kept = Vec::new();
            let mut first = None;
            while let Some(message) = messages.recv().await {
                let since = message.at.since(*first.get_or_insert(message.at)).as_secs_f64();
                let meaning = decoder.as_mut().and_then(|decoder| decoder.read(&message));
                let way = if message.way == Way::Out { '>' } else { '<' };
                if !json {
                    let meaning = meaning.as_ref().map(|m| format!("  {m}")).unwrap_or_default();
                    let bytes = output::beginning(&message.text, LINE);
                    output::say(format!("{since:>9.3} s {way} {bytes:<28}{meaning}"));
                } else if kept.len() < KEPT {
                    kept.push(json!({
                        "seconds": since, "way": message.way, "bytes": message.text,
                        "meaning": meaning.map(|m| m.to_string()),
                    }));
                }
            }
            kept
        });
        Watch { tap, shown }
    }

    pub fn tap(&self) -> crate::driver::Tap {
        self.tap.clone()
    }

    /// What crossed, once the driver has ended.
    pub async fn finish(self) -> Vec<serde_json::Value> {
        drop(self.tap);
        self.shown.await.unwrap_or_default()
    }
}

/// Says how it went, and with which exit code that ends.
pub(super) fn report(
    args: &CallArgs,
    outcome: &ManualOutcome,
    shape: Option<&Shape>,
    name: &str,
    messages: &[serde_json::Value],
    json: bool,
) -> Exit {
    let value = |value: &Value| match (shape, value) {
        (Some(Shape::Quantity(unit)), Value::Quantity(q)) => q.display_in(&unit.value),
        _ => value.show(),
    };
    let exit = match &outcome.result {
        Ok(Some(Value::Missing(_))) => Exit::RunFailed,
        Ok(_) => Exit::Done,
        Err(failure) if failure.kind == FailureKind::Link => Exit::Unreachable,
        Err(_) => Exit::RunFailed,
    };
    if json {
        let result = match &outcome.result {
            Ok(found) => json!({
                "done": exit == Exit::Done,
                "value": found.as_ref().map(&value),
                "number": found.as_ref().and_then(|found| number(shape, found)),
                "unit": found.as_ref().and_then(|_| unit(shape)),
                // Curves, lists and records whole, in SI units.
                "whole": found.as_ref().filter(|found| number(shape, found).is_none()),
            }),
            Err(failure) => json!({
                "done": false, "kind": failure.kind, "message": failure.message,
                "effect": failure.effect,
            }),
        };
        let witness = outcome.witness.as_ref().map(Value::show);
        output::data(&format!(
            "{:#}\n",
            json!({
                "instrument": args.instrument, "what": name, "result": result,
                "witness": witness, "messages": messages,
            })
        ));
        return exit;
    }
    match &outcome.result {
        Ok(Some(Value::Missing(why))) => output::error(format!("{name} has no value: {why}")),
        Ok(Some(found)) => output::data(&format!("{name} = {}\n", value(found))),
        Ok(None) => output::say(format!("{name} is done.")),
        Err(failure) => {
            let effect = match failure.effect {
                Sent::NotSent => "nothing was sent",
                Sent::NoEffect => "it had no effect",
                Sent::Unknown => "whether it had an effect is NOT KNOWN",
            };
            output::error(format!("{name} failed: {}; {effect}", failure.message));
            if let (Some(before), Some(after)) = (&outcome.baseline, &outcome.witness) {
                let (before, after) = (before.show(), after.show());
                output::say(format!("Its witness says {before} before and {after} after."));
            }
        }
    }
    exit
}

fn unit(shape: Option<&Shape>) -> Option<String> {
    match shape {
        Some(Shape::Quantity(unit)) => Some(unit.value.symbol.clone()),
        _ => None,
    }
}

fn number(shape: Option<&Shape>, value: &Value) -> Option<f64> {
    match (shape, value) {
        // Without the noise of the conversion, as people read it.
        (Some(Shape::Quantity(unit)), Value::Quantity(q)) => {
            q.in_unit(&unit.value).and_then(|number| crate::units::tidy(number).parse().ok())
        }
        (_, Value::Quantity(q)) => Some(q.value),
        _ => None,
    }
}
