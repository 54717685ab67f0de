//! Pratt parser.

use super::ast::{Expr, Kind, Node, Operator};
use super::lex::{Placed, Token, lex};
use super::{ErrorKind, ExprError, Value};

/// Nodes of one expression at most.
const NODES_MAX: usize = 500;
/// Brackets and the like inside each other at most.
const DEPTH_MAX: usize = 32;

/// Reads a bare expression, as in `if`, `until` and `require`.
pub fn parse(text: &str) -> Result<Expr, ExprError> {
    let tokens = lex(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, end: text.len(), nodes: 0, depth: 0 };
    let root = parser.expression()?;
    if let Some((token, span)) = parser.peek() {
        let message = match token {
            Token::Symbol(symbol) => format!("`{symbol}` is too much here"),
            Token::Name(name) => format!("an operator is missing before `{name}`"),
            Token::Quantity(_) | Token::Text(_) => "an operator is missing here".to_owned(),
        };
        return Err(ExprError::new(ErrorKind::Syntax, span.clone(), message));
    }
    Ok(Expr { text: text.to_owned(), root })
}

/// Reads a scalar that may hold `${ }`: one `${ }` alone gives its typed value, inside text it is
/// formatted, and without any the scalar is a text.
pub fn parse_template(text: &str) -> Result<Expr, ExprError> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(start) = text.get(at..).and_then(|rest| rest.find("${")) {
        let start = at + start;
        if start > at {
            parts.push(literal(text, at, start));
        }
        let body = start + 2;
        let Some(len) = text.get(body..).and_then(|rest| rest.find('}')) else {
            let span = start..text.len();
            return Err(ExprError::new(ErrorKind::Syntax, span, "`${` is not closed")
                .help(format!("{text} }}")));
        };
        let inner = text.get(body..body + len).unwrap_or_default();
        let mut expr = parse(inner).map_err(|mut error| {
            error.span = error.span.start + body..error.span.end + body;
            error
        })?;
        shift(&mut expr.root, u32::try_from(body).unwrap_or(u32::MAX));
        parts.push(expr.root);
        at = body + len + 1;
    }
    if at < text.len() || parts.is_empty() {
        parts.push(literal(text, at, text.len()));
    }
    let outside_is_blank = parts.iter().all(|part| match &part.kind {
        Kind::Literal(Value::Text(piece)) => piece.trim().is_empty(),
        _ => true,
    });
    let computed = parts.iter().filter(|p| !is_text_literal(p)).count();
    let root = if computed == 1 && outside_is_blank && text.contains("${") {
        match parts.into_iter().find(|p| !is_text_literal(p)) {
            Some(root) => root,
            None => literal(text, 0, text.len()),
        }
    } else if parts.len() == 1 {
        parts.remove(0)
    } else {
        Node { at: (0, u32::try_from(text.len()).unwrap_or(u32::MAX)), kind: Kind::Join(parts) }
    };
    Ok(Expr { text: text.to_owned(), root })
}

fn is_text_literal(node: &Node) -> bool {
    matches!(node.kind, Kind::Literal(Value::Text(_)))
}

fn literal(text: &str, from: usize, to: usize) -> Node {
    let piece = text.get(from..to).unwrap_or_default();
    let place = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Node { at: (place(from), place(to)), kind: Kind::Literal(Value::text(piece)) }
}

fn shift(node: &mut Node, by: u32) {
    // Depth is bounded by DEPTH_MAX, so this recursion is too.
    node.at = (node.at.0.saturating_add(by), node.at.1.saturating_add(by));
    match &mut node.kind {
        Kind::Literal(_) | Kind::Path(_) => {}
        Kind::Negative(a) | Kind::Not(a) | Kind::Power(a, _) | Kind::Field(a, _) => shift(a, by),
        Kind::Binary(_, a, b) | Kind::Index(a, b) => {
            shift(a, by);
            shift(b, by);
        }
        Kind::Choice(a, b, c) => {
            shift(a, by);
            shift(b, by);
            shift(c, by);
        }
        Kind::Call(_, args) => args.iter_mut().for_each(|(_, a)| shift(a, by)),
        Kind::List(items) | Kind::Join(items) => items.iter_mut().for_each(|a| shift(a, by)),
    }
}

