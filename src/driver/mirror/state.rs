//! The state of a simulated device: values, movements that take time, signals that change by
//! themselves.

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::driver::plan::Plan;
use crate::expr::{self, Env, Expr, Value};
use crate::spec::instrument::{Signal, SignalModel, SimulatedAction};
use crate::spec::{Expression, Named};
use crate::units::{Dimension, Quantity};

/// Properties that are computed from each other, at most so deep.
const DEEPEST: u8 = 8;
/// Mistakes that are kept.
const PROBLEMS: usize = 32;

#[derive(Debug, Clone)]
pub(super) struct State {
    pub values: BTreeMap<String, Value>,
    /// Fields of the messages so far.
    pub args: BTreeMap<String, Value>,
    config: BTreeMap<String, Value>,
    computed: BTreeMap<String, Expr>,
    signals: Vec<Named<Signal>>,
    moves: Vec<Move>,
    now: f64,
    depth: Cell<u8>,
    /// Expressions that could not be evaluated.
    pub problems: Vec<String>,
}

/// Something that takes time.
#[derive(Debug, Clone)]
struct Move {
    began: f64,
    ends: f64,
    /// Name, how much in all, how much of it has happened.
    adds: Vec<(String, Quantity, f64)>,
    sets: Vec<(String, Value)>,
}

impl Env for State {
    fn value(&self, path: &[String]) -> Option<Value> {
        match path {
            [of, name] if of == "args" => self.args.get(name).cloned(),
            [of, name] if of == "config" => self.config.get(name).cloned(),
            [name] => self.values.get(name).cloned().or_else(|| {
                let expr = self.computed.get(name)?;
                if self.depth.get() >= DEEPEST {
                    return None;
                }
                self.depth.set(self.depth.get() + 1);
                let value = expr::eval(expr, self).ok();
                self.depth.set(self.depth.get() - 1);
                value
            }),
            _ => None,
        }
    }
}

impl State {
    pub fn new(plan: &Plan, signals: Vec<Named<Signal>>) -> State {
        let computed = plan.properties.iter();
        let computed =
            computed.filter_map(|(name, p)| Some((name.clone(), p.computed.clone()?))).collect();
        State {
            values: BTreeMap::new(),
            args: BTreeMap::new(),
            config: plan.config.clone(),
            computed,
            signals,
            moves: Vec::new(),
            now: 0.0,
            depth: Cell::new(0),
            problems: Vec::new(),
        }
    }

    /// Goes on with the clock of another state.
    pub fn restart_at(&mut self, other: &State) {
        self.now = other.now;
    }

    /// When the next thing that is under way ends.
    pub fn next_end(&self) -> Option<f64> {
        self.moves.iter().map(|one| one.ends).min_by(f64::total_cmp)
    }

    /// Whether something is under way.
    pub fn busy(&self) -> bool {
        !self.moves.is_empty()
    }

    /// A value, or that there is none; what could not be computed is noted.
    pub fn eval(&mut self, what: &str, expression: &Expression) -> Option<Value> {
        match expr::eval(&expression.expr, self) {
            Ok(value) => Some(value),
            Err(error) => {
                self.note(format!("simulate: {what}: {}", error.message));
                None
            }
        }
    }

