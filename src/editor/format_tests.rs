//! Text in, text out.

use super::*;

fn formatted(text: &str) -> String {
    match format("t.yaml", text) {
        Ok(out) => out,
        Err(refused) => panic!("{refused:?}\n{text}"),
    }
}

const HEAD: &str = "schema: labloop/protocol/v1\nname: t\n";

fn protocol(body: &str, wanted: &str) {
    let out = formatted(&format!("{HEAD}{body}"));
    assert_eq!(out.strip_prefix(HEAD), Some(wanted), "{out}");
    assert_eq!(formatted(&out), out);
}

#[test]
fn dashes_stand_under_their_key_and_indentation_is_two() {
    protocol(
        "steps:\n- do:   a.b\n  with:\n      rate:  5mL/min\n      port: 'x'\n-   wait: 1min\n",
        "steps:\n  - do: a.b\n    with:\n      rate: 5mL/min\n      port: x\n  - wait: 1 min\n",
    );
}

#[test]
fn brackets_have_no_padding_and_quotes_only_where_needed() {
    protocol(
        "steps:\n  - { do: \"a.b\" , with: { rate: \"${params.x}\", n: 'on' } }\n",
        "steps:\n  - {do: a.b, with: {rate: \"${ params.x }\", n: \"on\"}}\n",
    );
}

#[test]
fn what_does_not_fit_becomes_lines() {
    let long = "x".repeat(60);
    protocol(
        &format!("steps:\n  - {{do: a.b, with: {{first: \"${{ {long} }}\", second: {long}}}}}\n"),
        &format!(
            "steps:\n  - do: a.b\n    with:\n      first: ${{ {long} }}\n      second: {long}\n"
        ),
    );
}

#[test]
fn comments_stay_where_they_were() {
    protocol(
        "# a\nsteps:   # b\n    # c\n    - wait: 1 s # d\n      # e\n\n\n\n    # f\n    - id: x\n      # g\n      wait: 1 s      # h\n    # i\n  # j\n# k\nfinally: # l\n  # m\n  - {wait: 1 s} # n\n# o\n",
        "# a\nsteps:   # b\n  # c\n  - wait: 1 s  # d\n    # e\n\n  # f\n  - id: x\n    # g\n    wait: 1 s        # h\n  # i\n# j\n# k\nfinally:  # l\n  # m\n  - {wait: 1 s}  # n\n# o\n",
    );
}

#[test]
fn brackets_with_comments_inside_become_lines() {
    protocol(
        "steps:\n  - {wait: 1 s, # first\n     id: a} # second\n  - [ # odd\n  ]\n",
        "steps:\n  - wait: 1 s  # first\n    id: a  # second\n  - []  # odd\n",
    );
}

#[test]
fn texts_over_several_lines_stay_so() {
    protocol(
        "doc: >-\n     one two\n     three\n\n     four\nsteps:\n  - log: |  # why\n       a\n         b\n\n  - log: this\n     goes on\n\n     here\n  - log: \"and\n    this\"\n",
        "doc: >-\n  one two\n  three\n\n  four\nsteps:\n  - log: |  # why\n      a\n        b\n\n  - log: this\n      goes on\n\n      here\n  - log: \"and\n      this\"\n",
    );
}

#[test]
fn windows_line_ends_and_a_missing_last_one_are_repaired() {
    assert_eq!(
        formatted("schema: labloop/lab/v1\r\nname: x # c\r\ninstruments: {}"),
        "schema: labloop/lab/v1\nname: x  # c\ninstruments: {}\n"
    );
}

#[test]
fn yaml_of_others_is_left_alone() {
    for text in ["steps:\n-   run: x\n", "schema: other/v1\n", "- 1\n"] {
        assert_eq!(format("t", text), Err(Refused::Foreign), "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_left_alone() {
    for text in ["a: [1\n", "a: 1\na: 2\n", "a: off\n", "", "x: &a 1\ny: *a\n", "- \t- x: [\n"] {
        assert!(matches!(format("t", text), Err(Refused::Unreadable(_))), "{text}");
    }
    assert!(matches!(
        format("t", &format!("%YAML 1.2\n---\n{HEAD}")),
        Err(Refused::NotUnderstood { .. })
    ));
}

#[test]
fn every_form_of_a_text_over_lines_is_kept() {
    for body in [
        "- log: |+\n    a\n\n\n- log: b\n",
        "- log: |2\n      a\n     b\n- log: b\n",
        "- log: |\n\n\n   a\n  \n- log: |\n- log: >\n# c\n- log: x\n",
        "-\n  log: |-\n    \"a\"\n    # in\n# out\n- log:\n    >-  # why\n    x\n",
        "- log: |\n   a  \n    b\n\n   c\n",
    ] {
        formatted(&format!("{HEAD}steps:\n{body}"));
        formatted(&format!("{HEAD}steps:\n{body}finally: []\n"));
    }
}
