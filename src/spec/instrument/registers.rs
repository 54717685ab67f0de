//! What the registers of a definition can be checked for together.

use std::collections::BTreeSet;

use crate::expr::{Expr, Type};
use crate::spec::codes;
use crate::spec::diagnostic::Diagnostic;
use crate::spec::reader::Reader;
use crate::spec::source::Spanned;
use crate::spec::value::{Expression, Named, Shape};
use crate::units::Dimension;

use super::{
    Block, Instrument, Operation, Property, Register, RegisterType, Table, Wire, WordOrder,
};

/// Registers that a Modbus request may read or write at most, where the definition does not say.
const MOST_READ: u32 = 125;
const MOST_WRITTEN: u32 = 123;

/// A register and whether it is written.
struct Use<'a> {
    register: &'a Register,
    written: bool,
}

/// Reports registers that cannot be as they are declared; `check` looks at an expression that
/// must have a type.
pub(super) fn all(
    r: &mut Reader<'_>,
    instrument: &Instrument,
    check: &mut dyn FnMut(&mut Reader<'_>, &Expression, &Type),
) {
    let Wire::Modbus(modbus) = &instrument.connection.wire else { return };
    let uses = uses(instrument);
    let number = Type::Quantity { dim: Dimension::NONE, point: false };
    for plus in modbus.plus.iter().chain(uses.iter().filter_map(|u| u.register.plus.as_ref())) {
        check(r, plus, &number);
        if !over_config(&plus.expr) {
            r.push(
                Diagnostic::error(
                    codes::EXPRESSION_TYPE,
                    plus.span,
                    "use names of `config` only: where a register stands does not change",
                )
                .label("known only while it runs"),
            );
        }
    }
    let most = modbus.max_block.as_ref().map(|most| most.value);
    for one in &uses {
        size(r, one, most);
        if let (Some(block), true) = (&one.register.block, one.written)
            && one.register.write_function == Some(6)
        {
            r.push(
                Diagnostic::error(
                    codes::REGISTER,
                    block.start.span,
                    "remove `block` from what is written: only what is read comes in blocks",
                )
                .label("a write changes this register alone"),
            );
        }
        written(r, one);
    }
    overlaps(r, &uses);
    blocks(r, &uses);
    for property in &instrument.properties {
        if let Some(super::Ask::Register(register)) = &property.ask {
            reading(r, property, register);
        }
    }
}

fn uses(instrument: &Instrument) -> Vec<Use<'_>> {
    let mut all = Vec::new();
    let actions = instrument.actions.iter();
    let operations = actions
        .flat_map(|action| action.operations.iter().chain(&action.on_cancel))
        .chain(&instrument.identify)
        .chain(&instrument.on_connect)
        .chain(instrument.safe_state.iter().flat_map(|safe| &safe.operations))
        .chain(instrument.hold_state.iter().flat_map(|hold| &hold.operations))
        .chain(instrument.heartbeat.iter().flat_map(|beat| beat.arm.iter().chain(&beat.disarm)));
    for property in &instrument.properties {
        if let Some(super::Ask::Register(register)) = &property.ask {
            all.push(Use { register, written: false });
        }
    }
    for operation in operations {
        match operation {
            Operation::Write { register, .. } => all.push(Use { register, written: true }),
            Operation::Read { register, .. } => all.push(Use { register, written: false }),
            _ => {}
        }
    }
    all
}

/// Whether an expression reads nothing but the configuration.
fn over_config(expr: &Expr) -> bool {
    expr.names().iter().all(|path| path.first().is_some_and(|name| name == "config"))
}

/// What one request can carry.
fn size(r: &mut Reader<'_>, one: &Use<'_>, most: Option<u32>) {
    let register = one.register;
    let own = register.kind.value.registers(register.length.as_ref().map(|n| n.value));
    let span = register.length.as_ref().map_or(register.kind.span, |length| length.span);
    let limit = most.unwrap_or(if one.written { MOST_WRITTEN } else { MOST_READ });
    let mut above = |span, count: u32| {
        r.push(
            Diagnostic::error(
                codes::BLOCK,
                span,
                format!(
                    "ask for at most {limit} registers, or raise `max_block` if the device can"
                ),
            )
            .label(format!("{count} registers in one request"))
            .reason("a device answers a longer request with an exception, or not at all"),
        );
    };
    if own > limit {
        above(span, own);
    }
    let Some(block) = &register.block else { return };
    if block.count.value > limit {
        above(block.count.span, block.count.value);
    }
    let (first, last) = (block.start.value, block.start.value + block.count.value);
    if register.number.value < first || register.number.value + own > last {
        r.push(
            Diagnostic::error(
                codes::BLOCK,
                register.number.span,
                format!("choose a register from {first} to {}", last.saturating_sub(own)),
            )
            .label(format!("{own} registers from here"))
            .also(block.start.span, format!("the block ends before {last}")),
        );
    }
}

