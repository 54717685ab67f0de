//! A lab alone, kept and read back: for commands by hand, and for looking at the past of a run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{BundleError, Kept, Loader};
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
