//! The keys of an instrument definition.

mod modbus;

use crate::spec::shape::{ARRAY_ENTRY, FIELDS, READING_TYPE, RETURNS, SERIES_ENTRY};
use crate::spec::shared;
use crate::spec::table::{CONDITION, TEXT, Table, Takes, UNIT, VALUE, key};

pub(super) use modbus::{BITS, BLOCK, FUNCTIONS, MAX_BLOCK, MODBUS, REGISTER};

/// Most bytes of one reply.
pub(super) const MAX_REPLY: u32 = 1 << 20;
/// Most bytes of one block of binary numbers.
pub(super) const MAX_BLOCK_BYTES: u32 = 1 << 24;

pub(super) static STATUS_CLASSES: &[&str] = &["busy", "ready", "error", "alarm"];
pub(super) static ERROR_CLASSES: &[&str] =
    &["retry", "busy", "refused", "rebooted", "reinit", "operator", "fatal"];
pub(super) static HAZARDS: &[&str] = &["heats", "pressurises", "pumps", "moves", "powers"];
pub(super) static EFFECTS: &[&str] = &["read", "repeatable", "verifiable", "once"];
static STATUS_WORD: Takes = Takes::Word(STATUS_CLASSES);
static STATUS_WORDS: Takes = Takes::OneOrList(&STATUS_WORD);
static OPERATION_ENTRY: Takes = Takes::Object(&OPERATION);
const OPERATIONS: Takes = Takes::List(&OPERATION_ENTRY);

/// The keys of a definition.
pub(in crate::spec) static INSTRUMENT: Table = Table {
    what: "an instrument definition",
    doc: "What a model of device understands; no code, only data",
    keys: &[
        key("schema", Takes::Text, "Kind and version of this document").required("labloop/instrument/v1"),
        key("name", Takes::Name, "Name of the definition").required("newera-ne1000"),
        key("type", Takes::Name, "Type of role it can play; its required actions and properties are checked")
            .required("syringe_pump"),
        key("vendor", Takes::Text, "Maker"),
        key("model", Takes::Text, "Model as the maker calls it"),
        key("doc", Takes::Text, "For people"),
        key("config", Takes::Map(&SETTING), "What the lab must say about one unit"),
        key("connection", Takes::Object(&CONNECTION), "How to talk to it")
            .required("{serial: {baud: 9600, frame: 8N1}, send_end: \"\\r\", reply: {end: \"\\r\\n\"}, reply_timeout: 500 ms}"),
        key("status", Takes::Object(&STATUS), "Read from every reply before its value"),
        key("errors", Takes::Map(&ERROR_ENTRY), "What the device calls its errors: the text, its beginning before a *, or a pattern"),
        key("identify", OPERATIONS, "Asked after each connect to make sure that this is the device"),
        key("on_connect", OPERATIONS, "Sent after each connect; harmless only"),
        key("properties", Takes::Map(&PROPERTY_ENTRY), "What can be read"),
        key("actions", Takes::Map(&ACTION_ENTRY), "What it can do"),
        key("safe_state", Takes::Either(&[OPERATIONS, Takes::Object(&SAFE_STATE)]), "Leaves it harmless"),
        key(
            "hold_state",
            Takes::Either(&[OPERATIONS, Takes::Object(&SAFE_STATE)]),
            "Where holding a run leads it; empty: it stays as it is",
        ),
        key("heartbeat", Takes::Object(&HEARTBEAT), "The device stops by itself if nobody talks to it"),
        key("alarms", Takes::List(&ALARM_ENTRY), "Conditions a person must know of"),
        key("simulate", Takes::Object(&super::simulate::SIMULATE), "How a simulator made from this definition behaves"),
        key("examples", Takes::List(&EXAMPLE_ENTRY), "Golden bytes from the manual"),
    ],
};

