//! What the driver is told about the device, for each wire.

use std::sync::Arc;

use labloop::spec::Sources;
use labloop::spec::instrument::Instrument;

use super::Wire;

/// Definition of the device on one wire.
pub fn definition(wire: Wire) -> Arc<Instrument> {
    let mut text = "schema: labloop/instrument/v1\nname: matrix\ntype: probe\nvendor: nobody\n\
        doc: says a new number each time\n\
        config: {address: {type: int, min: 0, max: 99, default: 5}}\n"
        .to_owned();
    text += match wire {
        Wire::Addressed => ADDRESSED,
        Wire::Plain | Wire::Tcp => PLAIN,
        Wire::Binary => BINARY,
        Wire::ModbusTcp | Wire::ModbusRtu => MODBUS,
        Wire::Mqtt5 => MQTT5,
        Wire::Mqtt3 => MQTT3,
    };
    text += match wire {
        Wire::Addressed | Wire::Plain | Wire::Tcp => LETTERS,
        Wire::Binary => BYTES,
        Wire::ModbusTcp | Wire::ModbusRtu => REGISTERS,
        Wire::Mqtt5 | Wire::Mqtt3 => TOPICS,
    };
    if wire == Wire::Mqtt3 {
        text = text.replace("correlate: property", "correlate: {json: id}");
    }
    text += "safe_state: []\n";
    let mut sources = Sources::new();
    let id = sources.add("matrix.yaml".to_owned(), text);
    let checked = Instrument::lower(sources.get(id).unwrap());
    assert!(!checked.report.has_errors(), "{:#?}", checked.report);
    Arc::new(checked.value.unwrap())
}

const ADDRESSED: &str = r##"
connection:
  serial: {baud: 9600, frame: 8N1}
  send_start: "#"
  address: {send: "{config.address:02d}", reply: "{config.address:02d}"}
  send_end: "\r"
  reply: {start: ">", end: "\r", max_length: 64}
  reply_timeout: 300 ms
  min_gap: 25 ms
status:
  field: letter
  map: {S: ready, B: busy, A: alarm}
  alarms: {"?R": {text: power was interrupted, class: reinit}}
errors:
  "BUSY": {text: not now, class: busy}
  "ERR*": {text: an error, class: operator}
  "---": {text: there is no measurement, class: operator}
"##;

const PLAIN: &str = r#"
connection:
  serial: {baud: 9600, frame: 8N1}
  tcp: {}
  send_end: "\r"
  reply: {end: "\r\n", max_length: 64}
  reply_timeout: 300 ms
  min_gap: 25 ms
errors:
  "BUSY": {text: not now, class: busy}
  "ERR*": {text: an error, class: operator}
  "---": {text: there is no measurement, class: operator}
"#;

const LETTERS: &str = r#"
identify: [{send: I, parse: "4711"}]
properties:
  a: {type: number, ask: Ra, parse: "{value:d}", every: 700 ms}
  b: {type: number, ask: Rb, parse: "{value:d}", every: 1100 ms}
  c: {type: number, ask: Rc, parse: "{value:d}", max: 100000}
  sp: {type: number, ask: Rsp, parse: "{value:d}"}
  at: {type: number, ask: Rat, parse: "{value:d}"}
actions:
  dose:
    args: {n: {type: int, min: 0, max: 9000000}}
    do: [{send: "D{n:d}", parse: OK}]
    effect: once
    takes: {expected: 100 ms, timeout: 8 s}
  set:
    args: {n: {type: int, min: 0, max: 9000000}}
    do: [{send: "S{n:d}", parse: OK, verify: {ask: Rsp, parse: "{value:d}", equals: "${ args.n }"}}]
    effect: repeatable
    takes: {expected: 100 ms, timeout: 8 s}
  move:
    args: {n: {type: int, min: 0, max: 9000000}}
    do: [{send: "M{n:d}", parse: OK}]
    done: {when: at == args.n, every: 300 ms}
    effect: verifiable
    witness: {property: at, equals: n, settle: 300 ms}
    takes: {expected: 1 s, timeout: 8 s}
  sample:
    do: [{send: Rs, parse: "{value:d}"}]
    returns: {type: number}
    effect: read
    takes: {expected: 100 ms, timeout: 8 s}
"#;

const BINARY: &str = r#"
connection:
  serial: {baud: 9600, frame: 8N1}
  send_start: "\x02"
  send_size: {as: u8, add: 4}
  address: {send: "{config.address:u8}", reply: "{config.address:u8}"}
  checksum: {kind: crc16_xmodem, as: u16be, from: address}
  send_end: "\x03"
  reply: {start: "\x02", size: {at: 1, as: u8, add: 1, tail: "\x03"}, max_length: 64}
  reply_timeout: 300 ms
  min_gap: 25 ms
status:
  field: letter
  map: {S: ready, B: busy, A: alarm}
  alarms: {"?R": {text: power was interrupted, class: reinit}}
errors:
  "BUSY": {text: not now, class: busy}
  "ERR*": {text: an error, class: operator}
  "---": {text: there is no measurement, class: operator}
"#;

const BYTES: &str = r#"
identify: [{send: I, parse: "{_:u32be}"}]
properties:
  a: {type: number, ask: Ra, parse: "{value:u32be}", every: 700 ms}
  b: {type: number, ask: Rb, parse: "{value:u32be}", every: 1100 ms}
  c: {type: number, ask: Rc, parse: "{value:u32be}", max: 100000}
  sp: {type: number, ask: Rp, parse: "{value:u32be}"}
  at: {type: number, ask: Rt, parse: "{value:u32be}"}
