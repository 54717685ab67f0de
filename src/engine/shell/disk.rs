//! The disk under the state folder: how much room it has, and a reserve for the day it has none.
//!
//! ```text
//! free        back              |    as it was    |      low: telemetry stops,   |  the reserve is
//!   (when seen twice in a row)  |                 |      runs are held           |  given up
//!                            2 x mark            mark                       COMMIT_MAX           0
//! ```
//!
//! Architecture invariant: looks and keeps the reserve, decides nothing about runs.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The mark is this share of a disk,
const MARK_SHARE: u64 = 20;
/// but not less: one commit of many facts, and the checkpoint of the journal's log behind it,
const MARK_MIN: u64 = 1 << 20;
/// and not more: hours of the busiest lab.
const MARK_MAX: u64 = 64 << 20;
/// The reserve is this share of the mark. Holding and stopping a hundred runs takes about 1 MiB.
const RESERVE_SHARE: u64 = 2;
/// Less than this is no room for one more commit: the reserve is given up. Not before, or whoever
/// fills the disk would have that too.
const COMMIT_MAX: u64 = 256 << 10;
/// There is room again when so many times the mark are free: one that comes and goes is no room.
const BACK: u64 = 2;
/// Looks in a row that must find it.
const BACK_LOOKS: u32 = 2;
/// Between looks that count for its being back.
const BACK_EVERY: Duration = Duration::from_millis(500);
/// The reserve.
const RESERVE: &str = "reserve";

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Too little room.
    Low { free: u64, mark: u64 },
    /// Room again.
    Back { free: u64 },
}

/// Room on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    free: u64,
    total: u64,
}

/// Watches the disk under a state folder.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    level: Level,
    /// The reserve is there.
    reserved: bool,
    warned: bool,
}

impl Disk {
    /// Watches the disk under a folder, and puts a reserve there if it has room for one.
    pub fn new(folder: &Path) -> Disk {
        let level = Level { low: false, good: 0, counted: None };
        let mut disk = Disk { folder: folder.to_owned(), level, reserved: false, warned: false };
        if let Some(room) = disk.room()
            && (room.free > mark(room.total) + reserve(room.total)
                || disk.folder.join(RESERVE).exists())
        {
            disk.keep_reserve(room.total);
        }
        disk
    }

    /// Whether there is too little room, as far as it was looked at.
    pub(super) fn is_low(&self) -> bool {
        self.level.low
    }

    /// Looks; takes some microseconds, so that it can be done before every commit.
    pub(super) fn look(&mut self) -> Option<Change> {
        let room = self.room()?;
        if self.reserved && room.free < COMMIT_MAX {
            self.give_reserve();
        }
        let change = self.level.take(room, Instant::now())?;
        if let Change::Back { .. } = change {
            self.keep_reserve(room.total);
        }
        Some(change)
    }

