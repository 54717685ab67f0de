//! `labloop explain`: what a code means and what to do about it.

use super::args::ExplainArgs;
use super::{Exit, output};
use crate::spec::codes;

pub(super) fn run(args: &ExplainArgs, json: bool) -> Exit {
    let code = args.code.to_uppercase();
    match codes::explain(&code) {
        Some(found) if json => {
            let value = serde_json::json!({
                "code": found.code, "title": found.title, "explanation": found.explanation,
                "wrong": found.wrong, "right": found.right,
            });
            output::data(&format!("{value:#}\n"));
            Exit::Done
        }
        Some(found) => {
            let mut text = format!("{}: {}\n\n{}\n", found.code, found.title, found.explanation);
            text.push_str(&format!("\nWrong:\n{}\n\nRight:\n{}\n", found.wrong, found.right));
            output::data(&text);
            Exit::Done
        }
        None => {
            output::error(format!("there is no code `{code}`; codes look like LL0208"));
            Exit::Usage
        }
    }
}
