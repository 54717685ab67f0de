//! Each file in `tests/bad` has one kind of mistake; what labloop says about it is kept beside it
//! word for word. The first line of each message alone must say what to do.
//!
//! `UPDATE=1 cargo test --test bad_documents` rewrites the expected messages; read the difference.

#![expect(clippy::expect_used, reason = "a test stops at what it cannot read")]

use std::fs;
use std::path::{Path, PathBuf};

use labloop::spec::render::{self, Colour};
use labloop::spec::{self, Report, Severity, Sources};

/// What `labloop check` says about one file.
fn check(path: &Path) -> (Report, Sources) {
    let mut sources = Sources::new();
    let bytes = fs::read(path).expect("a test file");
    let id = sources.add_bytes(path.to_string_lossy(), &bytes);
    let checked = spec::lower(sources.get(id).expect("just added"));
    (checked.report, sources)
}

fn bad_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir("tests/bad")
        .expect("tests are run in the package's folder")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_bad_document_gets_the_message_kept_beside_it() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for path in bad_files() {
        let (report, sources) = check(&path);
        let shown = render::text(&report, &sources, Colour::Never);
        let kept = path.with_extension("txt");
        if update {
            fs::write(&kept, &shown).expect("a writable folder");
        } else if fs::read_to_string(&kept).unwrap_or_default() != shown {
            wrong.push(format!("{}\n{shown}", kept.display()));
        }
    }
    assert!(wrong.is_empty(), "these differ from what is kept:\n\n{}", wrong.join("\n"));
}

#[test]
fn every_bad_document_has_an_error_with_a_place_a_known_code_and_a_way_out() {
    let files = bad_files();
    assert!(files.len() >= 25, "{} files", files.len());
    for path in files {
        let (report, sources) = check(&path);
        assert!(report.has_errors(), "{} passes", path.display());
        for found in &report.diagnostics {
            let shown = render::one(found, &sources, Colour::Never);
            assert!(spec::codes::explain(found.code).is_some(), "{shown}");
            assert!(sources.locate(found.place.span).is_some(), "{shown}");
            assert!(!found.message.ends_with('.') && !found.message.contains('\n'), "{shown}");
            let helps = found.fix.is_some() || found.reason.is_some() || !found.others.is_empty();
            assert!(helps || !found.place.text.is_empty(), "no way out:\n{shown}");
        }
    }
}

#[test]
fn one_kind_of_mistake_gives_one_error() {
    // Files that show several mistakes on purpose.
    let several = ["several-mistakes", "merge-key-and-alias", "bare-off"];
    for path in bad_files() {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if several.contains(&name.as_str()) {
            continue;
        }
        let (report, sources) = check(&path);
        let shown = render::text(&report, &sources, Colour::Never);
        assert_eq!(report.count(Severity::Error), 1, "{name}:\n{shown}");
    }
}
