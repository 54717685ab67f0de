//! The keys of a lab.

use crate::spec::table::{NAME, QUANTITY, TEXT, Table, Takes, VALUE, key};

/// Plants the simulators know.
pub const PLANTS: &[&str] = &[
    "snar-flow",
    "light-box",
    "titration",
    "coating",
    "battery",
    "chromatography",
    "culture",
    "dilution",
];
/// Most samples in one place.
pub(super) const MAX_CAPACITY: u32 = 1_000_000;

pub(super) static SEVERITIES: &[&str] = &["low", "medium", "high", "critical"];

/// The keys of a lab.
pub(in crate::spec) static LAB: Table = Table {
    what: "a lab",
    doc: "Which instruments stand where, and what must never happen",
    keys: &[
        key("schema", Takes::Text, "Kind and version of this document").required("labloop/lab/v1"),
        key("name", Takes::Name, "Name of the lab").required("my-lab"),
        key("doc", Takes::Text, "For people"),
        key("instruments", Takes::Map(&INSTRUMENT_ENTRY), "The instruments").required(
            "\n  pump_1: {use: newera-ne1000, at: \"serial:/dev/ttyUSB0\", plays: [pump]}",
        ),
        key("places", Takes::Map(&PLACE_ENTRY), "Where samples can stand"),
        key("stock", Takes::Map(&STOCK_ENTRY), "What can be used up"),
        key(
            "interlocks",
            Takes::List(&INTERLOCK_ENTRY),
            "What the runtime does by itself, whatever a protocol says",
        ),
        key("estop", Takes::Object(&ESTOP), "The emergency stop it supervises"),
        key("notify", Takes::Object(&NOTIFY), "Whom to tell, by severity"),
        key(
            "stop_within",
            Takes::Time,
            "Every instrument must be safe after this long at the latest",
        ),
        key("simulation", Takes::Object(&SIMULATION), "The virtual plant behind --simulate"),
    ],
};

static INSTRUMENT_ENTRY: Takes = Takes::Object(&INSTRUMENT);
pub(super) static INSTRUMENT: Table = Table {
    what: "an instrument of the lab",
    doc: "One device: its definition, its address and the roles it can play",
    keys: &[
        key("use", Takes::Name, "Name of its definition").required("newera-ne1000"),
        key("at", Takes::Text, "Its address").required("\"serial:/dev/ttyUSB0\""),
        key("plays", Takes::List(&NAME), "Roles it can play"),
        key("config", Takes::Map(&VALUE), "Values its definition asks for"),
        key("ports", Takes::Map(&VALUE), "Its own word or number for each port or place"),
        key("draws", Takes::Name, "Stock it takes liquid from"),
        key("delivers", Takes::Name, "Stock it gives liquid to, such as waste"),
        key("holds", Takes::Quantity, "How much liquid fits into it, such as into the syringe"),
        key(
            "limits",
            Takes::Map(&LIMIT_MAP),
            "Limits narrower than the definition's, by action and argument",
        ),
        key("stop_within", Takes::Time, "It must be safe after this long at the latest"),
        key(
            "secret",
            Takes::Text,
            "Where the password for its broker is kept: env:NAME or file:PATH; of the user in `at`, or else of a user with the instrument's name",
        ),
        key(
            "tls",
            Takes::Object(&TLS),
            "How its broker behind mqtts:// and labloop prove who they are",
        ),
        key("doc", Takes::Text, "For people"),
    ],
};
pub(super) static TLS: Table = Table {
    what: "`tls`",
    doc: "How a broker behind mqtts:// and labloop prove to each other who they are; files are PEM, \
          looked for from the folder of the lab file",
    keys: &[
        key(
            "ca",
            Takes::Text,
            "File of the only authorities that count for the broker; without it those that browsers trust",
        ),
        key("certificate", Takes::Text, "File of the certificate that labloop shows the broker"),
        key("key", Takes::Text, "Where the key of that certificate is kept: env:NAME or file:PATH"),
    ],
};
static LIMIT_MAP: Takes = Takes::Map(&LIMIT_ENTRY);
static LIMIT_ENTRY: Takes = Takes::Object(&LIMIT);
pub(super) static LIMIT: Table = Table {
    what: "a limit",
    doc: "A limit narrower than the definition's",
    keys: &[
        key("min", Takes::Quantity, "Smallest allowed"),
        key("max", Takes::Quantity, "Largest allowed"),
    ],
};

