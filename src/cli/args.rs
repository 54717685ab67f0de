//! What can be written on the command line.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::units::{Dimension, Quantity};

/// A self-driving laboratory runtime.
///
/// Exit codes: 0 done; 1 a run, or every experiment of a campaign, failed; 2 usage; 3 YAML did not
/// compile; 4 no feasible schedule; 5 instrument unreachable; 6 ended by a person; 7 safety trip;
/// 8 budget spent without the goal; 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "labloop", version, max_term_width = 100)]
pub struct Cli {
    /// Machine-readable output on stdout.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a small working lab to start from.
    Init(InitArgs),
    /// Find every mistake in YAML files before anything moves.
    Check(CheckArgs),
    /// Give YAML files their one spelling; comments stay.
    Fmt(FmtArgs),
    /// Show the compiled graph of a protocol.
    Graph(GraphArgs),
    /// Run a campaign or a protocol.
    Run(RunArgs),
    /// Go on with what was paused or held, or under way when labloop last ended.
    Resume(ResumeArgs),
    /// Serve a lab: go on with what was under way, run what is submitted, without end.
    Serve(ServeArgs),
    /// Hand a campaign or a protocol to the service that holds the state folder.
    Submit(SubmitArgs),
    /// Start no new step; those under way come to their end, instruments stay as they are.
    Pause(CommandArgs),
    /// Stop at once and keep safe: instruments go to their hold states.
    Hold(CommandArgs),
    /// End the steps under way, then run `finally`.
    Stop(CommandArgs),
    /// Send the safe states now.
    Abort(CommandArgs),
    /// Change bounds, budget, objectives, rules or pins of a campaign under way.
    Edit(super::edit::EditArgs),
    /// Take an experiment out of what the planner learns from, with a reason.
    Exclude(super::edit::ExcludeArgs),
    /// Safe states of all instruments at once, ahead of everything; or clear that again.
    Estop(EstopArgs),
    /// Show what the lab wants to know from a person, or answer it.
    Ask(AskArgs),
    /// Keep a note in the journal, with author and time.
    Note(NoteArgs),
    /// Say what is going on, or was.
    Status(StatusArgs),
    /// Say what every signal is now, or what one of them was.
    Signals(SignalsArgs),
    /// Write results, telemetry and provenance for other programs.
    Export(ExportArgs),
    /// Check that the journal was not changed.
    Verify(VerifyArgs),
    /// Derive every decision in the journal again and report the first difference.
    Replay(ReplayJournalArgs),
    /// Definitions, and tools for one device: call, probe, record, replay, trace.
    Instrument(InstrumentArgs),
    /// Run the virtual instruments of a lab on real wires.
    Simulator(SimulatorArgs),
    /// Use the planner from any program: JSON lines on stdin and stdout.
    Optimize,
    /// Print the JSON Schema of a kind of document, for editors.
    Schema(SchemaArgs),
    /// Serve an editor: mistakes, hover, definitions and fixes, on stdin and stdout.
    Lsp,
    /// Explain an error code.
    Explain(ExplainArgs),
    /// Print a completion script for a shell.
    Completion(CompletionArgs),
}

/// `labloop init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Folder to write into; nothing in it is overwritten.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// `labloop check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files and folders.
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
}

/// `labloop fmt`
#[derive(Debug, Args)]
pub struct FmtArgs {
    /// Files and folders.
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// Change nothing; list files that are spelled otherwise, and end with 1 if there are any.
    #[arg(long)]
    pub check: bool,
}

/// `labloop graph`
#[derive(Debug, Args)]
pub struct GraphArgs {
    /// Protocol.
    pub protocol: PathBuf,
    /// Lab to compile it for.
    #[arg(long)]
    pub lab: PathBuf,
    /// Value of a parameter, such as `temperature="80 degC"`; others take their default or middle.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
    pub format: GraphFormat,
}

/// Forms of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// Indented lines.
    Text,
    /// Mermaid flowchart.
    Mermaid,
    /// Graphviz.
    Dot,
    /// The graph itself.
    Json,
}

/// Where state lives.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// Folder of journal, telemetry and lock.
    #[arg(long, env = "LABLOOP_STATE", default_value = ".labloop", value_name = "DIR")]
    pub state: PathBuf,
}

