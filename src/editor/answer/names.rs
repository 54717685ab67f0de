//! Names: parameters, roles, steps, results, and what expressions say of them.

use std::ops::Range;
use std::sync::Arc;

use super::{Answer, Target};
use crate::editor::cursor::Cursor;
use crate::editor::describe;
use crate::editor::project::Project;
use crate::spec::instrument::Instrument;
use crate::spec::protocol::{Step, StepKind};
use crate::spec::{Kind, Span};

/// The stretch of characters of a kind around a byte.
pub(super) fn word(
    text: &str,
    byte: usize,
    belongs: impl Fn(char) -> bool,
) -> Option<(Range<usize>, &str)> {
    let before = text.get(..byte)?;
    let after = text.get(byte..)?;
    let start = before.len()
        - before.chars().rev().take_while(|c| belongs(*c)).map(char::len_utf8).sum::<usize>();
    let end = byte + after.chars().take_while(|c| belongs(*c)).map(char::len_utf8).sum::<usize>();
    let word = text.get(start..end)?;
    (!word.is_empty()).then_some((start..end, word))
}

impl Project {
    /// A name or a unit of an expression.
    pub(super) fn in_expression(&self, cursor: &Cursor<'_>, byte: usize) -> Option<Answer> {
        let name = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let (range, path) = word(self.text(), byte, name)?;
        // Only as far as the word under the cursor.
        let upto = byte.saturating_sub(range.start).min(path.len());
        let end = path.get(upto..)?.find('.').map_or(path.len(), |n| upto + n);
        let parts: Vec<&str> = path.get(..end)?.split('.').collect();
        let start = range.start + path.get(..end)?.rfind('.').map_or(0, |n| n + 1);
        if let Some((text, target)) = self.name(cursor, &parts) {
            let span = Span::new(self.focus, start..range.start + end);
            return Some(Answer { span, text, target: Some(Target::Place(target)) });
        }
        // A number stands before a unit.
        let unit = |c: char| c.is_alphanumeric() || "%/^°µμΩ".contains(c);
        let (range, symbol) = word(self.text(), byte, unit)?;
        let before = self.text().get(..range.start)?.trim_end();
        if !before.ends_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let text = self.unit(symbol)?;
        Some(Answer { span: Span::new(self.focus, range), text, target: None })
    }

    fn name(&self, cursor: &Cursor<'_>, parts: &[&str]) -> Option<(String, Span)> {
        match parts {
            ["params", name] => self.parameter(name),
            ["derived", name] => self.derived(name),
            ["roles", role] => self.role(role),
            ["roles", role, property] => self.property(self.player(role)?.1, property),
            ["steps", name] | ["loop", "history", name] | ["steps", _, name] => self.step(name),
            ["results" | "best", name] => self.result(name),
            ["lab", "stock", name] | ["stock", name] => {
                let stock = self.lab.as_ref()?.stock.iter().find(|s| s.name.value == *name)?;
                Some((format!("**{name}**: stock of the lab"), stock.name.span))
            }
            ["args", name] => {
                let instrument = self.instrument.as_ref()?;
                let ["actions", action, ..] = cursor.path.as_slice() else { return None };
                let action = instrument.actions.iter().find(|a| a.name.value == *action)?;
                let spec = action.args.iter().find(|arg| arg.name.value == *name)?;
                Some((self.spec(spec, &format!("of {}", action.name.value)), spec.name.span))
            }
            ["config", name] => {
                let instrument = self.instrument.as_ref()?;
                let spec = instrument.config.iter().find(|s| s.name.value == *name)?;
                Some((self.spec(spec, "setting"), spec.name.span))
            }
            [instrument] if self.kind == Some(Kind::Lab) => self.lab_instrument(instrument),
            [instrument, property] if self.kind == Some(Kind::Lab) => {
                self.property(self.definition_of(instrument)?.as_ref(), property)
            }
            [property] => self.property(self.instrument.as_deref()?, property),
            _ => None,
        }
    }

