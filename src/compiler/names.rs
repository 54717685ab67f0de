//! What an expression of a protocol may read: names with their types and, where known before a
//! run, their values and ranges.

use std::collections::{BTreeMap, BTreeSet};

use super::bind::Binding;
use crate::expr::{Env, Expr, Interval, RangeEnv, Type, TypeEnv, Value};
use crate::spec::lab::Lab;
use crate::spec::{Shape, nearest};
use crate::units::{Dimension, Quantity};

/// What is known of a step that others can refer to.
#[derive(Debug, Clone, PartialEq)]
pub struct StepType {
    /// Type of its value, seen from inside the loops it stands in.
    pub value: Type,
    /// `for_each` loops around it that make a list of it, by name of the loop's step.
    pub loops: Vec<String>,
    /// Exists on every path that reaches the reader.
    pub certain: bool,
}

/// Steps that have ended when a place is reached, with the order in which they were learned, so
/// that a branch can be forgotten at the cost of what stands in it.
#[derive(Debug, Clone, Default)]
pub struct Steps {
    known: BTreeMap<String, StepType>,
    learned: Vec<String>,
}

impl Steps {
    /// A step, if it has ended.
    pub fn get(&self, name: &str) -> Option<&StepType> {
        self.known.get(name)
    }

    /// Names of all.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.known.keys()
    }

    /// A step ends.
    pub fn learn(&mut self, name: String, found: StepType) {
        self.learned.push(name.clone());
        self.known.insert(name, found);
    }

    /// How many were learned, for [`Steps::forget`] and [`Steps::since`].
    pub fn mark(&self) -> usize {
        self.learned.len()
    }

    /// Forgets what was learned since a mark, and gives it.
    pub fn forget(&mut self, mark: usize) -> Vec<(String, StepType)> {
        let names = self.learned.split_off(mark.min(self.learned.len()));
        names.into_iter().filter_map(|name| self.known.remove_entry(&name)).collect()
    }

    /// What was learned since a mark, to be changed.
    pub fn since(&mut self, mark: usize, mut change: impl FnMut(&mut StepType)) {
        for name in self.learned.iter().skip(mark) {
            if let Some(found) = self.known.get_mut(name) {
                change(found);
            }
        }
    }
}

/// Names in scope at one place of a protocol.
#[derive(Debug, Clone, Default)]
pub struct Names<'a> {
    pub(super) parameters: BTreeMap<String, Type>,
    pub(super) values: BTreeMap<String, Value>,
    pub(super) ranges: BTreeMap<String, Interval>,
    pub(super) derived_types: BTreeMap<String, Type>,
    pub(super) derived: BTreeMap<String, Value>,
    pub(super) derived_ranges: BTreeMap<String, Interval>,
    /// Derived values in the order written, to work out their ranges again for a smaller box.
    pub(super) derived_exprs: Vec<(String, Expr)>,
    pub(super) roles: BTreeMap<String, Binding>,
    pub(super) lab: Option<&'a Lab>,
    /// Steps that have ended when the place is reached.
    pub(super) steps: Steps,
    /// Blocks with an id, which only say where a step is.
    pub(super) blocks: BTreeSet<String>,
    /// Every step of the protocol, to tell "not yet" from "not at all".
    pub(super) all_steps: BTreeSet<String>,
    /// Variables of the `for_each` loops around, with their types.
    pub(super) variables: BTreeMap<String, Type>,
    /// Steps of the innermost `repeat` so far; `None` outside of any loop.
    pub(super) in_loop: Option<BTreeSet<String>>,
    /// Rounds of the innermost loop, at most.
    pub(super) rounds: Option<f64>,
    /// Least and greatest value of each variable of the loops around.
    pub(super) variable_ranges: BTreeMap<String, Interval>,
    /// A campaign's constraint: results with their types.
    pub(super) results: BTreeMap<String, Type>,
    /// Arguments of an action, while its `takes:` is computed.
    pub(super) args: Option<BTreeMap<String, Known>>,
}

/// What is known of an argument: its type, its value, its range.
pub type Known = (Type, Option<Value>, Option<Interval>);