actions:
  dose:
    args: {n: {type: int, min: 0, max: 9000000}}
    do: [{send: "D{n:u32be}", parse: OK}]
    effect: once
    takes: {expected: 100 ms, timeout: 8 s}
  set:
    args: {n: {type: int, min: 0, max: 9000000}}
    do: [{send: "S{n:u32be}", parse: OK, verify: {ask: Rp, parse: "{value:u32be}", equals: "${ args.n }"}}]
    effect: repeatable
    takes: {expected: 100 ms, timeout: 8 s}
  move:
    args: {n: {type: int, min: 0, max: 9000000}}
    do: [{send: "M{n:u32be}", parse: OK}]
    done: {when: at == args.n, every: 300 ms}
    effect: verifiable
    witness: {property: at, equals: n, settle: 300 ms}
    takes: {expected: 1 s, timeout: 8 s}
  sample:
    do: [{send: Rs, parse: "{value:u32be}"}]
    returns: {type: number}
    effect: read
    takes: {expected: 100 ms, timeout: 8 s}
"#;

const MODBUS: &str = r"
connection:
  modbus: {}
  serial: {baud: 9600, frame: 8N1}
  reply_timeout: 300 ms
  min_gap: 25 ms
identify: [{read: {holding: 60, base: 0, type: u16, scale: 1, order: AB}}]
";

const REGISTERS: &str = r"
properties:
  a: {type: number, register: {holding: 0, base: 0, type: u32, scale: 1, order: ABCD, invalid: [4294967295]}, every: 700 ms}
  b: {type: number, register: {holding: 2, base: 0, type: u32, scale: 1, order: ABCD, invalid: [4294967295]}, every: 1100 ms}
  c: {type: number, register: {holding: 4, base: 0, type: u32, scale: 1, order: ABCD, invalid: [4294967295]}, max: 100000}
  sp: {type: number, register: {holding: 20, base: 0, type: u32, scale: 1, order: ABCD}}
  at: {type: number, register: {holding: 22, base: 0, type: u32, scale: 1, order: ABCD}}
actions:
  dose:
    args: {n: {type: int, min: 0, max: 9000000}}
    do: [{write: {holding: 30, base: 0, type: u32, scale: 1, order: ABCD}, value: '${ args.n }'}]
    effect: once
    takes: {expected: 100 ms, timeout: 8 s}
  set:
    args: {n: {type: int, min: 0, max: 9000000}}
    do: [{write: {holding: 20, base: 0, type: u32, scale: 1, order: ABCD}, value: '${ args.n }', verify: true}]
    effect: repeatable
    takes: {expected: 100 ms, timeout: 8 s}
  move:
    args: {n: {type: int, min: 0, max: 9000000}}
    do: [{write: {holding: 32, base: 0, type: u32, scale: 1, order: ABCD}, value: '${ args.n }'}]
    done: {when: at == args.n, every: 300 ms}
    effect: verifiable
    witness: {property: at, equals: n, settle: 300 ms}
    takes: {expected: 1 s, timeout: 8 s}
  sample:
    do: [{read: {holding: 40, base: 0, type: u32, scale: 1, order: ABCD, invalid: [4294967295]}}]
    returns: {type: number}
    effect: read
    takes: {expected: 100 ms, timeout: 8 s}
";

const MQTT5: &str = r"
connection:
  mqtt: {version: 5, qos: 1, keep_alive: 30 s, expiry: 30 s}
  liveness: {topic: status, online: online, offline: offline}
  reply_timeout: 300 ms
";

const MQTT3: &str = r#"
connection:
  mqtt: {version: "3.1.1", qos: 1, keep_alive: 30 s}
  liveness: {topic: status, online: online, offline: offline}
  reply_timeout: 300 ms
"#;

const TOPICS: &str = r#"
properties:
  a: {type: number, topic: state, json: a, max_age: 2 s}
  b: {type: number, topic: state, json: b, max_age: 2 s}
  c: {type: number, topic: state, json: c, max_age: 2 s, max: 100000}
  sp: {type: number, topic: state, json: sp, max_age: 2 s}
  at: {type: number, topic: state, json: at, max_age: 2 s}
actions:
  dose:
    args: {n: {type: int, min: 0, max: 9000000}}
    do: [{publish: do/dose, json: {id: "${ command.id }", n: "${ args.n }"}, reply: {topic: reply, correlate: property, error: error}}]
    effect: once
    takes: {expected: 100 ms, timeout: 8 s}
  set:
    args: {n: {type: int, min: 0, max: 9000000}}
    do: [{publish: do/set, json: {id: "${ command.id }", n: "${ args.n }"}, reply: {topic: reply, correlate: property, error: error}}]
    effect: repeatable
    takes: {expected: 100 ms, timeout: 8 s}
  move:
    args: {n: {type: int, min: 0, max: 9000000}}
    do: [{publish: do/move, json: {id: "${ command.id }", n: "${ args.n }"}, reply: {topic: reply, correlate: property, error: error}}]
    done: {when: at == args.n, every: 300 ms}
    effect: verifiable
    witness: {property: at, equals: n, settle: 300 ms}
    takes: {expected: 1 s, timeout: 8 s}
  sample:
    do: [{publish: do/sample, json: {id: "${ command.id }"}, reply: {topic: reply, correlate: property, json: value, error: error}}]
    returns: {type: number}
    effect: read
    takes: {expected: 100 ms, timeout: 8 s}
"#;
