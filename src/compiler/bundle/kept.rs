//! A lab alone, kept and read back: for commands by hand, and for looking at the past of a run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Bundle, BundleError, Kept, Loader};
use crate::compiler::Definitions;
use crate::spec::lab::Lab;

impl Loader {
    /// The texts read so far as one document about a lab.
    pub fn keep_lab(&self, lab: &Path) -> String {
        let name = lab.to_string_lossy().replace('\\', "/");
        let kept = Kept {
            document: name.clone(),
            lab: Some(name),
            uses: self.uses.clone(),
            texts: self.texts.clone(),
        };
        serde_json::to_string(&kept).unwrap_or_default()
    }
}

/// The lab of kept texts with its definitions; `None` when there is none, or when this version
/// cannot read it.
pub fn lab_of_kept(text: &str) -> Result<Option<(Arc<Lab>, Definitions)>, BundleError> {
    let kept: Kept = serde_json::from_str(text).map_err(|e| BundleError::Kept(e.to_string()))?;
    let Some(lab) = kept.lab.clone().map(PathBuf::from) else { return Ok(None) };
    let mut loader = Loader { kept: Some(kept), ..Loader::default() };
    loader.lab(&lab)
}

/// Longest line of a text in the words about a difference.
const LINE_SHOWN: usize = 80;

impl Bundle {
    /// What tells the lab of another bundle from this one's, in words; `None` if the texts of both
    /// labs and of all their definitions are the same. Where the files lie makes no difference.
    pub fn lab_difference(&self, other: &Bundle) -> Option<String> {
        let lab = |bundle: &Bundle| {
            let kept = &bundle.kept;
            kept.lab.as_ref().and_then(|lab| kept.texts.get(lab)).cloned().unwrap_or_default()
        };
        if let Some(line) = different_line(&lab(self), &lab(other)) {
            return Some(format!("its lab file differs: {line}"));
        }
        let definition = |bundle: &Bundle, name: &str| {
            let file = bundle.kept.uses.get(name).map_or(name, String::as_str);
            bundle.kept.texts.get(file).cloned().unwrap_or_default()
        };
        let names = self.definitions.keys().chain(other.definitions.keys());
        let mut names: Vec<&String> = names.collect();
        names.sort();
        names.dedup();
        names.into_iter().find_map(|name| {
            let line = different_line(&definition(self, name), &definition(other, name))?;
            Some(format!("the definition `{name}` differs: {line}"))
        })
    }
}

/// The first line in which two texts differ, in words.
fn different_line(one: &str, other: &str) -> Option<String> {
    if one == other {
        return None;
    }
    let (mut left, mut right) = (one.lines(), other.lines());
    let shown = |line: Option<&str>| match line {
        Some(line) => format!("`{}`", line.trim().chars().take(LINE_SHOWN).collect::<String>()),
        None => "its end".to_owned(),
    };
    for number in 1_usize.. {
        match (left.next(), right.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (a, b) => {
                return Some(format!("line {number} is {} here and {} there", shown(a), shown(b)));
            }
        }
    }
    Some("they end their lines differently".to_owned())
}

impl Bundle {
    /// A lab alone with all its definitions.
    ///
    /// Mistakes inside the documents are in `report`; an error is a file that cannot be had.
    pub fn of_lab(file: &Path) -> Result<Bundle, BundleError> {
        let mut loader = Loader::default();
        let found = loader.lab(file)?;
        let name = file.to_string_lossy().replace('\\', "/");
        let (lab, definitions) = match found {
            Some((lab, definitions)) => (Some(lab), definitions),
            None => (None, Definitions::new()),
        };
        let kept = Kept {
            document: name.clone(),
            lab: Some(name),
            uses: loader.uses,
            texts: loader.texts,
        };
        let (sources, report) = (loader.sources, loader.report);
        let (campaign, protocol, protocols) = (None, None, Default::default());
        Ok(Bundle { sources, report, campaign, protocol, protocols, lab, definitions, kept })
    }
}
