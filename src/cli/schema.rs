//! `labloop schema`: JSON Schema of a kind of document.

use super::args::SchemaArgs;
use super::{Exit, output};
use crate::spec::{Kind, schema};

pub(super) fn run(args: &SchemaArgs) -> Exit {
    match Kind::from_word(&args.kind) {
        Some(kind) => {
            output::data(&format!("{:#}\n", schema::schema(kind)));
            Exit::Done
        }
        None => Exit::Usage,
    }
}