    pub fn note(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS && !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn number(&mut self, what: &str, expression: &Expression) -> Option<Quantity> {
        match self.eval(what, expression)? {
            Value::Quantity(quantity) if quantity.value.is_finite() => Some(quantity),
            Value::Missing(_) => None,
            other => {
                self.note(format!("simulate: {what}: {} is no number", other.show()));
                None
            }
        }
    }

    /// Begins what an action does; lab time it takes, s.
    pub fn begin(&mut self, name: &str, action: &SimulatedAction, takes_s: f64) {
        for entry in &action.begin {
            if let Some(value) = self.eval(name, &entry.value) {
                self.values.insert(entry.name.value.clone(), value);
            }
        }
        let mut adds = Vec::new();
        for entry in &action.add {
            if let Some(amount) = self.number(name, &entry.value) {
                adds.push((entry.name.value.clone(), amount, 0.0));
            }
        }
        let mut sets = Vec::new();
        for entry in &action.set {
            if let Some(value) = self.eval(name, &entry.value) {
                sets.push((entry.name.value.clone(), value));
            }
        }
        self.moves.push(Move { began: self.now, ends: self.now + takes_s, adds, sets });
        self.settle();
    }

    /// Stops everything that is under way where it is.
    pub fn halt(&mut self) {
        self.moves.clear();
    }

    /// Lets time pass.
    pub fn advance(&mut self, now: f64) {
        while self.now < now {
            let next = self.moves.iter().map(|m| m.ends).filter(|ends| *ends > self.now);
            let step = next.fold(now, f64::min);
            self.signals(step - self.now);
            self.now = step;
            self.settle();
        }
    }

    /// Brings movements up to now, and ends those that are through.
    fn settle(&mut self) {
        let now = self.now;
        let mut moves = std::mem::take(&mut self.moves);
        for one in &mut moves {
            let whole = one.ends - one.began;
            let share = if whole > 0.0 { ((now - one.began) / whole).clamp(0.0, 1.0) } else { 1.0 };
            for (name, amount, done) in &mut one.adds {
                self.add(name, Quantity { value: amount.value * (share - *done), ..*amount });
                *done = share;
            }
        }
        let (through, open): (Vec<Move>, Vec<Move>) =
            moves.into_iter().partition(|one| one.ends <= now);
        self.moves = open;
        for one in through {
            self.values.extend(one.sets);
        }
    }

    fn add(&mut self, name: &str, amount: Quantity) {
        let before = match self.values.get(name) {
            Some(Value::Quantity(before)) => *before,
            _ => Quantity { value: 0.0, ..amount },
        };
        // A difference of temperatures is no temperature.
        let value = before.value + amount.value;
        // A plunger that has come to its end goes no further, whatever it was told.
        let now = self.in_bounds(name, Quantity { value, ..before });
        self.values.insert(name.to_owned(), Value::Quantity(now));
    }

    fn signals(&mut self, step_s: f64) {
        let signals = std::mem::take(&mut self.signals);
        for signal in &signals {
            let name = &signal.name.value;
            if let Some(next) = self.next(name, &signal.value, step_s) {
                self.values.insert(name.clone(), Value::Quantity(next));
            }
        }
        self.signals = signals;
    }

    fn next(&mut self, name: &str, signal: &Signal, step_s: f64) -> Option<Quantity> {
        let to = match &signal.to {
            Some(to) => Some(self.number(name, to)?),
            None => None,
        };
        let now = match (self.values.get(name), to) {
            (Some(Value::Quantity(now)), _) => *now,
            (_, Some(to)) => to,
            _ => Quantity { value: 0.0, dim: Dimension::default(), point: false },
        };
        let mut value = match signal.model.value {
            SignalModel::Steady => return None,
            SignalModel::FirstOrder => {
                let time = self.number(name, signal.time.as_ref()?)?.value.max(1e-9);
                let to = to?.value;
                to + (now.value - to) * (-step_s / time).exp()
            }
            SignalModel::Integrator => {
                let rate = self.number(name, signal.rate.as_ref()?)?;
                let start = if now.value == 0.0 && now.dim == Dimension::default() {
                    // The first value of an integral has the dimension of its rate times time.
                    Quantity {
                        value: 0.0,
                        dim: rate.dim.mul(Dimension::TIME).unwrap_or_default(),
                        point: false,
                    }
                } else {
                    now
                };
                let value = start.value + rate.value * step_s;
                return Some(self.bounded(name, signal, Quantity { value, ..start }));
            }
            SignalModel::Ramp => {
                let most = self.number(name, signal.rate.as_ref()?)?.value.abs() * step_s;
                now.value + (to?.value - now.value).clamp(-most, most)
            }
        };
        if !value.is_finite() {
            value = now.value;
        }
        Some(self.bounded(name, signal, Quantity { value, ..now }))
    }

    fn bounded(&mut self, name: &str, signal: &Signal, mut quantity: Quantity) -> Quantity {
        if let Some(min) = signal.min.as_ref().and_then(|min| self.number(name, min)) {
            quantity.value = quantity.value.max(min.value);
        }
        if let Some(max) = signal.max.as_ref().and_then(|max| self.number(name, max)) {
            quantity.value = quantity.value.min(max.value);
        }
        quantity
    }

    /// A value within the limits of its signal.
    pub fn in_bounds(&mut self, name: &str, quantity: Quantity) -> Quantity {
        let signal = self.signals.iter().find(|signal| signal.name.value == name).cloned();
        match signal {
            Some(signal) => self.bounded(name, &signal.value, quantity),
            None => quantity,
        }
    }

    /// Standard deviation of what is read of a property, in SI.
    pub fn noise(&mut self, name: &str) -> f64 {
        let noise = self.signals.iter().find(|signal| signal.name.value == name);
        let Some(noise) = noise.and_then(|signal| signal.value.noise.clone()) else { return 0.0 };
        self.number(name, &noise).map_or(0.0, |quantity| quantity.value.abs())
    }
}