static SETTING: Takes = Takes::Object(&shared::SETTING);
static ERROR_ENTRY: Takes = Takes::Object(&ERROR);
static PROPERTY_ENTRY: Takes = Takes::Object(&PROPERTY);
static ACTION_ENTRY: Takes = Takes::Object(&ACTION);
static ALARM_ENTRY: Takes = Takes::Object(&ALARM);
static EXAMPLE_ENTRY: Takes = Takes::Object(&EXAMPLE);

pub(super) static CONNECTION: Table = Table {
    what: "the connection",
    doc: "One of serial/tcp, modbus and mqtt, and how messages begin and end",
    keys: &[
        key("serial", Takes::Object(&SERIAL), "Settings of the serial port"),
        key("tcp", Takes::Object(&EMPTY), "It also speaks over a TCP socket"),
        key(
            "modbus",
            Takes::Object(&MODBUS),
            "It speaks Modbus TCP, and RTU where `serial` is given",
        ),
        key("mqtt", Takes::Object(&MQTT), "It speaks MQTT"),
        key("send_start", Takes::Text, "Put before the address of each message"),
        key(
            "send_size",
            Takes::Object(&SEND_SIZE),
            "Length that follows the start of each message",
        ),
        key("send_end", Takes::Text, "Put after each message"),
        key(
            "send_bare",
            Takes::List(&TEXT),
            "Messages sent as they stand, without start, address, check sum and end",
        ),
        key(
            "escape",
            Takes::Text,
            "Byte that is doubled where it stands inside of a message or reply",
        ),
        key("address", Takes::Object(&BUS_ADDRESS), "Bus address before each message and reply"),
        key("reply", Takes::Object(&REPLY), "Where a reply begins and ends"),
        key("checksum", Takes::Object(&CHECKSUM), "Check sum of each message and reply"),
        key("silent", Takes::Object(&SILENT), "What follows a message that has no answer"),
        key("unsolicited", Takes::List(&UNSOLICITED_ENTRY), "What the device says unasked"),
        key("reply_timeout", Takes::Time, "Longest wait for a reply").required("500 ms"),
        key("min_gap", Takes::Time, "Least time between two messages"),
        key(
            "liveness",
            Takes::Object(&LIVENESS),
            "MQTT topic that says whether the device is there",
        ),
    ],
};

pub(super) static SERIAL: Table = Table {
    what: "`serial`",
    doc: "Settings of a serial port",
    keys: &[
        key("baud", Takes::Count(50, 4_000_000), "Bits per second").required("9600"),
        key("frame", Takes::Text, "Data bits, parity (N, E, O) and stop bits").required("8N1"),
        key(
            "dtr_on_open",
            Takes::Bool,
            "Raise DTR when opening; resets an Arduino. True unless given",
        ),
    ],
};

pub(super) static EMPTY: Table = Table { what: "`tcp`", doc: "No settings: write {}", keys: &[] };

pub(super) static MQTT: Table = Table {
    what: "`mqtt`",
    doc: "MQTT settings that hold for the whole device",
    keys: &[
        key("version", Takes::Word(&["5", "3.1.1"]), "Protocol version").required("5"),
        key("qos", Takes::Count(0, 1), "Quality of service; 1 unless given"),
        key("keep_alive", Takes::Time, "Keep-alive of the connection"),
        key(
            "expiry",
            Takes::Time,
            "Commands expire at the broker after this; after the reply timeout unless given",
        ),
        key("max_age", Takes::Time, "Data older than this count as stale"),
        key("sparkplug", Takes::Bool, "Payloads are Sparkplug B, the base is GROUP/NODE/DEVICE"),
    ],
};

pub(super) static BUS_ADDRESS: Table = Table {
    what: "`address`",
    doc: "Bus address, as templates over config",
    keys: &[
        key("send", Takes::Text, "Put before each message"),
        key("reply", Takes::Text, "Every reply must begin with it"),
    ],
};

