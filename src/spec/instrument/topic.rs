//! Messages of MQTT: what they hold, what answers them, and what can be said against them.

use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::reader::Reader;
use crate::spec::source::{Span, Spanned};
use crate::spec::value::{Named, Written};

use super::{Action, Ask, Binary, Done, EffectClass, Instrument, Operation, Wire};

/// What a message of MQTT holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// JSON with expressions over `args`, `config` and `command`; plain numbers and true/false
    /// stay what they are, quoted ones are texts.
    Json(Written),
    /// A template; may be empty.
    Text(Spanned<String>),
}

/// The message that answers a published one.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicReply {
    /// Topic below the base.
    pub topic: Spanned<String>,
    /// How the answer is known to be ours.
    pub correlate: Correlate,
    /// Messages without one of these fields are no answer.
    pub has: Vec<Spanned<String>>,
    /// A field and the words in it that say that more is to come: accepted, at work...
    pub progress: Vec<Named<Vec<Spanned<String>>>>,
    /// Path in the JSON of the value; records and series say it per field.
    pub json: Option<Spanned<String>>,
    /// The payload is these numbers; beside `json` as base64 at that path.
    pub binary: Option<Box<Binary>>,
    /// Path in the JSON of a field whose presence means that the device refused or failed.
    pub error: Option<Spanned<String>>,
    /// The whole entry.
    pub span: Span,
}

/// How an answer is known to be ours.
#[derive(Debug, Clone, PartialEq)]
pub enum Correlate {
    /// Correlation data of MQTT 5.
    Property,
    /// A field of the JSON (one of these paths, for firmwares that differ) equals `command.id`.
    Field(Vec<Spanned<String>>),
    /// The next message on the topic.
    Next,
}

/// Reports an action that would end with an answer nobody can tell from somebody else's.
pub(super) fn proven(r: &mut Reader<'_>, action: &Action) {
    if action.effect.value == EffectClass::Read || matches!(action.done, Some(Done::Until { .. })) {
        return;
    }
    let next = action.operations.iter().find_map(|operation| match operation {
        Operation::Publish { reply: Some(reply), .. } if reply.correlate == Correlate::Next => {
            Some((reply.span, "the next message may be somebody else's"))
        }
        Operation::SetMetric { span, .. } => Some((*span, "Sparkplug answers no command")),
        _ => None,
    });
    if let Some((span, label)) = next {
        r.push(
            Diagnostic::error(
                codes::UNPROVEN_ANSWER,
                span,
                format!("add `done: {{when: ..., every: ...}}` to `{}`", action.name.value),
            )
            .label(label)
            .reason("only a state that shows the effect proves that this command was taken")
            .fix("done: {when: switched_on, every: 200 ms}"),
        );
    }
}

/// Reports metrics without Sparkplug, and anything else with it.
pub(super) fn of_their_kind(r: &mut Reader<'_>, instrument: &Instrument) {
    let Wire::Mqtt(mqtt) = &instrument.connection.wire else { return };
    for property in &instrument.properties {
        if let (Some(Ask::Topic { query: None, .. }), Some(every)) =
            (&property.ask, &property.every)
        {
            r.push(
                Diagnostic::error(
                    codes::NOT_WITH,
                    every.span,
                    format!("add a `query` to `{}`, or remove `every`", property.name.value),
                )
                .label("would do nothing here")
                .reason("the device says it by itself; only a `query` can ask for it")
                .fix("query: {publish: get, json: {}}"),
            );
        }
    }
    let actions = instrument.actions.iter();
    let operations = actions
        .flat_map(|action| action.operations.iter().chain(&action.on_cancel))
        .chain(&instrument.on_connect)
        .chain(instrument.safe_state.iter().flat_map(|safe| &safe.operations))
        .chain(instrument.hold_state.iter().flat_map(|hold| &hold.operations));
    let operations = operations.filter_map(|operation| match operation {
        Operation::Publish { span, .. } => Some((*span, false)),
        Operation::SetMetric { span, .. } => Some((*span, true)),
        _ => None,
    });
    let properties = instrument.properties.iter().filter_map(|property| match &property.ask {
        Some(Ask::Topic { .. }) => Some((property.span, false)),
        Some(Ask::Metric { .. }) => Some((property.span, true)),
        _ => None,
    });
    let wrong = operations.chain(properties).find(|(_, metric)| *metric != mqtt.sparkplug);
    let Some((span, metric)) = wrong else { return };
    let (message, label) = if metric {
        ("add `sparkplug: true` to `mqtt`, or use `publish` and `topic`", "a metric of Sparkplug B")
    } else {
        ("use `set_metric` and `metric`: this instrument speaks Sparkplug B", "no metric")
    };
    r.push(Diagnostic::error(codes::WRONG_OPERATION, span, message).label(label));
}