/// Type of a property or an answer.
pub fn shape_type(shape: &Shape) -> Type {
    let number = Type::Quantity { dim: Dimension::NONE, point: false };
    match shape {
        Shape::Quantity(unit) => Type::Quantity { dim: unit.value.dim, point: unit.value.point },
        Shape::Number | Shape::Integer => number,
        Shape::Bool => Type::Bool,
        Shape::Text => Type::Text,
        Shape::Record(fields) => Type::Record(
            fields.iter().map(|f| (f.name.value.clone(), shape_type(&f.shape))).collect(),
        ),
        Shape::Series { x, y, .. } => Type::Series { x: x.value.dim, y: y.value.dim },
        Shape::Array { unit, .. } => Type::Array { dim: unit.value.dim },
    }
}

fn field(mut found: Type, rest: &[String]) -> Result<Type, Option<String>> {
    for name in rest {
        found = match found {
            Type::Record(mut fields) => match fields.remove(name) {
                Some(inner) => inner,
                None => {
                    let near = nearest(name, fields.keys().map(String::as_str));
                    return Err(near.map(str::to_owned));
                }
            },
            // The field of each item.
            Type::List(item) => Type::List(Box::new(field(*item, std::slice::from_ref(name))?)),
            Type::Unknown => Type::Unknown,
            other if name == "value" => other,
            _ => return Err(None),
        };
    }
    Ok(found)
}

fn among<'n>(
    name: Option<&String>,
    prefix: &str,
    names: impl Iterator<Item = &'n String>,
) -> Option<String> {
    let near = nearest(name?, names.map(String::as_str))?;
    Some(format!("{prefix}.{near}"))
}

impl Names<'_> {
    fn of_step(&self, path: &[String]) -> Result<Type, Option<String>> {
        let Some(first) = path.first() else { return Err(None) };
        // `steps.titrate.history.ph`: all rounds of a loop that has ended.
        if let ("history", true) =
            (path.get(1).map_or("", String::as_str), self.blocks.contains(first))
        {
            let Some(name) = path.get(2) else {
                return Err(Some(format!("steps.{first}.history.<step>")));
            };
            let Some(step) = self.steps.get(name) else {
                let prefix = format!("steps.{first}.history");
                return Err(among(Some(name), &prefix, self.steps.keys()));
            };
            let inner = field(step.value.clone(), path.get(3..).unwrap_or_default())?;
            return Ok(Type::List(Box::new(inner)));
        }
        // `steps.replicate.final`: the block only says where the step is.
        if self.blocks.contains(first)
            && let Some(second) = path.get(1)
            && self.steps.get(second).is_some()
        {
            return self.of_step(path.get(1..).unwrap_or_default());
        }
        match self.steps.get(first) {
            Some(step) => {
                let mut found = step.value.clone();
                for _ in &step.loops {
                    found = Type::List(Box::new(found));
                }
                field(found, path.get(1..).unwrap_or_default())
            }
            None => Err(among(Some(first), "steps", self.steps.keys())),
        }
    }

    fn of_loop(&self, path: &[String]) -> Result<Type, Option<String>> {
        let Some(steps) = &self.in_loop else {
            return Err(Some("`loop` is only known inside `repeat` and `for_each`".to_owned()));
        };
        match path.first().map(String::as_str) {
            Some("index") => Ok(Type::Quantity { dim: Dimension::NONE, point: false }),
            Some("history") => {
                let name = path.get(1).ok_or_else(|| Some("loop.history.<step>".to_owned()))?;
                if !steps.contains(name) {
                    return Err(among(Some(name), "loop.history", steps.iter()));
                }
                let value = self.steps.get(name).map(|s| s.value.clone()).unwrap_or(Type::Unknown);
                let inner = field(value, path.get(2..).unwrap_or_default())?;
                Ok(Type::List(Box::new(inner)))
            }
            _ => Err(Some("loop.index or loop.history.<step>".to_owned())),
        }
    }

    fn of_stock(&self, path: &[String]) -> Option<Quantity> {
        let lab = self.lab?;
        let [stock, field] = path else { return None };
        let stock = lab.stock.iter().find(|s| s.name.value == *stock)?;
        match field.as_str() {
            "volume" | "amount" | "mass" => Some(stock.amount.value),
            "concentration" => stock.concentration.as_ref().map(|c| c.value),
            "warn_below" => stock.warn_below.as_ref().map(|c| c.value),
            _ => None,
        }
    }
}

