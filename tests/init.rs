//! `labloop init`: what it writes works at once.

#![expect(clippy::unwrap_used, reason = "a test stops at what it cannot read")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("labloop-init-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    path
}

fn labloop(arguments: &[&str], state: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_labloop"))
        .args(arguments)
        .env("LABLOOP_STATE", state)
        .output()
        .unwrap()
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_two_commands_it_prints_work_on_what_it_wrote() {
    let folder = folder("works");
    let (path, state) = (folder.join("lab").display().to_string(), folder.join("state"));
    let state = state.display().to_string();
    let output = labloop(&["init", &path], &state);
    assert!(output.status.success(), "{}", text_of(&output.stderr));
    let printed = text_of(&output.stdout);
    let commands: Vec<Vec<&str>> =
        printed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(commands.len(), 2, "{printed}");
    for command in &commands {
        assert_eq!(command.first(), Some(&"labloop"));
        let output = labloop(command.get(1..).unwrap(), &state);
        assert!(output.status.success(), "{command:?}: {}", text_of(&output.stderr));
    }
    let output = labloop(&["export", "--format", "json"], &state);
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        rows["experiments"].as_array().map(Vec::len),
        Some(15),
        "{}",
        text_of(&output.stdout)
    );
    assert!(labloop(&["fmt", "--check", &path], &state).status.success(), "it is formatted");
    assert_eq!(fs::read_to_string(folder.join("lab/.gitignore")).unwrap(), ".labloop/\n");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn nothing_is_overwritten_and_then_nothing_is_written() {
    let folder = folder("taken");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("protocol.yaml"), "mine\n").unwrap();
    let output = labloop(&["init", &folder.display().to_string()], "unused");
    assert_eq!(output.status.code(), Some(2));
    assert!(text_of(&output.stderr).contains("protocol.yaml"), "{}", text_of(&output.stderr));
    assert_eq!(fs::read_to_string(folder.join("protocol.yaml")).unwrap(), "mine\n");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    fs::remove_dir_all(folder).unwrap();
}
