//! What could be written at a place.

use std::collections::BTreeSet;

use super::cursor::Cursor;
use super::describe;
use super::project::Project;
use crate::analysis;
use crate::compiler::built_in;
use crate::spec::protocol::Step;
use crate::spec::schema::{Form, Slot};
use crate::spec::tree::{self, NodeKind};
use crate::spec::{Kind, Report, SourceFile, SourceId, ValueSpec, ValueType};

/// Stands where the cursor is, so that a half-written line can be read.
const MARK: &str = "zzMARKzz";
/// Most proposals.
const PROPOSALS_MAX: usize = 500;

/// Something that could be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// What is shown.
    pub label: String,
    /// Beside it.
    pub detail: String,
    /// What is written.
    pub insert: String,
    /// What it is.
    pub kind: ProposalKind,
}

/// What a proposal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProposalKind {
    /// A key of a mapping.
    Key,
    /// One of the words allowed.
    Word,
    /// `role.action`.
    Action,
    /// A name of an expression.
    Name,
}

fn one(label: &str, detail: impl Into<String>, kind: ProposalKind) -> Proposal {
    let insert = match kind {
        ProposalKind::Key => format!("{label}: "),
        _ => label.to_owned(),
    };
    Proposal { label: label.to_owned(), detail: detail.into(), insert, kind }
}

