//! `labloop fmt`: one spelling, every comment kept, nothing lost.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at what it cannot read"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use labloop::editor::format;
use proptest::prelude::*;

fn fmt(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_labloop")).arg("fmt").args(arguments).output().unwrap()
}

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("labloop-fmt-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_documents_of_the_repository_have_their_one_spelling() {
    let folders: Vec<&str> = ["instruments", "examples", "protocols"]
        .into_iter()
        .filter(|f| Path::new(f).exists())
        .collect();
    let output = fmt(&[&["--check"], folders.as_slice()].concat());
    let (out, err) = (text_of(&output.stdout), text_of(&output.stderr));
    assert!(output.status.success(), "run `labloop fmt {}`:\n{out}{err}", folders.join(" "));
}

#[test]
fn check_lists_files_and_changes_nothing_and_without_it_they_are_rewritten() {
    let folder = folder("check");
    let (untidy, tidy) = (folder.join("a.yaml"), folder.join("b.yaml"));
    let before = "schema: labloop/lab/v1\nname:  x # why\ninstruments: { }\n";
    fs::write(&untidy, before).unwrap();
    fs::write(&tidy, "schema: labloop/lab/v1\nname: y\ninstruments: {}\n").unwrap();
    fs::write(folder.join("compose.yaml"), "services:   {}\n").unwrap();
    let path = folder.to_string_lossy().into_owned();

    let output = fmt(&["--check", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text_of(&output.stdout), format!("{}\n", untidy.display()));
    assert_eq!(fs::read_to_string(&untidy).unwrap(), before);

    assert_eq!(fmt(&[&path]).status.code(), Some(0));
    let after = "schema: labloop/lab/v1\nname: x  # why\ninstruments: {}\n";
    assert_eq!(fs::read_to_string(&untidy).unwrap(), after);
    assert_eq!(fmt(&["--check", &path]).status.code(), Some(0));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "nothing else is left behind");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_file_that_cannot_be_read_is_reported_and_left_alone_while_others_are_done() {
    let folder = folder("broken");
    let (broken, fine) = (folder.join("a.yaml"), folder.join("b.yaml"));
    fs::write(&broken, "name:   [x\n").unwrap();
    fs::write(&fine, "schema: labloop/lab/v1\nname:   y\ninstruments: {}\n").unwrap();
    let output = fmt(&[&folder.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text_of(&output.stderr).contains("a.yaml:1:"), "{}", text_of(&output.stderr));
    assert_eq!(fs::read_to_string(&broken).unwrap(), "name:   [x\n");
    assert!(fs::read_to_string(&fine).unwrap().contains("name: y"));
    fs::remove_dir_all(folder).unwrap();
}

// --- any document -------------------------------------------------------------------------------

fn examples() -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("instruments"), PathBuf::from("examples")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "yaml") {
                found.push(path);
            }
        }
    }
    found.sort();
    found.into_iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// A change that leaves a document what it was: a comment, a blank line, more indentation.
fn disturbed(text: &str, changes: &[(u16, u8)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (number, (at, what)) in changes.iter().enumerate() {
        let at = usize::from(*at) % lines.len();
        let indent = " ".repeat(usize::from(*what) % 7);
        match what % 4 {
            0 => lines.insert(at, format!("{indent}# own {number}")),
            1 => lines[at].push_str(&format!("{indent} # behind {number}")),
            2 => lines.insert(at, String::new()),
            // Behind a line of a text that goes on it would be part of the text.
            _ if lines[at].ends_with(['}', ']']) => lines[at].push_str(&indent),
            _ => {}
        }
    }
    lines.join("\n") + "\n"
}

/// All indentation times `n`.
fn widened(text: &str, n: usize) -> String {
    let wide = |line: &str| {
        let indent = line.len() - line.trim_start_matches(' ').len();
        format!("{}{}\n", " ".repeat(indent * n), line.trim_start_matches(' '))
    };
    text.lines().map(wide).collect()
}

fn marks(text: &str) -> Vec<&str> {
    let own = text.split("# own ").skip(1).chain(text.split("# behind ").skip(1));
    own.map(|rest| rest.split_whitespace().next().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    /// The formatter compares values and comments itself and refuses where they differ: so here
    /// it must not refuse, and what it gives must stay as it is.
    #[test]
    fn a_disturbed_document_is_formatted_with_all_its_comments_and_only_once(
        which in 0_usize..64,
        changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..12),
        wide in 1_usize..4,
    ) {
        let examples = examples();
        let text = disturbed(&widened(&examples[which % examples.len()], wide), &changes);
        // A comment inside a text of several lines is part of it, or breaks it: not our affair.
        let once = match format("x", &text) {
            Ok(once) => once,
            Err(labloop::editor::Refused::Unreadable(_)) => return Ok(()),
            Err(other) => return Err(TestCaseError::fail(format!("{other:?}\n{text}"))),
        };
        prop_assert_eq!(marks(&text), marks(&once));
        prop_assert_eq!(&format("x", &once).unwrap(), &once);
        prop_assert!(once.lines().all(|line| line == line.trim_end()), "{}", once);
    }
}
