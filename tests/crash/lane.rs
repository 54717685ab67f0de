//! A reference lab on real wires (a serial line shared by two pumps, Modbus TCP, MQTT) whose
//! instruments live in a process of their own and count what they are told; and the oracle that
//! compares their count with the journal.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use labloop::engine::core::{Ending, Record, RunState};
use labloop::engine::shell::{Fact, History, RunHistory};
use labloop::store::Journal;

use crate::bench::{Bench, labloop, wait_for};

/// Lab seconds per wall second.
pub const SPEED: u32 = 60;

/// How a lab differs from the reference.
#[derive(Clone, Copy, Default)]
pub struct Variant {
    /// Further settings of the simulation, ` pump_1_effect_delay: 30 ms,`.
    pub settings: &'static str,
    /// `settle` of the pumps' witness; that of the definition if empty.
    pub settle: &'static str,
    /// Another protocol, run once and by itself.
    pub protocol: Option<&'static str>,
    /// Steps of the pumps are tried again when their line is gone.
    pub retry: bool,
    /// The light is waited for as long as can be, a second on the wall.
    pub patient: bool,
    /// Only these instruments; all if empty.
    pub only: &'static [&'static str],
}

impl Variant {
    /// The instruments that are wanted, and no plant they do not fill.
    fn lab(&self, lab: &str) -> String {
        if self.only.is_empty() {
            return lab.to_owned();
        }
        let (instruments, _) = lab.split_once("simulation:").unwrap();
        let mut kept = true;
        let lines = instruments.lines().filter(|line| {
            if let Some(name) = line.strip_prefix("  ").filter(|l| !l.starts_with(' ')) {
                kept = self.only.iter().any(|only| name.starts_with(only));
            }
            kept
        });
        lines.collect::<Vec<_>>().join("\n") + "\n"
    }
}

/// One lab with its state folder and its living instruments.
pub struct Lane {
    bench: Bench,
    state: PathBuf,
    simulators: Child,
    /// Lines of the log of effects that were counted already.
    counted: usize,
    /// A protocol by itself instead of the campaign.
    single: bool,
}

impl Lane {
    pub fn new(name: &str, variant: Variant) -> Lane {
        let bench = Bench::new(name);
        let state = bench.state();
        Lane::in_folder(bench, state, variant)
    }