impl Project {
    /// What could be written at a byte of the document, as far as its line can be read.
    pub fn complete(&self, byte: usize) -> Vec<Proposal> {
        let text = self.text();
        let (Some(before), Some(after)) = (text.get(..byte), text.get(byte..)) else {
            return Vec::new();
        };
        let kind = self.kind.or_else(|| self.kind_by_first_line());
        let Some(kind) = kind else { return Vec::new() };
        let line = before.rsplit('\n').next().unwrap_or_default();
        if let Some((_, inside)) = line.rsplit_once("${")
            && !inside.contains('}')
        {
            return self.names(inside);
        }
        // A word alone, a key, either inside brackets that are still open.
        for insert in [
            MARK.to_owned(),
            format!("{MARK}: z"),
            format!("{MARK}}}"),
            format!("{MARK}: z}}"),
            format!("{MARK}}}}}"),
            format!("{MARK}: z}}}}"),
        ] {
            let file = SourceFile::new(SourceId(0), "", format!("{before}{insert}{after}"));
            let Some(root) = tree::parse(&file, &mut Report::new()) else { continue };
            let Some(cursor) = Cursor::at(&root, Slot::root(kind), byte) else { continue };
            if !cursor.text.contains(MARK) {
                continue;
            }
            let mut found = if cursor.is_key {
                self.keys(&cursor, kind, 1)
            } else {
                self.values(&cursor, kind, line)
            };
            found.truncate(PROPOSALS_MAX);
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    fn kind_by_first_line(&self) -> Option<Kind> {
        Kind::ALL
            .into_iter()
            .find(|kind| self.text().contains(&format!("schema: {}", kind.schema())))
    }

    /// Keys of the mapping that `up` steps of the path lead out to.
    fn keys(&self, cursor: &Cursor<'_>, kind: Kind, up: usize) -> Vec<Proposal> {
        let outer = cursor.path.len().saturating_sub(up);
        let path = cursor.path.get(..outer).unwrap_or_default();
        if path.last() == Some(&"with") {
            return self.arguments(cursor, up);
        }
        let mut slot = Slot::root(kind);
        for step in path {
            slot = if *step == "#" { slot.item() } else { slot.key(step) };
        }
        let there: BTreeSet<&str> = match cursor.around.last().map(|node| &node.kind) {
            Some(NodeKind::Map(entries)) if up == 1 => {
                entries.iter().map(|e| e.key.value.as_str()).collect()
            }
            _ => BTreeSet::new(),
        };
        slot.keys()
            .into_iter()
            .filter(|(key, _)| !there.contains(key))
            .map(|(key, doc)| one(key, doc, ProposalKind::Key))
            .collect()
    }

    fn arguments(&self, cursor: &Cursor<'_>, up: usize) -> Vec<Proposal> {
        // The step is around the mapping of arguments, which is there only if a key stands in it.
        let Some(action) = cursor.beside(up, "do") else { return Vec::new() };
        let there = |name: &str| match cursor.around.last().map(|node| &node.kind) {
            Some(NodeKind::Map(entries)) => entries.iter().any(|e| e.key.value == name),
            _ => false,
        };
        let spec = |arg: &ValueSpec| one(&arg.name.value, describe::value(arg), ProposalKind::Key);
        let args = self.args_of(action);
        args.iter().filter(|arg| !there(&arg.name.value)).map(spec).collect()
    }

    fn args_of(&self, action: &str) -> Vec<ValueSpec> {
        let found = || {
            let (role, name) = action.split_once('.')?;
            let (_, definition) = self.player(role)?;
            definition.actions.iter().find(|a| a.name.value == name).map(|a| a.args.clone())
        };
        found().unwrap_or_default()
    }

    fn values(&self, cursor: &Cursor<'_>, kind: Kind, line: &str) -> Vec<Proposal> {
        let words = |all: Vec<String>, detail: &str| -> Vec<Proposal> {
            all.iter().map(|w| one(w, detail, ProposalKind::Word)).collect()
        };
        let roles = || self.roles();
        match (kind, cursor.path.as_slice()) {
            (_, [.., "do"]) => self.actions(line),
            (_, [.., "analyse"]) => {
                words(analysis::names().into_iter().map(str::to_owned).collect(), "analysis")
            }
            (Kind::Protocol, [.., "hold", "#"]) => words(roles(), "role"),
            (Kind::Lab, ["instruments", _, "use"]) => {
                words(built_in::names().map(str::to_owned).collect(), "definition")
            }
            (Kind::Campaign, ["objectives", "#", "result" | "noise"]) => {
                let results = self.protocol.iter().flat_map(|p| &p.results);
                words(results.map(|r| r.name.value.clone()).collect(), "result")
            }
            (_, [.., "with"]) => self.arguments(cursor, 0),
            (_, [.., "with", argument]) => {
                let args = cursor.beside(1, "do").map(|a| self.args_of(a)).unwrap_or_default();
                let found = args.iter().find(|arg| arg.name.value == *argument);
                match found.map(|arg| &arg.kind) {
                    Some(ValueType::Choice { options }) => {
                        words(options.iter().map(|o| o.value.clone()).collect(), "option")
                    }
                    Some(ValueType::Bool) => words(vec!["true".into(), "false".into()], ""),
                    _ => Vec::new(),
                }
            }
            _ if cursor.slot.form() == Form::Condition => {
                let from = line.rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'));
                self.names(from.and_then(|at| line.get(at + 1..)).unwrap_or(line))
            }
            _ => {
                let allowed = cursor.slot.words();
                let found: Vec<Proposal> =
                    allowed.into_iter().map(|w| one(w, "", ProposalKind::Word)).collect();
                if found.is_empty() { self.keys(cursor, kind, 0) } else { found }
            }
        }
    }

    fn roles(&self) -> Vec<String> {
        let played = self.lab.iter().flat_map(|lab| &lab.instruments).flat_map(|i| &i.plays);
        let named = self.protocol.iter().flat_map(|p| &p.roles).map(|r| &r.name.value);
        let all: BTreeSet<&String> = played.map(|p| &p.value).chain(named).collect();
        all.into_iter().cloned().collect()
    }

    /// `role.action`; behind the dot only the action is written.
    fn actions(&self, line: &str) -> Vec<Proposal> {
        let typed = line.rsplit([' ', ':', '{']).next().unwrap_or_default();
        let mut out = Vec::new();
        for role in self.roles() {
            let Some((_, definition)) = self.player(&role) else { continue };
            for action in &definition.actions {
                let name = format!("{role}.{}", action.name.value);
                let mut item =
                    one(&name, action.doc.clone().unwrap_or_default(), ProposalKind::Action);
                if let Some((before, _)) = typed.split_once('.') {
                    if before != role {
                        continue;
                    }
                    item.label.clone_from(&action.name.value);
                    item.insert.clone_from(&action.name.value);
                }
                out.push(item);
            }
        }
        out
    }

    /// Names of an expression of which some is written.
    fn names(&self, written: &str) -> Vec<Proposal> {
        let from = written.rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'));
        let path = from.and_then(|at| written.get(at..)).unwrap_or(written);
        let path = path.trim_start_matches(|c: char| !c.is_alphanumeric());
        let parts: Vec<&str> = path.split('.').collect();
        let names = |all: Vec<(String, String)>| -> Vec<Proposal> {
            all.into_iter().map(|(name, detail)| one(&name, detail, ProposalKind::Name)).collect()
        };
        let Some(protocol) = &self.protocol else { return Vec::new() };
        match parts.as_slice() {
            [_] => names(
                ["params", "derived", "roles", "steps", "lab"]
                    .map(|n| (n.to_owned(), String::new()))
                    .into(),
            ),
            ["params", _] => names(
                protocol
                    .parameters
                    .iter()
                    .map(|p| (p.name.value.clone(), describe::value(p)))
                    .collect(),
            ),
            ["derived", _] => names(
                protocol.derived.iter().map(|d| (d.name.value.clone(), String::new())).collect(),
            ),
            ["roles", _] => names(self.roles().into_iter().map(|r| (r, String::new())).collect()),
            ["roles", role, _] => {
                let properties = self.player(role).map(|(_, d)| d.properties.as_slice());
                let describe = |p: &crate::spec::instrument::Property| {
                    (p.name.value.clone(), describe::shape(&p.shape))
                };
                names(properties.unwrap_or_default().iter().map(describe).collect())
            }
            ["steps", _] => {
                let mut ids = Vec::new();
                let mut open: Vec<&Step> = protocol.steps.iter().collect();
                while let Some(step) = open.pop() {
                    ids.extend(step.id.iter().map(|id| (id.value.clone(), String::new())));
                    open.extend(step.children());
                }
                ids.sort();
                names(ids)
            }
            _ => Vec::new(),
        }
    }
}
