//! Reading single values: texts, names, words, numbers, quantities, times.

use std::time::Duration;

use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::nearest::nearest;
use crate::spec::physics;
use crate::spec::source::Spanned;
use crate::spec::tree::NodeKind;
use crate::units::{Quantity, Unit};

use super::{Item, NameForm, Reader};

/// Longest time a document may name: a hundred years, far from every overflow.
const MAX_SECONDS: f64 = 100.0 * 365.25 * 86_400.0;

impl Reader<'_> {
    /// A scalar with its text and whether it is quoted.
    pub(in crate::spec) fn scalar<'n>(
        &mut self,
        item: Item<'n>,
        wanted: &str,
        example: &str,
    ) -> Option<(&'n str, bool)> {
        match &item.node.kind {
            NodeKind::Scalar { text, quoted } => Some((text, *quoted)),
            _ => {
                self.wrong_kind(item, wanted, example);
                None
            }
        }
    }

    /// Any text, free of `${ }`.
    pub(in crate::spec) fn text(&mut self, item: Item<'_>) -> Option<Spanned<String>> {
        let (text, _) = self.scalar(item, "a text", "\"...\"")?;
        if text.contains("${") {
            self.push(
                Diagnostic::error(
                    codes::EXPRESSION_NOT_ALLOWED,
                    item.span(),
                    format!("write a plain text for `{}`, without ${{ }}", item.key),
                )
                .label("an expression")
                .reason("this is settled when the file is read, before any value is known"),
            );
            return None;
        }
        Some(Spanned::new(text.to_owned(), item.span()))
    }

    /// Text for people.
    pub(in crate::spec) fn doc(&mut self, item: Option<Item<'_>>) -> Option<String> {
        let (text, _) = self.scalar(item?, "a text", "\"...\"")?;
        Some(text.to_owned())
    }

    /// A name.
    pub(in crate::spec) fn name(
        &mut self,
        item: Item<'_>,
        form: NameForm,
    ) -> Option<Spanned<String>> {
        let text = self.text(item)?;
        self.check_name(&text, form).then_some(text)
    }

    /// Checks the form of a name.
    pub(in crate::spec) fn check_name(&mut self, name: &Spanned<String>, form: NameForm) -> bool {
        let first = |c: char| match form {
            NameForm::Identifier => c.is_ascii_alphabetic(),
            NameForm::Word => c.is_alphanumeric() || "+@_".contains(c),
            NameForm::Free => true,
        };
        let rest = |c: char| match form {
            NameForm::Identifier => c.is_ascii_alphanumeric() || c == '_',
            NameForm::Word => c.is_alphanumeric() || "_-.+@/".contains(c),
            NameForm::Free => true,
        };
        let text = &name.value;
        let ok =
            text.chars().next().is_some_and(first) && text.chars().all(rest) && text.len() <= 64;
        if ok {
            return true;
        }
        let mut better: String = text
            .chars()
            .map(|c| if rest(c) { c } else { '_' })
            .skip_while(|c| !first(*c))
            .take(64)
            .collect();
        if better.is_empty() {
            better = "name_1".to_owned();
        }
        let allowed = match form {
            NameForm::Identifier => "a letter first, then letters, digits and _",
            NameForm::Word => "letters, digits, and - _ . + inside",
            NameForm::Free => "at least one character, at most 64",
        };
        self.push(
            Diagnostic::error(
                codes::BAD_NAME,
                name.span,
                format!("write the name as `{better}`: {allowed}"),
            )
            .label(if text.len() > 64 { "longer than 64 characters" } else { "not a name" })
            .fix(better.clone())
            .replace(better),
        );
        false
    }

    /// `true` or `false`.
    pub(in crate::spec) fn boolean(&mut self, item: Item<'_>) -> Option<Spanned<bool>> {
        let (text, quoted) = self.scalar(item, "true or false", "true")?;
        let value = match (text, quoted) {
            ("true", false) => Some(true),
            ("false", false) => Some(false),
            _ => None,
        };
        if value.is_none() {
            let why = if quoted { "in quotes it is a text" } else { "neither true nor false" };
            self.push(
                Diagnostic::error(
                    codes::UNKNOWN_WORD,
                    item.span(),
                    format!("write true or false for `{}`", item.key),
                )
                .label(why)
                .fix(format!("{}: true", item.key)),
            );
        }
        value.map(|value| Spanned::new(value, item.span()))
    }

    /// One of some words, each with what it means.
    pub(in crate::spec) fn word<T: Copy>(
        &mut self,
        item: Item<'_>,
        words: &[(&str, T)],
    ) -> Option<Spanned<T>> {
        let all = words.iter().map(|(word, _)| *word).collect::<Vec<_>>();
        let (text, _) =
            self.scalar(item, &format!("one of {}", all.join(", ")), all.first().unwrap_or(&""))?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(Spanned::new(*value, item.span()));
        }
        let near = nearest(text, all.iter().copied());
        let message = match near {
            Some(near) => format!("write `{near}` instead of `{text}`"),
            None => format!("`{}` must be one of: {}", item.key, all.join(", ")),
        };
        let mut diagnostic = Diagnostic::error(codes::UNKNOWN_WORD, item.span(), message)
            .label("not a word that is known here")
            .reason(format!("`{}` is one of: {}", item.key, all.join(", ")));
        if let Some(near) = near {
            diagnostic = diagnostic.fix(near.to_owned()).replace(near);
        }
        self.push(diagnostic);
        None
    }

    /// A whole number without a unit, within limits.
    pub(in crate::spec) fn count(
        &mut self,
        item: Item<'_>,
        min: u64,
        max: u64,
    ) -> Option<Spanned<u64>> {
        let (text, _) = self.scalar(item, "a whole number", &min.to_string())?;
        let value = match text.parse::<u64>() {
            Ok(value) => value,
            Err(_) => {
                let diagnostic = physics::not_a_count(text, item.span(), item.key, min, max);
                self.push(diagnostic);
                return None;
            }
        };
        if !(min..=max).contains(&value) {
            let nearest = value.clamp(min, max);
            self.push(
                Diagnostic::error(
                    codes::OUT_OF_RANGE,
                    item.span(),
                    format!("`{}` must be from {min} to {max}", item.key),
                )
                .label("outside")
                .fix(format!("{}: {nearest}", item.key)),
            );
            return None;
        }
        Some(Spanned::new(value, item.span()))
    }

    /// The same, as the 32-bit number most fields hold.
    pub(in crate::spec) fn count32(
        &mut self,
        item: Item<'_>,
        min: u32,
        max: u32,
    ) -> Option<Spanned<u32>> {
        let value = self.count(item, u64::from(min), u64::from(max))?;
        u32::try_from(value.value).ok().map(|n| Spanned::new(n, value.span))
    }

    /// A finite number without a unit.
    pub(in crate::spec) fn number(&mut self, item: Item<'_>) -> Option<Spanned<f64>> {
        let (text, _) = self.scalar(item, "a number", "1.5")?;
        match physics::number(text) {
            Some(value) => Some(Spanned::new(value, item.span())),
            None => {
                let diagnostic = physics::not_a_number(text, item.span(), item.key);
                self.push(diagnostic);
                None
            }
        }
    }

    /// A unit.
    pub(in crate::spec) fn unit(&mut self, item: Item<'_>) -> Option<Spanned<Unit>> {
        let (text, _) = self.scalar(item, "a unit", "mL/min")?;
        match physics::unit(text, item.span(), item.key) {
            Ok(unit) => Some(Spanned::new(unit, item.span())),
            Err(diagnostic) => {
                self.push(*diagnostic);
                None
            }
        }
    }

    /// A quantity of any dimension.
    pub(in crate::spec) fn any_quantity(&mut self, item: Item<'_>) -> Option<Spanned<Quantity>> {
        let (text, _) = self.scalar(item, "a number and a unit", "5 mL")?;
        match physics::any_quantity(text, item.span(), item.key) {
            Ok(value) => Some(Spanned::new(value, item.span())),
            Err(diagnostic) => {
                self.push(*diagnostic);
                None
            }
        }
    }

    /// A quantity in the dimension of a unit.
    pub(in crate::spec) fn quantity(
        &mut self,
        item: Item<'_>,
        unit: &Unit,
    ) -> Option<Spanned<Quantity>> {
        let example = physics::example(unit);
        let (text, _) = self.scalar(item, "a number and a unit", &example)?;
        match physics::quantity(text, unit, item.span(), item.key) {
            Ok(value) => Some(Spanned::new(value, item.span())),
            Err(diagnostic) => {
                self.push(*diagnostic);
                None
            }
        }
    }

    /// A time, zero or more.
    pub(in crate::spec) fn time(&mut self, item: Item<'_>) -> Option<Spanned<Duration>> {
        let (text, _) = self.scalar(item, "a time", "5 s")?;
        let quantity = match physics::time(text, item.span(), item.key) {
            Ok(quantity) => quantity,
            Err(diagnostic) => {
                self.push(*diagnostic);
                return None;
            }
        };
        self.duration(quantity, item).map(|value| Spanned::new(value, item.span()))
    }

    fn duration(&mut self, quantity: Quantity, item: Item<'_>) -> Option<Duration> {
        let seconds = quantity.value;
        if (0.0..=MAX_SECONDS).contains(&seconds) {
            return Duration::try_from_secs_f64(seconds).ok();
        }
        let why = if seconds < 0.0 { "below zero" } else { "more than a hundred years" };
        self.push(
            Diagnostic::error(
                codes::BAD_TIME,
                item.span(),
                format!("`{}` must be a time of zero or more", item.key),
            )
            .label(why)
            .fix(format!("{}: 5 s", item.key)),
        );
        None
    }
}
