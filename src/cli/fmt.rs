//! `labloop fmt`: one spelling for YAML documents.

use std::path::{Path, PathBuf};

use super::args::FmtArgs;
use super::check::yaml_files;
use super::{Exit, output};
use crate::editor::{self, Refused};
use crate::spec::{Sources, render};

/// Largest file that is read.
const FILE_MAX: u64 = 4 << 20;

/// What became of one file.
enum Outcome {
    /// It has its spelling already.
    Same,
    /// It has another spelling, or had it until now.
    Changed,
    /// It was left alone; why was said.
    Refused,
}

pub(super) fn run(args: &FmtArgs, json: bool) -> Exit {
    let files = match yaml_files(&args.paths) {
        Ok(files) => files,
        Err(message) => {
            output::error(message);
            return Exit::Usage;
        }
    };
    let (mut changed, mut refused) = (Vec::new(), 0);
    for file in &files {
        match one(file, args) {
            Ok(Outcome::Same) => {}
            Ok(Outcome::Changed) => changed.push(file.display().to_string()),
            Ok(Outcome::Refused) => refused += 1,
            Err(message) => {
                output::error(message);
                return Exit::Usage;
            }
        }
    }
    if json {
        let key = if args.check { "would_change" } else { "changed" };
        let value = serde_json::json!({ key: changed, "refused": refused, "files": files.len() });
        output::data(&format!("{value:#}\n"));
    } else if args.check {
        // Names alone on stdout, for other programs.
        let lines: String = changed.iter().map(|file| format!("{file}\n")).collect();
        output::data(&lines);
    }
    match (refused, args.check && !changed.is_empty()) {
        (0, false) => Exit::Done,
        // As other formatters do: 1 says "not formatted".
        (0, true) => Exit::RunFailed,
        _ => Exit::NotCompiled,
    }
}

fn one(path: &Path, args: &FmtArgs) -> Result<Outcome, String> {
    let fail = |e: std::io::Error| format!("{}: {e}", path.display());
    let size = std::fs::metadata(path).map_err(fail)?.len();
    if size > FILE_MAX {
        return Err(format!("{} is larger than {} MiB", path.display(), FILE_MAX >> 20));
    }
    let bytes = std::fs::read(path).map_err(fail)?;
    let name = path.to_string_lossy().replace('\\', "/");
    let mut sources = Sources::new();
    let id = sources.add_bytes(name.clone(), &bytes);
    let Some(file) = sources.get(id) else { return Ok(Outcome::Refused) };
    match editor::format(&name, &file.text) {
        Ok(text) if text.as_bytes() == bytes => Ok(Outcome::Same),
        Ok(_) if args.check => Ok(Outcome::Changed),
        Ok(text) => {
            replace(path, &text).map_err(fail)?;
            Ok(Outcome::Changed)
        }
        // Folders hold YAML of other programs too.
        Err(Refused::Foreign) if args.paths.iter().all(|named| named != path) => Ok(Outcome::Same),
        Err(Refused::Foreign) => {
            output::error(format!("{name} is not a document of labloop: it was left as it is"));
            Ok(Outcome::Refused)
        }
        Err(Refused::Unreadable(mut report)) => {
            report.sort();
            let colour =
                if output::colour() { render::Colour::Always } else { render::Colour::Never };
            output::say(render::text(&report, &sources, colour));
            Ok(Outcome::Refused)
        }
        Err(Refused::NotUnderstood { at, why }) => {
            let place = file.position(u32::try_from(at).unwrap_or(u32::MAX));
            output::error(format!("{name}:{}:{}: left as it is: {why}", place.line, place.column));
            Ok(Outcome::Refused)
        }
    }
}

/// Replaces a file as a whole: whoever reads it meanwhile sees the old text or the new one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    // A link stays a link.
    let path = std::fs::canonicalize(path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside: PathBuf = path.with_file_name(name);
    let written = (|| {
        let mut file = std::fs::File::create_new(&beside)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(std::fs::metadata(&path)?.permissions())?;
        file.sync_all()?;
        std::fs::rename(&beside, &path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}
