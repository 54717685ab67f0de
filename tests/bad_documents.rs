//! Each file or folder in `tests/bad` has one kind of mistake; what `labloop check` says about it
//! is kept beside it word for word. The first line of each message alone must say what is to be
//! done, or what is wrong where only the author can know what to do.
//!
//! `UPDATE=1 cargo test --test bad_documents` rewrites the expected messages; read the difference.

#![expect(clippy::expect_used, reason = "a test stops at what it cannot read")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use labloop::spec::codes;
use serde_json::Value;

/// Exit code of a file that did not compile.
const NOT_COMPILED: i32 = 3;

/// Cases that show several mistakes on purpose, or one mistake that is two errors.
const SEVERAL: &[&str] =
    &["bare-off", "campaign-over-unknown-parameter", "merge-key-and-alias", "several-mistakes"];

fn check(path: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_labloop"))
        .arg("check")
        .arg(path)
        .args(more)
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary of this build")
}

/// Files of one document, and folders of several.
fn cases() -> Vec<PathBuf> {
    cases_in("tests/bad")
}

fn cases_in(folder: &str) -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = fs::read_dir(folder)
        .expect("tests are run in the package's folder")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.is_dir() || path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    cases.sort();
    cases
}

fn name(case: &Path) -> String {
    case.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[test]
fn every_bad_document_gets_the_message_kept_beside_it() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let output = check(&case, &[]);
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(NOT_COMPILED), "{}:\n{shown}", case.display());
        assert!(output.stdout.is_empty(), "messages belong to stderr");
        let kept = case.with_extension("txt");
        if update {
            fs::write(&kept, &shown).expect("a writable folder");
        } else if fs::read_to_string(&kept).unwrap_or_default() != shown {
            wrong.push(format!("{}\n{shown}", kept.display()));
        }
    }
    assert!(wrong.is_empty(), "these differ from what is kept:\n\n{}", wrong.join("\n"));
}

#[test]
fn every_finding_has_a_known_code_a_place_and_more_than_its_first_line() {
    let cases = cases();
    assert!(cases.len() >= 120, "{} cases", cases.len());
    for case in cases {
        let output = check(&case, &["--json"]);
        let found: Vec<Value> =
            serde_json::from_slice(&output.stdout).expect("an array of findings");
        let errors = found.iter().filter(|f| f["severity"] == "error").count();
        assert!(errors > 0, "{} passes", case.display());
        let one = !SEVERAL.contains(&name(&case).as_str());
        let shown = String::from_utf8_lossy(&check(&case, &[]).stderr).into_owned();
        assert!(!one || errors == 1, "{}: {errors} errors:\n{shown}", case.display());
        for f in found {
            let code = f["code"].as_str().unwrap_or_default();
            assert!(codes::explain(code).is_some(), "{f:#}");
            assert!(f["file"].is_string() && f["line"].is_u64() && f["column"].is_u64(), "{f:#}");
            let message = f["message"].as_str().unwrap_or_default();
            assert!(
                !message.is_empty() && !message.ends_with('.') && !message.contains('\n'),
                "{f:#}"
            );
            let label = f["label"].as_str().is_some_and(|label| !label.is_empty());
            let others = f["others"].as_array().is_some_and(|others| !others.is_empty());
            let types = code == codes::EXPRESSION_TYPE;
            assert!(
                label || others || types || f["fix"].is_string() || f["reason"].is_string(),
                "{f:#}"
            );
        }
    }
}

/// Documents that can be used and have something worth saying about them.
#[test]
fn every_warning_and_note_gets_the_message_kept_beside_it_and_stops_nothing() {
    let update = std::env::var_os("UPDATE").is_some();
    let cases = cases_in("tests/warned");
    assert!(cases.len() >= 6, "{} cases", cases.len());
    for case in cases {
        let output = check(&case, &[]);
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{}:\n{shown}", case.display());
        assert!(shown.ends_with("Nothing here stops a run.\n"), "{}:\n{shown}", case.display());
        let kept = case.with_extension("txt");
        if update {
            fs::write(&kept, &shown).expect("a writable folder");
        }
        let expected = fs::read_to_string(&kept).unwrap_or_default();
        assert_eq!(expected, shown, "{}", case.display());
    }
}

/// Codes that no document on disk can show: they need a text of 16 MiB, or a definition that
/// was refused before.
const NOT_SHOWN: &[&str] = &[codes::TOO_LARGE, codes::NO_SAFE_EXIT];

#[test]
fn every_code_has_a_document_that_shows_it() {
    let mut shown = String::new();
    for case in cases().into_iter().chain(cases_in("tests/warned")) {
        shown += &fs::read_to_string(case.with_extension("txt")).unwrap_or_default();
    }
    let missing: Vec<&str> = codes::ALL
        .iter()
        .map(|c| c.code)
        .filter(|code| !shown.contains(&format!("[{code}]")) && !NOT_SHOWN.contains(code))
        .collect();
    assert!(missing.is_empty(), "no document shows {}", missing.join(", "));
}
