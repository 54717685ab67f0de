//! Topics that cannot be told apart.

use std::collections::BTreeMap;

use crate::expr::Type;
use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::reader::Reader;
use crate::spec::source::{Span, Spanned};

use super::super::{Ask, Correlate, Done, Instrument, Operation, TopicReply};

/// Everything that is looked for in the topics of an instrument.
pub(super) fn all(r: &mut Reader<'_>, instrument: &Instrument) {
    let mut streams: BTreeMap<(&str, &str), Span> = BTreeMap::new();
    for property in &instrument.properties {
        let Some(Ask::Topic { topics, json, .. }) = &property.ask else { continue };
        let path = json.as_ref().map_or("", |json| json.value.as_str());
        // Of a record or a curve each part says where it stands.
        let whole = matches!(property.shape.expr_type(), Type::Record(_) | Type::Series { .. });
        for topic in topics {
            wildcards(r, topic);
            if whole && path.is_empty() {
                continue;
            }
            if let Some(first) = streams.get(&(topic.value.as_str(), path)) {
                r.push(
                    ambiguous(topic.span, "read each property from a place of its own")
                        .label("the same place again")
                        .also(*first, "first here"),
                );
            } else {
                streams.insert((topic.value.as_str(), path), topic.span);
            }
        }
    }
    let mut next: BTreeMap<&str, (&str, &TopicReply)> = BTreeMap::new();
    for action in &instrument.actions {
        // What is done when a state shows it takes no answer for proof.
        if matches!(action.done, Some(Done::Until { .. })) {
            continue;
        }
        for operation in &action.operations {
            let Operation::Publish { topic, reply: Some(reply), .. } = operation else { continue };
            wildcards(r, &reply.topic);
            let name = reply.topic.value.as_str();
            if !matches!(reply.correlate, Correlate::Next) {
                continue;
            }
            if topic.value == name {
                r.push(
                    ambiguous(reply.topic.span, "answer on another topic than the question's")
                        .label("the question itself comes back as its answer")
                        .also(topic.span, "the question"),
                );
            }
            let stream = streams.iter().find(|((topic, _), _)| *topic == name);
            if let Some((_, span)) = stream {
                r.push(
                    ambiguous(reply.topic.span, "answer on a topic of its own, or correlate it")
                        .label("`next` takes whatever comes on this topic")
                        .also(*span, "a property is published on it too"),
                );
            }
            match next.get(name) {
                Some((other, first)) if *other != action.name.value => r.push(
                    ambiguous(reply.topic.span, "answer on a topic of its own, or correlate it")
                        .label("`next` takes whatever comes on this topic")
                        .also(first.topic.span, "the answer of another action")
                        .reason("a late answer of one action would pass for that of the other"),
                ),
                _ => {
                    next.insert(name, (action.name.value.as_str(), reply));
                }
            }
        }
    }
}

fn ambiguous(span: Span, message: &str) -> Diagnostic {
    Diagnostic::error(codes::AMBIGUOUS_TOPIC, span, message)
}

fn wildcards(r: &mut Reader<'_>, topic: &Spanned<String>) {
    if topic.value.contains(['+', '#']) {
        r.push(
            ambiguous(topic.span, "write the topic out, without `+` and `#`")
                .label("a pattern of topics")
                .reason("a message is compared with this topic as it stands, so none would match"),
        );
    }
}
