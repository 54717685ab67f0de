//! The syntax tree.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Value;

/// A parsed expression with its text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expr {
    #[serde(rename = "text", default, skip_serializing_if = "String::is_empty")]
    pub(super) text: String,
    #[serde(rename = "is")]
    pub(super) root: Node,
}

/// A node and its place in the text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Node {
    #[serde(rename = "at", default, skip_serializing_if = "is_nowhere")]
    pub(super) at: (u32, u32),
    #[serde(rename = "e")]
    pub(super) kind: Kind,
}

fn is_nowhere(at: &(u32, u32)) -> bool {
    *at == (0, 0)
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Literal(Value),
    /// A maximal chain of names, `steps.drift.value`.
    Path(Vec<String>),
    Negative(Box<Node>),
    Not(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
    Power(Box<Node>, i8),
    Choice(Box<Node>, Box<Node>, Box<Node>),
    Call(String, Vec<(Option<String>, Node)>),
    Index(Box<Node>, Box<Node>),
    Field(Box<Node>, String),
    List(Vec<Node>),
    /// Parts of a text, formatted and joined.
    Join(Vec<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Operator {
    #[serde(rename = "+")]
    Add,
    #[serde(rename = "-")]
    Sub,
    #[serde(rename = "*")]
    Mul,
    #[serde(rename = "/")]
    Div,
    #[serde(rename = "==")]
    Equal,
    #[serde(rename = "!=")]
    Unequal,
    #[serde(rename = "<")]
    Less,
    #[serde(rename = "<=")]
    AtMost,
    #[serde(rename = ">")]
    More,
    #[serde(rename = ">=")]
    AtLeast,
    #[serde(rename = "in")]
    In,
    #[serde(rename = "and")]
    And,
    #[serde(rename = "or")]
    Or,
}

impl Operator {
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Operator::Add => "+",
            Operator::Sub => "-",
            Operator::Mul => "*",
            Operator::Div => "/",
            Operator::Equal => "==",
            Operator::Unequal => "!=",
            Operator::Less => "<",
            Operator::AtMost => "<=",
            Operator::More => ">",
            Operator::AtLeast => ">=",
            Operator::In => "in",
            Operator::And => "and",
            Operator::Or => "or",
        }
    }
}

impl Node {
    pub(super) fn span(&self) -> Range<usize> {
        self.at.0 as usize..self.at.1 as usize
    }

    /// Direct parts of the node.
    pub(super) fn children(&self) -> Vec<&Node> {
        match &self.kind {
            Kind::Literal(_) | Kind::Path(_) => Vec::new(),
            Kind::Negative(a) | Kind::Not(a) | Kind::Power(a, _) | Kind::Field(a, _) => vec![a],
            Kind::Binary(_, a, b) | Kind::Index(a, b) => vec![a, b],
            Kind::Choice(a, b, c) => vec![a, b, c],
            Kind::Call(_, args) => args.iter().map(|(_, node)| node).collect(),
            Kind::List(items) | Kind::Join(items) => items.iter().collect(),
        }
    }
}

impl Node {
    /// Expressions are at most 32 deep, so the recursion is too.
    fn rename(&mut self, rename: &dyn Fn(&[String]) -> Option<Vec<String>>) {
        match &mut self.kind {
            Kind::Literal(_) => {}
            Kind::Path(path) => {
                if let Some(other) = rename(path) {
                    *path = other;
                }
            }
            Kind::Negative(a) | Kind::Not(a) | Kind::Power(a, _) | Kind::Field(a, _) => {
                a.rename(rename);
            }
            Kind::Binary(_, a, b) | Kind::Index(a, b) => {
                a.rename(rename);
                b.rename(rename);
            }
            Kind::Choice(a, b, c) => {
                a.rename(rename);
                b.rename(rename);
                c.rename(rename);
            }
            Kind::Call(_, args) => args.iter_mut().for_each(|(_, node)| node.rename(rename)),
            Kind::List(items) | Kind::Join(items) => {
                items.iter_mut().for_each(|item| item.rename(rename));
            }
        }
    }
}

impl Expr {
    /// An expression that is just a value.
    pub fn literal(value: Value) -> Expr {
        Expr { text: String::new(), root: Node { at: (0, 0), kind: Kind::Literal(value) } }
    }

    /// An expression that reads one chain of names.
    pub fn path(path: Vec<String>) -> Expr {
        Expr { text: path.join("."), root: Node { at: (0, 0), kind: Kind::Path(path) } }
    }

    /// The value, if it is just one.
    pub fn as_literal(&self) -> Option<&Value> {
        match &self.root.kind {
            Kind::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// The chain of names, if it reads just one.
    pub fn as_path(&self) -> Option<&[String]> {
        match &self.root.kind {
            Kind::Path(path) => Some(path),
            _ => None,
        }
    }

    /// As written; empty for a literal made by the compiler.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Names it reads, each a maximal chain (`["steps", "drift", "value"]`), in order, once each.
    pub fn names(&self) -> Vec<Vec<String>> {
        self.places_of_names().into_iter().map(|(path, _)| path).collect()
    }

    /// Names it reads with the place of the first use of each.
    pub fn places_of_names(&self) -> Vec<(Vec<String>, Range<usize>)> {
        let mut found: Vec<(Vec<String>, Range<usize>)> = Vec::new();
        let mut seen: BTreeMap<Vec<String>, ()> = BTreeMap::new();
        let mut open = vec![&self.root];
        while let Some(node) = open.pop() {
            if let Kind::Path(path) = &node.kind
                && seen.insert(path.clone(), ()).is_none()
            {
                found.push((path.clone(), node.span()));
            }
            open.extend(node.children().into_iter().rev());
        }
        found
    }

    /// The same expression with other names: `rename` answers `None` for a chain that stays.
    #[must_use]
    pub fn renamed(&self, rename: &dyn Fn(&[String]) -> Option<Vec<String>>) -> Expr {
        let mut renamed = self.clone();
        renamed.root.rename(rename);
        renamed
    }

    /// For people: the text, or the literal.
    pub fn show(&self) -> String {
        match self.as_literal() {
            Some(value) => value.show(),
            None => self.text.clone(),
        }
    }
}
