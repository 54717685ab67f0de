//! The keys of Modbus connections and registers.

use crate::spec::table::{Table, Takes, key};

/// Most registers of one request (the Modbus specification).
pub(in crate::spec::instrument) const MAX_BLOCK: u32 = 125;

pub(in crate::spec::instrument) static REGISTER_TYPES: &[&str] =
    &["u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "bool", "string"];
pub(in crate::spec::instrument) static ORDERS: &[&str] =
    &["AB", "BA", "ABCD", "CDAB", "BADC", "DCBA"];

pub(in crate::spec::instrument) static MODBUS: Table = Table {
    what: "`modbus`",
    doc: "Modbus settings that hold for the whole device",
    keys: &[
        key("max_block", Takes::Count(1, MAX_BLOCK as u64), "Most registers in one request"),
        key(
            "write",
            Takes::Word(&["single", "multiple"]),
            "Write one register with function 6 or 16; multiple unless given",
        ),
        key("framing", Takes::Word(&["rtu", "ascii"]), "Frames on a serial line; rtu unless given"),
        key("plus", Takes::Value, "Added to every register number; an expression over config"),
    ],
};

static REGISTER_KEYS: &[crate::spec::table::Key] = &[
    key("holding", Takes::Count(0, 65_536), "Number of a holding register"),
    key("input", Takes::Count(0, 65_536), "Number of an input register"),
    key("coil", Takes::Count(0, 65_536), "Number of a coil"),
    key("discrete", Takes::Count(0, 65_536), "Number of a discrete input"),
    key("base", Takes::Count(0, 1), "What the manual counts from"),
    key(
        "plus",
        Takes::Value,
        "Added to the number, an expression over config: for one of several equal parts",
    ),
    key("length", Takes::Count(1, 123), "Registers of a string, two characters in each"),
    key("type", Takes::Word(REGISTER_TYPES), "Type of the value"),
    key("order", Takes::Word(ORDERS), "Order of its bytes, A the most significant"),
    key("scale", Takes::Number, "value = raw * scale + offset"),
    key("offset", Takes::Number, "See scale"),
    key("unit", Takes::Unit, "Unit of the scaled value, where it is not that of the property"),
    key(
        "invalid",
        Takes::List(&SENTINEL),
        "Raw numbers that are no measurements, or bits in hexadecimal as \"0x8002\"",
    ),
    key("bits", Takes::Object(&BITS), "Bits by name"),
    key("block", Takes::Object(&BLOCK), "Registers that the device gives only together"),
    key(
        "functions",
        Takes::Object(&FUNCTIONS),
        "Function codes, where they are not the usual ones",
    ),
];
static SENTINEL: Takes = Takes::Either(&[Takes::Number, Takes::Text]);

pub(in crate::spec::instrument) static BLOCK: Table = Table {
    what: "`block`",
    doc: "Registers that the device gives only together, from their first",
    keys: &[
        key("start", Takes::Count(0, 65_536), "First, counted like the register").required("2089"),
        key("count", Takes::Count(1, MAX_BLOCK as u64), "How many").required("10"),
    ],
};

pub(in crate::spec::instrument) static FUNCTIONS: Table = Table {
    what: "`functions`",
    doc: "Function codes of a register, where they are not the usual ones of its table",
    keys: &[
        key("read", Takes::Count(1, 4), "1 to 4; coils 1, discrete inputs 2, holding 3, input 4"),
        key("write", Takes::Count(5, 16), "A coil: 5 or 15; a holding register: 6 or 16"),
    ],
};

pub(in crate::spec::instrument) static REGISTER: Table = Table {
    what: "a register",
    doc: "A Modbus register; base, type and order have no default, because makers differ",
    keys: REGISTER_KEYS,
};

static BIT: Takes = Takes::Count(0, 63);
pub(in crate::spec::instrument) static BITS: Table = Table {
    what: "`bits`",
    doc: "Bits of a register by name",
    keys: &[
        key(
            "numbering",
            Takes::Word(&["lsb0", "msb0"]),
            "Whether bit 0 is the least or the most significant",
        )
        .required("lsb0"),
        key("names", Takes::Map(&BIT), "Bit of each name").required("{running: 0}"),
    ],
};
