//! Rows read from the pages of a SQLite file and its write-ahead log, without SQLite, for files
//! that it no longer reads.
//!
//! Every page that is a leaf of a table is looked at on its own, in every version that the log
//! holds, so a row is found whatever became of the pages that led to it. Nothing that comes out of
//! here is believed by itself: an entry must fit the hash chain, a document its hash.
//!
//! Any bytes give an answer: everything is bounded by the length of the file. Layout of the files:
//! <https://sqlite.org/fileformat2.html>.

use std::collections::BTreeMap;

/// First bytes of a database.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Bytes of a page, where nothing says otherwise.
const SIZE: usize = 4_096;
/// Bytes before the b-tree of page 1.
const HEADER: usize = 100;
/// Kind of a page: leaf of a table.
const TABLE_LEAF: u8 = 13;
/// Bytes of the head of a write-ahead log, and of each of its frames.
const LOG_HEAD: usize = 32;
const FRAME_HEAD: usize = 24;
/// Largest payload of a row that is put together: a document of many definitions, or an entry at
/// its limit.
const PAYLOAD_MAX: usize = 64 << 20;
/// Most columns of a row of ours.
const COLUMNS_MAX: usize = 16;

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
    /// Something no row of ours has.
    Other,
}

/// A row and its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) rowid: i64,
    pub(super) cells: Vec<Cell>,
}

/// The pages of a database and of its log.
pub(super) struct Pages<'a> {
    size: usize,
    usable: usize,
    main: &'a [u8],
    /// Whole frames of whole commits: page number and content, in order.
    frames: Vec<(u32, &'a [u8])>,
    /// Latest version in the log.
    latest: BTreeMap<u32, &'a [u8]>,
}

impl<'a> Pages<'a> {
    /// The pages of a file and its log; both may hold anything.
    pub(super) fn new(main: &'a [u8], log: &'a [u8]) -> Option<Pages<'a>> {
        // What the head says of itself may be what is damaged.
        let sizes = [
            u16_at(main, 16).map(|size| if size == 1 { 65_536 } else { usize::from(size) }),
            u32_at(log, 8).and_then(|size| usize::try_from(size).ok()),
            Some(SIZE),
        ];
        let fits = |size: &usize| size.is_power_of_two() && (512..=65_536).contains(size);
        let size = sizes.into_iter().flatten().find(fits)?;
        let reserved = if main.starts_with(MAGIC) { usize::from(*main.get(20)?) } else { 0 };
        let usable = size.checked_sub(reserved).filter(|usable| *usable >= 480)?;
        let frames = frames(log, size);
        let latest = frames.iter().copied().collect();
        Some(Pages { size, usable, main, frames, latest })
    }

    /// Whether the database ends before the page that its head names as the last.
    pub(super) fn cut_short(&self) -> bool {
        let said = u32_at(self.main, 28).unwrap_or(0) as usize;
        self.main.len() < self.size
            || !self.main.len().is_multiple_of(self.size)
            || self.main.len() / self.size < said
    }

    /// Every row of every leaf of a table.
    pub(super) fn each_row(&self, mut each: impl FnMut(Found)) {
        for (number, page) in (1u32..).zip(self.main.chunks_exact(self.size)) {
            self.leaf(number, page, &mut each);
        }
        for (number, page) in &self.frames {
            self.leaf(*number, page, &mut each);
        }
    }

    fn leaf(&self, number: u32, page: &[u8], each: &mut impl FnMut(Found)) {
        let start = if number == 1 { HEADER } else { 0 };
        if page.get(start) != Some(&TABLE_LEAF) {
            return;
        }
        let count = usize::from(u16_at(page, start + 3).unwrap_or(0));
        for cell in 0..count {
            let Some(at) = u16_at(page, start + 8 + 2 * cell) else { return };
            let row = page
                .get(usize::from(at)..self.usable)
                .and_then(|cell| self.payload(cell))
                .and_then(|(rowid, payload)| Some(Found { rowid, cells: record(&payload)? }));
            if let Some(found) = row {
                each(found);
            }
        }
    }

    /// Number and content of a row, gathered from the pages it runs over.
    fn payload(&self, cell: &[u8]) -> Option<(i64, Vec<u8>)> {
        let (length, cell) = varint(cell)?;
        let (rowid, cell) = varint(cell)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= PAYLOAD_MAX)?;
        let most = self.usable - 35;
        if length <= most {
            return Some((rowid, cell.get(..length)?.to_vec()));
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let fitting = least + (length - least) % (self.usable - 4);
        let local = if fitting <= most { fitting } else { least };
        let mut payload = cell.get(..local)?.to_vec();
        let mut next = u32_at(cell, local)?;
        // Each page adds to the payload, so a ring of pages ends too.
        while payload.len() < length {
            let page = self.page(next)?;
            next = u32_at(page, 0)?;
            let wanted = (length - payload.len()).min(self.usable - 4);
            payload.extend_from_slice(page.get(4..4 + wanted)?);
        }
        Some((rowid, payload))
    }

    fn page(&self, number: u32) -> Option<&'a [u8]> {
        if let Some(page) = self.latest.get(&number) {
            return Some(page);
        }
        let start = usize::try_from(number).ok()?.checked_sub(1)?.checked_mul(self.size)?;
        self.main.get(start..start.checked_add(self.size)?)
    }
}