pub(super) static REPLY: Table = Table {
    what: "`reply`",
    doc: "Where a reply begins, and one of three ways to know its end",
    keys: &[
        key("start", Takes::Text, "First characters"),
        key(
            "end",
            Takes::OneOrList(&TEXT),
            "Ends with these characters, or the first of several; one of several that stands alone is the reply",
        ),
        key("last_line", Takes::OneOrList(&TEXT), "With `end`: several lines, the last begins so"),
        key("size", Takes::Object(&SIZE), "A field of the frame says how long it is"),
        key("length", Takes::Count(1, MAX_REPLY as u64), "Ends after so many bytes"),
        key("idle", Takes::Time, "Ends with silence this long"),
        key("max_length", Takes::Count(1, MAX_REPLY as u64), "A longer reply is an error"),
        key("echo", Takes::Bool, "The device first repeats what was sent to it"),
        key("drop", Takes::Text, "Characters that mean nothing, such as XON and XOFF"),
    ],
};

static UNSOLICITED_ENTRY: Takes = Takes::Object(&UNSOLICITED);

pub(super) static CHECKSUM: Table = Table {
    what: "`checksum`",
    doc: "Check sum of frames: one with a name, or a CRC by its parameters",
    keys: &[
        key("kind", Takes::Word(CHECKSUMS), "A sum that has a name"),
        key("crc", Takes::Object(&CRC), "Any other CRC, by its parameters"),
        key("as", Takes::Text, "How it is written: u8, u16be, u16le, u32be, u32le, h2, h4, or d* for decimal after a *")
            .required("u16le"),
        key("from", Takes::Word(CHECKSUM_FROM), "Where what counts begins; start unless given"),
        key("over_end", Takes::Bool, "The end of the message counts too, and the sum follows it"),
        key("replies", Takes::Bool, "Whether replies carry it; true unless given"),
    ],
};

pub(super) static CHECKSUMS: &[&str] =
    &["xor8", "sum8", "sum16", "sum64", "lrc", "crc16_modbus", "crc16_xmodem", "crc16_x25"];
static CHECKSUM_FROM: &[&str] = &["start", "address", "body"];

pub(super) static CRC: Table = Table {
    what: "`crc`",
    doc: "Parameters of a CRC as in the catalogues",
    keys: &[
        key("width", Takes::Count(8, 32), "Bits of the result").required("16"),
        key("poly", Takes::Count(0, u32::MAX as u64), "Polynomial without its highest bit")
            .required("4129"),
        key("init", Takes::Count(0, u32::MAX as u64), "Initial value").required("0"),
        key("reflect_in", Takes::Bool, "Bytes are taken from the least significant bit"),
        key("reflect_out", Takes::Bool, "Bits of the result are turned around"),
        key("xor_out", Takes::Count(0, u32::MAX as u64), "Combined with the result"),
    ],
};

pub(super) static SILENT: Table = Table {
    what: "`silent`",
    doc: "What follows a message that has no answer",
    keys: &[
        key("gap", Takes::Time, "Least time until the next message"),
        key("check", Takes::Object(&UNLESS), "A question that shows whether the message was taken"),
    ],
};

pub(super) static UNSOLICITED: Table = Table {
    what: "an unsolicited message",
    doc: "What the device says unasked",
    keys: &[
        key("match", Takes::Text, "Pattern of the whole message").required("\"Grbl {_:s}\""),
        key("do", Takes::Word(UNSOLICITED_ACTIONS), "What it means").required("ignore"),
        key("text", Takes::Text, "For people"),
    ],
};
static UNSOLICITED_ACTIONS: &[&str] = &["ignore", "busy", "rebooted", "alarm"];

pub(super) static SIZE: Table = Table {
    what: "`size`",
    doc: "A field of the frame that says how long it is",
    keys: &[
        key(
            "at",
            Takes::Count(0, 1024),
            "Byte where it stands, counted from the first of the frame",
        )
        .required("4"),
        key("as", Takes::Text, "Its form: u8, u16be, u16le, h2, h4").required("u8"),
        key("add", Takes::Count(0, 1024), "Bytes of the whole frame beyond that number"),
        key("tail", Takes::Text, "Last characters of the frame, after its check sum"),
    ],
};