static PLACE_ENTRY: Takes = Takes::Object(&PLACE);
pub(super) static PLACE: Table = Table {
    what: "a place",
    doc: "Where samples can stand",
    keys: &[
        key("capacity", Takes::Count(1, MAX_CAPACITY as u64), "How many fit").required("24"),
        key("holds", Takes::Name, "What fits"),
        key("batch", Takes::Object(&BATCH), "Samples that are treated together"),
    ],
};
pub(super) static BATCH: Table = Table {
    what: "a batch",
    doc: "Samples that are treated together",
    keys: &[
        key("same", Takes::List(&NAME), "Parameters that all must share"),
        key("wait_for_more", Takes::Time, "How long to wait for more before it starts"),
    ],
};

static STOCK_ENTRY: Takes = Takes::Object(&STOCK);
pub(super) static STOCK: Table = Table {
    what: "a stock",
    doc: "What can be used up; give one of volume, mass, amount and count",
    keys: &[
        key("substance", Takes::Text, "What it is"),
        key("in", Takes::Text, "Its solvent"),
        key("concentration", Takes::Quantity, "Its concentration"),
        key("volume", Takes::Quantity, "How much there is, as a volume"),
        key("mass", Takes::Quantity, "How much there is, as a mass"),
        key("amount", Takes::Quantity, "How much there is, in mol"),
        key("count", Takes::Count(0, 1_000_000_000), "How many there are"),
        key("warn_below", Takes::Quantity, "A person is told below this"),
        key("dead_volume", Takes::Quantity, "What the tubing cannot reach"),
        key("capacity", Takes::Quantity, "What the vessel holds at most"),
    ],
};

static INTERLOCK_ENTRY: Takes = Takes::Object(&INTERLOCK);
static INTERLOCK_ACTION: Takes = Takes::Any;
pub(super) static INTERLOCK: Table = Table {
    what: "an interlock",
    doc: "A condition that makes the runtime act (`trip_if`, `action`) or refuse (`forbid`, `when`)",
    keys: &[
        key("id", Takes::Name, "Name of the interlock").required("too_hot"),
        key("trip_if", Takes::Condition, "Acts when this holds; unknown counts as true"),
        key("for", Takes::Time, "How long it must hold before it acts"),
        key(
            "action",
            Takes::Either(&[Takes::List(&INTERLOCK_ACTION), Takes::Text]),
            "What it does, in this order",
        ),
        key("latch", Takes::Bool, "Stays tripped until a person resets it; true unless given"),
        key("forbid", Takes::Text, "Action it refuses: `instrument.action`"),
        key("when", Takes::Condition, "While this holds; unknown counts as true"),
        key("doc", Takes::Text, "Why it is there; shown to the person it stops"),
    ],
};

static RESETS: &[&str] = &["operator", "auto"];
pub(super) static ESTOP: Table = Table {
    what: "`estop`",
    doc: "The emergency stop the runtime supervises; the hard-wired chain stays the real one",
    keys: &[
        key("input", Takes::Text, "Property that is true while all is well: `instrument.property`")
            .required("io_1.estop_ok"),
        key("action", Takes::Text, "What happens: `safe_state all`"),
        key("reset", Takes::Word(RESETS), "Who resets it; operator unless given"),
    ],
};

pub(super) static NOTIFY: Table = Table {
    what: "`notify`",
    doc: "Whom to tell, by severity of the alarm",
    keys: &[
        key("low", Takes::List(&TEXT), "Targets for alarms of low severity and above"),
        key("medium", Takes::List(&TEXT), "Targets for alarms of medium severity and above"),
        key("high", Takes::List(&TEXT), "Targets for alarms of high severity and above"),
        key("critical", Takes::List(&TEXT), "Targets for critical alarms"),
    ],
};

pub(super) static SIMULATION: Table = Table {
    what: "`simulation`",
    doc: "The virtual plant behind --simulate",
    keys: &[
        key("plant", Takes::Word(PLANTS), "What stands between the instruments")
            .required("snar-flow"),
        key("seed", Takes::Count(0, u64::MAX), "Seed of its noise"),
        key("wiring", Takes::Map(&NAME), "Instrument at each place of the plant"),
        key("settings", Takes::Map(&QUANTITY), "Numbers of the plant"),
    ],
};
