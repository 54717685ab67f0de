//! What may stand at a place of a document, for editors and the formatter.

use super::table_of;
use crate::spec::document::Kind;
use crate::spec::table::Takes;

/// What may stand at one place of a document, found by walking down from its root.
///
/// Places the tables know nothing of (free keys, a wrong key) have a slot too; it promises
/// nothing.
#[derive(Clone, Copy)]
pub struct Slot {
    takes: Option<Takes>,
    doc: Option<&'static str>,
}

/// What a single value is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A number and a unit, or a time.
    Quantity,
    /// A unit alone.
    Unit,
    /// An expression without `${ }`.
    Condition,
    /// Whatever another document says: an argument, a limit, a setting.
    Value,
    /// A text, a name, a word, a number.
    Other,
}

impl Slot {
    /// The whole document.
    pub fn root(kind: Kind) -> Slot {
        Slot { takes: Some(Takes::Object(table_of(kind))), doc: None }
    }

    /// A place nothing is known of.
    pub fn unknown() -> Slot {
        Slot { takes: None, doc: None }
    }

    /// The value under a key of a mapping.
    #[must_use]
    pub fn key(self, name: &str) -> Slot {
        for kind in self.alternatives() {
            match kind {
                Takes::Object(table) => {
                    if let Some(key) = table.key(name) {
                        return Slot { takes: Some(key.takes), doc: Some(key.doc) };
                    }
                }
                Takes::Map(inner) => return Slot { takes: Some(*inner), doc: None },
                _ => {}
            }
        }
        // What stands inside a free value is free.
        match self.takes {
            Some(Takes::Value | Takes::Any) => Slot { takes: self.takes, doc: None },
            _ => Slot::unknown(),
        }
    }

    /// An item of a list.
    #[must_use]
    pub fn item(self) -> Slot {
        for kind in self.alternatives() {
            if let Takes::List(inner) | Takes::OneOrList(inner) = kind {
                return Slot { takes: Some(*inner), doc: None };
            }
        }
        match self.takes {
            Some(Takes::Value | Takes::Any) => Slot { takes: self.takes, doc: None },
            _ => Slot::unknown(),
        }
    }

    /// What a single value here is read as; where several readings are possible, the freest.
    pub fn form(self) -> Form {
        let mut forms: Vec<Form> = Vec::new();
        for kind in self.alternatives() {
            forms.push(match kind {
                Takes::Quantity | Takes::Time | Takes::TimeExpression => Form::Quantity,
                Takes::Unit => Form::Unit,
                Takes::Condition => Form::Condition,
                Takes::Value => Form::Value,
                Takes::OneOrList(inner) => Slot { takes: Some(*inner), doc: None }.form(),
                // A mapping or a list is no reading of a single value.
                Takes::Object(_) | Takes::Map(_) | Takes::List(_) => continue,
                _ => Form::Other,
            });
        }
        match forms.as_slice() {
            [one] => *one,
            _ => Form::Other,
        }
    }

    /// What the tables say about the key this is the value of.
    pub fn doc(self) -> Option<&'static str> {
        self.doc
    }

    /// Keys a mapping here may have, with what the tables say about each.
    pub fn keys(self) -> Vec<(&'static str, &'static str)> {
        let mut out = Vec::new();
        for kind in self.alternatives() {
            if let Takes::Object(table) = kind {
                out.extend(table.keys.iter().map(|key| (key.name, key.doc)));
            }
        }
        out
    }

    /// Words a single value here may be, where only some are allowed.
    pub fn words(self) -> Vec<&'static str> {
        let mut out = Vec::new();
        for kind in self.alternatives() {
            match kind {
                Takes::Word(words) => out.extend(words),
                Takes::Bool => out.extend(["true", "false"]),
                Takes::OneOrList(inner) => {
                    out.extend(Slot { takes: Some(*inner), doc: None }.words());
                }
                _ => {}
            }
        }
        out
    }

    fn alternatives(self) -> Vec<Takes> {
        match self.takes {
            Some(Takes::Either(kinds)) => kinds.to_vec(),
            Some(kind) => vec![kind],
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_deep_in_a_document_knows_what_may_stand_there() {
        let step = Slot::root(Kind::Protocol).key("steps").item();
        assert_eq!(step.key("timeout").form(), Form::Quantity);
        assert_eq!(step.key("with").key("rate").form(), Form::Value);
        assert_eq!(step.key("if").form(), Form::Condition);
        assert!(step.key("retry").key("if").words().contains(&"timeout"));
        assert!(step.keys().iter().any(|(key, _)| *key == "wait_until"));
        assert_eq!(step.key("nonsense").key("deeper").item().form(), Form::Other);
        let inner = step.key("parallel").key("any").item().key("repeat").key("steps").item();
        assert!(inner.key("do").doc().is_some_and(|doc| doc.contains("action")));
    }

    #[test]
    fn a_value_that_may_be_a_count_too_is_not_taken_for_a_quantity() {
        let lab = Slot::root(Kind::Lab);
        assert_eq!(lab.key("stock").key("feed").key("volume").form(), Form::Quantity);
        let campaign = Slot::root(Kind::Campaign);
        assert_eq!(campaign.key("space").key("t").key("from").form(), Form::Quantity);
        assert_eq!(campaign.key("space").key("t").item().form(), Form::Value);
    }
}
