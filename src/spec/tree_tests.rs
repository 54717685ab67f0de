use proptest::prelude::*;

use super::*;
use crate::spec::render::{self, Colour};
use crate::spec::source::Sources;

fn read(text: &str) -> (Option<Node>, Report, Sources) {
    let mut sources = Sources::new();
    let id = sources.add("t.yaml", text);
    let mut report = Report::new();
    let node = parse(sources.get(id).unwrap(), &mut report);
    (node, report, sources)
}

/// Codes and the text under each caret.
fn found(text: &str) -> Vec<(&'static str, String)> {
    let (_, report, sources) = read(text);
    let slice = |span: Span| sources.get(span.source).unwrap().slice(span.range()).to_owned();
    report.diagnostics.iter().map(|d| (d.code, slice(d.place.span))).collect()
}

#[test]
fn every_key_and_value_has_its_place_in_bytes() {
    let text = "µ: {a: \"x\\ty\", b: [1, 2 mL]}\nlist:\n  - one\n  - two: 3\nend: |\n  text\n";
    let (node, report, sources) = read(text);
    assert_eq!(report, Report::new());
    let file = sources.get(SourceId(0)).unwrap();
    let at = |span: Span| file.slice(span.range());
    let NodeKind::Map(top) = node.unwrap().kind else { panic!("a mapping") };
    assert_eq!(at(top[0].key.span), "µ");
    assert_eq!(at(top[0].value.span), "{a: \"x\\ty\", b: [1, 2 mL]}");
    let NodeKind::Map(inner) = &top[0].value.kind else { panic!("a mapping") };
    assert_eq!(at(inner[0].value.span), "\"x\\ty\"");
    let quoted = NodeKind::Scalar { text: "x\ty".to_owned(), quoted: true };
    assert_eq!(inner[0].value.kind, quoted);
    let NodeKind::List(items) = &inner[1].value.kind else { panic!("a list") };
    assert_eq!(at(items[1].span), "2 mL");
    assert_eq!(at(top[1].value.span).trim_end(), "- one\n  - two: 3");
}

#[test]
fn strictness_findings_point_at_what_is_wrong_and_come_all_at_once() {
    let text = "a: &x 1\nb: *x\n<<: {c: 1}\nd: !!int 3\na: 2\ne: off\non: 1\nf: 1:30\n";
    let expected = [
        (codes::ANCHOR, "&x"),
        (codes::ANCHOR, "*x"),
        (codes::MERGE_KEY, "<<"),
        (codes::TAG, "!!int"),
        (codes::DUPLICATE_KEY, "a"),
        (codes::AMBIGUOUS_SCALAR, "off"),
        (codes::AMBIGUOUS_SCALAR, "on"),
        (codes::AMBIGUOUS_SCALAR, "1:30"),
    ];
    let expected: Vec<_> = expected.iter().map(|(c, s)| (*c, (*s).to_owned())).collect();
    assert_eq!(found(text), expected);
}

#[test]
fn quoted_forms_of_ambiguous_scalars_are_texts() {
    let (_, report, _) = read("a: \"off\"\nb: '1:30'\nc: \"0755\"\n\"on\": x\n");
    assert!(report.is_empty(), "{report:?}");
}

#[test]
fn a_file_that_cannot_be_read_says_what_to_do() {
    let cases: &[(&str, &str, &str)] = &[
        ("a:\n\t- b\n", codes::TAB, "\t"),
        ("with: {port: ${ params.x }}\n", codes::YAML_SYNTAX, "${ params.x }"),
        ("a: [1, 2\nb: 3\n", codes::YAML_SYNTAX, "["),
        ("a: b: c\n", codes::YAML_SYNTAX, ":"),
        ("a: \"x\n", codes::YAML_SYNTAX, "\""),
        ("a: 1\n---\nb: 2\n", codes::MANY_DOCUMENTS, "---"),
        ("", codes::SCHEMA, ""),
        ("# only a comment\n", codes::SCHEMA, ""),
        ("a: \u{FFFD}\n", codes::NOT_UTF8, "\u{FFFD}"),
        ("a: \u{7}\n", codes::NOT_UTF8, "\u{7}"),
    ];
    for (text, code, under) in cases {
        let (node, report, _) = read(text);
        assert!(node.is_none(), "{text:?}");
        assert_eq!(report.diagnostics.len(), 1, "{text:?}: {report:?}");
        let first = &found(text)[0];
        assert_eq!(first.0, *code, "{text:?}: {report:?}");
        assert!(first.1.contains(under), "{text:?}: caret under {:?}", first.1);
    }
}

#[test]
fn limits_end_the_reading_with_a_place() {
    let deep = format!("a: {}{}", "[".repeat(40), "]".repeat(40));
    assert_eq!(found(&deep)[0].0, codes::TOO_LARGE);
    let deep = format!("a: {}", "[".repeat(200_000));
    assert_eq!(found(&deep)[0].0, codes::TOO_LARGE);
    let large = format!("a: \"{}\"", "x".repeat(MAX_BYTES));
    assert_eq!(found(&large)[0].0, codes::TOO_LARGE);
    let many = format!("a: [{}]", "1,".repeat(MAX_NODES + 1));
    assert_eq!(found(&many)[0].0, codes::TOO_LARGE);
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_are_read() {
    let (node, report, _) = read("\u{FEFF}a: 1\r\nb:\r\n  - 2\r\n");
    assert_eq!(report, Report::new());
    assert!(matches!(node.unwrap().kind, NodeKind::Map(entries) if entries[0].key.value == "a"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut sources = Sources::new();
        let id = sources.add_bytes("t.yaml", &bytes);
        let mut report = Report::new();
        let node = parse(sources.get(id).unwrap(), &mut report);
        prop_assert!(node.is_some() || report.has_errors());
        render::text(&report, &sources, Colour::Never);
    }

    #[test]
    fn no_yaml_like_text_makes_the_reader_panic(
        parts in prop::collection::vec(prop::sample::select(vec![
            "a", ":", " ", "\n", "- ", "  ", "{", "}", "[", "]", ",", "\"", "'", "#", "&x", "*x",
            "!t", "|", ">", "\t", "${", "}", "<<", "---", "...", "%", "?", "µ", "\r\n", "1:30", "off",
        ]), 0..60)
    ) {
        let text: String = parts.concat();
        let (node, report, sources) = read(&text);
        prop_assert!(node.is_some() || report.has_errors(), "{text:?}");
        render::text(&report, &sources, Colour::Never);
    }
}