    pub(super) fn parameter(&self, name: &str) -> Option<(String, Span)> {
        let spec = self.protocol.as_ref()?.parameter(name)?;
        Some((self.spec(spec, "parameter"), spec.name.span))
    }

    pub(super) fn derived(&self, name: &str) -> Option<(String, Span)> {
        let derived = &self.protocol.as_ref()?.derived;
        let found = derived.iter().find(|derived| derived.name.value == name)?;
        let written =
            self.sources.get(found.value.span().source)?.slice(found.value.span().range());
        let text = format!("**{name}** derived\n\n`{written}`");
        Some((self.with_place(text, found.name.span), found.name.span))
    }

    /// A role: who plays it, and where the lab says so.
    pub(super) fn role(&self, name: &str) -> Option<(String, Span)> {
        let role = self.protocol.as_ref().and_then(|p| p.role(name));
        if let Some((player, definition)) = self.player(name) {
            let text = format!(
                "**{name}**: a {}, played by {} ({})",
                definition.kind.value, player.name.value, definition.name.value
            );
            return Some((self.with_place(text, player.span), player.name.span));
        }
        let role = role?;
        Some((format!("**{name}**: a {}", role.kind.value), role.name.span))
    }

    pub(super) fn lab_instrument(&self, name: &str) -> Option<(String, Span)> {
        let found = self.lab.as_ref()?.instrument(name)?;
        let mut text = format!("**{name}**: {}", found.definition.value);
        let mut target = found.name.span;
        if let Some(definition) = self.definition_of(name) {
            text.push_str(&format!(", a {}", definition.kind.value));
            if self.kind == Some(Kind::Lab) {
                target = definition.name.span;
            }
        }
        Some((text, target))
    }

    pub(super) fn definition_of(&self, instrument: &str) -> Option<Arc<Instrument>> {
        let found = self.lab.as_ref()?.instrument(instrument)?;
        self.definitions.get(&found.definition.value).cloned()
    }

    fn property(&self, definition: &Instrument, name: &str) -> Option<(String, Span)> {
        let property = definition.properties.iter().find(|p| p.name.value == name)?;
        let mut text = format!(
            "**{name}** of {}\n\n{}",
            definition.name.value,
            describe::shape(&property.shape)
        );
        if let Some(every) = &property.every {
            text.push_str(&format!(", read every {} s", every.value.as_secs_f64()));
        }
        if let Some(doc) = &property.doc {
            text.push_str(&format!("\n\n{doc}"));
        }
        Some((self.with_place(text, property.span), property.name.span))
    }

    pub(super) fn step(&self, name: &str) -> Option<(String, Span)> {
        let protocol = self.protocol.as_ref()?;
        let mut open: Vec<&Step> = protocol.steps.iter().chain(&protocol.finally).collect();
        while let Some(step) = open.pop() {
            if let Some(id) = step.id.as_ref().filter(|id| id.value == name) {
                let what = match &step.kind {
                    StepKind::Do { role, action, .. } => {
                        format!("`{}.{}`", role.value, action.value)
                    }
                    StepKind::Analyse { function, .. } => format!("`{}`", function.value),
                    _ => "a step".to_owned(),
                };
                let text = self.with_place(format!("**{name}**: {what}"), id.span);
                return Some((text, id.span));
            }
            open.extend(step.children());
        }
        None
    }

    pub(super) fn result(&self, name: &str) -> Option<(String, Span)> {
        let result = self.protocol.as_ref()?.result(name)?;
        let mut text = format!("**{name}**: result");
        if let Some(unit) = &result.unit {
            text.push_str(&format!(" in {}", unit.value.symbol));
        }
        if let Some(doc) = &result.doc {
            text.push_str(&format!("\n\n{doc}"));
        }
        Some((self.with_place(text, result.name.span), result.name.span))
    }
}
