//! What an engine that gives up leaves to the next beside the journal, which it can no longer write: the
//! runs whose instruments it made safe. They must not go on as if nothing had happened.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// Name of the file in the state folder.
const NAME: &str = "gave-up";
/// Longest file that is read; it holds names of runs.
const LONGEST: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Word {
    /// Fencing number of the engine that gave up. Of an older one it means nothing any more.
    epoch: u64,
    runs: Vec<String>,
}

/// Leaves word, as well as a failing disk allows: the safe states do not wait for it.
pub(super) fn leave(folder: &Path, epoch: Option<u64>, runs: &[String]) {
    let Some(epoch) = epoch.filter(|_| !runs.is_empty()) else { return };
    let word = Word { epoch, runs: runs.to_vec() };
    let written = serde_json::to_vec(&word)
        .map_err(std::io::Error::other)
        .and_then(|bytes| std::fs::write(folder.join(NAME), bytes));
    if let Err(why) = written {
        tracing::error!(%why, "that the runs' instruments were made safe could not be left in writing");
    }
}

/// Runs that engine `before` left word of, if it was the last one.
pub(super) fn left(folder: &Path, before: u64) -> Vec<String> {
    let path = folder.join(NAME);
    let small = std::fs::metadata(&path).is_ok_and(|found| found.len() <= LONGEST);
    let text = small.then(|| std::fs::read(&path).ok()).flatten().unwrap_or_default();
    let word: Option<Word> = serde_json::from_slice(&text).ok();
    word.filter(|word| word.epoch == before).map(|word| word.runs).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_of_the_last_engine_counts() {
        let folder = std::env::temp_dir().join(format!("labloop-word-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert!(left(&folder, 3).is_empty());
        leave(&folder, Some(3), &["a-1".to_owned()]);
        assert_eq!(left(&folder, 3), ["a-1"]);
        assert!(left(&folder, 4).is_empty());
        std::fs::write(folder.join(NAME), b"\xff{").unwrap();
        assert!(left(&folder, 3).is_empty());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
