//! Every diagnostic code: one table for `labloop explain`, the pages in `docs/errors` and the
//! code that reports them.
//!
//! A code is never used again for something else. LL01xx YAML, LL02xx quantities and units,
//! LL03xx names and types, LL04xx protocols, LL05xx labs and instruments, LL06xx campaigns.

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// `LL0104`.
    pub code: &'static str,
    /// One line.
    pub title: &'static str,
    /// Why labloop insists.
    pub explanation: &'static str,
    /// As it should not be written.
    pub wrong: &'static str,
    /// As it should.
    pub right: &'static str,
}

/// What a code means, in any case: `ll0104` is found too.
pub fn explain(code: &str) -> Option<&'static Code> {
    ALL.iter().find(|known| known.code.eq_ignore_ascii_case(code.trim()))
}

macro_rules! codes {
    ($($name:ident $code:literal $title:literal $explanation:literal $wrong:literal => $right:literal;)*) => {
        $(
            #[doc = $title]
            pub const $name: &str = $code;
        )*
        /// All codes in order.
        pub const ALL: &[Code] = &[
            $(Code { code: $code, title: $title, explanation: $explanation, wrong: $wrong, right: $right },)*
        ];
    };
}

codes! {
    NOT_UTF8 "LL0101" "a file is not UTF-8 text"
        "Bytes that are not UTF-8 have no agreed meaning: the µ of another editor could become any character. Save the file as UTF-8."
        "volume: 5 \\xb5L" => "volume: 5 µL";
    TOO_LARGE "LL0102" "a file is larger, deeper or longer than labloop reads"
        "A document has at most 4 MiB, 32 levels and 1,000,000 values, so that no file can exhaust the computer that runs the lab. Split it."
        "a: {b: {c: {d: ... 33 levels" => "a: {b: {c: ...}}";
    YAML_SYNTAX "LL0103" "a file is not YAML"
        "The structure of the file cannot be read from here on, so nothing after this place was checked."
        "with: {port: ${ params.catalyst }}" => "with: {port: \"${ params.catalyst }\"}";
    DUPLICATE_KEY "LL0104" "a key stands twice in one mapping"
        "Other YAML tools silently keep one of the two; which one differs. Keep the one you mean."
        "rate: 1 mL/min\nrate: 2 mL/min" => "rate: 2 mL/min";
    UNKNOWN_KEY "LL0105" "a key that does not belong here"
        "A misspelt key would silently do nothing, and a time limit that does nothing is dangerous."
        "timout: 5 s" => "timeout: 5 s";
    MISSING_KEY "LL0106" "a key is missing"
        "The entry is not complete without it."
        "space:\n  temperature: {from: 40 degC}" => "space:\n  temperature: {from: 40 degC, to: 110 degC}";
    WRONG_KIND "LL0107" "a list, a mapping or a single value stands where another is needed"
        "What stands here has the wrong form."
        "steps: {do: pump.stop}" => "steps:\n  - do: pump.stop";
    ANCHOR "LL0108" "anchors and aliases are not used"
        "An alias hides what a step really does from the person who reads it, and aliases of aliases can grow without bound. Write the value out, or use `derived:`."
        "rate: *fast" => "rate: \"${ derived.fast }\"";
    MERGE_KEY "LL0109" "merge keys are not used"
        "`<<` is not part of YAML 1.2 and hides which keys a mapping has. Write the keys out."
        "<<: *defaults" => "timeout: 5 s";
    TAG "LL0110" "tags are not used"
        "What a value is follows from where it stands, never from a tag."
        "times: !!int 3" => "times: 3";
    TAB "LL0111" "a tab indents a line"
        "YAML indents with spaces only; the width of a tab differs from editor to editor."
        "steps:\n\\t- do: pump.stop" => "steps:\n  - do: pump.stop";
    AMBIGUOUS_SCALAR "LL0112" "a bare word or number that YAML tools read in two ways"
        "YAML 1.1 tools read a bare `off` as false, `1:30` as 90, `0755` as 493 and `2026-01-02` as a date. In quotes it is what you see."
        "state: off" => "state: \"off\"";
    MANY_DOCUMENTS "LL0113" "more than one document in a file"
        "One file is one document; everything after the second `---` would be ignored by some tools."
        "name: a\n---\nname: b" => "name: a";
    EMPTY_VALUE "LL0114" "a key without a value"
        "Nothing stands after the colon. Give a value or remove the key."
        "timeout:" => "timeout: 5 s";
    SCHEMA "LL0115" "the file does not say what it is"
        "The first line of each document names its kind and version, so that old files keep their meaning."
        "schema: labloop/protocol" => "schema: labloop/protocol/v1";
    BAD_NAME "LL0116" "a name of the wrong form"
        "Names begin with a letter and go on with letters, digits and `_` (definitions and options also `-`), so that they can stand in expressions."
        "pump 1: {use: newera-ne1000}" => "pump_1: {use: newera-ne1000}";
    UNKNOWN_WORD "LL0117" "a word that is not one of the choices"
        "Only the listed words have a meaning here."
        "goal: maximise" => "goal: maximize";
    CANNOT_READ "LL0118" "a file cannot be read"
        "The path is relative to the file that names it."
        "protocol: protocol.yml" => "protocol: protocol.yaml";
    REPEATED_VALUE "LL0119" "a value stands twice in a list"
        "Each value may stand once."
        "plays: [pump_a, pump_a]" => "plays: [pump_a]";
    BAD_VALUE "LL0120" "a value of the wrong form"
        "The value cannot be read as what it must be."
        "frame: 8X1" => "frame: 8N1";

    MISSING_UNIT "LL0201" "a number without a unit"
        "A bare number where a dimension is expected is refused even when it seems obvious: minutes and seconds differ by 60, and every lab has lost a sample to it."
        "wait: 5" => "wait: 5 min";
    UNKNOWN_UNIT "LL0202" "a unit labloop does not know"
        "Units are UCUM and the spellings labs use: degC, rpm, M, mM, uL, µL, psi, bar, %. Case matters: mM is a concentration, MM a million moles per litre."
        "rate: 2 ml/mins" => "rate: 2 mL/min";
    WRONG_DIMENSION "LL0203" "a unit of the wrong dimension"
        "The value is a quantity of another kind than the one needed here."
        "rate: 2 degC" => "rate: 2 mL/min";
    NOT_A_QUANTITY "LL0204" "not a number and a unit"
        "A physical value is a number, a space and a unit; times may add up, as in `1 h 30 min`."
        "rate: fast" => "rate: 2 mL/min";
    UNIT_ON_A_COUNT "LL0205" "a unit on a plain number"
        "This is a count or a ratio and has no unit."
        "max_times: 10 s" => "max_times: 10";
    AMBIGUOUS_UNIT "LL0206" "a unit that can be read in two ways"
        "Both readings are common in labs and differ in value. Write the one you mean."
        "length: 1 m min" => "time: 1 min";
    LIMITS_REVERSED "LL0207" "the smallest value is above the largest"
        "No value could ever satisfy both limits."
        "{min: 10 s, max: 1 s}" => "{min: 1 s, max: 10 s}";
    OUT_OF_RANGE "LL0208" "a value outside its limits"
        "The value is refused before anything moves rather than by the device in the middle of a run."
        "rate: 200 mL/min" => "rate: 20 mL/min";
    NOT_A_COUNT "LL0209" "not a whole number"
        "This is counted, not measured."
        "times: 2.5" => "times: 2";
    RANGE_OVER_BOX "LL0210" "a value may leave its limits for some parameters"
        "Interval arithmetic over all allowed parameters finds a value outside of what the instrument takes. Narrow the parameters, clamp the value, or widen the instrument's limits if it can do more."
        "rate: \"${ derived.flow_a }\"" => "rate: \"${ min(derived.flow_a, 2 mL/min) }\"";
    BAD_TIME "LL0211" "a time that cannot be waited for"
        "Times are zero or more and below a hundred years."
        "wait: -5 s" => "wait: 5 s";
    TEMPERATURE_DIFFERENCE "LL0212" "a temperature where a difference is needed"
        "25 degC is a point on a scale (298.15 K); a difference of temperatures is in K."
        "tolerance: 0.5 degC" => "tolerance: 0.5 K";

    EXPRESSION "LL0301" "an expression that cannot be read"
        "Expressions are arithmetic with units, comparison, and/or/not, in, ? :, functions, attribute and index."
        "if: steps.a.value => 3" => "if: steps.a.value >= 3";
    UNKNOWN_NAME "LL0302" "a name that nothing has"
        "Expressions read params, derived, steps, roles, lab, loop and run (in a lab: instruments; in a definition: args, config and its properties)."
        "${ param.rate }" => "${ params.rate }";
    EXPRESSION_TYPE "LL0303" "an expression whose parts do not fit together"
        "Quantities add only to quantities of the same dimension, and a difference of temperatures is in K."
        "${ params.temperature + 5 min }" => "${ params.temperature + 5 K }";
    NOT_BOOLEAN "LL0304" "a condition that is not true or false"
        "`if`, `until`, `wait_until`, `require` and `when` need a comparison."
        "if: steps.a.value" => "if: steps.a.value > 0";
    UNKNOWN_FUNCTION "LL0305" "a function that does not exist"
        "The language is closed: its functions are the listed ones."
        "${ average(x) }" => "${ mean(x) }";
    UNKNOWN_ROLE "LL0306" "a role the protocol does not have"
        "Steps name roles; the lab says which instrument plays each."
        "do: pmup_a.start" => "do: pump_a.start";
    UNKNOWN_ACTION "LL0307" "an action the instrument does not have"
        "The definition of the instrument lists its actions."
        "do: pump_a.strat" => "do: pump_a.start";
    UNKNOWN_ARGUMENT "LL0308" "an argument the action does not take"
        "The definition of the instrument lists the arguments of each action."
        "with: {speed: 2 mL/min}" => "with: {rate: 2 mL/min}";
    MISSING_ARGUMENT "LL0309" "an argument is missing"
        "The action needs it and it has no default."
        "do: pump_a.start" => "do: pump_a.start\nwith: {rate: 2 mL/min}";
    UNKNOWN_STEP "LL0310" "a step that does not exist"
        "Steps are named by their `id`."
        "after: [slect]" => "after: [select]";
    USED_BEFORE_SET "LL0311" "a result is used before it exists"
        "The step that makes it comes later."
        "if: steps.later.value > 1" => "if: steps.earlier.value > 1";
    SET_ON_ONE_PATH "LL0312" "a result exists only on some paths"
        "The step stands in a branch that may not run."
        "value: \"${ steps.in_then.value }\"" => "value: \"${ steps.always.value }\"";
    UNKNOWN_PORT "LL0313" "a port the valve does not have"
        "The role lists the ports it needs, the lab their positions."
        "with: {port: wsh}" => "with: {port: wash}";
    UNKNOWN_INSTRUMENT "LL0314" "an instrument the lab does not have"
        "Instruments are named under `instruments:` of the lab."
        "action: [safe_state: bath1]" => "action: [safe_state: bath_1]";
    UNKNOWN_PROPERTY "LL0315" "a property the instrument does not have"
        "The definition of the instrument lists its properties."
        "roles.bath.temprature" => "roles.bath.temperature";
    UNKNOWN_DEFINITION "LL0316" "a definition that is not there"
        "Definitions are the files in `instruments/` beside the lab and those that labloop brings; `labloop instrument list` shows them."
        "use: newera-1000" => "use: newera-ne1000";
    UNKNOWN_PARAMETER "LL0317" "a parameter the protocol does not have"
        "Parameters are named under `parameters:` of the protocol."
        "space: {temprature: ...}" => "space: {temperature: ...}";
    UNKNOWN_RESULT "LL0318" "a result the protocol does not have"
        "Results are named under `results:` of the protocol."
        "result: yeild" => "result: yield";
    UNKNOWN_STOCK "LL0319" "a stock the lab does not have"
        "Stock is named under `stock:` of the lab."
        "consumes: {feed_x: 2 mL}" => "consumes: {feed_a: 2 mL}";
    UNKNOWN_ANALYSIS "LL0320" "an analysis that does not exist"
        "`labloop schema protocol` lists the analyses."
        "analyse: beer" => "analyse: beer_lambert";
    DUPLICATE_NAME "LL0321" "two things with one name"
        "A name must say which of the two is meant."
        "- id: a\n- id: a" => "- id: a\n- id: b";
    EXPRESSION_NOT_ALLOWED "LL0322" "an expression where a plain value is needed"
        "This is settled when the file is read, before any parameter is known."
        "name: \"${ params.x }\"" => "name: flow-lab";

    UNBOUNDED_WAIT "LL0401" "a wait without an end"
        "If the condition never comes true the lab would stand for ever. Say when to give up."
        "wait_until: settled" => "wait_until: settled\ntimeout: 30 min";
    UNBOUNDED_LOOP "LL0402" "a loop without an end"
        "A loop has `max_times`, whatever its condition."
        "repeat: {until: ok, steps: ...}" => "repeat: {max_times: 10, until: ok, steps: ...}";
    UNBOUNDED_QUESTION "LL0403" "a question that may wait for ever"
        "Nobody may be there. Say how long to wait and what is taken then."
        "ask: Go on?" => "ask: Go on?\noptions: [go_on, stop]\ntimeout: 15 min\non_timeout: stop";
    RETRY_OF_ONCE "LL0404" "a retry of an action that must not be sent twice"
        "Nothing can tell whether a `once` action happened, so labloop never sends it again by itself. A definition earns retry by declaring a witness and a settle time."
        "do: valve.inject\nretry: {times: 2}" => "do: valve.inject\non_error: ask";
    ROLE_NOT_PLAYED "LL0405" "a role that no instrument plays"
        "The lab says under `plays:` which roles an instrument can play."
        "plays: []" => "plays: [pump_a]";
    CLAIM_ABOVE_CAPACITY "LL0406" "more is claimed than there is"
        "The run could never start."
        "hold: [a, b, c]" => "hold: [a, b]";
    LAG_TOO_SHORT "LL0407" "a time limit shorter than the work in between"
        "The limit would always be broken."
        "within: 5 s" => "within: 30 s";
    INTERLOCK_ALWAYS "LL0408" "an interlock that this protocol always trips"
        "The protocol sets a value the lab forbids."
        "target: 150 degC" => "target: 100 degC";
    STOCK_TOO_SMALL "LL0409" "less stock than the run needs"
        "The run would stop half-way."
        "volume: 5 mL" => "volume: 50 mL";
    VOLUME_ABOVE_CAPACITY "LL0410" "more volume than the device holds"
        "The device would refuse or overflow."
        "refill: 40 mL" => "refill: 10 mL";
    BRANCHES_SHARE "LL0411" "two branches command one instrument at once"
        "Which command comes last would be chance."
        "parallel: {a: [pump.start], b: [pump.stop]}" => "steps: [pump.start, pump.stop]";
    RESULT_NOT_ALWAYS "LL0412" "a result that some paths do not produce"
        "A campaign cannot learn from a run without its result."
        "value: \"${ steps.sometimes.x }\"" => "value: \"${ steps.always.x }\"";
    CYCLIC_AFTER "LL0413" "steps that wait for each other"
        "None of them could ever start."
        "a after b, b after a" => "a, then b";
    NO_SAFE_EXIT "LL0414" "an exit that leaves an instrument running"
        "Every way out of a run must end what the run started."
        "finally: []" => "finally:\n  - do: pump_a.stop";
    STEP_WORD "LL0415" "a step that does nothing, or two things"
        "Each step has exactly one of do, wait, wait_until, parallel, steps, repeat, for_each, if, ask, log, analyse, call."
        "- {do: a.b, wait: 5 s}" => "- do: a.b\n- wait: 5 s";
    UNATTENDED "LL0416" "something that needs a person nearby"
        "What heats, pressurises, pumps or moves without a watchdog in the device goes on when the computer dies."
        "unattended: allowed" => "unattended: forbidden";
    ONCE_STEPS "LL0417" "steps that are never sent twice"
        "If the link fails in one of them, labloop must ask a person what happened."
        "" => "";
    COULD_OVERLAP "LL0418" "steps that could overlap"
        "They use different instruments and do not need each other's results."
        "- do: a.x\n- do: b.y" => "- parallel:\n    a: [{do: a.x}]\n    b: [{do: b.y}]";
    NO_STEPS "LL0419" "a list without steps"
        "There is nothing to do."
        "steps: []" => "steps:\n  - wait: 1 s";
    NOT_WITH "LL0420" "a key that has no meaning for this step"
        "It would silently do nothing."
        "- {wait: 5 s, retry: {times: 2}}" => "- {wait: 5 s}";
    UNUSED "LL0421" "something that nothing uses"
        "It may be misspelt elsewhere."
        "" => "";
    CALL_CYCLE "LL0422" "protocols that call each other"
        "The calls would never end."
        "call: self.yaml" => "call: other.yaml";
    NO_SCHEDULE "LL0423" "no feasible schedule"
        "The time limits and claims of the run contradict each other."
        "" => "";
    ROLE_TYPE "LL0424" "an instrument of the wrong type for a role"
        "The type of the definition is not the type the role needs."
        "plays: [bath]" => "plays: [pump_a]";
    SCRIPT_MISSING "LL0425" "a file of an analysis that cannot be kept"
        "Files of an analysis stand beside the protocol or below it. Their text is kept with the run, so that what was started goes on with the same text and the record shows what made each number."
        "analyse: {process: [python3, /home/me/yield.py]}" => "analyse: {process: [python3, analysis/yield.py]}";
    RETURNS_FORM "LL0426" "an analysis that does not say what it gives"
        "Each result of a program is named under `returns` with its unit or its type. What it prints is checked against that, and so is what later steps do with it."
        "returns: {yield: {}}" => "returns: {yield: {unit: \"%\"}}";
    UNKNOWN_SAMPLE "LL0427" "a sample the protocol does not have"
        "Samples are named under `samples:` of the protocol."
        "move: flim" => "move: film";
    SAMPLE_PLACE "LL0428" "a sample that cannot be where a step needs it"
        "A move takes a sample from the place it stands at to another one that holds its labware. After an `if` it must stand at one place whichever way the run went."
        "move: film\nto: rack" => "move: film\nto: hotplate";
    UNKNOWN_PLACE "LL0430" "a place the lab does not have"
        "Places are named under `places:` of the lab."
        "to: hot_plate" => "to: hotplate";
    REQUIRE_FAILS "LL0431" "a condition of `require` that cannot hold"
        "The run would be refused at its first moment, every time."
        "lab.stock.feed_a.volume >= 800 mL" => "lab.stock.feed_a.volume >= 8 mL";
    BUDGET_ABOVE_STOCK "LL0432" "a campaign that needs more than the lab has"
        "At the worst point of its box every run would draw this much. The campaign would stop for a refill half-way."
        "budget: {experiments: 600}" => "budget: {experiments: 60}";
    RETRY_FACTOR "LL0437" "pauses between attempts that cannot be"
        "`wait` is the first pause, each further one is `factor` times as long, and none is longer than `max_wait`. So a factor is 1 to 10, and `max_wait` is at least `wait`."
        "retry: {times: 3, factor: 2}" => "retry: {times: 3, wait: 5 s, factor: 2, max_wait: 1 min}";
    FALLBACK_NOBODY "LL0438" "a fallback with no other instrument"
        "`on_error: fallback` sends the action to another instrument of the lab that can play the role: one of its type that lists the role under `plays:` or lists none, and that plays no other role of the run."
        "uv_1: {use: as7341-picow, plays: [uv]}" => "uv_1: {use: as7341-picow, plays: [uv]}\nuv_2: {use: as7341-picow, plays: [uv]}";
    FALLBACK_STATE "LL0439" "a fallback from an instrument that holds something of the run"
        "Another instrument has not been set, filled or heated by this run, does not have its sample, and is not kept by its block. Where later steps build on that, or something may go on in the first instrument, a person must look."
        "do: bath.set_temperature\non_error: fallback" => "do: bath.set_temperature\non_error: ask";
    FALLBACK_DIFFERS "LL0440" "an instrument that cannot stand in because its answer differs"
        "Steps that read the value must find it in one form, whichever instrument gave it."
        "plays: [uv]" => "plays: [other_uv]";

    BAD_ADDRESS "LL0501" "an address that cannot be reached"
        "An address is serial:/dev/..., tcp://host:port, modbus+tcp://host:port?unit=1, modbus+serial:/dev/...?unit=1, modbus+rtu+tcp://host:port?unit=1, mqtt://host:port/base or mqtts://..."
        "at: 192.168.4.11" => "at: \"modbus+tcp://192.168.4.11:502?unit=1\"";
    ADDRESS_TWICE "LL0502" "two instruments at one address"
        "Both would answer for each other. Give each its own address or bus number."
        "" => "";
    MISSING_CONFIG "LL0503" "the lab does not configure an instrument"
        "The definition cannot know it: it differs from unit to unit."
        "pump_1: {use: newera-ne1000}" => "pump_1: {use: newera-ne1000, config: {syringe_diameter: 14.57 mm}}";
    UNKNOWN_CONFIG "LL0504" "a setting the definition does not have"
        "The definition lists its settings under `config:`."
        "config: {diameter: 14 mm}" => "config: {syringe_diameter: 14 mm}";
    WRONG_WIRE "LL0505" "an address on a wire the definition does not speak"
        "The definition's `connection:` says which wires it can use."
        "at: \"mqtt://broker/x\"" => "at: \"serial:/dev/ttyUSB0\"";
    SECRET "LL0506" "a secret in the file"
        "Files are shared and kept; secrets are read from the environment or a file of their own."
        "secret: hunter2" => "secret: env:MQTT_PASSWORD";
    INTERLOCK_FORM "LL0507" "an interlock that is not complete"
        "An interlock either trips (`trip_if` and `action`) or forbids (`forbid` and `when`)."
        "{id: hot, trip_if: ...}" => "{id: hot, trip_if: ..., action: [safe_state: bath_1]}";
    NO_WITNESS "LL0508" "a verifiable action without a witness"
        "What proves that the action happened? Without a witness it is `once`."
        "effect: verifiable" => "effect: verifiable\nwitness: {property: dispensed, counts: volume, settle: 300 ms}";
    NEEDLESS_WITNESS "LL0509" "a witness on an action that needs none"
        "Only `verifiable` actions are decided by their witness."
        "effect: repeatable\nwitness: ..." => "effect: repeatable";
    WITNESS_FORM "LL0510" "a witness that proves nothing"
        "A witness names a property that rises by one argument (`counts`) or equals one (`equals`), and how long a command may still take effect (`settle`)."
        "witness: {property: dispensed}" => "witness: {property: dispensed, counts: volume, settle: 300 ms}";
    NO_SAFE_STATE "LL0511" "a dangerous instrument without a safe state"
        "What heats, pressurises, pumps, moves or powers must say how it is made harmless."
        "hazards: [heats]" => "hazards: [heats]\nsafe_state: [{send: \"STOP_1\"}]";
    NO_WATCHDOG "LL0512" "a dangerous instrument without a watchdog"
        "If the computer dies it goes on. If the device has a watchdog, declare it under `heartbeat:`."
        "hazards: [heats]" => "heartbeat: {arm: \"OUT_WD1@{period:s}\", period: 30 s}";
    REGISTER "LL0513" "a register that is not fully described"
        "Address base, type and byte order differ between makers of the same kind of device; a guess is a wrong number that looks right."
        "register: {holding: 26}" => "register: {holding: 26, base: 0, type: i16, scale: 0.1, order: ABCD}";
    WRONG_OPERATION "LL0514" "an operation that this wire cannot do"
        "`send` needs a serial or TCP connection, `write` and `register` need modbus, `publish` and `topic` need mqtt."
        "connection: {modbus: {}}\ndo: [{send: RUN}]" => "do: [{write: {register: ..., value: 1}}]";
    NO_DEADLINE "LL0515" "an action without a deadline"
        "Nothing may hang for ever: say how long the action takes at most."
        "takes: {expected: 1 s}" => "takes: {expected: 1 s, timeout: 5 s}";
    NO_EXAMPLE "LL0516" "no golden bytes"
        "Bytes from the manual prove that the definition says what the device understands."
        "" => "examples:\n  - {action: stop, bytes: [\"STP\\r\", \"\\x0200S\\x03\"]}";
    TYPE_CONTRACT "LL0517" "an instrument that lacks what its type promises"
        "Protocols count on the actions and properties of a type."
        "type: syringe_pump" => "actions: {start: ..., stop: ...}";
    CONNECTION "LL0518" "a connection that is not complete"
        "The connection names one wire and how messages begin and end on it."
        "connection: {serial: {baud: 9600}}" => "connection: {serial: {baud: 9600, frame: 8N1}, send_end: \"\\r\", reply: {end: \"\\r\\n\"}, reply_timeout: 500 ms}";
    TEMPLATE "LL0519" "a message template or reply pattern that cannot be used"
        "A template holds `{name:unit:format}`, a pattern `{name:format}`."
        "send: \"RAT {rate\"" => "send: \"RAT {rate:mL/min:4s}\"";
    EXAMPLE_FAILED "LL0520" "golden bytes that do not come out"
        "The definition does not produce, or does not read, the bytes of the manual."
        "" => "";
    LIMIT_WIDER "LL0522" "a limit wider than the definition's"
        "A lab may only narrow what the device takes."
        "limits: {start: {rate: {max: 200 mL/min}}}" => "limits: {start: {rate: {max: 10 mL/min}}}";
    DONE_FORM "LL0523" "no single way to know that an action ended"
        "`done` is one of {poll, until, every}, {when, every} or {after}."
        "done: {every: 1 s}" => "done: {poll: \"\", until: ready, every: 200 ms}";
    PROPERTY_SOURCE "LL0524" "a property with no source, or with two"
        "A property is asked for (`ask`), read from a `register`, taken from a `topic`, or computed (`value`)."
        "temperature: {unit: degC}" => "temperature: {unit: degC, ask: IN_PV_1, parse: \"{value:f}\"}";
    RETAINED_COMMAND "LL0525" "a command that the broker would keep"
        "A retained command is carried out again each time the device connects, perhaps days later."
        "{publish: do/start, json: {}, retain: true}" => "{publish: do/start, json: {}}";
    UNPROVEN_ANSWER "LL0526" "an answer that may be somebody else's taken as proof"
        "The next message on a topic may answer another client, or an earlier question; only the state shows that the command was taken."
        "reply: {topic: RESULT, correlate: next}" => "done: {when: on, every: 200 ms}";
    REGISTER_OVERLAP "LL0531" "the same registers described in two ways"
        "Type, order and scale of a register are facts of the device. Where two entries of a definition differ about the same words, one of them reads a wrong number that looks right."
        "{holding: 24, base: 0, type: i16, scale: 0.1, order: AB}\n{holding: 24, base: 0, type: u16, scale: 1, order: AB}" => "{holding: 24, base: 0, type: i16, scale: 0.1, order: AB}";
    BLOCK "LL0532" "registers that do not fit into one request"
        "A request names at most 125 registers to read and 123 to write, many devices take fewer (`max_block`), and a value must lie whole inside the `block` it is read with."
        "{holding: 2091, base: 0, type: f32, order: CDAB, block: {start: 2089, count: 2}}" => "{holding: 2091, base: 0, type: f32, order: CDAB, block: {start: 2089, count: 10}}";
    BULK "LL0540" "binary numbers that are not fully described"
        "Bytes mean nothing by themselves: the definition says kind and byte order of the numbers, their unit, and axes with units and steps. A guess gives a curve that looks right and is not."
        "{send: \"CURV?\", block: {type: i16be}}" => "{send: \"CURV?\", block: {type: i16be, scale: 2 mV, axes: {x: {step: 1 us}}}}";
    UNREACHABLE_ERROR "LL0541" "an error that no answer can match"
        "An entry of an error table that never matches hides what the device says: its class decides what happens next, and nobody would notice."
        "errors: {\"ERR 5 \": {...}}" => "errors: {\"ERR 5\": {...}}";
    AMBIGUOUS_TOPIC "LL0542" "topics that cannot be told apart"
        "What comes on a topic must belong to one property or to one question; otherwise a value or a late answer is taken for another's."
        "correlate: next" => "correlate: property";
    LOOSE_PATTERN "LL0543" "a pattern that matches too much"
        "A pattern that matches other messages swallows them, and one that lets anything follow a number reads a damaged answer as a value."
        "parse: \"{value:f}{_:s}\"" => "parse: \"{value:f} degC\"";
    NO_GOLDEN "LL0544" "an action or property without golden bytes"
        "Bytes from the manual show that the device understands what the definition says of each action and property."
        "" => "examples:\n  - {action: stop, bytes: [\"STP\\r\", \"\\x0200S\\x03\"]}";
    INJECTION "LL0545" "a message that could become another"
        "A message ends with its end, and devices split messages at signs such as `;` or a space. A free text, or an end inside, may become a command of its own."
        "args: {text: {type: text}}" => "args: {text: {type: choice, options: [on, off]}}";
    BARE_NUMBER "LL0546" "a number in a message without a format"
        "Without a format a number is written with as many digits as it happens to have, which devices read in part or not at all."
        "send: \"RAT {rate:mL/min}\"" => "send: \"RAT {rate:mL/min:4s}\"";
    RETRY_CLASS "LL0547" "an error class that could send a command twice"
        "An alarm stands in place of an answer: nobody knows whether the command was carried out, so it may not be sent again."
        "alarms: {\"?\": {text: ..., class: retry}}" => "alarms: {\"?\": {text: ..., class: operator}}";
    STOP_LATENCY "LL0548" "a safe state that may come too late"
        "On a line one question is out at a time, and a safe state waits for its answer or its `reply_timeout`; then the safe states of all instruments of the line follow one another. The lab demands less time than that takes at most."
        "stop_within: 500 ms" => "stop_within: 3 s";
    ACCESS_WIRE "LL0550" "a password or certificates on a wire that has none"
        "Only a broker asks for a password (`secret`), and only one behind mqtts:// for certificates (`tls`). Anywhere else they would silently protect nothing."
        "{at: \"mqtt://broker.lab/uv\", tls: {ca: lab-ca.pem}}" => "{at: \"mqtts://broker.lab/uv\", tls: {ca: lab-ca.pem}}";
    TLS_FORM "LL0551" "certificates that are not complete"
        "`ca` says whose signature on the broker's certificate counts. To a broker that wants to know its clients, labloop shows a `certificate` and proves with its `key` that it is its own: both, or neither."
        "tls: {certificate: labloop.pem}" => "tls: {certificate: labloop.pem, key: file:labloop.key}";

    SPACE_WIDER "LL0601" "a campaign wider than its protocol"
        "A campaign may only narrow a protocol's limits: they are there for a reason."
        "temperature: {from: 20 degC, to: 200 degC}" => "temperature: {from: 40 degC, to: 110 degC}";
    OBJECTIVE_RESULT "LL0602" "an objective that is not a result"
        "Objectives are results of the protocol, so that every run gives one."
        "result: temperature" => "result: yield";
    OBJECTIVE_UNIT "LL0603" "an objective and its reference in different units"
        "They could not be compared."
        "reference: 60 s" => "reference: 60 mL";
    NOTHING_TO_SEARCH "LL0604" "a campaign with nothing to search, or nothing to reach"
        "A campaign has at least one parameter in `space` and one objective."
        "space: {}" => "space:\n  temperature: {from: 40 degC, to: 110 degC}";
    OPTION_UNKNOWN "LL0605" "an option the protocol does not have"
        "A campaign may only choose among the protocol's options."
        "catalyst: [Pd-3]" => "catalyst: [Pd-1, Pd-2]";
    PARAMETER_OPEN "LL0606" "a parameter without a value"
        "A parameter without a default is either searched (`space`) or set (`fixed`)."
        "" => "fixed: {ratio: 1.5}";
    CONSTRAINT_READS "LL0607" "a constraint over the wrong names"
        "Input constraints read `params`, outcome constraints read `results`."
        "inputs: [\"results.yield > 1 %\"]" => "outcomes: [\"results.yield > 1 %\"]";
    NO_BUDGET "LL0608" "a campaign without an end"
        "A search never knows that it is done. Say how many experiments or how much time it may take."
        "budget: {}" => "budget: {experiments: 60}";
    RANGE_STEP "LL0609" "a step that does not fit its range"
        "There would be one value only, or too many to enumerate."
        "{from: 1, to: 2, step: 5}" => "{from: 1, to: 2, step: 0.1}";
    LOG_SCALE "LL0610" "a logarithmic scale over zero"
        "The logarithm needs limits above zero; temperatures on a scale are not searched in the logarithm."
        "{from: 0 min, to: 15 min, scale: log}" => "{from: 1 min, to: 15 min, scale: log}";
    DESCRIPTORS "LL0611" "descriptors that do not fit the options"
        "Each option has one list of numbers, all of one length."
        "descriptors: {MeCN: [37.5]}" => "descriptors: {MeCN: [37.5], DMF: [36.7]}";
    EMPTY_SPACE "LL0612" "constraints that leave nothing to try"
        "No point of the space satisfies them."
        "" => "";
    RANGE_EMPTY "LL0613" "a range with nothing in it"
        "`from` must be below `to`; a single value belongs under `fixed:`."
        "{from: 5 min, to: 5 min}" => "fixed: {residence_time: 5 min}";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_well_formed_and_stands_once_in_order() {
        for pair in ALL.windows(2) {
            assert!(pair[0].code < pair[1].code, "{} before {}", pair[0].code, pair[1].code);
        }
        for code in ALL {
            assert!(code.code.len() == 6 && code.code.starts_with("LL0"), "{}", code.code);
            assert!(!code.title.ends_with('.') && code.explanation.ends_with(['.', '?', ':']));
        }
    }

    #[test]
    fn explain_finds_a_code_in_any_case() {
        assert_eq!(explain(" ll0104 ").map(|c| c.title), Some("a key stands twice in one mapping"));
        assert_eq!(explain("LL9999"), None);
    }
}
