use super::*;

const PROBLEM: &str = r#"{"parameters":[{"name":"x","type":"continuous","min":0,"max":1},{"name":"n","type":"integer","min":1,"max":6},{"name":"solvent","type":"categorical","choices":["MeCN","DMF"],"descriptors":{"MeCN":[37.5],"DMF":[36.7]}}],"objectives":[{"name":"yield","goal":"maximize"}],"constraints":["x + 0.1 * n <= 1"],"outcome_constraints":["impurity <= 0.5"],"seed":3,"options":{"initial":4}}"#;

fn session(lines: &str) -> Vec<Json> {
    let mut output = Vec::new();
    assert_eq!(run(lines.as_bytes(), &mut output), 0);
    let text = String::from_utf8(output).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn a_session_asks_tells_and_learns() {
    let mut lines = PROBLEM.to_owned();
    for round in 0..6 {
        lines.push_str("\n{\"ask\":1}");
        let answers = session(&lines);
        let suggestion = &answers.last().unwrap()["suggestions"][0];
        assert_eq!(suggestion["id"], round + 1, "{suggestion}");
        let parameters = &suggestion["parameters"];
        let (x, n) = (parameters["x"].as_f64().unwrap(), parameters["n"].as_i64().unwrap());
        assert!(x + 0.1 * n as f64 <= 1.0 + 1e-12);
        assert_eq!(suggestion["prediction"].as_object().unwrap().is_empty(), round < 4);
        let told = json!({"tell":[{"id":round + 1,"parameters":parameters,
            "results":{"yield": x * (1.2 - x), "impurity": 0.1 * n as f64}}]});
        lines.push_str(&format!("\n{told}"));
    }
    lines.push_str("\n{\"tell\":[{\"parameters\":{\"x\":0.1,\"n\":2,\"solvent\":\"DMF\"},\"status\":\"failed\"}]}");
    lines.push_str("\n{\"insight\":true}");
    let answers = session(&lines);
    let insight = &answers.last().unwrap()["insight"];
    assert_eq!(insight["told"], 7);
    assert!(insight["best"]["results"]["impurity"].as_f64().unwrap() <= 0.5);
    assert!(insight["predicted_optimum"]["prediction"]["yield"]["sd"].as_f64().unwrap() > 0.0);
    let shares = insight["importance"]["yield"].as_object().unwrap();
    let sum: f64 = shares.values().filter_map(Json::as_f64).sum();
    assert!((sum - 1.0).abs() < 1e-9);
    assert_eq!(answers, session(&lines), "two sessions of the same lines differ");
}

#[test]
fn a_line_that_is_refused_changes_nothing() {
    let good = session(&format!("{PROBLEM}\n{{\"ask\":2}}"));
    let bad = [
        "nonsense",
        "[]",
        "{\"ask\":-1}",
        "{\"ask\":1000000}",
        "{\"ask\":1,\"insight\":true}",
        "{\"dance\":1}",
        PROBLEM,
        "{\"tell\":[{\"id\":1,\"parameters\":{\"x\":0.5,\"n\":2,\"solvent\":\"DMF\"}}]}",
        "{\"tell\":[{\"parameters\":{\"x\":7,\"n\":2,\"solvent\":\"DMF\"},\"status\":\"failed\"}]}",
        "{\"tell\":[{\"parameters\":{\"x\":0.5,\"n\":2,\"solvent\":\"water\"},\"status\":\"failed\"}]}",
        "{\"tell\":[{\"parameters\":{\"x\":0.5,\"n\":2,\"solvent\":\"DMF\"},\"results\":{\"yield\":1}}]}",
        "{\"restore\":[{\"id\":4,\"parameters\":{\"x\":0.5,\"n\":2,\"solvent\":\"DMF\"}},{\"id\":4,\"parameters\":{}}]}",
        "{\"parameters\":1}",
    ];
    let lines = format!("{{\"ask\":1}}\n{PROBLEM}\n{}\n\n{{\"ask\":2}}", bad.join("\n"));
    let answers = session(&lines);
    assert_eq!(answers.len(), bad.len() + 3);
    assert!(answers[0]["error"].is_string());
    for (line, answer) in bad.iter().zip(&answers[2..]) {
        assert!(answer["error"].is_string(), "{line}: {answer}");
    }
    assert_eq!(answers.last(), good.last());
}

#[test]
fn a_problem_that_cannot_be_searched_is_refused_with_the_reason() {
    let problem = |constraint: &str, outcome: &str| {
        session(&format!(
            r#"{{"parameters":[{{"name":"x","type":"continuous","min":0,"max":1}}],"objectives":[{{"name":"y","goal":"minimize"}}],"constraints":["{constraint}"],"outcome_constraints":["{outcome}"]}}"#
        ))
        .remove(0)
    };
    assert_eq!(problem("x < 0.5", "z >= 0.1"), json!({"ok": true}));
    for (constraint, outcome, part) in [
        ("x > 2", "z <= 1", "no point"),
        ("x + ", "z <= 1", "x + "),
        ("q > 0.5", "z <= 1", "q"),
        ("x + 1", "z <= 1", "not a condition"),
        ("x > 0.5", "z + 1 <= 1", "result <= number"),
        ("x > 0.5", "z", "result <= number"),
    ] {
        let error = problem(constraint, outcome)["error"].as_str().unwrap().to_owned();
        assert!(error.contains(part), "{constraint} {outcome}: {error}");
    }
}
