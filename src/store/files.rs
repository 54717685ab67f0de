//! Files beside the journal, each named by the SHA-256 of its content: large values that the
//! journal refers to. The same content is kept once.
//!
//! A file is durable before [`Files::keep`] returns: written under another name, synchronised,
//! renamed, and its folder synchronised. An entry of the journal that names it comes later, so a
//! crash in between leaves a file that nothing names, never a name without its file.
//!
//! Architecture invariant: this module never looks inside a file.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::chain::hex;
use super::journal::Durability;

/// Largest file: the largest value (16 Mi numbers, abscissas and ordinates of 8 bytes) and its
/// header.
const FILE_MAX: u64 = (1 << 28) + 4096;

/// Why a file cannot be kept or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The disk said no. After a failed write nothing that needs it may be sent any more.
    #[error("the file {path} failed: {source}", path = path.display())]
    Io {
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// It is not there.
    #[error(
        "the file {path} is missing, and the journal refers to it; restore it from a backup of the \
         state folder",
        path = .0.display()
    )]
    Missing(PathBuf),
    /// It is not what was written.
    #[error(
        "the file {path} was changed after it was written: {what}; restore it from a backup of the \
         state folder",
        path = path.display()
    )]
    Changed {
        /// File.
        path: PathBuf,
        /// How it shows.
        what: String,
    },
    /// It is larger than any file is.
    #[error("a value of {0} bytes is larger than the limit of {FILE_MAX}")]
    TooLarge(u64),
    /// The name is none that a file has.
    #[error("`{0}` is no SHA-256 in hexadecimal")]
    BadName(String),
}

/// The files of one state folder.
#[derive(Debug, Clone)]
pub struct Files {
    folder: PathBuf,
    durability: Durability,
}

impl Files {
    /// The files in a state folder; the folder is made with the first of them.
    pub fn new(state: &Path, durability: Durability) -> Files {
        Files { folder: state.join("files"), durability }
    }

    /// Keeps a content and gives its name. When it returns `Ok`, the content is durable.
    pub fn keep(&self, content: &[u8]) -> Result<String, FilesError> {
        let size = content.len() as u64;
        if size > FILE_MAX {
            return Err(FilesError::TooLarge(size));
        }
        let digest: [u8; 32] = Sha256::digest(content).into();
        let name = hex(&digest);
        let path = self.path(&name)?;
        // A file of this name that holds something else was damaged; this mends it.
        if self.read(&name).is_ok() {
            return Ok(name);
        }
        let fail = |source| FilesError::Io { path: path.clone(), source };
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(fail)?;
        let draft = path.with_extension(format!("{}.draft", std::process::id()));
        let written = self.write(&draft, content).and_then(|()| fs::rename(&draft, &path));
        if let Err(source) = written {
            // What is left of it is no file of the store; that it stays harms nobody.
            let _ = fs::remove_file(&draft);
            return Err(fail(source));
        }
        if self.durability == Durability::Power {
            // A name is durable with its folder, and a folder with the one above.
            let above = self.folder.parent().unwrap_or(&self.folder);
            for folder in [folder, &self.folder, above] {
                File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)?;
            }
        }
        Ok(name)
    }

    fn write(&self, draft: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = File::create(draft)?;
        file.write_all(content)?;
        match self.durability {
            Durability::Power => file.sync_all(),
            Durability::Process => Ok(()),
        }
    }

    /// The content of a file, which fits its name.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, FilesError> {
        let path = self.path(name)?;
        let fail = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => FilesError::Missing(path.clone()),
            _ => FilesError::Io { path: path.clone(), source },
        };
        let mut content = Vec::new();
        let file = File::open(&path).map_err(fail)?;
        file.take(FILE_MAX + 1).read_to_end(&mut content).map_err(fail)?;
        let digest: [u8; 32] = Sha256::digest(&content).into();
        if hex(&digest) == name {
            return Ok(content);
        }
        let what = "its content does not fit its name".to_owned();
        Err(FilesError::Changed { path, what })
    }

    /// Where a file is.
    ///
    /// Errors: a name that no file has; it would lead out of the folder.
    pub fn path(&self, name: &str) -> Result<PathBuf, FilesError> {
        let digits = name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match name.get(..2) {
            Some(first) if digits && name.len() == 64 => Ok(self.folder.join(first).join(name)),
            _ => Err(FilesError::BadName(name.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(name: &str) -> (PathBuf, Files) {
        let state = std::env::temp_dir().join(format!("labloop-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&state);
        fs::create_dir_all(&state).unwrap();
        let files = Files::new(&state, Durability::Power);
        (state, files)
    }

    fn count(folder: &Path) -> usize {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| if path.is_dir() { count(&path) } else { 1 })
            .sum()
    }

    #[test]
    fn the_same_content_is_kept_once() {
        let (state, files) = files("once");
        let content = vec![7u8; 1 << 20];
        let name = files.keep(&content).unwrap();
        assert_eq!(files.keep(&content).unwrap(), name);
        assert_eq!(count(&state), 1);
        assert_eq!(files.read(&name).unwrap(), content);
        fs::remove_dir_all(state).unwrap();
    }

    #[test]
    fn a_changed_file_is_never_given_back_and_is_mended_by_its_content() {
        let (state, files) = files("changed");
        let name = files.keep(b"spectrum").unwrap();
        let path = files.path(&name).unwrap();
        fs::write(&path, b"spectrum!").unwrap();
        assert!(matches!(files.read(&name), Err(FilesError::Changed { .. })));
        assert_eq!(files.keep(b"spectrum").unwrap(), name);
        assert_eq!(files.read(&name).unwrap(), b"spectrum");
        fs::remove_file(&path).unwrap();
        assert!(matches!(files.read(&name), Err(FilesError::Missing(_))));
        fs::remove_dir_all(state).unwrap();
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        let (state, files) = files("names");
        for name in ["", "../../etc/passwd", &"A".repeat(64), &"g".repeat(64), &"é".repeat(32)] {
            assert!(matches!(files.read(name), Err(FilesError::BadName(_))), "{name}");
        }
        fs::remove_dir_all(state).unwrap();
    }
}
