//! A history that is damaged is set aside: a lab is not kept from its work by it, and what can still
//! be read of it is not lost.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::error::TelemetryError;
use super::schema::{Durability, FILE};
use super::writer::TelemetryWriter;

/// Damaged files that are kept; more of them say that the disk is the matter.
const KEPT_MAX: u32 = 100;
/// What belongs to a file of SQLite.
const ENDINGS: [&str; 3] = ["", "-wal", "-shm"];

/// A history open for writing, and where the one before it is if that was damaged.
#[derive(Debug)]
pub struct Opened {
    /// The history.
    pub writer: TelemetryWriter,
    /// The damaged one, and what was wrong with it.
    pub aside: Option<(PathBuf, String)>,
}

/// Opens or makes the history of a state folder. One that is no database any more, or whose tables
/// are not ours, is renamed, and a new one begun.
///
/// Errors: a history of a newer labloop, which is left alone, and a disk that says no.
pub fn open_or_set_aside(folder: &Path, durability: Durability) -> Result<Opened, TelemetryError> {
    let error = match TelemetryWriter::open(folder, durability) {
        Ok(writer) => return Ok(Opened { writer, aside: None }),
        Err(error) if is_damage(&error) => error,
        Err(error) => return Err(error),
    };
    let Some(place) = set_aside(folder) else { return Err(error) };
    let writer = TelemetryWriter::open(folder, durability)?;
    Ok(Opened { writer, aside: Some((place, error.to_string())) })
}

/// Whether trying again with the same file would give the same error for ever.
pub(super) fn is_damage(error: &TelemetryError) -> bool {
    let TelemetryError::Database { source, .. } = error else { return false };
    match source.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown
        ),
        None => matches!(
            source,
            // A table or column that is not there.
            rusqlite::Error::SqlInputError { .. }
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
        ),
    }
}

/// Renames the file with all that belongs to it; its new place, `None` if that cannot be done.
fn set_aside(folder: &Path) -> Option<PathBuf> {
    let number = (1..=KEPT_MAX).find(|n| !folder.join(format!("{FILE}.damaged-{n}")).exists())?;
    for ending in ENDINGS {
        let from = folder.join(format!("{FILE}{ending}"));
        let to = folder.join(format!("{FILE}.damaged-{number}{ending}"));
        if from.exists() && std::fs::rename(&from, &to).is_err() {
            return None;
        }
    }
    Some(folder.join(format!("{FILE}.damaged-{number}")))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Folder, declaration, stamp};
    use super::super::{Point, Telemetry};
    use super::*;

    #[test]
    fn a_damaged_history_is_set_aside_and_a_new_one_begun() {
        let folder = Folder::new();
        for round in 1..=2u8 {
            let noise = vec![round; 10_000];
            std::fs::write(folder.0.join(FILE), &noise).unwrap();
            let opened = open_or_set_aside(&folder.0, Durability::Checkpoint).unwrap();
            let (place, why) = opened.aside.unwrap();
            assert!(why.contains("not a database"), "{why}");
            assert_eq!(std::fs::read(place).unwrap(), noise);
            let mut writer = opened.writer;
            let signal = writer.declare(&declaration("a")).unwrap();
            writer.push(signal, Point::good(5, 1.0));
            writer.commit(stamp(5)).unwrap();
            drop(writer);
            let read = Telemetry::open(&folder.0).unwrap().unwrap().read("a", 0, 9).unwrap();
            assert_eq!(read.points, [Point { tick: 0, ..Point::good(5, 1.0) }]);
            for ending in ENDINGS {
                let _ = std::fs::remove_file(folder.0.join(format!("{FILE}{ending}")));
            }
        }
        assert!(folder.0.join("telemetry.db.damaged-2").exists());
    }

    #[test]
    fn a_newer_history_is_left_alone() {
        let folder = Folder::new();
        drop(TelemetryWriter::open(&folder.0, Durability::Checkpoint).unwrap());
        let database = rusqlite::Connection::open(folder.0.join(FILE)).unwrap();
        database.pragma_update(None, "user_version", 99).unwrap();
        drop(database);
        let error = open_or_set_aside(&folder.0, Durability::Checkpoint).unwrap_err();
        assert!(matches!(error, TelemetryError::Newer { found: 99, .. }), "{error}");
        assert!(folder.0.join(FILE).exists());
    }

    #[test]
    fn tables_that_are_not_ours_are_set_aside() {
        let folder = Folder::new();
        let database = rusqlite::Connection::open(folder.0.join(FILE)).unwrap();
        database.execute_batch("CREATE TABLE signal (x); PRAGMA user_version = 2").unwrap();
        drop(database);
        let opened = open_or_set_aside(&folder.0, Durability::Checkpoint).unwrap();
        assert!(opened.aside.is_some());
    }
}
