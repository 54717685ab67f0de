//! Large values of records: into files before the record is written, back out of them when a run
//! goes on.
//!
//! The core knows nothing of it: its values are whole and shared in memory. Only the form a record
//! has in the journal names a file instead, by the hash of its content, so that the hash chain
//! covers the file too.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entries::{Fact, read_facts};
use crate::engine::core::Record;
use crate::expr::filed::{file_of, value_in};
use crate::expr::{Filed, Value};
use crate::store::{Files, FilesError, Journal, JournalError};

/// Deepest nesting of lists and records that is looked into; deeper values stay as they are.
const DEPTH_MAX: usize = 16;

/// Moves large values of a record into files; each is durable when this returns.
pub(super) fn keep(record: &mut Record, files: &Files) -> Result<(), FilesError> {
    each(record, &mut |value| {
        let Some((content, mut filed)) = file_of(value) else { return Ok(()) };
        filed.sha256 = files.keep(&content)?;
        *value = Value::Filed(Arc::new(filed));
        Ok(())
    })
}

/// Reads the values of a record back from their files.
///
/// Errors: a file that is missing, was changed or holds something else than the record says.
pub(super) fn restore(record: &mut Record, files: &Files) -> Result<(), FilesError> {
    each(record, &mut |value| {
        if let Value::Filed(filed) = value {
            *value = read(files, filed)?;
        }
        Ok(())
    })
}

/// The value in a file that the journal refers to.
///
/// Errors: a file that is missing, was changed or holds something else than the reference says.
pub fn read(files: &Files, filed: &Filed) -> Result<Value, FilesError> {
    let content = files.read(&filed.sha256)?;
    let changed = |what: String| match files.path(&filed.sha256) {
        Ok(path) => FilesError::Changed { path, what },
        Err(error) => error,
    };
    let value = value_in(&content).map_err(changed)?;
    match file_of(&value) {
        Some((_, mut found)) => {
            found.sha256.clone_from(&filed.sha256);
            if found == *filed {
                Ok(value)
            } else {
                Err(changed(format!("it holds {}", found.show())))
            }
        }
        None => Err(changed(format!("it holds {}", value.show()))),
    }
}

/// A file the journal refers to, and where it does so first.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// What it says of the file.
    pub filed: Arc<Filed>,
    /// Entry.
    pub seq: u64,
    /// Run.
    pub run: String,
    /// Step whose value it is; empty for results of the run.
    pub step: String,
}

/// All files that a journal refers to, by their names, each with every place that does.
pub fn references(journal: &Journal) -> Result<BTreeMap<String, Vec<Reference>>, JournalError> {
    let mut found: BTreeMap<String, Vec<Reference>> = BTreeMap::new();
    read_facts(journal, |entry, fact| {
        let Fact::Run(mut record) = fact else { return };
        let (run, step) = (record.run().to_owned(), step_of(&record));
        let noted: Result<(), FilesError> = each(&mut record, &mut |value| {
            if let Value::Filed(filed) = value {
                found.entry(filed.sha256.clone()).or_default().push(Reference {
                    filed: Arc::clone(filed),
                    seq: entry.seq,
                    run: run.clone(),
                    step: step.clone(),
                });
            }
            Ok(())
        });
        debug_assert!(noted.is_ok(), "noting cannot fail");
    })?;
    Ok(found)
}

/// The files that a record refers to.
pub(super) fn filed(record: &mut Record) -> Vec<Arc<Filed>> {
    let mut found = Vec::new();
    let noted: Result<(), FilesError> = each(record, &mut |value| {
        if let Value::Filed(filed) = value {
            found.push(Arc::clone(filed));
        }
        Ok(())
    });
    debug_assert!(noted.is_ok(), "noting cannot fail");
    found
}

fn step_of(record: &Record) -> String {
    match record {
        Record::Outcome { step, .. } | Record::Ended { step, .. } | Record::Intent { step, .. } => {
            step.path.clone()
        }
        _ => String::new(),
    }
}

