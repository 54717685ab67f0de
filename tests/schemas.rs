//! The JSON Schemas that editors use are those of the code.
//!
//! `UPDATE=1 cargo test --test schemas` rewrites them.

use std::fs;

use labloop::spec::Kind;
use labloop::spec::schema::schema;

#[test]
fn the_schemas_in_the_repository_are_those_of_the_code() {
    for kind in Kind::ALL {
        let path = format!("schemas/{}.schema.json", kind.word());
        let text = format!("{:#}\n", schema(kind));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, text).expect("a writable folder");
        } else {
            let kept = fs::read_to_string(&path).unwrap_or_default();
            assert!(kept == text, "{path} differs: UPDATE=1 cargo test --test schemas rewrites it");
        }
    }
}