pub(super) static SEND_SIZE: Table = Table {
    what: "`send_size`",
    doc: "Length that follows the start of each message",
    keys: &[
        key("as", Takes::Text, "Its form: u8, u16be, u16le, h2, h4").required("u8"),
        key("add", Takes::Count(0, 1024), "What is added to the length of address and body"),
    ],
};

pub(super) static LIVENESS: Table = Table {
    what: "`liveness`",
    doc: "Birth and last will of the device",
    keys: &[
        key("topic", Takes::Text, "Topic below the base, or a whole one with {base}")
            .required("status"),
        key("online", Takes::Text, "Payload while there").required("online"),
        key("offline", Takes::Text, "Payload of the last will").required("offline"),
        key("max_age", Takes::Time, "It counts as gone after this long without a live message"),
    ],
};

pub(super) static STATUS: Table = Table {
    what: "`status`",
    doc: "Read from every reply before its value",
    keys: &[
        key(
            "field",
            Takes::Word(STATUS_FIELDS),
            "One character, all up to a space, or the bits of a byte",
        )
        .required("letter"),
        key("map", Takes::Map(&STATUS_WORD), "What each letter or word means"),
        key(
            "busy",
            Takes::Object(&STATUS_BITS),
            "Bits of a status byte that mean busy; else it is ready",
        ),
        key(
            "error_mask",
            Takes::Count(1, 255),
            "Bits of a status byte with the number of an error",
        ),
        key("codes", Takes::Map(&ERROR_ENTRY), "What an error status means, by its text or number"),
        key("alarms", Takes::Map(&ERROR_ENTRY), "What stands after an alarm status"),
    ],
};

static STATUS_FIELDS: &[&str] = &["letter", "word", "byte"];

pub(super) static STATUS_BITS: Table = Table {
    what: "status bits",
    doc: "Bits of a status byte",
    keys: &[
        key("mask", Takes::Count(1, 255), "Bits that are looked at").required("32"),
        key("is", Takes::Count(0, 255), "What they are when it is so").required("0"),
    ],
};

pub(super) static ERROR: Table = Table {
    what: "an error",
    doc: "What an error of the device means, and what is to be done",
    keys: &[
        key("text", Takes::Text, "For people").required("motor stalled"),
        key("class", Takes::Word(ERROR_CLASSES), "What is to be done").required("operator"),
    ],
};

pub(super) static OPERATION: Table = Table {
    what: "an operation",
    doc: "One of send, write, read, publish, set_metric and wait",
    keys: &[
        key(
            "send",
            Takes::OneOrList(&TEXT),
            "Message, a template; of several the first whose numbers fit",
        ),
        key(
            "reply",
            Takes::Either(&[Takes::Word(&["none"]), Takes::Object(&TOPIC_REPLY)]),
            "`none`, or for publish the message that answers",
        ),
        key("expect", STATUS_WORDS, "Status that the reply must have"),
        key("parse", Takes::Text, "Pattern of the reply; its {value} is the answer"),
        key(
            "block",
            Takes::Object(&BINARY),
            "The reply is a definite length block of IEEE 488.2 with these numbers",
        ),
        key(
            "timeout",
            Takes::Time,
            "Longest wait for this reply, where it takes longer than others",
        ),
        key(
            "unless",
            Takes::Object(&UNLESS),
            "Left out when the device says that it is so already",
        ),
        key("write", Takes::Object(&REGISTER), "Register to write"),
        key("read", Takes::Object(&REGISTER), "Register to read; the answer"),
        key("value", Takes::Value, "What is written"),
        key("unit", Takes::Unit, "Unit of the register's scaled value"),
        key("map", Takes::Map(&TEXT), "Numbers of the device, and the words that are written"),
        key("unless_equal", Takes::Bool, "Read first, write only a difference"),
        key(
            "verify",
            Takes::Either(&[Takes::Bool, Takes::Object(&UNLESS)]),
            "Read back and compare: true for a register, a question for a message",
        ),
        key("publish", Takes::Text, "Topic below the base, or a whole one with {base} in it"),
        key("json", Takes::Any, "JSON of the message, with ${ } over args, config and command"),
        key("text", Takes::Text, "Text of the message, a template; may be empty"),
        key("qos", Takes::Count(0, 1), "Quality of service of this message"),
        key("expiry", Takes::Time, "This message expires at the broker after so long"),
        key("retain", Takes::Bool, "Never true: a kept command is carried out again"),
        key("set_metric", Takes::Text, "Metric of Sparkplug B to write"),
        key("wait", Takes::Time, "Wait between two messages"),
    ],
};

