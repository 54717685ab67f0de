//! What stands under the cursor: in words, and where it is defined.

mod names;

use std::path::PathBuf;

use super::cursor::Cursor;
use super::describe;
use super::project::Project;
use crate::analysis;
use crate::compiler::bundle::clean;
use crate::spec::instrument::{Action, EffectClass};
use crate::spec::schema::{Form, Slot};
use crate::spec::{Kind, Span, ValueSpec, codes, types};
use crate::units::{Quantity, Unit};

/// What can be said about a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What it is about.
    pub span: Span,
    /// Markdown for people.
    pub text: String,
    /// Where it is defined.
    pub target: Option<Target>,
}

/// Where something is defined.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// A place in one of the texts.
    Place(Span),
    /// A file.
    File(PathBuf),
}

impl Project {
    /// What stands at a byte of the document.
    pub fn answer(&self, byte: usize) -> Option<Answer> {
        self.code(byte).or_else(|| {
            let root = self.root.as_ref()?;
            let slot = self.kind.map_or(Slot::unknown(), Slot::root);
            let cursor = Cursor::at(root, slot, byte)?;
            if cursor.is_key { self.of_key(&cursor) } else { self.of_value(&cursor, byte) }
        })
    }

    /// A code such as `LL0312`, wherever it stands; also in a comment.
    fn code(&self, byte: usize) -> Option<Answer> {
        let (range, word) = names::word(self.text(), byte, |c| c.is_ascii_alphanumeric())?;
        let code = word.starts_with("LL").then(|| codes::explain(word)).flatten()?;
        let text = format!("**{}**: {}\n\n{}", code.code, code.title, code.explanation);
        Some(Answer { span: Span::new(self.focus, range), text, target: None })
    }

    fn of_key(&self, cursor: &Cursor<'_>) -> Option<Answer> {
        let name = cursor.text;
        let known = match (self.kind?, cursor.path.as_slice()) {
            (_, [.., "with", _]) => self.argument(cursor, cursor.up(0)),
            (Kind::Protocol, ["parameters", _]) => self.parameter(name),
            (Kind::Campaign, ["space" | "fixed", _]) => self.parameter(name),
            (Kind::Protocol | Kind::Campaign, ["roles", _]) => self.role(name),
            (Kind::Protocol, ["derived", _]) => self.derived(name),
            (Kind::Lab, ["instruments", instrument]) => self.lab_instrument(instrument),
            (Kind::Lab, ["instruments", instrument, "config", setting]) => {
                let definition = self.definition_of(instrument)?;
                let spec = definition.config.iter().find(|s| s.name.value == *setting)?;
                Some((
                    self.spec(spec, &format!("setting of {}", definition.name.value)),
                    spec.name.span,
                ))
            }
            _ => None,
        };
        if let Some((text, target)) = known {
            return Some(Answer { span: cursor.span, text, target: Some(Target::Place(target)) });
        }
        let text = format!("**{name}**: {}", cursor.slot.doc()?);
        Some(Answer { span: cursor.span, text, target: None })
    }

    fn of_value(&self, cursor: &Cursor<'_>, byte: usize) -> Option<Answer> {
        if (cursor.slot.form() == Form::Condition || cursor.text.contains("${"))
            && let Some(found) = self.in_expression(cursor, byte)
        {
            return Some(found);
        }
        let word = cursor.text;
        let place = |(text, target): (String, Span)| Answer {
            span: cursor.span,
            text,
            target: Some(Target::Place(target)),
        };
        let found = match (self.kind?, cursor.path.as_slice()) {
            (_, [.., "do"]) if word.contains('.') => self.action_at(cursor, byte),
            (Kind::Protocol, [.., "analyse"]) => self.analysis(cursor),
            (Kind::Protocol, ["roles", _, "type"]) | (Kind::Instrument, ["type"]) => {
                let contract = types::contract(word)?;
                Some(Answer {
                    span: cursor.span,
                    text: format!("**{word}**: {}", contract.doc),
                    target: None,
                })
            }
            (Kind::Protocol, [.., "hold", "#"]) | (Kind::Lab, [.., "plays", "#"]) => {
                self.role(word).map(place)
            }
            (Kind::Protocol, [.., "after", "#"]) => self.step(word).map(place),
            (Kind::Campaign, ["roles", _]) => self.lab_instrument(word).map(place),
            (Kind::Campaign, ["objectives", "#", "result" | "noise"]) => {
                self.result(word).map(place)
            }
            (Kind::Lab, ["instruments", _, "use"]) => {
                let definition = self.definitions.get(word)?;
                let text =
                    format!("**{word}**: {}", definition.doc.as_deref().unwrap_or("a definition"));
                Some(place((text, definition.name.span)))
            }
            (Kind::Campaign, ["protocol" | "lab"]) | (Kind::Protocol, [.., "call"]) => {
                let file = clean(&self.path.parent()?.join(word));
                Some(Answer {
                    span: cursor.span,
                    text: format!("`{}`", file.display()),
                    target: Some(Target::File(file)),
                })
            }
            (_, [.., "with", _]) => self.argument(cursor, cursor.up(0)).map(place),
            _ => None,
        };
        found.or_else(|| self.physical(cursor))
    }