/// The frames of a log up to its last whole commit.
fn frames(log: &[u8], size: usize) -> Vec<(u32, &[u8])> {
    let mut found = Vec::new();
    let (Some(magic), Some(head)) = (u32_at(log, 0), log.get(..LOG_HEAD)) else { return found };
    // The last bit says in which order the numbers of the checksum stand.
    let big = match magic {
        0x377f_0682 => false,
        0x377f_0683 => true,
        _ => return found,
    };
    let mut sum = checksum((0, 0), head.get(..24).unwrap_or_default(), big);
    if (u32_at(log, 24), u32_at(log, 28)) != (Some(sum.0), Some(sum.1)) {
        return found;
    }
    let salts = head.get(16..24);
    let mut committed = 0;
    let frames = log.get(LOG_HEAD..).unwrap_or_default().chunks_exact(FRAME_HEAD + size);
    for frame in frames {
        let (head, page) = frame.split_at(FRAME_HEAD);
        if head.get(8..16) != salts {
            break;
        }
        let of_head = checksum(sum, head.get(..8).unwrap_or_default(), big);
        sum = checksum(of_head, page, big);
        if (u32_at(head, 16), u32_at(head, 20)) != (Some(sum.0), Some(sum.1)) {
            break;
        }
        found.push((u32_at(head, 0).unwrap_or(0), page));
        if u32_at(head, 4) != Some(0) {
            committed = found.len();
        }
    }
    found.truncate(committed);
    found
}

fn checksum((mut a, mut b): (u32, u32), bytes: &[u8], big: bool) -> (u32, u32) {
    let (words, _) = bytes.as_chunks::<8>();
    for word in words {
        let [p, q, r, s, t, u, v, w] = *word;
        let (x, y) = if big {
            (u32::from_be_bytes([p, q, r, s]), u32::from_be_bytes([t, u, v, w]))
        } else {
            (u32::from_le_bytes([p, q, r, s]), u32::from_le_bytes([t, u, v, w]))
        };
        a = a.wrapping_add(x).wrapping_add(b);
        b = b.wrapping_add(y).wrapping_add(a);
    }
    (a, b)
}

/// The cells of a row.
fn record(payload: &[u8]) -> Option<Vec<Cell>> {
    let (length, mut kinds) = varint(payload)?;
    let length = usize::try_from(length).ok()?;
    let mut body = payload.get(length..)?;
    kinds = kinds.get(..length.checked_sub(payload.len() - kinds.len())?)?;
    let mut cells = Vec::new();
    while !kinds.is_empty() {
        let (kind, rest) = varint(kinds)?;
        kinds = rest;
        if cells.len() == COLUMNS_MAX {
            return None;
        }
        let (cell, rest) = cell(kind, body)?;
        body = rest;
        cells.push(cell);
    }
    body.is_empty().then_some(cells)
}

fn cell(kind: i64, body: &[u8]) -> Option<(Cell, &[u8])> {
    let width = match kind {
        0 | 8 | 9 => 0,
        1..=4 => usize::try_from(kind).ok()?,
        5 => 6,
        6 | 7 => 8,
        12.. => usize::try_from((kind - 12) / 2).ok()?,
        _ => return None,
    };
    let (bytes, rest) = body.split_at_checked(width)?;
    let cell = match kind {
        0 => Cell::Null,
        1..=6 => {
            let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
            let start = if negative { -1 } else { 0 };
            Cell::Integer(bytes.iter().fold(start, |n, byte| n << 8 | i64::from(*byte)))
        }
        8 => Cell::Integer(0),
        9 => Cell::Integer(1),
        kind if kind >= 13 && kind % 2 == 1 => Cell::Text(String::from_utf8(bytes.to_vec()).ok()?),
        kind if kind >= 12 => Cell::Blob(bytes.to_vec()),
        _ => Cell::Other,
    };
    Some((cell, rest))
}

/// A number of one to nine bytes, and what follows it.
fn varint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut number = 0i64;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        if at == 8 {
            return Some((number << 8 | i64::from(*byte), bytes.get(9..)?));
        }
        number = number << 7 | i64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(at + 1..)?));
        }
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|b| u16::from_be_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|b| u32::from_be_bytes(*b))
}
