//! Text and binary frames.

use super::{Asked, Decoded, Decoder, shown};
use crate::driver::mirror::messages::Role;
use crate::driver::mirror::text::best;
use crate::driver::plan::Protocol;
use crate::driver::template::Said;
use crate::driver::text::{Reply, TextCodec};
use crate::driver::values;
use crate::wire::printable::unprintable;

impl Decoder {
    fn codec(&self) -> Option<TextCodec> {
        match &self.plan.protocol {
            Protocol::Text { codec, .. } => Some((**codec).clone()),
            _ => None,
        }
    }

    pub(super) fn text_out(&mut self, text: &str) -> Option<Decoded> {
        self.asked = Asked::Nothing;
        let codec = self.codec()?;
        let mut bytes = unprintable(text)?;
        let config = &self.plan.config;
        let fits =
            |body: &str| self.entries.iter().any(|e| e.template.read(body, config).is_some());
        let body = codec.take_request(&mut bytes, &fits)?.body?;
        let mut found = best(&self.entries, &body, &self.plan);
        found.sort_by_key(|(at, _)| self.rank(*at));
        let (first, said) = found.first()?;
        self.identifying.retain(|at| at != first);
        let decoded = self.name(*first, said);
        self.asked = Asked::Text(found.iter().map(|(at, _)| *at).collect());
        decoded
    }

    /// Of several messages with the same text, the one of the action under way is meant.
    fn rank(&self, at: usize) -> u8 {
        let own = self.action.as_deref();
        match self.entries.get(at).map(|entry| &entry.role) {
            Some(Role::Other(_)) if self.identifying.contains(&at) => 0,
            Some(Role::Safe) if self.is_safe() => 0,
            Some(Role::Step { action, .. }) if Some(action.as_str()) == own => 0,
            Some(Role::Other(what)) if own.is_some_and(|own| names(what, own)) => 1,
            Some(Role::Property(_)) => 2,
            Some(Role::Step { .. }) => 3,
            Some(Role::Safe) => 4,
            Some(Role::Other(_)) | None => 5,
        }
    }

    fn name(&self, at: usize, said: &Said) -> Option<Decoded> {
        Some(match &self.entries.get(at)?.role {
            Role::Property(name) => Decoded::new(format!("asks for {name}")),
            Role::Step { action, step } => {
                let mut decoded = Decoded::new(self.step(action, *step));
                for (name, value) in &said.fields {
                    decoded = decoded.field(name, self.argument(action, name, value));
                }
                decoded
            }
            Role::Safe => Decoded::new("safe state"),
            Role::Other(what) => Decoded::new(what.clone()),
        })
    }

    pub(super) fn text_in(&mut self, text: &str) -> Option<Decoded> {
        let codec = self.codec()?;
        let mut bytes = unprintable(text)?;
        let taken = match codec.take(&mut bytes) {
            Ok(Some(taken)) => taken,
            Ok(None) => codec.take_idle(&mut bytes)?,
            Err(why) => return Some(Decoded::new(format!("cannot be read: {why}"))),
        };
        if let Some(unasked) = codec.unasked(&taken.frame) {
            return Some(Decoded::new(format!("says unasked that {}", unasked.text)));
        }
        match codec.read(&taken.frame, false) {
            Ok(Some(reply)) => Some(self.answer(&reply)),
            Ok(None) => Some(Decoded::new("answer of another address")),
            Err(fault) => Some(Decoded::new(fault.message)),
        }
    }

    /// What an answer says to the question before it.
    fn answer(&self, reply: &Reply) -> Decoded {
        let mut decoded = Decoded::new("answers");
        decoded.status = reply.status.map(|status| values::status_word(status).to_owned());
        let Asked::Text(asked) = &self.asked else { return decoded };
        // Only an answer to a question for a property says something about others too.
        let role = |at: &usize| self.entries.get(*at).map(|entry| &entry.role);
        if matches!(asked.first().and_then(role), Some(Role::Other(_) | Role::Safe)) {
            return decoded;
        }
        for at in asked {
            let Some(entry) = self.entries.get(*at) else { continue };
            let found = match &entry.parse {
                Some(pattern) => match reply.find(pattern) {
                    Ok(found) => Some(found),
                    Err(_) => continue,
                },
                None => None,
            };
            match &entry.role {
                Role::Property(name) => {
                    let Some(property) = self.plan.properties.get(name) else { continue };
                    if let Ok(value) = values::of_reply(property, reply, found) {
                        decoded = decoded.field(name, shown(&property.shape, &value));
                    }
                }
                Role::Step { action, .. }
                    if self.action.as_ref().is_none_or(|own| own == action) =>
                {
                    let shape = self.plan.actions.get(action).and_then(|a| a.returns.as_ref());
                    if let (Some(shape), Some(raw)) = (shape, found.and_then(|found| found.value))
                        && let Ok(Some(value)) = values::returned(Some(shape), raw)
                    {
                        decoded = decoded.field(action, shown(shape, &value));
                    }
                }
                Role::Step { .. } | Role::Safe | Role::Other(_) => {}
            }
        }
        decoded
    }
}

/// Whether a purpose in words is that of an action.
fn names(what: &str, action: &str) -> bool {
    what.split(' ').any(|word| word == action)
}
