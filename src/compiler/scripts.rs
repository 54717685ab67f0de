//! Files of analyses that are programs: which of their arguments are files, and their texts.
//!
//! A file stands beside the protocol or below it, so that its text can be kept with a run and put
//! at the same place in the folder the program gets. What lies outside is not kept, and therefore
//! refused where it looks like a script.

use std::path::{Component, Path, PathBuf};

use crate::spec::protocol::ProcessDecl;
use crate::spec::{Diagnostic, Spanned, codes};

/// Largest file of an analysis.
pub(super) const SCRIPT_MAX: u64 = 1 << 20;
/// Endings of files that programs are written in.
const ENDINGS: &[&str] =
    &["py", "r", "jl", "js", "mjs", "sh", "pl", "rb", "lua", "m", "php", "ipynb"];

/// One argument, or one entry of `files`.
pub(super) struct Wanted<'a> {
    /// As written.
    pub written: &'a Spanned<String>,
    /// Path below the protocol's folder.
    pub path: String,
    /// That it is not there is a mistake; otherwise it is just a word.
    pub must_be: bool,
}

/// What of a program's arguments and `files` may be a file, or why one cannot be kept.
pub(super) fn wanted(process: &ProcessDecl) -> Vec<Result<Wanted<'_>, Diagnostic>> {
    let arguments = process.argv.iter().enumerate().map(|(index, argument)| {
        let word = argument.value.as_str();
        let path = Path::new(word);
        let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        let script = ending.is_some_and(|e| ENDINGS.contains(&e.as_str()));
        let plain = word.is_empty() || word.starts_with('-') || word.contains("://");
        // The program itself is looked for in PATH unless it has a folder.
        if plain || (index == 0 && (!word.contains('/') || path.is_absolute())) {
            return None;
        }
        match below(path) {
            Some(path) => {
                Some(Ok(Wanted { written: argument, path, must_be: script || index == 0 }))
            }
            None if script => Some(Err(outside(argument))),
            None => None,
        }
    });
    let files = process.files.iter().map(|file| {
        Some(match below(Path::new(&file.value)) {
            Some(path) => Ok(Wanted { written: file, path, must_be: true }),
            None => Err(outside(file)),
        })
    });
    arguments.chain(files).flatten().collect()
}

/// A relative path without `.`; `None` if it leads out of its folder.
fn below(path: &Path) -> Option<String> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                if !plain.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    let text = plain.to_str()?.replace('\\', "/");
    (!text.is_empty()).then_some(text)
}

fn outside(file: &Spanned<String>) -> Diagnostic {
    let name = Path::new(&file.value).file_name().unwrap_or_default().to_string_lossy();
    Diagnostic::error(
        codes::SCRIPT_MISSING,
        file.span,
        format!("put `{name}` beside the protocol or below it, and name it from there"),
    )
    .label("outside the protocol's folder")
    .reason("its text is kept with every run, so that a resumed run uses what it was started with")
    .fix(format!("analysis/{name}"))
}

/// A file that cannot be had.
pub(super) fn missing(
    wanted: &Wanted<'_>,
    at: &Path,
    why: &str,
    near: Option<String>,
) -> Diagnostic {
    let mut wrong = Diagnostic::error(
        codes::SCRIPT_MISSING,
        wanted.written.span,
        match &near {
            Some(near) => format!("write `{near}` instead of `{}`", wanted.written.value),
            None => format!("name a file that can be read, not `{}`", wanted.written.value),
        },
    )
    .label(why)
    .reason(format!("it is looked for at {}", at.display()));
    wrong.fix = near;
    wrong
}
