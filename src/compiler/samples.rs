//! Samples: where each stands, who moves it, how long what was made of it may be used.
//!
//! A sample stands at one place at every step, whichever way the run went; that is what makes a
//! `from` needless and a forgotten move a mistake that is found before the robot finds it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::graph::{Fresh, NodeId, NodeKind, PlaceClaim};
use super::walk::Walk;
use crate::expr::{Expr, Value};
use crate::spec::lab::PlaceDecl;
use crate::spec::protocol::{Step, StepKind};
use crate::spec::{Diagnostic, Named, Span, Spanned, Written, codes, nearest};

/// Where samples stand and what has an end of use, at one place of a protocol.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples {
    /// Place of each sample; `None` where it depends on the way the run took.
    pub(super) at: BTreeMap<String, Option<String>>,
    /// Most samples that stood in each place so far.
    pub(super) most: BTreeMap<String, u32>,
    /// `expires` of earlier steps.
    limits: Vec<Limit>,
}

#[derive(Debug, Clone)]
struct Limit {
    of: NodeId,
    step: Option<String>,
    samples: Vec<String>,
    within: Duration,
}

impl Samples {
    /// Takes what a branch of the run left: places that differ are not known any more.
    pub(super) fn join(&mut self, other: &Samples) {
        for (name, place) in &mut self.at {
            if other.at.get(name) != Some(place) {
                *place = None;
            }
        }
        for (place, most) in &other.most {
            let entry = self.most.entry(place.clone()).or_default();
            *entry = (*entry).max(*most);
        }
    }

    fn count(&mut self) {
        let mut now: BTreeMap<&String, u32> = BTreeMap::new();
        for place in self.at.values().flatten() {
            *now.entry(place).or_default() += 1;
        }
        for (place, count) in now {
            let most = self.most.entry(place.clone()).or_default();
            *most = (*most).max(count);
        }
    }
}

impl<'a> Walk<'a> {
    /// Puts the samples of the protocol where they stand when a run begins.
    pub(super) fn place_samples(&mut self) {
        for sample in &self.protocol().samples {
            let name = sample.name.value.clone();
            if let Some(place) = self.known_place(&sample.at) {
                self.fits(&name, sample.labware.as_ref(), place, sample.at.span);
            }
            self.samples.at.insert(name, Some(sample.at.value.clone()));
        }
        self.samples.count();
        for sample in &self.protocol().samples {
            self.room(&sample.at.value, sample.at.span);
        }
    }