/// How long readings are kept. Those of a run are kept in full for ever.
#[derive(Debug, Args)]
pub struct KeepArgs {
    /// Days for which every reading between runs is kept; then minimum, maximum and mean of each
    /// minute are. Readings of a run are kept in full for ever.
    #[arg(long, default_value = "90", value_name = "DAYS|forever", value_parser = parse_days)]
    pub keep_readings: Days,
    /// Days for which those of each minute are kept; then those of each hour are.
    #[arg(long, default_value = "1826", value_name = "DAYS|forever", value_parser = parse_days)]
    pub keep_minutes: Days,
    /// Days for which those of each hour are kept.
    #[arg(long, default_value = "forever", value_name = "DAYS|forever", value_parser = parse_days)]
    pub keep_hours: Days,
    /// Megabytes of the history from which on the oldest readings go first, but never those of runs.
    #[arg(long, value_name = "MB")]
    pub history_max: Option<NonZeroU32>,
}

/// A number of days; `None` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(pub Option<u32>);

fn parse_days(text: &str) -> Result<Days, String> {
    match (text, text.parse::<u32>()) {
        ("forever", _) => Ok(Days(None)),
        (_, Ok(days @ 1..)) => Ok(Days(Some(days))),
        _ => Err("a number of days from 1 on, or `forever`".to_owned()),
    }
}

/// How time passes and where the instruments are.
#[derive(Debug, Args)]
pub struct TimeArgs {
    /// Use virtual instruments instead of those of the lab file.
    #[arg(long)]
    pub simulate: bool,
    /// With --simulate: lab seconds per second on real wires, or `max` for a virtual clock and
    /// in-memory wires.
    #[arg(long, default_value = "1", value_name = "N|max", value_parser = parse_speed)]
    pub speed: Speed,
}

/// `--speed`
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// Lab seconds per wall second.
    Times(f64),
    /// Virtual clock.
    Max,
}

fn parse_speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.parse::<f64>() {
        Ok(n) if (0.01..=1000.0).contains(&n) => Ok(Speed::Times(n)),
        _ => Err("a number from 0.01 to 1000, or `max`".to_owned()),
    }
}

