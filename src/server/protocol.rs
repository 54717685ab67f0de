//! What crosses the control socket: one JSON object a line, in both directions. The page for people
//! is `docs/reference/control.md`.

use serde::{Deserialize, Serialize};

use crate::engine::shell::Control;
use crate::engine::shell::control::{Outcome, Refusal, RefusalKind, Reply};

/// Version of the protocol: raised when an old client would misunderstand a new engine.
pub const VERSION: u32 = 1;
/// Longest line of a client, in bytes: all texts of a campaign, a lab of a hundred definitions of
/// ten kilobytes each with room to spare.
pub const LINE_MAX: usize = 2 * 1024 * 1024;

/// A line of a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// [`VERSION`].
    pub v: u32,
    /// What is asked.
    pub control: Control,
    /// Stay for what a command leads to, so long at most.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wait_ms: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A line of the engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// [`VERSION`].
    pub v: u32,
    /// What is told.
    pub say: Say,
}

/// What an engine tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Say {
    /// The answer to a request: exactly one for each line.
    Reply(Reply),
    /// Where a command has led; only to those who wait for it.
    Outcome(Outcome),
    /// They waited, and do not learn it: why.
    Unseen(String),
}

/// The version alone: it is looked at before anything else may be wrong.
#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

impl Ask {
    /// From a line.
    ///
    /// Errors: what is wrong with it, for the client.
    pub fn parse(line: &[u8]) -> Result<Ask, Refusal> {
        let malformed = |what: String| Refusal::new(RefusalKind::Malformed, what);
        let version: Versioned = serde_json::from_slice(line).map_err(|error| {
            malformed(format!("the line is not a JSON object with a version `v`: {error}"))
        })?;
        if version.v != VERSION {
            let v = version.v;
            return Err(malformed(format!(
                "the line is of version {v}, this engine (labloop {}) speaks version {VERSION}",
                env!("CARGO_PKG_VERSION")
            )));
        }
        serde_json::from_slice(line)
            .map_err(|error| malformed(format!("the line asks for nothing known: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::core::Command;
    use crate::engine::shell::control::Safety;

    /// Names that serde says it knows, when asked for one that it does not.
    fn known<T: serde::de::DeserializeOwned>(json: &str) -> Vec<String> {
        let Err(error) = serde_json::from_str::<T>(json) else { panic!("{json} is something") };
        let said = error.to_string();
        let Some((_, expected)) = said.split_once("expected ") else { return Vec::new() };
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// Keys of an object as the page writes it, in order.
    fn keys(cell: &str) -> Vec<String> {
        let quoted: Vec<&str> = cell.split('"').collect();
        let follows = |n: usize| quoted.get(n + 1).is_some_and(|rest| rest.starts_with(':'));
        let odd = (1..quoted.len()).step_by(2).filter(|n| follows(*n));
        odd.map(|n| quoted[n].to_owned()).collect()
    }

    const PAGE: &str = include_str!("../../docs/reference/control.md");

    /// First cells of the rows of a table of the page.
    fn rows(head: &str) -> Vec<&'static str> {
        let table = PAGE.split_once(head).unwrap().1;
        let rows = table.lines().skip(2).take_while(|line| line.starts_with("| "));
        rows.map(|row| row.trim_start_matches("| ").split(" | ").next().unwrap()).collect()
    }

    #[test]
    fn the_page_has_every_request_with_its_keys_and_no_other() {
        let variants = known::<Control>("\"dance\"");
        assert!(variants.len() > 10, "{variants:?}");
        let told = rows("| `control` | what it asks for |");
        assert_eq!(told.len(), variants.len(), "{told:#?}\n{variants:?}");
        for name in variants {
            let row = told.iter().find(|row| {
                row.starts_with(&format!("`{{\"{name}\":")) || **row == format!("`\"{name}\"`")
            });
            let row = row.unwrap_or_else(|| panic!("`{name}` is not on the page"));
            let mut told = keys(row);
            if !told.is_empty() {
                assert_eq!(told.remove(0), name);
            }
            let is = known::<Control>(&format!("{{\"{name}\":{{\"dance\":1}}}}"));
            // A request without anything in it expects that and no keys.
            let is = if name == "status" { Vec::new() } else { is };
            assert_eq!(told, is, "keys of `{name}`");
        }
        let wish = known::<crate::engine::shell::Wish>("{\"dance\":1}");
        for key in wish {
            assert!(PAGE.contains(&format!("`{key}`")), "`{key}` of a wish is not on the page");
        }
    }

    #[test]
    fn the_page_has_every_reply_and_every_kind_of_refusal() {
        let told = rows("| `reply` | to |").join("\n");
        for name in known::<Reply>("\"dance\"") {
            let is =
                told.contains(&format!("{{\"{name}\":")) || told.contains(&format!("`\"{name}\"`"));
            assert!(is, "reply `{name}` is not on the page:\n{told}");
        }
        let kinds = PAGE.split_once("Kinds of refusals: ").unwrap().1.split_once('.').unwrap().0;
        let kinds: Vec<&str> = kinds.split('`').skip(1).step_by(2).collect();
        assert_eq!(kinds, known::<RefusalKind>("\"dance\""));
        let states = PAGE.rsplit_once("\"state\":").unwrap().1.split_once(',').unwrap().0;
        let states: Vec<&str> = states.split('"').skip(1).step_by(2).collect();
        assert_eq!(states, known::<Safety>("\"dance\""));
    }

    #[test]
    fn lines_survive_the_way_there() {
        let (by, reason) = ("anna".to_owned(), "lunch\n\"\u{1b}".to_owned());
        let control =
            Control::Command { target: Some("a-1".into()), command: Command::Stop, by, reason };
        let ask = Ask { v: VERSION, control, wait_ms: 5 };
        let text = serde_json::to_vec(&ask).unwrap();
        assert!(!text.contains(&b'\n'), "one line");
        assert_eq!(Ask::parse(&text).unwrap(), ask);
    }

    #[test]
    fn what_is_no_request_is_refused_with_what_is_wrong() {
        for (line, said) in [
            (&b"\xff\xfe"[..], "not a JSON object"),
            (b"[]", "not a JSON object"),
            (b"{}", "missing field `v`"),
            (br#"{"v":2,"control":"dance"}"#, "speaks version 1"),
            (br#"{"v":1,"control":"dance"}"#, "unknown variant `dance`"),
            (br#"{"v":1,"control":"status","x":1}"#, "unknown field `x`"),
        ] {
            let refusal = Ask::parse(line).unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::Malformed);
            assert!(refusal.message.contains(said), "{}", refusal.message);
        }
        let deep = [b"{\"v\":1,\"control\":".to_vec(), vec![b'['; 10_000]].concat();
        assert!(Ask::parse(&deep).is_err(), "depth is bounded");
    }
}
