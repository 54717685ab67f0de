//! Steps that compute: what `analyse:` names, its inputs and their types.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{NodeId, NodeKind};
use super::values;
use super::walk::Walk;
use crate::analysis::{self, signature};
use crate::expr::Type;
use crate::spec::protocol::{Step, StepKind};
use crate::spec::{Diagnostic, Named, codes, nearest};

impl<'a> Walk<'a> {
    /// `analyse: function`.
    pub(super) fn analysis(
        &mut self,
        parent: NodeId,
        slot: u32,
        name: String,
        step: &'a Step,
    ) -> Option<NodeId> {
        let StepKind::Analyse { function, with } = &step.kind else { return None };
        let Some(signature) = signature(&function.value) else {
            let message = match nearest(&function.value, analysis::names()) {
                Some(near) => format!("write `{near}` instead of `{}`", function.value),
                None => format!("name an analysis that exists, not `{}`", function.value),
            };
            let mut wrong = Diagnostic::error(codes::UNKNOWN_ANALYSIS, function.span, message)
                .label("no such analysis")
                .reason(format!("there are {}", analysis::names().join(", ")));
            if let Some(near) = nearest(&function.value, analysis::names()) {
                wrong = wrong.fix(near);
            }
            self.report.push(wrong);
            return None;
        };
        let mut inputs = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut complete = true;
        for Named { name, value } in with {
            seen.insert(name.value.as_str());
            let Some(input) = signature.input(&name.value) else {
                let known: Vec<&str> = signature.inputs.iter().map(|i| i.name).collect();
                let message = match nearest(&name.value, known.iter().copied()) {
                    Some(near) => format!("write `{near}` instead of `{}`", name.value),
                    None => {
                        format!("remove `{}`: `{}` takes no such input", name.value, function.value)
                    }
                };
                let mut wrong = Diagnostic::error(codes::UNKNOWN_ARGUMENT, name.span, message)
                    .label("no such input")
                    .reason(format!("it takes {}", known.join(", ")));
                if let Some(near) = nearest(&name.value, known) {
                    wrong = wrong.fix(near);
                }
                self.report.push(wrong);
                complete = false;
                continue;
            };
            let Some((expr, found)) = values::list(value, &self.names, &mut self.report) else {
                complete = false;
                continue;
            };
            if !input.is.accepts(&found) {
                self.report.push(
                    Diagnostic::error(
                        codes::EXPRESSION_TYPE,
                        value.span(),
                        format!("give `{}` of `{}` {}", name.value, function.value, input.is),
                    )
                    .label(format!("this is a {found}"))
                    .reason(input.doc),
                );
                complete = false;
                continue;
            }
            inputs.insert(name.value.clone(), expr);
        }
        for input in signature.inputs.iter().filter(|i| !i.optional && !seen.contains(i.name)) {
            self.report.push(
                Diagnostic::error(
                    codes::MISSING_ARGUMENT,
                    function.span,
                    format!("add `{}` to `with:` of `{}`", input.name, function.value),
                )
                .label("an input is missing")
                .reason(format!("{}: {}", input.name, input.doc)),
            );
            complete = false;
        }
        if !complete {
            return None;
        }
        let kind = NodeKind::Analyse { function: function.value.clone(), inputs };
        Some(self.push(Some(parent), slot, name, kind, step.span))
    }
}

impl analysis::Kind {
    /// Whether a type may be given.
    fn accepts(self, found: &Type) -> bool {
        use analysis::Kind as K;
        match (self, found) {
            (_, Type::Unknown) => true,
            (K::Quantity(dim), Type::Quantity { dim: found, .. }) => dim == *found,
            (K::Curves, Type::Series { .. }) => true,
            (K::Curves, Type::List(item)) => {
                matches!(**item, Type::Series { .. } | Type::Unknown)
            }
            (K::List, Type::List(_)) => true,
            (K::Numbers, Type::List(item)) => {
                matches!(&**item, Type::Quantity { dim, .. } if dim.is_none())
                    || **item == Type::Unknown
            }
            (K::Word(_), Type::Text) => true,
            _ => false,
        }
    }
}