    fn known_place(&mut self, name: &Spanned<String>) -> Option<&'a PlaceDecl> {
        let lab = self.request.lab;
        let found = lab.place(&name.value);
        if found.is_none() {
            let names = lab.places.iter().map(|p| p.name.value.as_str());
            let near = nearest(&name.value, names);
            let message = match near {
                Some(near) => format!("write `{near}` instead of `{}`", name.value),
                None => format!("add `{}` to `places:` of the lab", name.value),
            };
            let mut wrong = Diagnostic::error(codes::UNKNOWN_PLACE, name.span, message)
                .label("no place of the lab")
                .also(lab.name.span, "the lab");
            wrong.fix = match near {
                Some(near) => Some(near.to_owned()),
                None => Some(format!("places: {{{}: {{capacity: 1}}}}", name.value)),
            };
            self.report.push(wrong);
        }
        found
    }

    fn fits(
        &mut self,
        sample: &str,
        labware: Option<&'a Spanned<String>>,
        place: &'a PlaceDecl,
        span: Span,
    ) {
        let (Some(labware), Some(holds)) = (labware, &place.holds) else { return };
        if labware.value == holds.value {
            return;
        }
        self.report.push(
            Diagnostic::error(
                codes::SAMPLE_PLACE,
                span,
                format!(
                    "`{sample}` does not fit into `{}`: it is a {}",
                    place.name.value, labware.value
                ),
            )
            .label(format!("holds {}", holds.value))
            .also(holds.span, "what fits there")
            .also(labware.span, "the sample's labware"),
        );
    }

    /// More samples of one run in a place than fit there.
    fn room(&mut self, place: &str, span: Span) {
        let Some(declared) = self.request.lab.place(place) else { return };
        let most = self.samples.most.get(place).copied().unwrap_or(0);
        if most <= declared.capacity.value {
            return;
        }
        self.report.push(
            Diagnostic::error(
                codes::CLAIM_ABOVE_CAPACITY,
                span,
                format!(
                    "`{place}` would hold {most} samples, it has room for {}",
                    declared.capacity.value
                ),
            )
            .label("one too many")
            .also(declared.capacity.span, "its capacity")
            .fix("move one of them to another place first"),
        );
    }

    /// `move: sample`, by a role or by a person.
    pub(super) fn move_step(
        &mut self,
        parent: NodeId,
        slot: u32,
        name: String,
        step: &'a Step,
    ) -> Option<NodeId> {
        let StepKind::Move { sample, to, by } = &step.kind else { return None };
        let declared = self.known_sample(sample)?;
        let place = self.known_place(to)?;
        self.fits(&sample.value, declared.labware.as_ref(), place, to.span);
        let from = self.stands(sample, to, declared.at.span);
        self.samples.at.insert(sample.value.clone(), Some(to.value.clone()));
        self.samples.count();
        self.room(&to.value, to.span);
        let from = from?;
        let Some(by) = by else {
            let text = format!("Move {} from {from} to {}.", sample.value, to.value);
            let kind = NodeKind::Ask {
                question: Expr::literal(Value::text(&text)),
                options: vec!["done".to_owned(), "invalid".to_owned()],
                on_timeout: None,
            };
            return Some(self.push(Some(parent), slot, name, kind, step.span));
        };
        let scalar =
            |text: &str, span: Span| Written::Scalar { text: text.to_owned(), quoted: true, span };
        let with = vec![
            Named {
                name: Spanned::new("from".to_owned(), sample.span),
                value: scalar(&from, sample.span),
            },
            Named {
                name: Spanned::new("to".to_owned(), to.span),
                value: scalar(&to.value, to.span),
            },
        ];
        let action = Spanned::new("transfer".to_owned(), by.span);
        self.command(parent, slot, name, step, by, &action, &with)
    }

    fn known_sample(
        &mut self,
        sample: &Spanned<String>,
    ) -> Option<&'a crate::spec::protocol::Sample> {
        let protocol = self.protocol();
        let found = protocol.sample(&sample.value);
        if found.is_none() {
            let names = protocol.samples.iter().map(|s| s.name.value.as_str());
            let near = nearest(&sample.value, names);
            let message = match near {
                Some(near) => format!("write `{near}` instead of `{}`", sample.value),
                None => format!("add `{}` to `samples:` of the protocol", sample.value),
            };
            let mut wrong = Diagnostic::error(codes::UNKNOWN_SAMPLE, sample.span, message)
                .label("no sample of this protocol");
            wrong.fix = match near {
                Some(near) => Some(near.to_owned()),
                None => Some(format!("samples: {{{}: {{at: rack}}}}", sample.value)),
            };
            self.report.push(wrong);
        }
        found
    }

    /// Where a sample stands before a move, if that is certain and not where it goes.
    fn stands(
        &mut self,
        sample: &Spanned<String>,
        to: &Spanned<String>,
        declared: Span,
    ) -> Option<String> {
        let wrong = match self.samples.at.get(&sample.value)? {
            Some(from) if *from != to.value => return Some(from.clone()),
            Some(_) => Diagnostic::error(
                codes::SAMPLE_PLACE,
                to.span,
                format!("remove this move: `{}` stands at `{}` already", sample.value, to.value),
            )
            .label("it is there"),
            None => Diagnostic::error(
                codes::SAMPLE_PLACE,
                sample.span,
                format!("where `{}` stands here depends on the way the run took", sample.value),
            )
            .label("moved on some paths only")
            .reason("a robot must know where to take it from")
            .fix("move it to the same place on every path before this step"),
        };
        self.report.push(wrong.also(declared, "where it begins"));
        None
    }

    /// A loop must leave each sample where the next round expects it.
    pub(super) fn round_closes(&mut self, before: &BTreeMap<String, Option<String>>, span: Span) {
        let moved: Vec<String> = before
            .iter()
            .filter(|(name, place)| self.samples.at.get(*name) != Some(*place))
            .map(|(name, _)| name.clone())
            .collect();
        for name in moved {
            let show = |place: Option<&Option<String>>| {
                place.cloned().flatten().unwrap_or_else(|| "one of several places".to_owned())
            };
            let (first, last) = (show(before.get(&name)), show(self.samples.at.get(&name)));
            self.report.push(
                Diagnostic::error(
                    codes::SAMPLE_PLACE,
                    span,
                    format!("move `{name}` back to `{first}` at the end of the round"),
                )
                .label(format!("a round ends with it at {last}"))
                .reason("the next round takes it from where the first one did")
                .fix(format!("- {{move: {name}, to: {first}}}")),
            );
        }
    }

    /// `uses:` and `expires:`: what this step needs to be fresh, and what it makes.
    pub(super) fn freshness(&mut self, id: NodeId, step: &'a Step) {
        let (uses, expires): (Vec<String>, _) = match &step.kind {
            StepKind::Do { uses, expires, .. } => {
                for sample in uses {
                    self.known_sample(sample);
                }
                (uses.iter().map(|u| u.value.clone()).collect(), expires.as_ref())
            }
            StepKind::Move { sample, .. } => (vec![sample.value.clone()], None),
            _ => (Vec::new(), None),
        };
        if !self.samples.limits.is_empty() {
            let reads = self.nodes.get(id.0 as usize).map(|n| steps_read(&n.kind));
            let reads = reads.unwrap_or_default();
            let fresh: Vec<Fresh> = self
                .samples
                .limits
                .iter()
                .filter(|limit| {
                    limit.samples.iter().any(|s| uses.contains(s))
                        || limit.step.as_ref().is_some_and(|s| reads.contains(s))
                })
                .map(|limit| Fresh { of: limit.of, within: limit.within })
                .collect();
            if let Some(node) = self.nodes.get_mut(id.0 as usize) {
                node.fresh = fresh;
            }
        }
        let Some(within) = expires.and_then(|e| self.constant_time(e, "expires")) else { return };
        // What is made of a sample now replaces what was made of it before.
        self.samples.limits.retain(|l| !l.samples.iter().any(|s| uses.contains(s)));
        let step = step.id.as_ref().map(|i| i.value.clone());
        self.samples.limits.push(Limit { of: id, step, samples: uses, within });
    }

    /// Room that a run needs in the places of the lab.
    pub(super) fn place_claims(&self) -> Vec<PlaceClaim> {
        self.samples
            .most
            .iter()
            .filter(|(_, most)| **most > 0)
            .filter_map(|(place, most)| {
                let capacity = self.request.lab.place(place)?.capacity.value;
                Some(PlaceClaim { place: place.clone(), samples: *most, capacity })
            })
            .collect()
    }
}

/// Steps whose values a node reads.
fn steps_read(kind: &NodeKind) -> BTreeSet<String> {
    let mut read = BTreeSet::new();
    let mut of = |expr: &Expr| {
        for path in expr.names() {
            if path.first().is_some_and(|root| root == "steps") {
                read.extend(path.get(1..3).unwrap_or(path.get(1..).unwrap_or_default()).to_vec());
            }
        }
    };
    match kind {
        NodeKind::Action { args, .. } => args.values().for_each(&mut of),
        NodeKind::Analyse { inputs, .. } => inputs.values().for_each(&mut of),
        _ => {}
    }
    read
}
