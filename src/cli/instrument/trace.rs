//! `labloop instrument trace`: what crossed the wire for the steps of a run, decoded by the
//! definition the run was started with.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::args::TraceArgs;
use super::super::{Exit, output};
use crate::compiler::Definitions;
use crate::compiler::bundle::lab_of_kept;
use crate::driver::decode::Decoder;
use crate::driver::{Exchange, InstrumentSetup, Way, written_values};
use crate::engine::shell::wire_trace::{self, Line};
use crate::engine::shell::{History, StepHistory};
use crate::spec::lab::Lab;
use crate::store::Journal;
use crate::wire::{Address, Tick, Trust};
use std::sync::Arc;

/// One message of a step.
pub(in crate::cli) struct Row {
    pub run: String,
    pub step: String,
    pub attempt: u32,
    pub instrument: String,
    pub action: String,
    /// Lab time since the intent, s.
    pub seconds: Option<f64>,
    /// `out`, `in`, or empty where messages are missing.
    pub way: &'static str,
    pub bytes: String,
    pub meaning: String,
}

/// What is known of the lab of a run.
#[derive(Default)]
struct Texts(BTreeMap<String, Option<(Arc<Lab>, Definitions)>>);

impl Texts {
    fn of(&mut self, journal: &Journal, hash: &str) -> Option<&(Arc<Lab>, Definitions)> {
        self.0
            .entry(hash.to_owned())
            .or_insert_with(|| {
                // Texts that cannot be read leave the bytes undecoded.
                let text = journal.document(hash).ok().flatten()?;
                lab_of_kept(&text).ok().flatten()
            })
            .as_ref()
    }
}

fn decoder(
    found: &(Arc<Lab>, Definitions),
    step: &StepHistory,
    at: Option<&str>,
) -> Option<Decoder> {
    let (lab, definitions) = found;
    let instrument = lab.instrument(&step.instrument)?;
    let definition = definitions.get(&instrument.definition.value)?;
    // Where a simulator or a proxy stood in its place the bytes are the same.
    let at = at.and_then(|at| Address::parse(at).ok());
    let at = at.or_else(|| Address::parse(&instrument.address.value).ok())?;
    let setup = InstrumentSetup {
        name: step.instrument.clone(),
        definition: Arc::clone(definition),
        at,
        config: written_values(&definition.config, &instrument.config).ok()?,
        secret: None,
        trust: Trust::default(),
    };
    Decoder::new(&setup, Some(&step.action)).ok()
}

fn add(rows: &mut Vec<Row>, run: &str, step: &StepHistory, mut decoder: Option<Decoder>) {
    let lines = wire_trace::lines(&step.trace);
    let first = lines.iter().find_map(|line| match line {
        Line::Message { at, .. } => *at,
        Line::Missing(_) => None,
    });
    // A safe state is noted when it has ended.
    let begun = first.map_or(Tick(step.at.0), |first| first.min(Tick(step.at.0)));
    for line in lines {
        let (at, way, bytes, meaning) = match line {
            Line::Message { at, way, text } => {
                let exchange = Exchange { at: at.unwrap_or_default(), way, text };
                let meaning = decoder.as_mut().and_then(|decoder| decoder.read(&exchange));
                let way = if way == Way::Out { "out" } else { "in" };
                (at, way, exchange.text, meaning.map(|m| m.to_string()).unwrap_or_default())
            }
            Line::Missing(what) => (None, "", String::new(), what),
        };
        let since = |at: Tick| at.since(begun).as_secs_f64();
        rows.push(Row {
            run: run.to_owned(),
            step: step.path.clone(),
            attempt: step.attempt,
            instrument: step.instrument.clone(),
            action: step.action.clone(),
            seconds: at.map(since),
            way,
            bytes,
            meaning,
        });
    }
}

/// Messages of all steps of a campaign, a run or a command by hand whose path begins with `step`.
pub(in crate::cli) fn rows(
    journal: &Journal,
    history: &History,
    id: &str,
    step: Option<&str>,
) -> Vec<Row> {
    let mut texts = Texts::default();
    let mut rows = Vec::new();
    let below = |name: &str, of: &str| {
        name == of || name.strip_prefix(of).is_some_and(|rest| rest.starts_with('.'))
    };
    for run in history.runs.values().filter(|run| below(&run.run, id)) {
        let campaign = history.campaigns.iter().find(|c| below(&run.run, &c.machine.id));
        let steps = run.steps.iter().chain(&run.made_safe);
        for one in steps.filter(|s| step.is_none_or(|path| s.path.starts_with(path))) {
            let found = campaign.and_then(|c| texts.of(journal, &c.bundle));
            let decoder = found.and_then(|found| decoder(found, one, None));
            add(&mut rows, &run.run, one, decoder);
        }
    }
    for manual in history.manual.iter().filter(|manual| manual.id == id) {
        let found = texts.of(journal, &manual.bundle);
        let decoder = found.and_then(|f| decoder(f, &manual.step, manual.at.as_deref()));
        add(&mut rows, &manual.id, &manual.step, decoder);
    }
    rows
}

pub(super) fn run(args: &TraceArgs, json: bool) -> Exit {
    let (journal, history) = match History::look(&args.state.state) {
        Ok(found) => found,
        Err(error) => {
            output::error(error.to_string());
            return Exit::Usage;
        }
    };
    output::damaged(&history.damage);
    let known = history.campaign_named(Some(&args.id)).is_some()
        || history.runs.contains_key(&args.id)
        || history.manual.iter().any(|manual| manual.id == args.id);
    if !known {
        let why = format!("there is no campaign, run or command `{}`", args.id);
        output::error(format!("{why}; see `labloop status`"));
        return Exit::Usage;
    }
    let rows = rows(&journal, &history, &args.id, args.step.as_deref());
    if rows.is_empty() {
        output::error(match &args.step {
            Some(step) => format!("nothing crossed a wire for `{step}` of `{}`", args.id),
            None => format!("nothing crossed a wire for `{}`", args.id),
        });
        return Exit::Usage;
    }
    if json {
        output::data(&format!(
            "{:#}\n",
            serde_json::Value::Array(rows.iter().map(as_json).collect())
        ));
    } else {
        output::data(&as_text(&rows));
    }
    Exit::Done
}

pub(in crate::cli) fn as_json(row: &Row) -> serde_json::Value {
    json!({
        "run": row.run, "step": row.step, "attempt": row.attempt, "instrument": row.instrument,
        "action": row.action, "seconds": row.seconds, "way": row.way, "bytes": row.bytes,
        "meaning": row.meaning,
    })
}

fn as_text(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut last = None;
    for row in rows {
        let of = (&row.run, &row.step, row.attempt);
        if last != Some(of) {
            last = Some(of);
            let attempt =
                if row.attempt > 1 { format!(", attempt {}", row.attempt) } else { String::new() };
            let (run, step) = (&row.run, &row.step);
            let place = if run == step { run.clone() } else { format!("{run} {step}") };
            text.push_str(&format!("{place}: {}.{}{attempt}\n", row.instrument, row.action));
        }
        let seconds = row.seconds.map_or(String::new(), |s| format!("{s:.3} s"));
        match row.way {
            "" => text.push_str(&format!("{:>13}   {}\n", "", row.meaning)),
            way => {
                let arrow = if way == "out" { '>' } else { '<' };
                let bytes = output::beginning(&row.bytes, 100);
                let line = format!("{seconds:>13} {arrow} {bytes:<28}  {}", row.meaning);
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
    }
    text
}
