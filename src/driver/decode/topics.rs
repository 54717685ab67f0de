//! Topics and JSON of MQTT.

use serde_json::Value as Json;

use super::{Asked, Decoded, Decoder, shown};
use crate::driver::json;
use crate::driver::plan::{AskPlan, Op, ReplyPlan};
use crate::driver::topics::heard_value;
use crate::wire::printable::unprintable;

/// Fields of a payload that are shown; the bytes stand beside them.
const FIELDS: usize = 12;

impl Decoder {
    pub(super) fn topic_out(&mut self, text: &str) -> Option<Decoded> {
        self.asked = Asked::Nothing;
        let (topic, payload) = text.split_once(' ').unwrap_or((text, ""));
        let safe = self.plan.safe_state.iter().any(|op| match op {
            Op::Publish { topic: its, .. } => its.read(topic, &self.plan.config).is_some(),
            _ => false,
        });
        if safe && self.is_safe() {
            return Some(Decoded { fields: fields(payload), ..Decoded::new("safe state") });
        }
        let own = self.action.as_deref();
        let mut actions: Vec<_> = self.plan.actions.iter().collect();
        actions.sort_by_key(|(name, _)| Some(name.as_str()) != own);
        for (name, action) in actions {
            for (step, op) in action.operations.iter().enumerate() {
                let Op::Publish { topic: its, .. } = op else { continue };
                if its.read(topic, &self.plan.config).is_none() {
                    continue;
                }
                let mut decoded = Decoded::new(self.step(name, step));
                decoded.fields = fields(payload);
                self.asked = Asked::Topic(name.clone(), step);
                return Some(decoded);
            }
        }
        safe.then(|| Decoded::new("safe state"))
    }

    pub(super) fn topic_in(&mut self, text: &str) -> Option<Decoded> {
        let (topic, payload) = text.split_once(' ').unwrap_or((text, ""));
        let payload = unprintable(payload);
        let json: Option<Json> = payload.as_deref().and_then(|p| serde_json::from_slice(p).ok());
        if let Asked::Topic(action, step) = &self.asked
            && let Some(action_plan) = self.plan.actions.get(action)
            && let Some(Op::Publish { reply: Some(reply), .. }) = action_plan.operations.get(*step)
            && reply.topic.read(topic, &self.plan.config).is_some()
        {
            let shape = action_plan.returns.as_ref();
            return Some(answer(reply, json.as_ref(), |json, path| {
                let shape = shape?;
                let value = json::value_of(shape, json, path).ok()?;
                Some((action.clone(), shown(shape, &value)))
            }));
        }
        let mut decoded = Decoded::new("says");
        for (name, property) in &self.plan.properties {
            let Some(AskPlan::Topic { topics, json: path, binary, .. }) = &property.ask else {
                continue;
            };
            if !topics.iter().any(|own| own.read(topic, &self.plan.config).is_some()) {
                continue;
            }
            if binary.is_some() {
                let length = payload.as_ref().map_or(0, Vec::len);
                decoded = decoded.field(name, format!("{length} bytes of numbers"));
            } else if let Some(payload) = &payload
                && let Some(value) = heard_value(property, payload, path.as_deref())
            {
                decoded = decoded.field(name, shown(&property.shape, &value));
            }
        }
        (!decoded.fields.is_empty()).then_some(decoded)
    }
}

fn answer(
    reply: &ReplyPlan,
    json: Option<&Json>,
    value: impl Fn(&Json, Option<&str>) -> Option<(String, String)>,
) -> Decoded {
    let Some(json) = json else { return Decoded::new("answers, but not in JSON") };
    match reply.error.as_ref().and_then(|path| json::at(json, path)) {
        None | Some(Json::Null | Json::Bool(false)) => {
            let mut decoded = Decoded::new("answers");
            decoded.fields.extend(value(json, reply.json.as_deref()));
            decoded
        }
        Some(error) => Decoded::new(format!("refuses: {}", json::short(error))),
    }
}

fn fields(payload: &str) -> Vec<(String, String)> {
    let payload = unprintable(payload).unwrap_or_default();
    match serde_json::from_slice(&payload) {
        Ok(Json::Object(map)) => {
            map.iter().take(FIELDS).map(|(name, json)| (name.clone(), json::short(json))).collect()
        }
        _ => Vec::new(),
    }
}
