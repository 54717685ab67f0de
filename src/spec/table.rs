//! Key tables: which keys a mapping may have and what each takes.
//!
//! One source of truth: lowering refuses what a table does not name, and
//! [`super::schema`] prints the same tables as JSON Schema.

/// The keys of one kind of mapping.
pub(super) struct Table {
    /// What the mapping is, for messages: "a step", "the connection".
    pub what: &'static str,
    /// For people.
    pub doc: &'static str,
    /// The keys.
    pub keys: &'static [Key],
}

/// One key.
pub(super) struct Key {
    /// As written.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// For people; a sentence without its final stop.
    pub doc: &'static str,
    /// Must be there.
    pub required: bool,
    /// A value that could stand there; shown as the fix when the key is missing.
    pub example: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    /// Any text.
    Text,
    /// A name: letters, digits and `_`, perhaps with `-`.
    Name,
    /// `true` or `false`.
    Bool,
    /// A whole number from .. to.
    Count(u64, u64),
    /// A number without a unit.
    Number,
    /// A number and a unit.
    Quantity,
    /// A time, such as `5 min`.
    Time,
    /// A time, or `${ }` that gives one.
    TimeExpression,
    /// A unit, such as `mL/min`.
    Unit,
    /// An expression that is true or false.
    Condition,
    /// `${ }`, a quantity, a number or a text.
    Value,
    /// One of some words.
    Word(&'static [&'static str]),
    /// A list.
    List(&'static Takes),
    /// One, or a list.
    OneOrList(&'static Takes),
    /// A mapping with names of the author's choice.
    Map(&'static Takes),
    /// A mapping with the keys of a table.
    Object(&'static Table),
    /// Any of these.
    Either(&'static [Takes]),
    /// Anything.
    Any,
}

impl Takes {
    /// A value of this kind, for a fix.
    pub(super) fn example(&self) -> &'static str {
        match self {
            Takes::Bool => "true",
            Takes::Count(..) => "1",
            Takes::Number => "1.5",
            Takes::Quantity | Takes::Value => "5 mL",
            Takes::Time | Takes::TimeExpression => "5 s",
            Takes::Unit => "mL/min",
            Takes::Word(words) => words.first().copied().unwrap_or("..."),
            Takes::List(_) => "[...]",
            Takes::Map(_) | Takes::Object(_) => "{...}",
            Takes::OneOrList(one) => one.example(),
            Takes::Either(kinds) => kinds.first().map_or("...", Takes::example),
            Takes::Text | Takes::Name | Takes::Condition | Takes::Any => "...",
        }
    }
}

/// A key that may be left out.
pub(super) const fn key(name: &'static str, takes: Takes, doc: &'static str) -> Key {
    Key { name, takes, doc, required: false, example: "" }
}

impl Key {
    /// The same, but it must be there; `example` is a value that could stand there.
    pub(super) const fn required(self, example: &'static str) -> Key {
        Key { required: true, example, ..self }
    }
}

impl Table {
    /// A key by name.
    pub(super) fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// A text, for `List(&TEXT)`.
pub(super) static TEXT: Takes = Takes::Text;
/// A name, for `List(&NAME)`.
pub(super) static NAME: Takes = Takes::Name;
/// A value, for `Map(&VALUE)`.
pub(super) static VALUE: Takes = Takes::Value;
/// A condition, for `List(&CONDITION)`.
pub(super) static CONDITION: Takes = Takes::Condition;
/// A quantity, for `Map(&QUANTITY)`.
pub(super) static QUANTITY: Takes = Takes::Quantity;
/// A number, for `List(&NUMBER)`.
pub(super) static NUMBER: Takes = Takes::Number;
/// A unit, for `Map(&UNIT)`.
pub(super) static UNIT: Takes = Takes::Unit;