/// `labloop run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Campaign or protocol.
    pub document: PathBuf,
    /// Lab, instead of the one the campaign names.
    #[arg(long)]
    pub lab: Option<PathBuf>,
    /// Value of a protocol's parameter, such as `temperature="80 degC"`.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Seed of the planner, instead of the campaign's.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Number of experiments, instead of the campaign's budget.
    #[arg(long, value_name = "N")]
    pub experiments: Option<u32>,
    /// You have looked at the lab: run although entries at the end of the journal are lost.
    #[arg(long)]
    pub accept_loss: bool,
    /// With --accept-loss: who says so; the user of this terminal if not given.
    #[arg(long, value_name = "NAME", requires = "accept_loss")]
    pub by: Option<String>,
    /// With --accept-loss: why, for the journal.
    #[arg(long, default_value = "", value_name = "TEXT", requires = "accept_loss")]
    pub reason: String,
    /// Time.
    #[command(flatten)]
    pub time: TimeArgs,
    /// History.
    #[command(flatten)]
    pub keep: KeepArgs,
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `labloop serve`
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Lab; that of the last campaign if not given.
    #[arg(long)]
    pub lab: Option<PathBuf>,
    /// What the log tells: error, warn, info, debug, trace.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    pub log_level: tracing_subscriber::filter::LevelFilter,
    /// Seed of simulators and of the times between attempts to connect.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Time.
    #[command(flatten)]
    pub time: TimeArgs,
    /// History.
    #[command(flatten)]
    pub keep: KeepArgs,
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `labloop submit`
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// Campaign or protocol.
    pub document: PathBuf,
    /// Lab, instead of the one the campaign names; must be the one that is served.
    #[arg(long)]
    pub lab: Option<PathBuf>,
    /// Value of a protocol's parameter, such as `temperature="80 degC"`.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Seed of the planner, instead of the campaign's.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Number of experiments, instead of the campaign's budget.
    #[arg(long, value_name = "N")]
    pub experiments: Option<u32>,
    /// Submitting again with the same key starts nothing new and tells the name of the first.
    #[arg(long)]
    pub key: Option<String>,
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `labloop resume`
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// With an engine at work: run or campaign that goes on, all if not given. With none: campaign
    /// in the journal, the last one if not given.
    pub id: Option<String>,
    /// Who says so; the user of this terminal if not given.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Why, for the journal.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub reason: String,
    /// With an engine at work: stay for the outcome so long at most.
    #[arg(long, default_value = "120", value_name = "SECONDS", value_parser = super::command::parse_wait)]
    pub wait: Duration,
    /// Time.
    #[command(flatten)]
    pub time: TimeArgs,
    /// History.
    #[command(flatten)]
    pub keep: KeepArgs,
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `labloop pause`, `hold`, `stop`, `abort`
#[derive(Debug, Args)]
pub struct CommandArgs {
    /// Run or campaign; all that the engine has under way if not given.
    #[arg(value_name = "RUN|CAMPAIGN")]
    pub id: Option<String>,
    /// Who commands it; the user of this terminal if not given.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Why, for the journal.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub reason: String,
    /// Stay for the outcome so long at most.
    #[arg(long, default_value = "120", value_name = "SECONDS", value_parser = super::command::parse_wait)]
    pub wait: Duration,
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `labloop estop`
#[derive(Debug, Args)]
pub struct EstopArgs {
    /// Clear it, after a look at the lab: commands pass again.
    #[arg(long)]
    pub clear: bool,
    /// Who; the user of this terminal if not given. A clearing needs a name.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Why, for the journal. A clearing while an instrument is not confirmed safe needs it.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Stay for the instruments' answers so long at most.
    #[arg(long, default_value = "30", value_name = "SECONDS", value_parser = super::command::parse_wait)]
    pub wait: Duration,
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `labloop signals`
#[derive(Debug, Args)]
pub struct SignalsArgs {
    /// A signal, such as `bath_1.temperature`: its past, from the history. All signals as they are,
    /// from the engine at work, if not given.
    pub signal: Option<String>,
    /// Only the signals of this instrument.
    #[arg(long, value_name = "NAME", conflicts_with = "signal")]
    pub instrument: Option<String>,
    /// How far back from the last reading, in lab time.
    #[arg(long, default_value = "1 h", value_name = "TIME", value_parser = parse_time)]
    pub last: Duration,
    /// The window is summed up in so many columns at most, each with minimum, mean and maximum.
    #[arg(long, default_value = "60", value_name = "N")]
    pub columns: u16,
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let seconds = match Quantity::parse(text) {
        Ok(quantity) if quantity.dim == Dimension::TIME => quantity.value,
        Ok(_) => return Err("a time, such as `90 min`".to_owned()),
        Err(error) => return Err(error.message),
    };
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// `labloop ask`
#[derive(Debug, Args)]
pub struct AskArgs {
    /// Question, or the run that asks it; all open ones are shown if not given.
    pub id: Option<String>,
    /// One of its answers.
    pub answer: Option<String>,
    /// Who answers; the user of this terminal if not given.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `labloop note`
#[derive(Debug, Args)]
pub struct NoteArgs {
    /// What is worth keeping.
    pub text: String,
    /// Run, campaign or instrument it is about.
    #[arg(long, value_name = "RUN|CAMPAIGN|INSTRUMENT")]
    pub about: Option<String>,
    /// Who writes it; the user of this terminal if not given.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `labloop status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Campaign; all if not given.
    pub id: Option<String>,
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `labloop replay`
#[derive(Debug, Args)]
pub struct ReplayJournalArgs {
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `labloop verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Number and hash of an entry, as an earlier `verify` printed them: finds a journal that was
    /// rewritten or cut short as a whole. Keep them on another machine.
    #[arg(long, value_name = "SEQ:HASH")]
    pub head: Option<crate::store::Head>,
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `labloop export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Campaign or run; the last campaign if not given.
    pub id: Option<String>,
    /// How to write it.
    #[arg(long, value_enum, default_value_t = ExportFormat::Csv)]
    pub format: ExportFormat,
    /// What to write.
    #[arg(long, value_enum, default_value_t = ExportWhat::Experiments)]
    pub what: ExportWhat,
    /// With --what files: folder for the numbers themselves, curves as CSV, arrays as raw bytes
    /// with a JSON file that names axes and units.
    #[arg(long, value_name = "FOLDER")]
    pub to: Option<PathBuf>,
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

/// Forms of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Comma-separated values, one header line.
    Csv,
    /// One JSON document.
    Json,
}

/// Parts of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportWhat {
    /// One row per experiment: parameters, results, prediction, verdict.
    Experiments,
    /// One row per command sent.
    Steps,
    /// One row per reading: time, value, unit, quality, reason.
    Telemetry,
    /// One row per curve or array that is kept as a file; with --to also the numbers.
    Files,
    /// One row per command and note of a person.
    People,
    /// One row per message that crossed a wire for a step, decoded.
    Wire,
}

/// `labloop instrument`
#[derive(Debug, Args)]
pub struct InstrumentArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: InstrumentCommand,
}

/// Subcommands of `labloop instrument`.
#[derive(Debug, Subcommand)]
pub enum InstrumentCommand {
    /// Names of the definitions that are built in.
    List,
    /// Actions, properties and limits of a definition.
    Show {
        /// Name such as `newera-ne1000`, or a file.
        name: String,
        /// Print the definition itself, to start a new one from.
        #[arg(long)]
        source: bool,
    },
    /// Check definitions against the golden bytes they carry.
    Check {
        /// Files and folders; the built-in ones if none is given.
        paths: Vec<PathBuf>,
    },
    /// Carry out one action, or read one property, by hand, and show the bytes.
    Call(CallArgs),
    /// Take an instrument into your own hands while an engine runs: runs that need it wait.
    Take(HandArgs),
    /// Give it back; runs that have used it are held if anything was done to it.
    Give(HandArgs),
    /// Say that an instrument may be used although it was not confirmed safe when a run ended
    /// (with --reason), or although another unit answers than before.
    Accept(HandArgs),
    /// Find out what answers at an address. Only asks; commands nothing.
    Probe(ProbeArgs),
    /// Stand between a program and a device and record what crosses.
    Record(RecordArgs),
    /// Answer as a device did when it was recorded.
    Replay(ReplayArgs),
    /// Show what crossed the wire for the steps of a run, decoded.
    Trace(TraceArgs),
}

/// `labloop instrument call`
#[derive(Debug, Args)]
pub struct CallArgs {
    /// Lab file.
    pub lab: PathBuf,
    /// Instrument of the lab.
    pub instrument: String,
    /// Action or property of its definition.
    #[arg(value_name = "ACTION|PROPERTY")]
    pub what: String,
    /// Argument of the action, such as `volume="2 mL"`.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Show the bytes that would be sent; open nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Confirm an action that starts to heat, pump, move, pressurise or switch power.
    #[arg(long)]
    pub yes: bool,
    /// Where the instrument is, instead of where the lab says: that of a simulator, a recording
    /// proxy or a replay.
    #[arg(long, value_name = "ADDRESS")]
    pub at: Option<String>,
    /// Use virtual instruments instead of those of the lab file.
    #[arg(long, conflicts_with = "at")]
    pub simulate: bool,
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `labloop instrument take`, `give` and `accept`
#[derive(Debug, Args)]
pub struct HandArgs {
    /// Instrument of the lab.
    pub instrument: String,
    /// Who does it; the user of this terminal if not given.
    #[arg(long)]
    pub by: Option<String>,
    /// Why.
    #[arg(long, default_value = "")]
    pub reason: String,
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `labloop instrument probe`
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Address such as `serial:/dev/ttyUSB0`, `tcp://host:port`, `modbus+tcp://host:502` or
    /// `mqtt://host:1883/base`.
    pub address: String,
    /// Definition to try, a name or a file; all built-in ones that fit the wire if none is given.
    #[arg(long, value_name = "NAME")]
    pub definition: Vec<String>,
    /// Addresses of units on a shared line, such as `1-32`.
    #[arg(long, value_name = "FIRST-LAST", value_parser = parse_units)]
    pub units: Option<(u8, u8)>,
    /// Go on after the first device that is certain.
    #[arg(long)]
    pub all: bool,
    /// Stop after this many seconds; over MQTT listen for so long, 5 if not given.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub within: Option<f64>,
    /// Password of the broker: `env:NAME` or `file:PATH`.
    #[arg(long, value_name = "SECRET")]
    pub secret: Option<String>,
}

fn parse_units(text: &str) -> Result<(u8, u8), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse::<u8>(), last.parse::<u8>()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        _ => Err("a unit, or the first and last of them, from 0 to 255: 1-32".to_owned()),
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(n) if (0.1..=604_800.0).contains(&n) => Ok(n),
        _ => Err("a number of seconds from 0.1 to 604800".to_owned()),
    }
}

/// `labloop instrument record`
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Address of the device.
    pub address: String,
    /// File of the trace; must not exist yet.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Where the program connects: `pty`, or `tcp://host:port` where port 0 is any free one. A
    /// terminal for a serial line and a free port for a socket if not given.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Definition that knows the settings of the serial line, or, over MQTT, which messages go to
    /// the device.
    #[arg(long, value_name = "NAME")]
    pub definition: Option<String>,
    /// Bits per second of the serial line.
    #[arg(long)]
    pub baud: Option<u32>,
    /// Frame of the serial line, such as 8N1.
    #[arg(long)]
    pub frame: Option<String>,
    /// Stop after this many seconds.
    #[arg(long = "for", value_name = "SECONDS", value_parser = parse_seconds)]
    pub time: Option<f64>,
    /// Size of the file at most, in MiB. What crosses beyond it is passed on and not recorded.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=500))]
    pub most: u64,
    /// Password of the broker: `env:NAME` or `file:PATH`.
    #[arg(long, value_name = "SECRET")]
    pub secret: Option<String>,
}

/// `labloop instrument replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Trace made by `labloop instrument record`.
    pub file: PathBuf,
    /// Where to answer: `pty`, `tcp://host:port` (port 0: any free one), or for MQTT the broker and
    /// base. If not given, a place like that of the device.
    #[arg(long, value_name = "ADDRESS")]
    pub at: Option<String>,
    /// Answer at once instead of after the time it took.
    #[arg(long)]
    pub fast: bool,
    /// Stop after this many seconds.
    #[arg(long = "for", value_name = "SECONDS", value_parser = parse_seconds)]
    pub time: Option<f64>,
    /// Password of the broker: `env:NAME` or `file:PATH`.
    #[arg(long, value_name = "SECRET")]
    pub secret: Option<String>,
}