pub(super) static TOPIC_REPLY: Table = Table {
    what: "`reply`",
    doc: "The message that answers a published one",
    keys: &[
        key("topic", Takes::Text, "Topic of the answer, below the base or with {base}")
            .required("reply"),
        key(
            "correlate",
            Takes::Either(&[Takes::Word(&["property", "next"]), Takes::Object(&CORRELATE)]),
            "How the answer is known to be ours",
        )
        .required("property"),
        key("has", Takes::OneOrList(&TEXT), "Messages without such a field are no answer"),
        key(
            "while",
            Takes::Map(&Takes::OneOrList(&TEXT)),
            "A field and its words that say that more is to come",
        ),
        key("json", Takes::Text, "Path of the value; beside `binary` that of its base64"),
        key("binary", Takes::Object(&BINARY), "The payload is these numbers, byte by byte"),
        key("error", Takes::Text, "Path of a field whose presence means failure"),
    ],
};

/// Kinds of number in bytes; of several bytes the order is part of the kind.
pub(super) static SAMPLES: &[&str] = &[
    "u8", "i8", "u16le", "u16be", "i16le", "i16be", "u32le", "u32be", "i32le", "i32be", "f32le",
    "f32be", "f64le", "f64be",
];
static BINARY_AXIS_ENTRY: Takes = Takes::Object(&BINARY_AXIS);

pub(super) static BINARY: Table = Table {
    what: "binary numbers",
    doc: "Numbers as bytes; scale, offset and axes over config, args and other properties",
    keys: &[
        key("type", Takes::Word(SAMPLES), "Kind of number and order of its bytes")
            .required("i16be"),
        key("scale", Takes::Value, "value = number * scale + offset; one of the unit if not given"),
        key("offset", Takes::Value, "See scale; zero if not given"),
        key("axes", Takes::Map(&BINARY_AXIS_ENTRY), "Places of each axis; that of a curve is x"),
        key(
            "max_bytes",
            Takes::Count(1, MAX_BLOCK_BYTES as u64),
            "More bytes are an error; 4 MiB unless given",
        ),
    ],
};

pub(super) static BINARY_AXIS: Table = Table {
    what: "an axis",
    doc: "Evenly spaced places of an axis",
    keys: &[
        key("start", Takes::Value, "First place; zero if not given"),
        key("step", Takes::Value, "From one place to the next; one of the unit if not given"),
        key("length", Takes::Value, "Number of places; as many as there are if not given"),
    ],
};

/// How a device writes a time.
static TIME_FORM_WORDS: &[&str] = &["s", "ms", "rfc3339"];

pub(super) static DEVICE_TIME: Table = Table {
    what: "`time`",
    doc: "When it was measured, by the device's own clock",
    keys: &[
        key("json", Takes::Text, "Path in the JSON of the message").required("params.ts"),
        key(
            "in",
            Takes::Word(TIME_FORM_WORDS),
            "Seconds or milliseconds since 1970, or text with its offset from UTC",
        )
        .required("s"),
    ],
};

pub(super) static CORRELATE: Table = Table {
    what: "`correlate`",
    doc: "A field of the answer that repeats command.id",
    keys: &[key("json", Takes::OneOrList(&TEXT), "Path of the field, or several").required("id")],
};