    /// One whose state folder is elsewhere.
    pub fn in_folder(bench: Bench, state: PathBuf, variant: Variant) -> Lane {
        let write =
            |file: &str, text: &str| std::fs::write(bench.folder().join(file), text).unwrap();
        let lab = include_str!("lab.yaml");
        let settings = format!("settings: {{{}", variant.settings);
        let lab = lab.replace("settings: {", &settings);
        write("lab.yaml", &variant.lab(&lab));
        let protocol = variant.protocol.unwrap_or(include_str!("protocol.yaml"));
        let retry = "retry: {times: 60, wait: 6 s, if: [link, timeout, bad_reply]}, do: pump_";
        write(
            "protocol.yaml",
            &match variant.retry {
                true => protocol.replace("do: pump_", retry),
                false => protocol.to_owned(),
            },
        );
        write("campaign.yaml", include_str!("campaign.yaml"));
        // The stock definition, but one that may never be sent twice.
        let light = std::fs::read_to_string("instruments/spectrometer/as7341-picow.yaml").unwrap();
        let repeatable = "effect: repeatable\n    takes";
        assert!(light.contains(repeatable));
        let mut light = light.replacen(repeatable, "effect: once\n    takes", 1);
        if variant.patient {
            let (reply, takes) = ("reply_timeout: 5 s", "takes: {expected: 1 s, timeout: 30 s}");
            assert!(light.contains(reply) && light.contains(takes));
            light = light.replace(reply, "reply_timeout: 60 s");
            light = light.replacen(takes, "takes: {expected: 1 s, timeout: 3 h}", 1);
        }
        write("as7341-picow.yaml", &light);
        let pump = "instruments/syringe_pump/newera-ne1000.yaml";
        let mut pump = std::fs::read_to_string(pump).unwrap();
        let mut changed = |from: &str, to: &str| {
            assert!(pump.contains(from), "{from}");
            pump = pump.replace(from, to);
        };
        if !variant.settle.is_empty() {
            changed("settle: 300 ms", &format!("settle: {}", variant.settle));
        }
        // A machine that is busy with other tests answers late; that is not what is tried here.
        if !variant.retry {
            changed("reply_timeout: 500 ms", "reply_timeout: 5 s");
        }
        write("newera-ne1000.yaml", &pump);
        // Instruments first: they are not to die with an engine, nor to be traced with one.
        let folder = state.join("simulators");
        std::fs::create_dir_all(&folder).unwrap();
        let ready = folder.join(format!("ready-{SPEED}.json"));
        let simulators = labloop()
            .arg("simulator")
            .arg(bench.folder().join("lab.yaml"))
            .args(["--anywhere", "--broker", "--speed", &SPEED.to_string(), "--ready-file"])
            .arg(&ready)
            .arg("--log")
            .arg(folder.join("effects.jsonl"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for(&ready);
        Lane { bench, state, simulators, counted: 0, single: variant.protocol.is_some() }
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    pub fn folder(&self) -> &Path {
        self.bench.folder()
    }

    /// `labloop run` of this lab's campaign, or `labloop resume`.
    pub fn engine(&self, resume: bool, experiments: u32) -> Command {
        self.engine_in(labloop(), resume, experiments)
    }

    /// The same behind another program, which gets labloop's path and arguments.
    pub fn engine_in(&self, mut command: Command, resume: bool, experiments: u32) -> Command {
        if resume {
            command.arg("resume");
        } else {
            command.arg("run").args(["--simulate", "--speed", &SPEED.to_string()]);
            if self.single {
                command.arg(self.folder().join("protocol.yaml"));
                command.arg("--lab").arg(self.folder().join("lab.yaml"));
            } else {
                command.arg(self.folder().join("campaign.yaml"));
                command.args(["--experiments", &experiments.to_string()]);
            }
        }
        command.arg("--state").arg(&self.state).stdin(Stdio::null()).stdout(Stdio::null());
        command.env_remove("LABLOOP_STATE").env("NO_COLOR", "1");
        command
    }

    /// Lets an engine end its work; what it said.
    pub fn finish(&self, resume: bool, experiments: u32) -> (ExitStatus, String) {
        // A person has looked at what an engine that gave up had made safe, and let its runs go on.
        let _ = std::fs::remove_file(self.state.join("gave-up"));
        let mut command = self.engine(resume, experiments);
        ended(&mut command, Duration::from_secs(120))
    }

    /// Whether a campaign was begun in this folder.
    pub fn begun(&self) -> bool {
        self.history().is_some_and(|history| !history.campaigns.is_empty())
    }

    /// What the journal tells; `None` while there is none.
    pub fn history(&self) -> Option<History> {
        let journal = Journal::open_read_only(&self.state).ok()?;
        Some(History::read(&journal, None).unwrap())
    }

    /// Lets the instruments stand still, or go on: what they are told meanwhile waits in their lines.
    pub fn freeze(&self, still: bool) {
        let (name, to) = (if still { "STOP" } else { "CONT" }, self.simulators.id().to_string());
        assert!(Command::new("kill").args(["-s", name, &to]).status().unwrap().success());
    }

    /// A command of the command line on this lab; its exit code, stdout and stderr.
    pub fn labloop(&self, args: &[&str]) -> (i32, String, String) {
        let output = labloop().args(args).arg("--state").arg(&self.state).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// Forgets all but the instruments: the next engine begins anew.
    pub fn clear(&mut self) {
        self.counted = self.effects().len();
        for entry in std::fs::read_dir(&self.state).unwrap().flatten() {
            let path = entry.path();
            if path.ends_with("simulators") {
                continue;
            }
            let removed = match path.is_dir() {
                true => std::fs::remove_dir_all(&path),
                false => std::fs::remove_file(&path),
            };
            removed.unwrap();
        }
    }

    /// The engine's own facts, `engine_clock_stepped` and the like, with their bodies.
    pub fn engine_facts(&self) -> Vec<(String, serde_json::Value)> {
        let journal = Journal::open_read_only(&self.state).unwrap();
        let mut found = Vec::new();
        let mut after = 0;
        loop {
            let page = journal.read(after, 1_000).unwrap();
            let Some(last) = page.last() else { return found };
            after = last.seq;
            for entry in page.into_iter().filter(|e| e.kind.starts_with("engine_")) {
                found.push((entry.kind, serde_json::from_str(&entry.body).unwrap()));
            }
        }
    }

    /// The state each run has reached, as the journal has it.
    pub fn run_states(&self) -> BTreeMap<String, RunState> {
        let journal = Journal::open_read_only(&self.state).unwrap();
        let mut states = BTreeMap::new();
        labloop::engine::shell::read_facts(&journal, |_, fact| {
            if let Fact::Run(Record::Moved { run, to, .. }) = fact {
                states.insert(run, to);
            }
        })
        .unwrap();
        states
    }

    /// Lab time of every entry, in seconds.
    pub fn ticks(&self) -> Vec<f64> {
        let journal = Journal::open_read_only(&self.state).unwrap();
        journal.read(0, 100_000).unwrap().iter().map(|e| e.tick as f64 / 1e9).collect()
    }

    /// Every effect on the instruments since the last [`Lane::clear`].
    pub fn effects_since(&self) -> Vec<serde_json::Value> {
        self.effects().split_off(self.counted)
    }

    fn effects(&self) -> Vec<serde_json::Value> {
        let path = self.state.join("simulators/effects.jsonl");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        // The last line may still be being written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Compares what the instruments were told with the journal. Panics with the whole story.
    pub fn audit(&self, when: &str) -> Audit {
        let history = self.history().unwrap();
        let audit = Audit::of(&history, &self.effects_since());
        let mut wrong = audit.wrong();
        if let Err(error) = Journal::open_read_only(&self.state).unwrap().verify() {
            wrong.push(error.to_string());
        }
        assert!(wrong.is_empty(), "{when}:\n{}\n{}", wrong.join("\n"), story(&history));
        audit
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let _ = self.simulators.kill();
        let _ = self.simulators.wait();
    }
}

/// Runs a command to its end, at most so long; what it said to its standard error.
pub fn ended(command: &mut Command, limit: Duration) -> (ExitStatus, String) {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let said = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stderr, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let until = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it did not end within {limit:?}:\n{}", said.join().unwrap());
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    (status, said.join().unwrap())
}

/// An engine at work whose words go to a file.
pub struct AtWork {
    pub child: Child,
    said: PathBuf,
}

impl AtWork {
    pub fn start(mut command: Command, said: PathBuf) -> AtWork {
        let file = std::fs::File::create(&said).unwrap();
        AtWork { child: command.stderr(file).spawn().unwrap(), said }
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }

    /// Waits until something is so.
    pub fn until(&mut self, what: &str, limit: Duration, mut so: impl FnMut(&str) -> bool) {
        let until = Instant::now() + limit;
        while !so(&self.said()) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{what}: it ended: {ended:?}\n{}", self.said());
            assert!(Instant::now() < until, "{what}: not within {limit:?}\n{}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        let to = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &to]).status().unwrap().success());
    }

    /// Waits for its end.
    pub fn end(&mut self, limit: Duration) -> (ExitStatus, String) {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.said());
            }
            assert!(Instant::now() < until, "not over within {limit:?}\n{}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Commands of one kind to one instrument: what the journal says, and what the instrument counted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Count {
    /// Intents.
    pub attempts: usize,
    /// Known to have had their effect.
    pub done: usize,
    /// Given up in doubt.
    pub discarded: usize,
    /// Failed in a run that failed, which asks no witness: may have happened.
    pub unknown: usize,
    /// Without an end: lost.
    pub open: usize,
    /// Counted by the instrument.
    pub effects: usize,
}

/// The comparison.
#[derive(Debug, Default)]
pub struct Audit {
    pub counts: BTreeMap<(String, &'static str), Count>,
    pub complete: usize,
    pub invalid: usize,
    pub runs: usize,
    unfinished: Vec<String>,
    repeated: Vec<String>,
}

/// What a command does, by the word of the instruments' log; its own word if it leaves no trace.
fn effect_of(action: &str) -> Option<&'static str> {
    match action {
        "dispense" => Some("dispense"),
        "start" => Some("start"),
        "set_temperature" => Some("set_temperature"),
        "measure" => Some("light"),
        _ => None,
    }
}

impl Audit {
    pub fn of(history: &History, effects: &[serde_json::Value]) -> Audit {
        let mut audit = Audit::default();
        for run in history.runs.values() {
            audit.runs += 1;
            match run.ending {
                Some(Ending::Complete) => audit.complete += 1,
                Some(Ending::Invalid) => audit.invalid += 1,
                Some(_) => {}
                None => audit.unfinished.push(run.run.clone()),
            }
            audit.run(run);
        }
        for effect in effects {
            let text = |name: &str| effect[name].as_str().unwrap().to_owned();
            let kind = match text("effect").as_str() {
                "dispense" => "dispense",
                "start" => "start",
                // Zero is the safe state of the controller and the dark of the light.
                "set_temperature" if effect["detail"]["target_degc"] != 0.0 => "set_temperature",
                "light" if effect["detail"]["r"] != 0.0 => "light",
                _ => continue,
            };
            audit.counts.entry((text("instrument"), kind)).or_default().effects += 1;
        }
        audit
    }

    fn run(&mut self, run: &RunHistory) {
        let mut once: BTreeMap<&str, usize> = BTreeMap::new();
        for step in &run.steps {
            let Some(kind) = effect_of(&step.action) else { continue };
            if step.instrument.starts_with("uv") {
                continue;
            }
            if kind == "light" {
                *once.entry(&step.path).or_default() += 1;
            }
            let count = self.counts.entry((step.instrument.clone(), kind)).or_default();
            count.attempts += 1;
            match step.outcome.as_str() {
                "" => count.open += 1,
                text if text.starts_with("done") => count.done += 1,
                text if text.starts_with("discard") => count.discarded += 1,
                text if text.starts_with("not done") => {}
                _ if run.ending != Some(Ending::Complete) => count.unknown += 1,
                _ => {}
            }
        }
        for (path, attempts) in once.into_iter().filter(|(_, attempts)| *attempts > 1) {
            self.repeated.push(format!("{} {path} was sent {attempts} times", run.run));
        }
    }

    /// Everything that must not be.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong: Vec<String> =
            self.unfinished.iter().map(|run| format!("run {run} is not over")).collect();
        wrong.extend(self.repeated.iter().cloned());
        for ((instrument, kind), count) in &self.counts {
            let Count { attempts, done, discarded, unknown, open, effects } = *count;
            if open > 0 {
                wrong.push(format!("{instrument} {kind}: {open} without outcome"));
            }
            let exact = *kind == "dispense";
            // A dose happened as often as the journal says, but for samples that were given up. What
            // may be sent again was sent at most as often as the journal says.
            let most = if exact { done + discarded + unknown } else { attempts };
            // A set point that is there already is not written.
            let least = if *kind == "set_temperature" { 0 } else { done };
            if effects < least || effects > most {
                wrong.push(format!("{instrument} {kind}: {effects} effects, journal: {count:?}"));
            }
        }
        wrong
    }

    pub fn count(&self, instrument: &str, kind: &'static str) -> Count {
        self.counts.get(&(instrument.to_owned(), kind)).cloned().unwrap_or_default()
    }
}

/// A history for people.
pub fn story(history: &History) -> String {
    let mut text = String::new();
    for run in history.runs.values() {
        text += &format!("{} {:?} {}\n", run.run, run.ending, run.cause);
        for step in &run.steps {
            text += &format!(
                "  {}#{} {}.{}: {}\n",
                step.path, step.attempt, step.instrument, step.action, step.outcome
            );
        }
    }
    text
}

/// Numbers that follow from a seed (xorshift, Marsaglia 2003).
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Draw {
        Draw(seed | 1)
    }

    /// From `from` up to, but not, `to`.
    pub fn within(&mut self, from: u64, to: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        from + self.0 % (to - from)
    }
}

/// A number from the environment, for long runs.
pub fn from_environment(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// strace, where it may trace; where it may not the test is left out, loudly, but not in CI.
pub fn strace() -> bool {
    let tried = Command::new("strace")
        .args(["-qq", "-f", "-e", "trace=none", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let works = tried.is_ok_and(|status| status.success());
    if !works {
        let why = "strace is missing (./test installs it) or may not trace here";
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("SKIPPED: {why}");
    }
    works
}

/// Does a thing in several lanes at once: they wait more than they compute. The first that fails
/// ends the test with its name.
pub fn in_lanes(lanes: usize, each: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..lanes)
            .map(|lane| {
                scope.spawn({
                    let each = &each;
                    move || each(lane)
                })
            })
            .collect();
        for handle in handles {
            if let Err(panic) = handle.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}