    #[cfg(target_os = "linux")]
    fn room(&mut self) -> Option<Room> {
        match rustix::fs::statvfs(&self.folder) {
            Ok(found) => Some(Room {
                free: found.f_bavail.saturating_mul(found.f_frsize),
                total: found.f_blocks.saturating_mul(found.f_frsize),
            }),
            Err(error) => {
                if !std::mem::replace(&mut self.warned, true) {
                    tracing::warn!(%error, "the room on the disk cannot be told");
                }
                None
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn room(&mut self) -> Option<Room> {
        None
    }

    fn keep_reserve(&mut self, total: u64) {
        let path = self.folder.join(RESERVE);
        let size = reserve(total);
        if std::fs::metadata(&path).is_ok_and(|found| found.len() == size) {
            self.reserved = true;
            return;
        }
        let options = OpenOptions::new().create(true).truncate(true).write(true).open(&path);
        match options.and_then(|file| allocate(&file, size)) {
            Ok(()) => self.reserved = true,
            Err(error) => {
                tracing::warn!(%error, "there is no reserve for the day the disk is full");
                // Half a reserve would be taken for a whole one.
                let _ = std::fs::remove_file(&path);
            }
        }
    }

    fn give_reserve(&mut self) {
        self.reserved = false;
        match std::fs::remove_file(self.folder.join(RESERVE)) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "the reserve cannot be given up"),
        }
    }
}

/// Room that is the file's own from now on.
#[cfg(target_os = "linux")]
fn allocate(file: &File, size: u64) -> std::io::Result<()> {
    use std::io::Write;
    let allocated = rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size);
    match allocated {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP) => {
            let (mut file, block) = (file, [0_u8; 1 << 16]);
            let mut left = size;
            while left > 0 {
                let part = usize::try_from(left).unwrap_or(block.len()).min(block.len());
                file.write_all(block.get(..part).unwrap_or_default())?;
                left -= part as u64;
            }
            file.sync_all()
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(file: &File, size: u64) -> std::io::Result<()> {
    file.set_len(size)
}

fn mark(total: u64) -> u64 {
    (total / MARK_SHARE).clamp(MARK_MIN, MARK_MAX)
}

fn reserve(total: u64) -> u64 {
    mark(total) / RESERVE_SHARE
}

/// Low or not, with hysteresis.
#[derive(Debug)]
struct Level {
    low: bool,
    good: u32,
    /// When a good look was last counted.
    counted: Option<Instant>,
}

impl Level {
    fn take(&mut self, room: Room, now: Instant) -> Option<Change> {
        let mark = mark(room.total);
        let free = room.free;
        if !self.low {
            if free >= mark {
                return None;
            }
            *self = Level { low: true, good: 0, counted: None };
            return Some(Change::Low { free, mark });
        }
        if free <= BACK * mark {
            self.good = 0;
            return None;
        }
        if self.counted.is_some_and(|at| now.duration_since(at) < BACK_EVERY) {
            return None;
        }
        self.counted = Some(now);
        self.good += 1;
        if self.good < BACK_LOOKS {
            return None;
        }
        *self = Level { low: false, good: 0, counted: None };
        Some(Change::Back { free })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn row_10_low_comes_at_once_and_back_only_when_it_lasts() {
        let mut level = Level { low: false, good: 0, counted: None };
        let mut now = Instant::now();
        let mut look = |free: u64| {
            now += BACK_EVERY;
            level.take(Room { free, total: 100 * MIB }, now)
        };
        assert_eq!(look(5 * MIB), None);
        assert_eq!(look(5 * MIB - 1), Some(Change::Low { free: 5 * MIB - 1, mark: 5 * MIB }));
        assert_eq!(look(0), None);
        assert_eq!(look(10 * MIB), None, "no more than twice the mark");
        assert_eq!(look(11 * MIB), None, "once");
        assert_eq!(look(9 * MIB), None, "and gone again");
        assert_eq!(look(11 * MIB), None);
        assert_eq!(look(11 * MIB), Some(Change::Back { free: 11 * MIB }));
        assert_eq!(look(11 * MIB), None);
    }

    #[test]
    fn looks_one_after_the_other_do_not_make_it_last() {
        let mut level = Level { low: true, good: 0, counted: None };
        let now = Instant::now();
        for _ in 0..10 {
            assert_eq!(level.take(Room { free: 50 * MIB, total: 100 * MIB }, now), None);
        }
    }

    #[test]
    fn marks_fit_the_disk() {
        assert_eq!(mark(4 * MIB), MIB);
        assert_eq!(mark(200 * MIB), 10 * MIB);
        assert_eq!(mark(1 << 40), 64 * MIB);
        assert_eq!(reserve(4 * MIB), MIB / 2);
    }

    #[test]
    fn a_reserve_takes_room_and_is_kept_once() {
        let folder = std::env::temp_dir().join(format!("labloop-reserve-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut disk = Disk::new(&folder);
        let room = disk.room().unwrap();
        let found = std::fs::metadata(folder.join(RESERVE)).unwrap();
        assert_eq!(found.len(), reserve(room.total));
        #[cfg(target_os = "linux")]
        assert!(std::os::unix::fs::MetadataExt::blocks(&found) * 512 >= found.len());
        drop(disk);
        disk = Disk::new(&folder);
        assert_eq!(disk.look(), None);
        disk.give_reserve();
        disk.give_reserve();
        assert!(!folder.join(RESERVE).exists());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