pub(super) static UNLESS: Table = Table {
    what: "`unless`",
    doc: "A question whose answer makes a message unnecessary",
    keys: &[
        key("ask", Takes::Text, "What is asked").required("DIA"),
        key("parse", Takes::Text, "Pattern of the answer").required("\"{value:f}\""),
        key("unit", Takes::Unit, "Unit of the number in the answer"),
        key("equals", Takes::Value, "What it must equal")
            .required("\"${ config.syringe_diameter }\""),
        key("within", Takes::Quantity, "Tolerance for numbers"),
        key("settle", Takes::Time, "How long the device needs before it can be asked"),
    ],
};

pub(super) static PROPERTY: Table = Table {
    what: "a property",
    doc: "What can be read: polled, plotted, logged",
    keys: &[
        key("doc", Takes::Text, "For people"),
        key("unit", Takes::Unit, "Unit; makes it a physical value"),
        key("type", READING_TYPE, "Kind of value, where it has no unit"),
        key("fields", FIELDS, "Named values read together"),
        key("series", SERIES_ENTRY, "A curve"),
        key("array", ARRAY_ENTRY, "An image, or other numbers on a grid"),
        key("ask", Takes::Text, "Message that asks for it"),
        key("parse", Takes::Text, "Pattern of the reply"),
        key(
            "block",
            Takes::Object(&BINARY),
            "The reply is a definite length block of IEEE 488.2 with these numbers",
        ),
        key("units", Takes::Map(&UNIT), "Words of the device for units, read by {unit}"),
        key("status", STATUS_WORDS, "True while the status of the reply is one of these"),
        key("register", Takes::Object(&REGISTER), "Register it stands in"),
        key(
            "topic",
            Takes::OneOrList(&TEXT),
            "Topic it is published on, or several, below the base or with {base}",
        ),
        key(
            "json",
            Takes::Text,
            "Path in the JSON of the message; beside `binary` that of its base64",
        ),
        key("binary", Takes::Object(&BINARY), "The payload is these numbers, byte by byte"),
        key("query", OPERATION_ENTRY, "A publish that makes the device say it"),
        key(
            "time",
            Takes::Object(&DEVICE_TIME),
            "Where a message on the topic says when it was measured; else it is when it came",
        ),
        key("metric", Takes::Text, "Metric of Sparkplug B"),
        key("value", Takes::Value, "Computed from other properties and config"),
        key("every", Takes::Time, "Polled this often"),
        key("max_age", Takes::Time, "Older than this counts as stale"),
        key("map", Takes::Map(&TEXT), "Words of the device, and ours"),
        key("min", Takes::Value, "Below this the sensor is broken"),
        key("max", Takes::Value, "Above this the sensor is broken"),
    ],
};

pub(super) static ACTION: Table = Table {
    what: "an action",
    doc: "What the instrument can do",
    keys: &[
        key("doc", Takes::Text, "For people"),
        key("args", Takes::Map(&SETTING), "Arguments"),
        key("compute", Takes::Map(&VALUE), "Values from args and config, used like arguments"),
        key("do", OPERATIONS, "What is sent, in order").required("[{send: \"RUN\"}]"),
        key(
            "done",
            Takes::Object(&DONE),
            "How it is known that it has ended; the last reply unless given",
        ),
        key("returns", Takes::Object(&RETURNS), "What it answers"),
        key(
            "effect",
            Takes::Word(EFFECTS),
            "What happens when it is sent twice; once unless given",
        ),
        key("witness", Takes::Object(&WITNESS), "Proof of whether it happened"),
        key("takes", Takes::Object(&TAKES), "How long it takes"),
        key("on_cancel", OPERATIONS, "Sent when it is stopped half-way"),
        key("starts", Takes::OneOrList(&HAZARD_WORD), "What goes on after its last reply"),
        key("stops", Takes::Bool, "Ends what the instrument does"),
        key("require", Takes::List(&CONDITION), "Conditions over args, config and properties"),
    ],
};
static HAZARD_WORD: Takes = Takes::Word(HAZARDS);

