//! The anchor: number and hash of the last entry in a small file beside the journal, written after
//! each commit, and synchronised only when an engine takes the folder.
//!
//! A hash chain cannot show that its own end is gone: what is left is whole. The anchor can, because
//! it is written only once the commit is durable. So an anchor behind the journal says nothing (a
//! power loss may have lost it), and an anchor ahead of it says that entries are missing. An old
//! anchor may come back with a second power loss; it names an entry then that the journal itself
//! says was lost.
//!
//! A copy of the same line kept on another machine also shows a journal that was rewritten as a
//! whole, anchor included: `labloop verify --head SEQ:HASH`.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::chain::hex;

/// Name of the file in the state folder.
const NAME: &str = "journal.head";
/// First word of the line.
const WORD: &str = "labloop-head-1";
/// Longest file that is looked at; the line has 123 bytes.
const LINE_MAX: usize = 256;

/// Number and hash of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Place in the journal, from 1.
    pub seq: u64,
    /// Its hash, hexadecimal.
    pub hash: String,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Head, String> {
        let wrong = || {
            format!("`{text}` is no head; write SEQ:HASH, 64 hexadecimal digits behind the colon")
        };
        let (seq, hash) = text.trim().split_once(':').ok_or_else(wrong)?;
        let hash = hash.to_ascii_lowercase();
        let digits = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        match seq.parse() {
            Ok(seq) if digits => Ok(Head { seq, hash }),
            _ => Err(wrong()),
        }
    }
}

/// What the file of a state folder says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// There is none: a journal of an earlier version, or the file was deleted.
    Absent,
    /// It says nothing that can be used.
    Unreadable,
    /// Last entry that was durable.
    At(Head),
}

/// Reads the anchor of a state folder.
pub(super) fn read(folder: &Path) -> Anchor {
    let path = folder.join(NAME);
    let Ok(file) = File::open(&path) else {
        return if path.exists() { Anchor::Unreadable } else { Anchor::Absent };
    };
    let mut bytes = [0; LINE_MAX];
    let Ok(read) = file.read_at(&mut bytes, 0) else { return Anchor::Unreadable };
    if read == 0 {
        // Made, and lost its content with the power: as if it had not been made.
        return Anchor::Absent;
    }
    bytes
        .get(..read)
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(parse)
        .map_or(Anchor::Unreadable, Anchor::At)
}

fn parse(text: &str) -> Option<Head> {
    let mut words = text.strip_suffix('\n')?.split(' ');
    let (word, seq, hash, check) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let head = Head { seq: seq.parse().ok()?, hash: hash.to_owned() };
    let whole = words.next().is_none() && word == WORD && line(&head) == text;
    (whole && check_of(&head) == check).then_some(head)
}

fn check_of(head: &Head) -> String {
    let digest: [u8; 32] = Sha256::digest(format!("{WORD} {head}")).into();
    hex(digest.get(..8).unwrap_or_default())
}

/// Always of one length, so that a line is overwritten as a whole.
fn line(head: &Head) -> String {
    format!("{WORD} {:020} {} {}\n", head.seq, head.hash, check_of(head))
}

/// Writes the anchor.
#[derive(Debug)]
pub(super) struct AnchorWriter {
    path: PathBuf,
    file: Option<File>,
}

impl AnchorWriter {
    pub(super) fn new(folder: &Path) -> AnchorWriter {
        AnchorWriter { path: folder.join(NAME), file: None }
    }

    /// Notes the last durable entry. What fails here costs the proof that the end is there, not
    /// the journal; an anchor that is behind claims nothing.
    pub(super) fn write(&mut self, seq: u64, hash: &[u8; 32]) {
        let line = line(&Head { seq, hash: hex(hash) });
        let written = match &self.file {
            Some(file) => file.write_all_at(line.as_bytes(), 0),
            None => {
                let mut options = OpenOptions::new();
                let opened = options.create(true).write(true).truncate(false).open(&self.path);
                opened.and_then(|file| {
                    file.set_len(line.len() as u64)?;
                    file.write_all_at(line.as_bytes(), 0)?;
                    self.file = Some(file);
                    Ok(())
                })
            }
        };
        if let Err(error) = written {
            tracing::warn!(%error, path = %self.path.display(), "the journal's anchor was not written");
        }
    }

    /// Makes what was written durable: after entries were lost, the anchor that knew them is to go.
    pub(super) fn sync(&self) {
        if let Some(Err(error)) = self.file.as_ref().map(File::sync_data) {
            tracing::warn!(%error, path = %self.path.display(), "the journal's anchor was not synced");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_written_and_nothing_else_is() {
        let head = Head { seq: 42, hash: "ab".repeat(32) };
        assert_eq!(head.to_string().parse(), Ok(head.clone()));
        for wrong in
            ["", "42", "42:ab", &format!("x:{}", head.hash), &format!("1:{}", "g".repeat(64))]
        {
            assert!(wrong.parse::<Head>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_line_with_any_bit_flipped_or_cut_short_says_nothing() {
        let whole = line(&Head { seq: 7, hash: "0c".repeat(32) });
        assert!(parse(&whole).is_some());
        for at in 0..whole.len() {
            assert_eq!(parse(&whole[..at]), None);
            for bit in 0..7 {
                let mut bytes = whole.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let text = String::from_utf8(bytes).unwrap();
                assert_eq!(parse(&text), None, "{text}");
            }
        }
    }
}
