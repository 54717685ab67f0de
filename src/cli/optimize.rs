//! `labloop optimize`: the planner for any program, one JSON object a line.
//!
//! ```text
//! problem, once      {"parameters":[...],"objectives":[...],...}  ->  {"ok":true}
//! ask                {"ask":2}                                    ->  {"suggestions":[...]}
//! tell               {"tell":[{"id":1,"parameters":{...},"results":{...}}]}  ->  {"ok":true}
//! pending again      {"restore":[{"id":1,"parameters":{...}}]}    ->  {"ok":true}
//! insight            {"insight":true}                             ->  {"insight":{...}}
//! anything else                                                   ->  {"error":"..."}
//! ```
//! A line that is refused changes nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use crate::expr::{self, Expr, Type, Value};
use crate::planner::{
    Constraint, Limit, Objective, Observation, Outcome, Parameter, ParameterKind, ParameterValue,
    Planner, PlannerError, Point, Prediction, Problem, Suggestion,
};
use crate::units::Dimension;

/// Longest line taken, in bytes: about 100,000 candidates of six parameters.
const LINE_MAX: u64 = 16 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProblem {
    parameters: Vec<RawParameter>,
    objectives: Vec<RawObjective>,
    #[serde(default)]
    constraints: Vec<String>,
    #[serde(default)]
    outcome_constraints: Vec<String>,
    candidates: Option<Vec<Point>>,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    options: RawOptions,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawOptions {
    initial: Option<usize>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum RawParameter {
    Continuous {
        name: String,
        min: f64,
        max: f64,
        #[serde(default)]
        scale: Scale,
    },
    Integer {
        name: String,
        min: i64,
        max: i64,
    },
    Discrete {
        name: String,
        values: Vec<f64>,
    },
    Categorical {
        name: String,
        choices: Vec<String>,
        #[serde(default)]
        descriptors: BTreeMap<String, Vec<f64>>,
    },
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum Scale {
    #[default]
    Linear,
    Log,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawObjective {
    name: String,
    goal: Goal,
    reference: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Goal {
    Maximize,
    Minimize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTold {
    id: Option<u64>,
    parameters: Point,
    results: Option<BTreeMap<String, f64>>,
    #[serde(default)]
    noise: BTreeMap<String, f64>,
    status: Option<Status>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    Failed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPending {
    id: u64,
    parameters: Point,
}

/// Answers lines until the input ends; returns the exit code: 0, or 1 when a pipe broke.
pub fn run(mut input: impl BufRead, mut output: impl Write) -> i32 {
    let mut planner = None;
    loop {
        let mut line = Vec::new();
        let taken = input.by_ref().take(LINE_MAX + 1).read_until(b'\n', &mut line);
        let answer = match taken {
            Ok(0) => return 0,
            Err(_) => return 1,
            Ok(_) if line.len() as u64 > LINE_MAX => {
                if skip_line(&mut input).is_err() {
                    return 1;
                }
                Err(format!("a line has more than {LINE_MAX} bytes"))
            }
            Ok(_) if line.iter().all(u8::is_ascii_whitespace) => continue,
            Ok(_) => answer(&mut planner, &line),
        };
        let answer = answer.unwrap_or_else(|error| json!({ "error": error }));
        if writeln!(output, "{answer}").and_then(|()| output.flush()).is_err() {
            return 1;
        }
    }
}

/// Drops the rest of a line.
fn skip_line(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        let end = buffer.iter().position(|b| *b == b'\n');
        let length = end.map_or(buffer.len(), |at| at + 1);
        let done = end.is_some() || buffer.is_empty();
        input.consume(length);
        if done {
            return Ok(());
        }
    }
}

fn read<T: DeserializeOwned>(json: Json, what: &str) -> Result<T, String> {
    serde_json::from_value(json).map_err(|error| format!("{what}: {error}"))
}

fn answer(planner: &mut Option<Planner>, line: &[u8]) -> Result<Json, String> {
    let json: Json =
        serde_json::from_slice(line).map_err(|error| format!("not a JSON object: {error}"))?;
    let Json::Object(mut object) = json else {
        return Err("not a JSON object".into());
    };
    if object.contains_key("parameters") {
        if planner.is_some() {
            return Err("the problem is fixed by the first line and cannot be changed".into());
        }
        let raw: RawProblem = read(Json::Object(object), "problem")?;
        *planner = Some(Planner::new(problem(raw)?).map_err(|e| e.to_string())?);
        return Ok(json!({ "ok": true }));
    }
    let planner =
        planner.as_mut().ok_or("the first line has to be the problem, with `parameters`")?;
    let mut keys = object.keys();
    let (Some(key), None) = (keys.next().cloned(), keys.next()) else {
        return Err("a line has one key: ask, tell, restore or insight".into());
    };
    let content = object.remove(&key).unwrap_or_default();
    let refused = |error: PlannerError| error.to_string();
    match key.as_str() {
        "ask" => {
            let count: usize = read(content, "ask")?;
            let suggestions = planner.ask(count).map_err(refused)?;
            let list: Vec<Json> = suggestions.iter().map(|s| suggested(planner, s)).collect();
            Ok(json!({ "suggestions": list }))
        }
        "tell" => {
            let raw: Vec<RawTold> = read(content, "tell")?;
            let observations = raw.into_iter().map(told).collect::<Result<_, _>>()?;
            planner.tell(observations).map_err(refused)?;
            Ok(json!({ "ok": true }))
        }
        "restore" => {
            let raw: Vec<RawPending> = read(content, "restore")?;
            // On a copy, because the second of two may be refused.
            let mut next = planner.clone();
            for RawPending { id, parameters } in raw {
                next.restore_pending(Suggestion {
                    id,
                    parameters,
                    predictions: BTreeMap::new(),
                    probability_of_improvement: None,
                    probability_feasible: None,
                    reason: String::new(),
                })
                .map_err(refused)?;
            }
            *planner = next;
            Ok(json!({ "ok": true }))
        }
        "insight" => insight(planner),
        other => Err(format!("`{other}` is not known, only ask, tell, restore and insight")),
    }
}

fn problem(raw: RawProblem) -> Result<Problem, String> {
    let parameters: Vec<Parameter> = raw.parameters.into_iter().map(parameter).collect();
    let objectives = raw.objectives.into_iter().map(|o| Objective {
        name: o.name,
        maximize: matches!(o.goal, Goal::Maximize),
        reference: o.reference,
    });
    let constraints = raw.constraints.iter().map(|text| constraint(text, &parameters));
    Ok(Problem {
        objectives: objectives.collect(),
        constraints: constraints.collect::<Result<_, _>>()?,
        limits: raw.outcome_constraints.iter().map(|t| limit(t)).collect::<Result<_, _>>()?,
        candidates: raw.candidates,
        initial: raw.options.initial,
        seed: raw.seed,
        parameters,
    })
}

fn parameter(raw: RawParameter) -> Parameter {
    match raw {
        RawParameter::Continuous { name, min, max, scale } => {
            let log = matches!(scale, Scale::Log);
            Parameter { name, kind: ParameterKind::Continuous { min, max, log } }
        }
        RawParameter::Integer { name, min, max } => {
            Parameter { name, kind: ParameterKind::Integer { min, max } }
        }
        RawParameter::Discrete { name, values } => {
            Parameter { name, kind: ParameterKind::Discrete { values } }
        }
        RawParameter::Categorical { name, choices, descriptors } => {
            Parameter { name, kind: ParameterKind::Categorical { choices, descriptors } }
        }
    }
}

/// Types of the parameters in a constraint: plain numbers and texts.
struct Types<'a>(&'a [Parameter]);

impl expr::TypeEnv for Types<'_> {
    fn type_of(&self, path: &[String]) -> Result<Type, Option<String>> {
        let name = path.join(".");
        let found = self.0.iter().find(|p| p.name == name).ok_or(None)?;
        Ok(match found.kind {
            ParameterKind::Categorical { .. } => Type::Text,
            _ => Type::Quantity { dim: Dimension::NONE, point: false },
        })
    }
}

struct Values<'a>(&'a Point);

impl expr::Env for Values<'_> {
    fn value(&self, path: &[String]) -> Option<Value> {
        match self.0.get(&path.join("."))? {
            ParameterValue::Number(x) => Some(Value::number(*x)),
            ParameterValue::Text(text) => Some(Value::text(text)),
        }
    }
}

/// A condition over the parameters, such as `x + 0.1 * n <= 1`; where it has no value (a division
/// by zero) it does not hold.
fn constraint(text: &str, parameters: &[Parameter]) -> Result<Constraint, String> {
    let refused = |error: &expr::ExprError| {
        let help = error.help.as_ref().map(|h| format!("; {h}")).unwrap_or_default();
        format!("constraint `{text}`: {}{help}", error.message)
    };
    let parsed: Expr = expr::parse(text).map_err(|e| refused(&e))?;
    let found = expr::check(&parsed, &Types(parameters))
        .map_err(|errors| errors.iter().map(refused).collect::<Vec<_>>().join("; "))?;
    if found != Type::Bool {
        return Err(format!("constraint `{text}`: is not a condition, write such as `x <= 1`"));
    }
    Ok(Arc::new(move |point| {
        expr::eval(&parsed, &Values(point)).is_ok_and(|value| value.as_bool() == Some(true))
    }))
}

/// A limit on a result, `name <= number` or `name >= number`.
fn limit(text: &str) -> Result<Limit, String> {
    let shape = || format!("outcome constraint `{text}`: write `result <= number` or `>=`");
    let (result, number, upper) = match (text.split_once("<="), text.split_once(">=")) {
        (Some((result, number)), None) => (result, number, true),
        (None, Some((result, number))) => (result, number, false),
        _ => return Err(shape()),
    };
    let result = result.trim().to_owned();
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let number: f64 = number.trim().parse().map_err(|_| shape())?;
    if result.is_empty() || !result.chars().all(is_name) || !number.is_finite() {
        return Err(shape());
    }
    let (min, max) = if upper { (None, Some(number)) } else { (Some(number), None) };
    Ok(Limit { result, min, max })
}

fn told(raw: RawTold) -> Result<Observation, String> {
    let outcome = match (raw.results, raw.status) {
        (_, Some(Status::Failed)) => Outcome::Failed,
        (Some(values), _) => Outcome::Measured { values, noise_sd: raw.noise },
        (None, _) => return Err("tell: needs `results`, or `\"status\":\"failed\"`".into()),
    };
    Ok(Observation { id: raw.id, parameters: raw.parameters, outcome })
}

/// A point as JSON, whole numbers of integer parameters without a decimal point.
fn point(planner: &Planner, point: &Point) -> Json {
    let parameters = planner.problem().parameters.iter();
    let entries = parameters.filter_map(|p| {
        let value = match (&p.kind, point.get(&p.name)?) {
            (ParameterKind::Integer { .. }, ParameterValue::Number(x)) => json!(*x as i64),
            (_, ParameterValue::Number(x)) => json!(x),
            (_, ParameterValue::Text(text)) => json!(text),
        };
        Some((p.name.clone(), value))
    });
    Json::Object(entries.collect())
}

fn predicted(predictions: &BTreeMap<String, Prediction>) -> Json {
    let entries = predictions.iter();
    let entries = entries.map(|(name, p)| (name.clone(), json!({ "mean": p.mean, "sd": p.sd })));
    Json::Object(entries.collect())
}

fn suggested(planner: &Planner, suggestion: &Suggestion) -> Json {
    let mut json = json!({
        "id": suggestion.id,
        "parameters": point(planner, &suggestion.parameters),
        "prediction": predicted(&suggestion.predictions),
        "reason": suggestion.reason,
    });
    if let Json::Object(object) = &mut json {
        let optional = [
            ("probability_of_improvement", suggestion.probability_of_improvement),
            ("probability_feasible", suggestion.probability_feasible),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                object.insert(key.into(), json!(value));
            }
        }
    }
    json
}

fn insight(planner: &Planner) -> Result<Json, String> {
    /// What needs a model is null as long as there is none.
    fn or_null<T>(result: Result<T, PlannerError>) -> Result<Option<T>, String> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(PlannerError::NoModel) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
    let best = |best: &crate::planner::Best| json!({ "parameters": point(planner, &best.parameters), "results": best.values });
    let optimum = or_null(planner.recommend())?.map(|r| {
        json!({
            "parameters": point(planner, &r.parameters),
            "prediction": predicted(&r.predictions),
            "probability_feasible": r.probability_feasible,
        })
    });
    let front = (planner.problem().objectives.len() > 1)
        .then(|| planner.front().iter().map(best).collect::<Vec<_>>());
    Ok(json!({ "insight": {
        "told": planner.told(),
        "pending": planner.pending().keys().collect::<Vec<_>>(),
        "best": planner.best().as_ref().map(best),
        "front": front,
        "predicted_optimum": optimum,
        "importance": or_null(planner.importance())?,
        "calibration": or_null(planner.calibration())?,
    }}))
}

#[cfg(test)]
#[path = "optimize_tests.rs"]
mod tests;