    /// The role or the action of `role.action`.
    fn action_at(&self, cursor: &Cursor<'_>, byte: usize) -> Option<Answer> {
        let (role, name) = cursor.text.split_once('.')?;
        let raw = self.text().get(cursor.span.range())?;
        let start = cursor.span.range().start + raw.find(role)?;
        let dot = start + role.len();
        let (text, target, range) = if byte <= dot {
            let (text, target) = self.role(role)?;
            (text, target, start..dot)
        } else {
            let (player, definition) = self.player(role)?;
            let action = definition.actions.iter().find(|a| a.name.value == name)?;
            let mut text = self.action(action);
            text.push_str(&format!("\n\n{} plays `{role}`", player.name.value));
            (text, action.name.span, dot + 1..dot + 1 + name.len())
        };
        let span = Span::new(self.focus, range);
        Some(Answer { span, text, target: Some(Target::Place(target)) })
    }

    fn action(&self, action: &Action) -> String {
        let mut text = format!("**{}**", action.name.value);
        if let Some(doc) = &action.doc {
            text.push_str(&format!(": {doc}"));
        }
        text.push('\n');
        for arg in &action.args {
            text.push_str(&format!("\n- `{}`: {}", arg.name.value, describe::value(arg)));
        }
        if let Some(shape) = &action.returns {
            text.push_str(&format!("\n- gives {}", describe::shape(shape)));
        }
        text.push_str(match action.effect.value {
            EffectClass::Read => "\n- has no effect",
            EffectClass::Repeatable => "\n- again gives the same state",
            EffectClass::Verifiable => "\n- a witness proves whether it happened",
            EffectClass::Once => "\n- is never sent twice",
        });
        self.with_place(text, action.span)
    }

    /// An argument of the action or the analysis of the step around.
    fn argument(&self, cursor: &Cursor<'_>, name: &str) -> Option<(String, Span)> {
        let action = cursor.beside(1, "do")?;
        let (role, action_name) = action.split_once('.')?;
        let (player, definition) = self.player(role)?;
        let action = definition.actions.iter().find(|a| a.name.value == action_name)?;
        let spec = action.args.iter().find(|arg| arg.name.value == name)?;
        let mut text = self.spec(spec, &format!("of `{role}.{action_name}`"));
        if let Some(limit) = describe::lab_limit(player, action_name, spec) {
            text.push_str(&format!("\n\n{limit}"));
        }
        Some((text, spec.name.span))
    }

    fn analysis(&self, cursor: &Cursor<'_>) -> Option<Answer> {
        let signature = analysis::signature(cursor.text)?;
        let mut text = format!("**{}**: {}\n", signature.name, signature.doc);
        for input in signature.inputs {
            let optional =
                if input.needed == analysis::Needed::Optional { " (may be left out)" } else { "" };
            text.push_str(&format!("\n- `{}`: {}{optional}", input.name, input.doc));
        }
        Some(Answer { span: cursor.span, text, target: None })
    }

    /// A quantity or a unit.
    fn physical(&self, cursor: &Cursor<'_>) -> Option<Answer> {
        let text = match cursor.slot.form() {
            Form::Unit => self.unit(cursor.text)?,
            Form::Quantity | Form::Value => {
                let unit = cursor
                    .text
                    .trim_start_matches(|c: char| !c.is_alphabetic() && c != '%' && c != '°');
                let quantity = Quantity::parse(cursor.text).ok()?;
                let mut text = self.unit(unit).or_else(|| Some(quantity.dim.name()))?;
                if let Some(doc) = cursor.slot.doc() {
                    text.push_str(&format!("\n\n{doc}"));
                }
                text
            }
            Form::Condition | Form::Other => return None,
        };
        Some(Answer { span: cursor.span, text, target: None })
    }

    /// What a unit measures and how large it is.
    fn unit(&self, symbol: &str) -> Option<String> {
        let unit = Unit::parse(symbol).ok()?;
        let one = Quantity::new(unit.factor, unit.dim);
        let size = if unit.point {
            "a point on a scale".to_owned()
        } else {
            format!("1 {symbol} = {one}")
        };
        Some(format!("**{symbol}**: {}, {size}", unit.dim.name()))
    }

    fn spec(&self, spec: &ValueSpec, of: &str) -> String {
        let mut text = format!("**{}** {of}\n\n{}", spec.name.value, describe::value(spec));
        if let Some(doc) = &spec.doc {
            text.push_str(&format!("\n\n{doc}"));
        }
        self.with_place(text, spec.span)
    }

    fn with_place(&self, mut text: String, span: Span) -> String {
        if let Some((name, at)) = self.sources.locate(span) {
            // The end of a path says enough.
            let parts: Vec<&str> = name.rsplit('/').take(3).collect();
            let short: Vec<&str> = parts.into_iter().rev().collect();
            text.push_str(&format!("\n\n`{}:{}`", short.join("/"), at.line));
        }
        text
    }
}