struct Parser<'a> {
    tokens: &'a [Placed],
    at: usize,
    end: usize,
    nodes: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Placed> {
        self.tokens.get(self.at)
    }

    fn symbol(&self) -> Option<&'static str> {
        match self.peek() {
            Some((Token::Symbol(symbol), _)) => Some(symbol),
            _ => None,
        }
    }

    fn word(&self) -> Option<&str> {
        match self.peek() {
            Some((Token::Name(name), _)) => Some(name),
            _ => None,
        }
    }

    fn here(&self) -> std::ops::Range<usize> {
        self.peek().map_or(self.end..self.end, |(_, span)| span.clone())
    }

    fn accept(&mut self, symbol: &str) -> bool {
        let found = self.symbol() == Some(symbol);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str, after: &str) -> Result<usize, ExprError> {
        let span = self.here();
        if self.accept(symbol) {
            return Ok(span.end);
        }
        Err(ExprError::new(ErrorKind::Syntax, span, format!("`{symbol}` is missing after {after}")))
    }

    fn node(&mut self, from: usize, to: usize, kind: Kind) -> Result<Node, ExprError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let message = format!("an expression of more than {NODES_MAX} parts");
            return Err(ExprError::new(ErrorKind::Limit, from..to, message)
                .help("compute parts of it under `derived:`"));
        }
        let place = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Node { at: (place(from), place(to)), kind })
    }

    fn expression(&mut self) -> Result<Node, ExprError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let message = format!("more than {DEPTH_MAX} brackets inside each other");
            return Err(ExprError::new(ErrorKind::Limit, self.here(), message));
        }
        let condition = self.binary(0)?;
        let node = if self.accept("?") {
            let yes = self.expression()?;
            self.expect(":", "the first choice of `? :`")?;
            let no = self.expression()?;
            let (from, to) = (condition.span().start, no.span().end);
            self.node(from, to, Kind::Choice(Box::new(condition), Box::new(yes), Box::new(no)))?
        } else {
            condition
        };
        self.depth -= 1;
        Ok(node)
    }

    /// The operator here, how strongly it binds, and whether it is the word `not` of `not in`.
    fn operator(&self) -> Option<(Operator, u8)> {
        if let Some(word) = self.word() {
            return match word {
                "or" => Some((Operator::Or, 1)),
                "and" => Some((Operator::And, 2)),
                "in" => Some((Operator::In, 4)),
                _ => None,
            };
        }
        Some(match self.symbol()? {
            "==" => (Operator::Equal, 4),
            "!=" => (Operator::Unequal, 4),
            "<" => (Operator::Less, 4),
            "<=" => (Operator::AtMost, 4),
            ">" => (Operator::More, 4),
            ">=" => (Operator::AtLeast, 4),
            "+" => (Operator::Add, 5),
            "-" => (Operator::Sub, 5),
            "*" => (Operator::Mul, 6),
            "/" => (Operator::Div, 6),
            _ => return None,
        })
    }

    fn binary(&mut self, least: u8) -> Result<Node, ExprError> {
        let mut left = if least <= 3 && self.word() == Some("not") {
            let from = self.here().start;
            self.at += 1;
            self.deeper()?;
            let inner = self.binary(3)?;
            self.depth -= 1;
            let to = inner.span().end;
            self.node(from, to, Kind::Not(Box::new(inner)))?
        } else {
            self.unary()?
        };
        while let Some((operator, strength)) = self.operator() {
            if strength < least {
                break;
            }
            self.at += 1;
            self.deeper()?;
            let right = self.binary(strength + 1)?;
            self.depth -= 1;
            let (from, to) = (left.span().start, right.span().end);
            left = self.node(from, to, Kind::Binary(operator, Box::new(left), Box::new(right)))?;
            if strength == 4 && self.operator().is_some_and(|(_, s)| s == 4) {
                let message = "comparisons cannot be chained";
                return Err(ExprError::new(ErrorKind::Syntax, self.here(), message)
                    .help("join two comparisons with `and`"));
            }
        }
        Ok(left)
    }

    fn deeper(&mut self) -> Result<(), ExprError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let message = format!("more than {DEPTH_MAX} levels of operators and brackets");
            return Err(ExprError::new(ErrorKind::Limit, self.here(), message));
        }
        Ok(())
    }

    fn unary(&mut self) -> Result<Node, ExprError> {
        let from = self.here().start;
        if self.accept("-") {
            self.deeper()?;
            let inner = self.unary()?;
            self.depth -= 1;
            let to = inner.span().end;
            return self.node(from, to, Kind::Negative(Box::new(inner)));
        }
        let base = self.postfix()?;
        if !self.accept("^") {
            return Ok(base);
        }
        let negative = self.accept("-");
        match self.peek() {
            Some((Token::Quantity(q), span))
                if q.dim.is_none() && q.value.fract() == 0.0 && q.value <= 12.0 =>
            {
                let (power, to) = (q.value as i8, span.end);
                self.at += 1;
                let power = if negative { -power } else { power };
                self.node(from, to, Kind::Power(Box::new(base), power))
            }
            _ => Err(ExprError::new(
                ErrorKind::Syntax,
                self.here(),
                "a power must be a whole number up to 12",
            )),
        }
    }

    fn postfix(&mut self) -> Result<Node, ExprError> {
        let mut node = self.primary()?;
        loop {
            let from = node.span().start;
            if self.accept(".") {
                let span = self.here();
                let Some(name) = self.word().map(str::to_owned) else {
                    let message = "a name is missing after `.`";
                    return Err(ExprError::new(ErrorKind::Syntax, span, message));
                };
                self.at += 1;
                node = match node.kind {
                    Kind::Path(mut path) => {
                        path.push(name);
                        self.node(from, span.end, Kind::Path(path))?
                    }
                    kind => {
                        let inner = Node { at: node.at, kind };
                        self.node(from, span.end, Kind::Field(Box::new(inner), name))?
                    }
                };
            } else if self.accept("[") {
                let index = self.expression()?;
                let to = self.expect("]", "the index")?;
                node = self.node(from, to, Kind::Index(Box::new(node), Box::new(index)))?;
            } else {
                return Ok(node);
            }
        }
    }

    fn primary(&mut self) -> Result<Node, ExprError> {
        let Some((token, span)) = self.peek().cloned() else {
            let message = "the expression ends too early";
            return Err(ExprError::new(ErrorKind::Syntax, self.here(), message));
        };
        self.at += 1;
        let (from, to) = (span.start, span.end);
        match token {
            Token::Quantity(quantity) => {
                self.node(from, to, Kind::Literal(Value::Quantity(quantity)))
            }
            Token::Text(text) => self.node(from, to, Kind::Literal(Value::text(&text))),
            Token::Name(name) => match name.as_str() {
                "true" | "false" => self.node(from, to, Kind::Literal(Value::Bool(name == "true"))),
                "and" | "or" | "in" | "not" => Err(ExprError::new(
                    ErrorKind::Syntax,
                    span,
                    format!("a value is missing before `{name}`"),
                )),
                _ if self.accept("(") => {
                    let (args, to) = self.arguments()?;
                    self.node(from, to, Kind::Call(name, args))
                }
                _ => self.node(from, to, Kind::Path(vec![name])),
            },
            Token::Symbol("(") => {
                let mut inner = self.expression()?;
                let to = self.expect(")", "the bracket")?;
                let place = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                inner.at = (place(from), place(to));
                // A path in brackets is not continued by `.name`: `(a).b` is a field of a value.
                Ok(inner)
            }
            Token::Symbol("[") => {
                let mut items = Vec::new();
                while self.symbol() != Some("]") {
                    items.push(self.expression()?);
                    if !self.accept(",") {
                        break;
                    }
                }
                let to = self.expect("]", "the list")?;
                self.node(from, to, Kind::List(items))
            }
            Token::Symbol(symbol) => Err(ExprError::new(
                ErrorKind::Syntax,
                span,
                format!("a value is missing before `{symbol}`"),
            )),
        }
    }

    #[expect(clippy::type_complexity, reason = "named arguments and where the bracket ends")]
    fn arguments(&mut self) -> Result<(Vec<(Option<String>, Node)>, usize), ExprError> {
        let mut args = Vec::new();
        while self.symbol() != Some(")") {
            let named = matches!(
                (self.peek(), self.tokens.get(self.at + 1)),
                (Some((Token::Name(_), _)), Some((Token::Symbol(":"), _)))
            );
            let name = if named { self.word().map(str::to_owned) } else { None };
            if named {
                self.at += 2;
            }
            args.push((name, self.expression()?));
            if !self.accept(",") {
                break;
            }
        }
        let to = self.expect(")", "the arguments")?;
        Ok((args, to))
    }
}