/// Every value of a record, also those inside of lists and records.
fn each<E>(record: &mut Record, act: &mut dyn FnMut(&mut Value) -> Result<(), E>) -> Result<(), E> {
    match record {
        Record::Outcome { result: Ok(Some(value)), .. }
        | Record::Ended { result: Ok(Some(value)), .. } => inside(value, DEPTH_MAX, act),
        Record::Intent { args, baseline, .. } => {
            args.values_mut().chain(baseline).try_for_each(|value| inside(value, DEPTH_MAX, act))
        }
        Record::BodyEnded { results, .. } => {
            results.values_mut().try_for_each(|value| inside(value, DEPTH_MAX, act))
        }
        _ => Ok(()),
    }
}

fn inside<E>(
    value: &mut Value,
    depth: usize,
    act: &mut dyn FnMut(&mut Value) -> Result<(), E>,
) -> Result<(), E> {
    let Some(below) = depth.checked_sub(1) else { return Ok(()) };
    match value {
        Value::List(items) => items.iter_mut().try_for_each(|item| inside(item, below, act)),
        Value::Record(fields) => {
            fields.values_mut().try_for_each(|field| inside(field, below, act))
        }
        _ => act(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::graph::NodeId;
    use crate::engine::core::{StepKey, StepRef};
    use crate::expr::Series;
    use crate::store::{Durability, StoredEntry};
    use crate::units::Dimension;

    fn curve(points: u32) -> Value {
        Value::Series(Arc::new(Series {
            x: (0..points).map(f64::from).collect(),
            x_dim: Dimension::TIME,
            y: (0..points).map(|at| f64::from(at).sin()).collect(),
            y_dim: Dimension::VOLTAGE,
        }))
    }

    fn ended(value: Value) -> Record {
        let key = StepKey { node: NodeId(1), rounds: Vec::new() };
        let step = StepRef { path: "measure".to_owned(), key };
        Record::Ended { run: "r".to_owned(), step, result: Ok(Some(value)), trace: String::new() }
    }

    #[test]
    fn a_curve_inside_a_record_goes_into_a_file_and_comes_back() {
        let state = std::env::temp_dir().join(format!("labloop-bulk-{}", std::process::id()));
        let files = Files::new(&state, Durability::Process);
        let inner = BTreeMap::from([
            ("curve".to_owned(), curve(1_000)),
            ("small".to_owned(), curve(10)),
            ("noise".to_owned(), Value::number(0.5)),
        ]);
        let whole = ended(Value::List(vec![Value::Record(inner), curve(1_000)]));
        let mut record = whole.clone();
        keep(&mut record, &files).unwrap();
        let body = serde_json::to_string(&record).unwrap();
        assert!(body.len() < 2_000, "{body}");
        assert_eq!(body.matches("\"filed\"").count(), 2, "{body}");
        let mut read: Record = serde_json::from_str(&body).unwrap();
        restore(&mut read, &files).unwrap();
        assert_eq!(read, whole);
        std::fs::remove_dir_all(&state).unwrap();
        let mut gone: Record = serde_json::from_str(&body).unwrap();
        assert!(matches!(restore(&mut gone, &files), Err(FilesError::Missing(_))));
    }

    #[test]
    fn a_file_that_holds_something_else_than_the_record_says_is_found() {
        let state = std::env::temp_dir().join(format!("labloop-other-{}", std::process::id()));
        let files = Files::new(&state, Durability::Process);
        let mut record = ended(curve(100));
        keep(&mut record, &files).unwrap();
        let Record::Ended { result: Ok(Some(Value::Filed(filed))), .. } = record else { panic!() };
        let mut lied = Filed::clone(&filed);
        lied.unit = "A".to_owned();
        assert!(matches!(read(&files, &lied), Err(FilesError::Changed { .. })));
        let rubbish = files.keep(b"rubbish").unwrap();
        let other = Filed { sha256: rubbish, ..Filed::clone(&filed) };
        assert!(matches!(read(&files, &other), Err(FilesError::Changed { .. })));
        std::fs::remove_dir_all(&state).unwrap();
    }

    /// As journals were written before there were files.
    #[test]
    fn a_curve_that_stands_in_an_old_journal_is_read() {
        let entry = StoredEntry {
            seq: 1,
            tick: 0,
            wall_ms: 0,
            subject: "r".to_owned(),
            kind: "ended".to_owned(),
            body: serde_json::to_string(&ended(curve(1_000))).unwrap(),
        };
        assert!(entry.body.contains("\"series\""));
        assert_eq!(Fact::read(&entry).unwrap(), Fact::Run(ended(curve(1_000))));
    }
}