pub(super) static WITNESS: Table = Table {
    what: "a witness",
    doc: "A property that proves whether the action happened: it rises by one argument or equals one",
    keys: &[
        key("property", Takes::Name, "Property to read before and after").required("dispensed"),
        key("counts", Takes::Name, "It rises by this argument"),
        key("equals", Takes::Name, "It equals this argument"),
        key("settle", Takes::Time, "How long a command may still take effect").required("300 ms"),
        key("void_if", Takes::Word(&["rebooted"]), "What makes it worthless"),
    ],
};

pub(super) static TAKES: Table = Table {
    what: "`takes`",
    doc: "How long an action takes",
    keys: &[
        key("expected", Takes::TimeExpression, "Usually"),
        key("timeout", Takes::TimeExpression, "At most"),
    ],
};

pub(super) static DONE: Table = Table {
    what: "`done`",
    doc: "One of {poll, until, every}, {when, for, every} and {after}",
    keys: &[
        key("poll", Takes::Text, "Message that is asked again and again"),
        key("until", STATUS_WORDS, "Status that ends the action"),
        key("when", Takes::Condition, "Condition over properties and args that ends it"),
        key("for", Takes::Time, "How long it must hold"),
        key("every", Takes::Time, "How often it is asked"),
        key("after", Takes::TimeExpression, "Ends after this time; there is no feedback"),
    ],
};

pub(super) static SAFE_STATE: Table = Table {
    what: "`safe_state`",
    doc: "Leaves the instrument harmless",
    keys: &[
        key("do", OPERATIONS, "Sent in this order, each even if the one before failed")
            .required("[{send: STP}]"),
        key("confirm", Takes::Condition, "Read back to confirm it"),
    ],
};

pub(super) static HEARTBEAT: Table = Table {
    what: "`heartbeat`",
    doc: "The device stops by itself if nobody talks to it",
    keys: &[
        key(
            "arm",
            Takes::Either(&[Takes::Text, OPERATIONS]),
            "Message that arms it, a template over period",
        )
        .required("\"SAF{period:s}\""),
        key(
            "feed",
            Takes::Either(&[Takes::Text, OPERATIONS]),
            "Message that keeps it from stopping, a template over period; any message does unless given",
        ),
        key("period", Takes::Time, "It stops after this long without a message").required("20 s"),
        key("disarm", Takes::Either(&[Takes::Text, OPERATIONS]), "Message that ends it"),
    ],
};

pub(super) static ALARM: Table = Table {
    what: "an alarm",
    doc: "A condition a person must know of",
    keys: &[
        key("id", Takes::Name, "Name of the alarm").required("stall"),
        key("if", Takes::Condition, "Condition over properties and status")
            .required("status == alarm"),
        key("for", Takes::Time, "How long it must hold"),
        key("severity", Takes::Word(&["low", "medium", "high", "critical"]), "How bad")
            .required("high"),
        key(
            "action",
            Takes::Word(&["none", "fail_step", "hold", "abort"]),
            "What it does to the run; none unless given",
        ),
        key("doc", Takes::Text, "What to tell the person"),
    ],
};

pub(super) static EXAMPLE: Table = Table {
    what: "an example",
    doc: "Golden bytes from the manual; every definition is tested against them",
    keys: &[
        key("action", Takes::Name, "The action it shows"),
        key("property", Takes::Name, "The property it shows"),
        key("safe_state", Takes::Bool, "It shows the safe state"),
        key("config", Takes::Map(&VALUE), "Configuration it holds for"),
        key("args", Takes::Map(&VALUE), "Arguments"),
        key("bytes", Takes::List(&TEXT), "Sent, received, sent, received...")
            .required("[\"STP\\r\", \"\\x0200S\\x03\"]"),
        key("value", Takes::Any, "The value that comes out"),
        key("fails", Takes::Name, "It must fail with this kind of failure"),
        key("source", Takes::Text, "Where the bytes come from"),
    ],
};