/// `labloop instrument trace`
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Campaign, run or command by hand (`manual-1`).
    pub id: String,
    /// Step, or the beginning of its path; all if not given.
    pub step: Option<String>,
    /// State.
    #[command(flatten)]
    pub state: StateArgs,
}

/// `labloop simulator`
#[derive(Debug, Args)]
pub struct SimulatorArgs {
    /// Lab file.
    pub lab: PathBuf,
    /// Lab seconds per second.
    #[arg(long, default_value_t = 1.0)]
    pub speed: f64,
    /// Seed of noise and faults.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Use free ports and terminals instead of the addresses of the lab file, and write which.
    #[arg(long)]
    pub anywhere: bool,
    /// Run an MQTT broker at the lab's MQTT address instead of using the one there.
    #[arg(long)]
    pub broker: bool,
    /// Write {"pid", "endpoints"} here once everything answers.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// What goes wrong: INSTRUMENT:KIND[=VALUE][@SHARE%], such as pump_1:late=500ms@10%. Kinds: silence,
    /// lost, delay=TIME, late=TIME, corrupt, flip, truncated, duplicated, wrong_address, disconnect,
    /// exception=CODE, busy, stuck, drift=SHARE_PER_HOUR, spike=FACTOR, sensor_break, reboot.
    #[arg(long, value_name = "FAULT")]
    pub fault: Vec<String>,
    /// Take faults on this address while running, one a line; INSTRUMENT:off ends them. Port 0 is any
    /// free port, written to the ready file.
    #[arg(long, value_name = "HOST:PORT")]
    pub control: Option<String>,
    /// End this many seconds after the last connection was closed.
    #[arg(long, value_name = "SECONDS")]
    pub linger: Option<f64>,
    /// Append every command that has an effect to this file, as it is received.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// `labloop schema`
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Kind of document.
    #[arg(value_parser = ["protocol", "instrument", "lab", "campaign"])]
    pub kind: String,
    /// With the roles, actions, arguments and stock of this lab.
    #[arg(long)]
    pub lab: Option<PathBuf>,
    /// For campaigns: with the parameters, results and roles of this protocol.
    #[arg(long)]
    pub protocol: Option<PathBuf>,
}

/// `labloop explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Code such as LL0312.
    pub code: String,
}

/// `labloop completion`
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// Shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Shells with a completion script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}
