//! Another text for a campaign that is under way: what it changes, and whether it may.
//!
//! Only the campaign's own text is exchanged. Protocol, lab and definitions stay those it was
//! started with, whatever happened to their files since, so an edit cannot change what a run does
//! by the way.

use std::collections::{BTreeMap, BTreeSet};

use crate::compiler::{Bundle, BundleError, check_bundle};
use crate::spec::campaign::{Campaign, Range};
use crate::spec::tree::{self, Node, NodeKind};
use crate::spec::{Report, Sources, Written};
use crate::units::Quantity;

/// What may change while a campaign is under way, with all that stands below it.
const MAY_CHANGE: &[&str] = &[
    "space",
    "budget",
    "objectives",
    "constraints",
    "stop",
    "parallel",
    "replicates",
    "priority",
    "planner.batch",
    "on_failed_run",
    "in_doubt",
    "roles",
];

/// A campaign with another text.
#[derive(Debug)]
pub struct Edited {
    /// All texts that hold from now on, checked.
    pub bundle: Bundle,
    /// The changes in words, in the order of their names.
    pub diff: Vec<String>,
}

/// Why a text cannot take the place of another.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The kept texts cannot be read.
    #[error(transparent)]
    Kept(#[from] BundleError),
    /// The new text has mistakes; they are in the bundle's report.
    #[error("the new text has mistakes")]
    Texts(Box<Bundle>),
    /// It changes what must stay; each in words.
    #[error("it changes what must stay: {}", .0.join("; "))]
    Refused(Vec<String>),
    /// It changes nothing.
    #[error("it changes nothing")]
    Nothing,
}

/// Checks another text for the campaign of a kept bundle.
///
/// Errors: it has mistakes, changes nothing, or changes what must stay while runs are under way.
pub fn edited(kept: &str, text: &str) -> Result<Edited, EditError> {
    let old = Bundle::from_kept(kept)?;
    let Some(before) = old.campaign.clone() else {
        let why = "this is a single run, which has nothing that could be edited";
        return Err(EditError::Refused(vec![why.to_owned()]));
    };
    let Some(changes) = changes(old.campaign_text(), text) else {
        // Not YAML: the report says where.
        return Err(EditError::Texts(Box::new(Bundle::from_kept_with(kept, text)?)));
    };
    if changes.is_empty() {
        return Err(EditError::Nothing);
    }
    let refused: Vec<String> = changes
        .iter()
        .filter(|change| !change.may_be())
        .map(|change| format!("{change} (start a new campaign for that)"))
        .collect();
    if !refused.is_empty() {
        return Err(EditError::Refused(refused));
    }
    let mut bundle = Bundle::from_kept_with(kept, text)?;
    check_bundle(&mut bundle);
    let after = match &bundle.campaign {
        Some(after) if !bundle.report.has_errors() => after,
        _ => return Err(EditError::Texts(Box::new(bundle))),
    };
    let lost = lost(&before, after);
    if !lost.is_empty() {
        return Err(EditError::Refused(lost));
    }
    Ok(Edited { bundle, diff: changes.iter().map(Change::to_string).collect() })
}

/// One value that differs.
struct Change {
    path: String,
    from: Option<String>,
    to: Option<String>,
}

