//! `on_error: fallback`: the same action on another instrument that can play the role.
//!
//! The instruments that can are tried in the order of the lab, each once. Every one of them is
//! walked like the instrument that plays the role: its limits, its ranges over the box, its ports,
//! its interlocks, its claims and what it starts. So a fallback never meets a refusal that could
//! have been seen before the run. That nothing of the run stands or falls with one of them is
//! proven of the whole graph (`proof::stand_in`).

use super::bind::Binding;
use super::graph::{NodeId, OnError};
use super::names::shape_type;
use super::walk::Walk;
use crate::spec::lab::LabInstrument;
use crate::spec::protocol::{Step, StepKind};
use crate::spec::{Diagnostic, Report, Span, Spanned, codes};

impl<'a> Walk<'a> {
    /// The other instruments for a step, each a node below the one before.
    pub(super) fn fallback(&mut self, id: NodeId, step: &'a Step, span: Span) -> OnError {
        let StepKind::Do { role, uses, .. } = &step.kind else {
            self.report.push(
                Diagnostic::error(
                    codes::FALLBACK_STATE,
                    span,
                    "choose another `on_error`: only an action can go to another instrument",
                )
                .label("not an action of one instrument")
                .fix("on_error: ask"),
            );
            return OnError::Fail;
        };
        if let Some(sample) = uses.first() {
            self.report.push(
                Diagnostic::error(
                    codes::FALLBACK_STATE,
                    span,
                    format!(
                        "choose another `on_error`: `{}` is where it is, not at another instrument",
                        sample.value
                    ),
                )
                .label("cannot go to another instrument")
                .also(sample.span, "works on this sample")
                .fix("on_error: invalid"),
            );
            return OnError::Fail;
        }
        let Some(own) = self.names.roles.get(&role.value).cloned() else { return OnError::Fail };
        let others = self.others(role, &own);
        if others.is_empty() {
            self.nobody_else(role, &own, span);
            return OnError::Fail;
        }
        let (mut at, mut first) = (id, OnError::Fail);
        let once = self.once.len();
        for other in others {
            let Some(next) = self.stand_in(at, step, role, &own, other) else { continue };
            match self.nodes.get_mut(at.0 as usize) {
                Some(before) if at != id => before.on_error = OnError::Fallback(next),
                _ => first = OnError::Fallback(next),
            }
            at = next;
        }
        // One step is one question, whichever instrument it goes to; the step itself was counted.
        let counted = self.once.get(once.wrapping_sub(1)) == Some(&step.word);
        self.once.truncate(once + usize::from(!counted));
        self.names.roles.insert(role.value.clone(), own);
        first
    }

    /// Instruments that could play the role and play none in this run, in the order of the lab.
    fn others(&self, role: &Spanned<String>, own: &Binding) -> Vec<&'a LabInstrument> {
        let lab = self.request.lab;
        let kind = &own.definition.kind.value;
        lab.instruments
            .iter()
            .filter(|i| !self.names.roles.values().any(|b| b.instrument == i.name.value))
            .filter(|i| i.plays.is_empty() || i.plays.iter().any(|p| p.value == role.value))
            .filter(|i| {
                let definition = self.request.definitions.get(&i.definition.value);
                definition.is_some_and(|d| d.kind.value == *kind)
            })
            .collect()
    }

    fn nobody_else(&mut self, role: &Spanned<String>, own: &Binding, span: Span) {
        let kind = &own.definition.kind.value;
        let busy = self.request.lab.instruments.iter().find(|i| {
            i.name.value != own.instrument
                && i.plays.iter().any(|p| p.value == role.value)
                && self.names.roles.values().any(|b| b.instrument == i.name.value)
        });
        let mut wrong = Diagnostic::error(
            codes::FALLBACK_NOBODY,
            span,
            format!(
                "let another {kind} of the lab play `{}`, or choose another `on_error`",
                role.value
            ),
        )
        .label(format!("`{}` is the only one", own.instrument))
        .also(self.request.lab.name.span, "the lab")
        .fix("on_error: ask");
        if let Some(busy) = busy {
            wrong = wrong
                .also(busy.name.span, "plays another role of this run, so it cannot stand in too");
        }
        self.report.push(wrong);
    }

    /// The step on another instrument. What is wrong with it says which one is meant.
    fn stand_in(
        &mut self,
        before: NodeId,
        step: &'a Step,
        role: &Spanned<String>,
        own: &Binding,
        other: &'a LabInstrument,
    ) -> Option<NodeId> {
        let StepKind::Do { action, .. } = &step.kind else { return None };
        let definition = self.request.definitions.get(&other.definition.value)?.clone();
        let shape = |binding: &Binding| {
            let found = binding.definition.action(&action.value)?;
            Some(found.returns.as_ref().map(shape_type))
        };
        let binding = Binding { instrument: other.name.value.clone(), definition };
        let differs = shape(&binding).is_some_and(|other| shape(own) != Some(other));
        self.names.roles.insert(role.value.clone(), binding);
        let earlier = std::mem::replace(&mut self.report, Report::new());
        let name = format!("fallback#{}", other.name.value);
        let made = self.action(before, 0, name, step);
        if let Some(id) = made {
            if let Some(origin) = self.origins.get_mut(id.0 as usize) {
                *origin = Some(step);
            }
            let like = self.nodes.get(before.0 as usize).map(|n| (n.retry.clone(), n.deadline));
            if let (Some((retry, deadline)), Some(node)) = (like, self.nodes.get_mut(id.0 as usize))
            {
                node.retry = retry;
                // A `timeout` of the step is for every instrument; else each has its own.
                if step.timeout.is_some() {
                    node.deadline = deadline;
                }
            }
        }
        if differs {
            self.report.push(
                Diagnostic::error(
                    codes::FALLBACK_DIFFERS,
                    action.span,
                    format!(
                        "`{}` cannot stand in for `{}`: its `{}` gives something else",
                        other.name.value, own.instrument, action.value
                    ),
                )
                .label("one value with two forms")
                .also(own.definition.name.span, "gives one form")
                .fix(format!("take `{}` out of `plays:` of `{}`", role.value, other.name.value)),
            );
        }
        let found = std::mem::replace(&mut self.report, earlier);
        for wrong in found.diagnostics {
            let said = |d: &Diagnostic| d.code == wrong.code && d.place.span == wrong.place.span;
            if !self.report.diagnostics.iter().any(said) {
                self.report.push(wrong.also(other.name.span, "may stand in: `on_error: fallback`"));
            }
        }
        made
    }
}