fn written(r: &mut Reader<'_>, one: &Use<'_>) {
    if !one.written {
        return;
    }
    let register = one.register;
    let (at, message, label) = match (&register.bits, register.table.value) {
        (Some(_), _) => (
            register.span,
            "remove `bits` from what is written: it would clear the other bits",
            "only read",
        ),
        (None, Table::Input | Table::Discrete) => (
            register.table.span,
            "write a holding register or a coil: inputs can only be read",
            "cannot be written",
        ),
        _ => return,
    };
    r.push(Diagnostic::error(codes::REGISTER, at, message).label(label));
}

/// Registers that share words must mean the same by them.
fn overlaps(r: &mut Reader<'_>, uses: &[Use<'_>]) {
    let mut told = BTreeSet::new();
    for (at, one) in uses.iter().enumerate() {
        for other in uses.iter().take(at) {
            let (a, b) = (other.register, one.register);
            if a.table.value != b.table.value || plus(a) != plus(b) || !share(a, b) {
                continue;
            }
            let Some(differs) = difference(a, b) else { continue };
            // Said once, however often the words are named.
            if told.insert((place(a), place(b))) {
                r.push(
                    Diagnostic::error(
                        codes::REGISTER_OVERLAP,
                        b.number.span,
                        format!("describe the same words in one way: {differs}"),
                    )
                    .label("here")
                    .also(a.number.span, "and otherwise here")
                    .reason("one of the two is a wrong number that looks right"),
                );
            }
        }
    }
}

/// What the device gives only together must never be asked for in part.
fn blocks(r: &mut Reader<'_>, uses: &[Use<'_>]) {
    for (at, one) in uses.iter().enumerate().filter(|(_, one)| !one.written) {
        let register = one.register;
        let torn = uses.iter().enumerate().find_map(|(other, with)| {
            let block = with.register.block.as_ref()?;
            let same = (register.table.value, register.base, plus(register));
            let its = (with.register.table.value, with.register.base, plus(with.register));
            let own = register.block.as_ref();
            let (first, count) = match own {
                Some(own) => (own.start.value, own.count.value),
                None => {
                    let length = register.length.as_ref().map(|length| length.value);
                    (register.number.value, register.kind.value.registers(length))
                }
            };
            let meets =
                first < block.start.value + block.count.value && block.start.value < first + count;
            // Two blocks that differ are told once, at the later.
            let earlier = own.is_none() || other < at;
            (same == its && meets && earlier && own.is_none_or(|own| !alike(own, block)))
                .then_some(block)
        });
        if let Some(block) = torn {
            let fix =
                format!("block: {{start: {}, count: {}}}", block.start.value, block.count.value);
            r.push(
                Diagnostic::error(
                    codes::BLOCK,
                    register.block.as_ref().map_or(register.number.span, |own| own.start.span),
                    "read this register with the block it stands in",
                )
                .label("asked for without the rest of the block")
                .also(block.start.span, "the block")
                .reason("the device gives these registers only together, from their first")
                .fix(fix),
            );
        }
    }
}

fn alike(one: &Block, other: &Block) -> bool {
    (one.start.value, one.count.value) == (other.start.value, other.count.value)
}

/// What moves a register.
fn plus(register: &Register) -> Option<&str> {
    register.plus.as_ref().map(|plus| plus.text.as_str())
}

/// First register from 0, and the first behind it.
fn place(register: &Register) -> (u32, u32) {
    let first = register.number.value.saturating_sub(u32::from(register.base));
    let length = register.length.as_ref().map(|length| length.value);
    (first, first + register.kind.value.registers(length))
}