impl Change {
    fn may_be(&self) -> bool {
        MAY_CHANGE.iter().any(|allowed| {
            let rest = self.path.strip_prefix(allowed);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown =
            |value: &Option<String>| value.clone().unwrap_or_else(|| "not given".to_owned());
        write!(f, "{}: {} -> {}", self.path, shown(&self.from), shown(&self.to))
    }
}

/// Values that differ between two texts, by their names; `None` if one is not YAML.
fn changes(old: &str, new: &str) -> Option<Vec<Change>> {
    let (old, new) = (values(old)?, values(new)?);
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |path: &String| {
        let (from, to) = (old.get(path).cloned(), new.get(path).cloned());
        (from != to).then(|| Change { path: path.clone(), from, to })
    };
    Some(paths.into_iter().filter_map(change).collect())
}

/// Every value of a text by its name: `space.temperature.to` is `110 degC`.
fn values(text: &str) -> Option<BTreeMap<String, String>> {
    let mut sources = Sources::default();
    let id = sources.add("campaign".to_owned(), text.to_owned());
    let root = tree::parse(sources.get(id)?, &mut Report::new())?;
    let mut all = BTreeMap::new();
    // The depth of a tree is bounded by its reader; this list by the size of the text.
    let mut open: Vec<(String, &Node)> = vec![(String::new(), &root)];
    while let Some((path, node)) = open.pop() {
        match &node.kind {
            NodeKind::Map(entries) => open.extend(entries.iter().map(|entry| {
                let dot = if path.is_empty() { "" } else { "." };
                (format!("{path}{dot}{}", entry.key.value), &entry.value)
            })),
            NodeKind::List(items) => match scalars(items) {
                Some(items) => {
                    all.insert(path, format!("[{}]", items.join(", ")));
                }
                None => open.extend(
                    items.iter().enumerate().map(|(n, item)| (format!("{path}[{n}]"), item)),
                ),
            },
            NodeKind::Scalar { text, .. } => {
                all.insert(path, text.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            NodeKind::Empty => {
                all.insert(path, String::new());
            }
            NodeKind::Refused => return None,
        }
    }
    Some(all)
}

fn scalars(items: &[Node]) -> Option<Vec<&str>> {
    items
        .iter()
        .map(|item| match &item.kind {
            NodeKind::Scalar { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

/// What the experiments so far would lose their meaning by.
fn lost(before: &Campaign, after: &Campaign) -> Vec<String> {
    let mut lost = Vec::new();
    for old in &before.space {
        let name = &old.name.value;
        let Some(new) = after.space.iter().find(|d| d.name.value == *name) else {
            lost.push(format!("`{name}` is no longer searched; narrow its range instead"));
            continue;
        };
        match (&old.range, &new.range) {
            (Range::Interval { log: a, .. }, Range::Interval { log: b, .. }) if a == b => {}
            (Range::Options { values: a, .. }, Range::Options { values: b, .. }) => {
                let (a, b) = (words(a), words(b));
                lost.extend(a.difference(&b).map(|word| {
                    format!(
                        "`{word}` is no longer an option of `{name}`, and experiments were made \
                         with it; exclude it by `constraints: {{inputs: [\"params.{name} != \
                         '{word}'\"]}}`"
                    )
                }));
            }
            _ => lost.push(format!("`{name}` is searched in another way than before")),
        }
    }
    for new in &after.space {
        if !before.space.iter().any(|d| d.name.value == new.name.value) {
            lost.push(format!(
                "`{}` was not searched before: experiments so far have no value of it",
                new.name.value
            ));
        }
    }
    lost
}

/// Options that are words; numbers are compared by their size.
fn words(values: &[Written]) -> BTreeSet<String> {
    let word = |value: &Written| match value {
        Written::Scalar { text, .. } if Quantity::parse(text).is_err() => Some(text.clone()),
        _ => None,
    };
    values.iter().filter_map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "schema: labloop/campaign/v1\nname: c\nspace:\n  t: {from: 40 degC, to: 110 \
                       degC}\nbudget: {experiments: 20}\nplanner: {seed: 1}\n";

    fn diff(new: &str) -> Vec<String> {
        changes(OLD, new).unwrap().iter().map(Change::to_string).collect()
    }

    #[test]
    fn changes_are_told_by_the_names_of_the_document() {
        let new = OLD.replace("110 degC", "95 degC").replace("20}", "40, time: 5 d}");
        let expected = [
            "budget.experiments: 20 -> 40",
            "budget.time: not given -> 5 d",
            "space.t.to: 110 degC -> 95 degC",
        ];
        assert_eq!(diff(&new), expected);
        assert!(changes(OLD, &new).unwrap().iter().all(Change::may_be));
    }

    #[test]
    fn another_form_or_comment_changes_nothing_and_a_seed_may_not_change() {
        let flow = OLD.replace("{experiments: 20}", "\n  experiments: 20   # as agreed");
        assert!(diff(&flow).is_empty());
        let seed = changes(OLD, &OLD.replace("seed: 1", "seed: 2")).unwrap();
        assert!(seed.len() == 1 && !seed[0].may_be());
        // `budgets` is not `budget`.
        let key = changes(OLD, &format!("{OLD}budgets: 1\n")).unwrap();
        assert!(key.len() == 1 && !key[0].may_be());
    }
}
