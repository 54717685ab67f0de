//! `labloop init`: a small laboratory that works, to change into one's own.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::args::InitArgs;
use super::{Exit, output};

/// What is written.
const FILES: &[(&str, &str)] = &[
    ("lab.yaml", include_str!("init/lab.yaml")),
    ("protocol.yaml", include_str!("init/protocol.yaml")),
    ("campaign.yaml", include_str!("init/campaign.yaml")),
    ("README.md", include_str!("init/README.md")),
    (".gitignore", ".labloop/\n"),
];

pub(super) fn run(args: &InitArgs, json: bool) -> Exit {
    if let Err(message) = write(&args.folder) {
        output::error(message);
        return Exit::Usage;
    }
    let folder = args.folder.display().to_string();
    let campaign = args.folder.join("campaign.yaml").display().to_string();
    let next = [
        format!("labloop check {}", quoted(&folder)),
        format!("labloop run {} --simulate --speed max", quoted(&campaign)),
    ];
    if json {
        let files: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        let value = serde_json::json!({ "folder": folder, "files": files, "next": next });
        output::data(&format!("{value:#}\n"));
    } else {
        output::say(format!("{folder} holds a small laboratory. Next:\n"));
        for line in next {
            output::data(&format!("    {line}\n"));
        }
    }
    Exit::Done
}

/// Writes all files, or none if one of them is there already.
fn write(folder: &Path) -> Result<(), String> {
    let taken: Vec<&str> = FILES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| fs::symlink_metadata(folder.join(name)).is_ok())
        .collect();
    if !taken.is_empty() {
        return Err(format!(
            "{} has {} already; name a folder without, nothing was written",
            folder.display(),
            taken.join(", ")
        ));
    }
    let fail = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
    fs::create_dir_all(folder).map_err(|e| fail(folder, e))?;
    for (name, text) in FILES {
        let path = folder.join(name);
        // Between the look above and now somebody else may have written it: never over it.
        let mut file = fs::File::create_new(&path).map_err(|e| fail(&path, e))?;
        file.write_all(text.as_bytes()).map_err(|e| fail(&path, e))?;
    }
    Ok(())
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:@\\+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
