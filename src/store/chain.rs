//! Entries, documents and the hash chain through them.

use sha2::{Digest, Sha256};

/// Hash before the first entry.
pub(super) const GENESIS: [u8; 32] = [0; 32];
/// Longest body of one entry; larger things are documents.
pub(super) const BODY_MAX: usize = 16 << 20;

/// One fact to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Lab time in nanoseconds.
    pub tick: u64,
    /// Wall time in milliseconds since 1970.
    pub wall_ms: i64,
    /// Campaign or run it is about.
    pub subject: String,
    /// Kind of fact.
    pub kind: &'static str,
    /// JSON.
    pub body: String,
}

/// One fact read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Place in the journal, from 1.
    pub seq: u64,
    /// Lab time in nanoseconds.
    pub tick: u64,
    /// Wall time in milliseconds since 1970.
    pub wall_ms: i64,
    /// Campaign or run it is about.
    pub subject: String,
    /// Kind of fact.
    pub kind: String,
    /// JSON.
    pub body: String,
}

/// A text kept beside the journal by its own hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// SHA-256 of the text, hexadecimal.
    pub hash: String,
    /// What it is: `graph`, `bundle`.
    pub kind: String,
    /// The text.
    pub text: String,
}

impl Document {
    /// A document and its hash.
    pub fn new(kind: &str, text: String) -> Document {
        let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        Document { hash: hex(&hash), kind: kind.to_owned(), text }
    }
}

/// Hash of an entry: over the hash before it and everything it says.
pub(super) fn chain(
    head: &[u8; 32],
    seq: u64,
    tick: u64,
    wall_ms: i64,
    subject: &str,
    kind: &str,
    body: &str,
) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(head);
    hash.update(seq.to_le_bytes());
    hash.update(tick.to_le_bytes());
    hash.update(wall_ms.to_le_bytes());
    // Lengths first, so that no two entries can share one byte string.
    for text in [subject, kind, body] {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().into()
}

pub(super) fn as_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    text
}