impl TypeEnv for Names<'_> {
    fn type_of(&self, path: &[String]) -> Result<Type, Option<String>> {
        let rest = path.get(1..).unwrap_or_default();
        let tail = rest.get(1..).unwrap_or_default();
        let first = rest.first();
        let Some(root) = path.first() else { return Err(None) };
        let missing =
            |prefix: &str, names: Vec<&String>| Err(among(first, prefix, names.into_iter()));
        match root.as_str() {
            "args" if self.args.is_some() => {
                let args = self.args.as_ref().ok_or(None)?;
                match first.and_then(|n| args.get(n)) {
                    Some((found, ..)) => field(found.clone(), tail),
                    None => missing("args", args.keys().collect()),
                }
            }
            "params" => match first.and_then(|n| self.parameters.get(n)) {
                Some(found) => field(found.clone(), tail),
                None => missing("params", self.parameters.keys().collect()),
            },
            "derived" => match first.and_then(|n| self.derived_types.get(n)) {
                Some(found) => field(found.clone(), tail),
                None => missing("derived", self.derived_types.keys().collect()),
            },
            "results" if !self.results.is_empty() => {
                match first.and_then(|n| self.results.get(n)) {
                    Some(found) => field(found.clone(), tail),
                    None => missing("results", self.results.keys().collect()),
                }
            }
            "roles" => {
                let Some(binding) = first.and_then(|n| self.roles.get(n)) else {
                    return missing("roles", self.roles.keys().collect());
                };
                let Some(name) = rest.get(1) else { return Ok(Type::Unknown) };
                match binding.definition.property(name) {
                    Some(property) => {
                        field(shape_type(&property.shape), rest.get(2..).unwrap_or_default())
                    }
                    None => {
                        let properties: Vec<&str> = binding
                            .definition
                            .properties
                            .iter()
                            .map(|p| p.name.value.as_str())
                            .collect();
                        let role = first.map(String::as_str).unwrap_or_default();
                        Err(nearest(name, properties.iter().copied())
                            .map(|near| format!("roles.{role}.{near}"))
                            .or_else(|| Some(format!("`{role}` has {}", properties.join(", ")))))
                    }
                }
            }
            "steps" => self.of_step(rest),
            "loop" => self.of_loop(rest),
            "run" if first.is_some_and(|n| n == "elapsed") => {
                Ok(Type::Quantity { dim: Dimension::TIME, point: false })
            }
            "run" => Err(Some("run.elapsed".to_owned())),
            "lab" if first.is_some_and(|n| n == "stock") => match self.of_stock(tail) {
                Some(q) => Ok(Type::Quantity { dim: q.dim, point: q.point }),
                None => Err(self.lab.and_then(|lab| {
                    let near =
                        nearest(tail.first()?, lab.stock.iter().map(|s| s.name.value.as_str()))?;
                    Some(format!("lab.stock.{near}.volume"))
                })),
            },
            name => match self.variables.get(name) {
                Some(found) => field(found.clone(), rest),
                None => {
                    // A bare name is most often a parameter or a derived value.
                    let known = [("params", &self.parameters), ("derived", &self.derived_types)];
                    let exact = known
                        .iter()
                        .find(|(_, names)| names.contains_key(name))
                        .map(|(prefix, _)| format!("{prefix}.{name}"));
                    let roots = ["params", "derived", "roles", "steps", "loop", "run", "lab"];
                    Err(exact.or_else(|| nearest(name, roots).map(|n| path_with(n, rest))))
                }
            },
        }
    }
}

fn path_with(root: &str, rest: &[String]) -> String {
    std::iter::once(root).chain(rest.iter().map(String::as_str)).collect::<Vec<_>>().join(".")
}

impl Env for Names<'_> {
    fn value(&self, path: &[String]) -> Option<Value> {
        let [root, name, rest @ ..] = path else { return None };
        match (root.as_str(), rest) {
            ("args", []) => self.args.as_ref()?.get(name)?.1.clone(),
            ("params", []) => self.values.get(name).cloned(),
            ("derived", []) => self.derived.get(name).cloned(),
            ("lab", rest) if name == "stock" => self.of_stock(rest).map(Value::Quantity),
            _ => None,
        }
    }
}

impl RangeEnv for Names<'_> {
    fn range(&self, path: &[String]) -> Option<Interval> {
        if let Some(Value::Quantity(q)) = self.value(path) {
            return Some(Interval::point(q.value));
        }
        if let [variable] = path {
            return self.variable_ranges.get(variable).copied();
        }
        let [root, name] = path else { return None };
        match root.as_str() {
            "loop" if name == "index" => Some(Interval { lo: 1.0, hi: self.rounds? }),
            "args" => self.args.as_ref()?.get(name)?.2,
            "params" => self.ranges.get(name).copied(),
            "derived" => self.derived_ranges.get(name).copied(),
            _ => None,
        }
    }
}