fn share(a: &Register, b: &Register) -> bool {
    let (a, b) = (place(a), place(b));
    a.0 < b.1 && b.0 < a.1
}

fn difference(a: &Register, b: &Register) -> Option<String> {
    let bits = a.bits.is_some() || b.bits.is_some();
    if place(a) != place(b) {
        Some("they overlap without being the same".to_owned())
    } else if a.kind.value != b.kind.value && !bits {
        Some("their types differ".to_owned())
    } else if word_order(a) != word_order(b) {
        Some("their orders differ".to_owned())
    } else if (a.scale != b.scale || a.offset != b.offset) && !bits {
        Some("their scales differ".to_owned())
    } else {
        None
    }
}

/// Order, as far as it matters for the type.
fn word_order(register: &Register) -> Option<WordOrder> {
    let single = register.kind.value.registers(None) == 1;
    match register.order {
        Some(WordOrder::Abcd | WordOrder::Cdab) if single => Some(WordOrder::Abcd),
        Some(WordOrder::Badc | WordOrder::Dcba) if single => Some(WordOrder::Badc),
        order => order,
    }
}

/// A property must be what its register can hold.
fn reading(r: &mut Reader<'_>, property: &Property, register: &Register) {
    let kind = register.kind;
    let mut wrong = |at, message: String, label: &str| {
        r.push(Diagnostic::error(codes::REGISTER, at, message).label(label.to_owned()));
    };
    if let Some(bits) = &register.bits {
        match &property.shape {
            Shape::Bool if bits.names.len() == 1 => {}
            Shape::Bool => wrong(
                register.span,
                "name one bit, or read several as `fields`".to_owned(),
                "true or false for one bit",
            ),
            Shape::Record(fields) => {
                for field in fields {
                    let named = bits.names.iter().any(|n| n.name.value == field.name.value);
                    if !named || field.shape != Shape::Bool {
                        wrong(
                            field.name.span,
                            format!("name a bit `{}` and give it `type: bool`", field.name.value),
                            "no bit of this register",
                        );
                    }
                }
            }
            _ => wrong(
                register.span,
                format!(
                    "read `{}` as `type: bool`, or several bits as `fields`",
                    property.name.value
                ),
                "bits are true or false",
            ),
        }
        return;
    }
    let fits = match (&property.shape, kind.value) {
        (Shape::Text, _) | (Shape::Bool, RegisterType::Bool) => true,
        (Shape::Bool, RegisterType::U16 | RegisterType::I16) => true,
        (Shape::Number | Shape::Integer | Shape::Quantity(_), kind) => {
            !matches!(kind, RegisterType::Bool | RegisterType::String)
        }
        _ => false,
    };
    if !fits {
        let message = match kind.value {
            RegisterType::String => format!("read `{}` as `type: text`", property.name.value),
            RegisterType::Bool => format!("read `{}` as `type: bool`", property.name.value),
            _ => format!("read `{}` as a number, a text or with `unit`", property.name.value),
        };
        wrong(kind.span, message, "holds something else than the property is");
    }
    if let Some(unit) = &register.unit {
        match &property.shape {
            Shape::Quantity(own)
                if own.value.dim == unit.value.dim && own.value.point == unit.value.point => {}
            Shape::Quantity(own) => wrong(
                unit.span,
                format!("write a unit like {}", own.value.symbol),
                "a unit of another kind than that of the property",
            ),
            _ => wrong(
                unit.span,
                format!("give `{}` a `unit`, or remove this one", property.name.value),
                "the property has none",
            ),
        }
    }
    if kind.value.range().is_some() && property.shape == Shape::Text {
        words(r, &property.map);
    }
}

/// Words for numbers must name numbers as they come out.
pub(super) fn words(r: &mut Reader<'_>, map: &[Named<Spanned<String>>]) {
    for entry in map {
        let number: Option<f64> = entry.name.value.parse().ok();
        if number.is_none_or(|number| number.to_string() != entry.name.value) {
            r.push(
                Diagnostic::error(
                    codes::BAD_VALUE,
                    entry.name.span,
                    "write the number that the register holds, in decimal digits",
                )
                .label("would never be found")
                .fix(format!("\"10\": {}", entry.value.value)),
            );
        }
    }
}
