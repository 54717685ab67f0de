//! All texts of a campaign or a protocol, read together and kept together.
//!
//! A run goes on with the texts it was started with whatever happens to the files since, so a
//! bundle can be written into one document and read back from it.

mod kept;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bind::Definitions;
use super::built_in;
use super::scripts;
use super::walk::Protocols;
use crate::spec::campaign::Campaign;
use crate::spec::instrument::Instrument;
use crate::spec::lab::Lab;
use crate::spec::protocol::{ProcessDecl, Protocol, Step, StepKind};
use crate::spec::{
    Diagnostic, Document, Report, SourceId, Sources, Spanned, codes, lower, nearest,
};

pub use self::kept::lab_of_kept;
pub use crate::spec::Kind;

/// Largest file that is read.
const FILE_MAX: u64 = 16 << 20;
/// Protocols called from one, directly or not.
const CALLED_MAX: usize = 1_000;
/// Entries of a folder that are looked through for a name that was meant.
const FOLDER_MAX: usize = 1_000;
/// Folders above the lab that are searched for `instruments/`.
const FOLDERS_UP: usize = 6;

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// It cannot be read.
    #[error("{path} cannot be read: {reason}")]
    Read {
        /// File.
        path: String,
        /// Why.
        reason: String,
    },
    /// It is a document of another kind.
    #[error("{path} is {found}; {wanted} is needed here")]
    Kind {
        /// File.
        path: String,
        /// What it is.
        found: String,
        /// What is needed.
        wanted: &'static str,
    },
    /// No lab is named.
    #[error("{path} does not say in which lab it runs; name one with --lab LAB")]
    NoLab {
        /// File.
        path: String,
    },
    /// A kept bundle cannot be read.
    #[error("the kept texts cannot be read: {0}")]
    Kept(String),
}

/// Reads documents, each file once, and collects what is wrong with them.
#[derive(Debug, Default)]
pub struct Loader {
    /// All texts.
    pub sources: Sources,
    /// All findings so far.
    pub report: Report,
    documents: BTreeMap<String, Option<Arc<Document>>>,
    texts: BTreeMap<String, String>,
    /// Where the definition of a name was found.
    uses: BTreeMap<String, String>,
    /// Texts of a kept bundle, instead of files.
    kept: Option<Kept>,
    /// Texts that stand for their files, by path: what is open in an editor.
    open: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    document: String,
    lab: Option<String>,
    uses: BTreeMap<String, String>,
    texts: BTreeMap<String, String>,
}

impl Loader {
    /// A loader that takes some texts as they are in an editor instead of reading their files.
    pub fn with_texts(open: BTreeMap<String, String>) -> Loader {
        Loader { open, ..Loader::default() }
    }

    /// Reads a document, once.
    pub fn document(&mut self, path: &Path) -> Result<Option<Arc<Document>>, BundleError> {
        let name = path.to_string_lossy().replace('\\', "/");
        if let Some(found) = self.documents.get(&name) {
            return Ok(found.clone());
        }
        let text = self.read(&name, path)?;
        Ok(self.take(name, text))
    }

    fn read(&self, name: &str, path: &Path) -> Result<Vec<u8>, BundleError> {
        let fail = |reason: String| BundleError::Read { path: name.to_owned(), reason };
        if let Some(kept) = &self.kept {
            let text = kept.texts.get(name).ok_or_else(|| fail("it was not kept".to_owned()))?;
            return Ok(text.clone().into_bytes());
        }
        let plain = clean(path).to_string_lossy().replace('\\', "/");
        if let Some(text) = self.open.get(&plain) {
            return Ok(text.clone().into_bytes());
        }
        let size = std::fs::metadata(path).map_err(|e| fail(e.to_string()))?;
        if size.is_dir() {
            return Err(fail("it is a folder".to_owned()));
        }
        if size.len() > FILE_MAX {
            return Err(fail(format!("it is larger than {} MiB", FILE_MAX >> 20)));
        }
        std::fs::read(path).map_err(|e| fail(e.to_string()))
    }

    fn take(&mut self, name: String, bytes: Vec<u8>) -> Option<Arc<Document>> {
        let id: SourceId = self.sources.add_bytes(name.clone(), &bytes);
        let file = self.sources.get(id)?;
        let checked = lower(file);
        self.texts.insert(name.clone(), file.text.to_string());
        self.report.extend(checked.report);
        let document = checked.value.map(Arc::new);
        self.documents.insert(name, document.clone());
        document
    }

    /// The definition a lab uses, from a file near the lab or from those built in.
    fn definition(
        &mut self,
        lab_folder: &Path,
        name: &Spanned<String>,
    ) -> Result<Option<Arc<Instrument>>, BundleError> {
        let place = match &self.kept {
            Some(kept) => kept.uses.get(&name.value).cloned(),
            None => find_definition(lab_folder, &name.value),
        };
        let document = match (&place, built_in::text(&name.value)) {
            (Some(path), _) => self.document(Path::new(path))?,
            (None, Some((path, text))) => match self.documents.get(path) {
                Some(found) => found.clone(),
                None => self.take(path.to_owned(), text.as_bytes().to_vec()),
            },
            (None, None) => {
                let mut wrong = Diagnostic::error(
                    codes::UNKNOWN_DEFINITION,
                    name.span,
                    format!("there is no instrument definition `{}`", name.value),
                )
                .reason(
                    "it is looked for beside the lab file, in `instruments/` there and above, and \
                     among the built-in ones (`labloop instrument list`)",
                );
                if let Some(near) = nearest(&name.value, built_in::names()) {
                    wrong = wrong.fix(near);
                }
                self.report.push(wrong);
                return Ok(None);
            }
        };
        let place = place.or_else(|| built_in::text(&name.value).map(|(p, _)| p.to_owned()));
        self.uses.insert(name.value.clone(), place.unwrap_or_default());
        match document.as_deref() {
            Some(Document::Instrument(instrument)) => Ok(Some(Arc::clone(instrument))),
            Some(_) => {
                self.report.push(Diagnostic::error(
                    codes::UNKNOWN_DEFINITION,
                    name.span,
                    format!("`{}` is not an instrument definition", name.value),
                ));
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// A document that another one names: a file that cannot be read is a mistake at its name.
    pub fn named(
        &mut self,
        path: &Path,
        name: &Spanned<String>,
        what: &str,
    ) -> Option<Arc<Document>> {
        match self.document(path) {
            Ok(found) => found,
            Err(error) => {
                let reason = match error {
                    BundleError::Read { reason, .. } => reason,
                    other => other.to_string(),
                };
                let mut wrong = Diagnostic::error(
                    codes::CANNOT_READ,
                    name.span,
                    format!("name {what} that can be read"),
                )
                .label(reason)
                .reason(format!("it is looked for at {}", path.display()));
                let yaml = |n: &str| n.ends_with(".yaml") || n.ends_with(".yml");
                if let Some(near) = beside(path, &name.value, yaml) {
                    wrong = wrong.fix(near);
                }
                self.report.push(wrong);
                None
            }
        }
    }

    /// Protocols that a protocol calls, and those they call, each once.
    fn called(&mut self, protocol: &Arc<Protocol>) -> Protocols {
        let mut found = Protocols::new();
        let mut open = vec![Arc::clone(protocol)];
        while let Some(caller) = open.pop() {
            let here = self.sources.get(caller.source).map(|f| f.name.clone()).unwrap_or_default();
            let folder = Path::new(&*here).parent().unwrap_or(Path::new("")).to_owned();
            let mut steps: Vec<&Step> = caller.steps.iter().chain(&caller.finally).collect();
            while let Some(step) = steps.pop() {
                steps.extend(step.children());
                if let StepKind::Analyse { process: Some(process), .. } = &step.kind {
                    self.scripts(&folder, process);
                }
                let StepKind::Call { protocol: name, .. } = &step.kind else { continue };
                let path = folder.join(&name.value);
                let key = path.to_string_lossy().replace('\\', "/");
                if found.contains_key(&key) || found.len() >= CALLED_MAX {
                    continue;
                }
                match self.named(&path, name, "a protocol").as_deref() {
                    Some(Document::Protocol(callee)) => {
                        let callee = Arc::clone(callee);
                        found.insert(key, Arc::clone(&callee));
                        open.push(callee);
                    }
                    Some(_) => self.report.push(
                        Diagnostic::error(codes::WRONG_KIND, name.span, "name a protocol to call")
                            .label("another kind of document"),
                    ),
                    None => {}
                }
            }
        }
        found
    }

    /// Reads the files of a program that analyses, each once, as texts beside the documents.
    fn scripts(&mut self, folder: &Path, process: &ProcessDecl) {
        for wanted in scripts::wanted(process) {
            let wanted = match wanted {
                Ok(wanted) => wanted,
                Err(wrong) => {
                    self.report.push(wrong);
                    continue;
                }
            };
            let path = folder.join(&wanted.path);
            let name = path.to_string_lossy().replace('\\', "/");
            if self.texts.contains_key(&name) {
                continue;
            }
            let why = match self.read(&name, &path) {
                Ok(bytes) if bytes.len() as u64 > scripts::SCRIPT_MAX => {
                    format!("larger than {} KiB", scripts::SCRIPT_MAX >> 10)
                }
                Ok(bytes) => match String::from_utf8(bytes) {
                    Ok(text) => {
                        self.sources.add(name.clone(), text.clone());
                        self.texts.insert(name, text);
                        continue;
                    }
                    Err(_) => "not a text".to_owned(),
                },
                Err(_) if !wanted.must_be => continue,
                Err(BundleError::Read { .. }) if !path.exists() => "no such file".to_owned(),
                Err(BundleError::Read { reason, .. }) => reason,
                Err(other) => other.to_string(),
            };
            let near = beside(&path, &wanted.written.value, |_| true);
            self.report.push(scripts::missing(&wanted, &path, &why, near));
        }
    }

    /// A lab with all definitions it uses.
    pub fn lab(&mut self, path: &Path) -> Result<Option<(Arc<Lab>, Definitions)>, BundleError> {
        let Some(document) = self.document(path)? else { return Ok(None) };
        let Document::Lab(lab) = &*document else {
            return Err(wrong_kind(path, &document, "a lab"));
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut definitions = BTreeMap::new();
        for instrument in &lab.instruments {
            let name = &instrument.definition;
            if definitions.contains_key(&name.value) {
                continue;
            }
            if let Some(found) = self.definition(folder, name)? {
                definitions.insert(name.value.clone(), found);
            }
        }
        Ok(Some((Arc::new(lab.with_files_from(folder)), definitions)))
    }
}

/// A file beside the one that cannot be read whose name is near.
fn beside(path: &Path, written: &str, fits: impl Fn(&str) -> bool) -> Option<String> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name()?.to_string_lossy().into_owned();
    let entries = std::fs::read_dir(folder).ok()?;
    let mut names: Vec<String> = entries
        .flatten()
        .take(FOLDER_MAX)
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|n| fits(n))
        .collect();
    names.sort();
    let near = nearest(&name, names.iter().map(String::as_str))?;
    Some(format!("{}{near}", written.strip_suffix(&name)?))
}

fn wrong_kind(path: &Path, document: &Document, wanted: &'static str) -> BundleError {
    let found = match document {
        Document::Instrument(_) => "an instrument definition",
        Document::Lab(_) => "a lab",
        Document::Protocol(_) => "a protocol",
        Document::Campaign(_) => "a campaign",
    };
    BundleError::Kind { path: path.display().to_string(), found: found.to_owned(), wanted }
}

/// Looks for `NAME.yaml` beside the lab, then in `instruments/` and its folders there and above.
fn find_definition(lab_folder: &Path, name: &str) -> Option<String> {
    let plain = !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && !name.starts_with('.');
    if !plain {
        return None;
    }
    let file = format!("{}.yaml", name.strip_suffix(".yaml").unwrap_or(name));
    let show = |path: PathBuf| path.to_string_lossy().replace('\\', "/");
    let beside = lab_folder.join(&file);
    if beside.is_file() {
        return Some(show(beside));
    }
    let mut folder = lab_folder.to_owned();
    for _ in 0..FOLDERS_UP {
        let instruments = folder.join("instruments");
        let direct = instruments.join(&file);
        if direct.is_file() {
            return Some(show(direct));
        }
        if let Ok(entries) = std::fs::read_dir(&instruments) {
            let mut found: Vec<PathBuf> =
                entries.flatten().map(|e| e.path().join(&file)).filter(|p| p.is_file()).collect();
            found.sort();
            if let Some(first) = found.into_iter().next() {
                return Some(show(first));
            }
        }
        if folder.as_os_str().is_empty() {
            break;
        }
        folder = folder.parent().map(Path::to_owned).unwrap_or_default();
    }
    None
}

/// A path without `.` and `..`, as far as its own words go.
pub fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// A campaign or a protocol with its lab and all definitions.
#[derive(Debug)]
pub struct Bundle {
    /// All texts.
    pub sources: Sources,
    /// What was found while reading.
    pub report: Report,
    /// The campaign, if it is one.
    pub campaign: Option<Arc<Campaign>>,
    /// The protocol.
    pub protocol: Option<Arc<Protocol>>,
    /// Protocols it calls, directly or not, by the path of their files.
    pub protocols: Protocols,
    /// The lab.
    pub lab: Option<Arc<Lab>>,
    /// Definitions the lab uses.
    pub definitions: Definitions,
    kept: Kept,
}

impl Bundle {
    /// Reads a campaign or a protocol and everything it needs.
    ///
    /// Mistakes inside the documents are in `report`; an error is a file that cannot be had.
    pub fn load(document: &Path, lab: Option<&Path>) -> Result<Bundle, BundleError> {
        Bundle::assemble(Loader::default(), document, lab)
    }

    /// The same with a loader that knows some texts already.
    pub fn load_with(
        loader: Loader,
        document: &Path,
        lab: Option<&Path>,
    ) -> Result<Bundle, BundleError> {
        Bundle::assemble(loader, document, lab)
    }

    /// Reads a bundle that was kept.
    pub fn from_kept(text: &str) -> Result<Bundle, BundleError> {
        let kept: Kept =
            serde_json::from_str(text).map_err(|e| BundleError::Kept(e.to_string()))?;
        let (document, lab) = (PathBuf::from(&kept.document), kept.lab.clone().map(PathBuf::from));
        let loader = Loader { kept: Some(kept), ..Loader::default() };
        Bundle::assemble(loader, &document, lab.as_deref())
    }

    /// The same with another text for its campaign or protocol.
    pub fn from_kept_with(text: &str, document: &str) -> Result<Bundle, BundleError> {
        let mut kept: Kept =
            serde_json::from_str(text).map_err(|e| BundleError::Kept(e.to_string()))?;
        kept.texts.insert(kept.document.clone(), document.to_owned());
        let (document, lab) = (PathBuf::from(&kept.document), kept.lab.clone().map(PathBuf::from));
        let loader = Loader { kept: Some(kept), ..Loader::default() };
        Bundle::assemble(loader, &document, lab.as_deref())
    }

    /// Text of its campaign or protocol.
    pub fn campaign_text(&self) -> &str {
        self.kept.texts.get(&self.kept.document).map_or("", String::as_str)
    }

    /// All texts in one, to be kept.
    pub fn to_kept(&self) -> String {
        serde_json::to_string(&self.kept).unwrap_or_default()
    }

    /// The file it was read from.
    pub fn document(&self) -> &str {
        &self.kept.document
    }

    /// The lab file.
    pub fn lab_file(&self) -> Option<&str> {
        self.kept.lab.as_deref()
    }

    fn assemble(
        mut loader: Loader,
        path: &Path,
        lab: Option<&Path>,
    ) -> Result<Bundle, BundleError> {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let (mut campaign, mut protocol, mut lab) = (None, None, lab.map(Path::to_owned));
        let mut unreadable = false;
        match loader.document(path)?.as_deref() {
            Some(Document::Campaign(found)) => {
                let file = folder.join(&found.protocol.value);
                match loader.named(&file, &found.protocol, "a protocol").as_deref() {
                    Some(Document::Protocol(p)) => protocol = Some(Arc::clone(p)),
                    Some(other) => return Err(wrong_kind(&file, other, "a protocol")),
                    None => {}
                }
                if let (None, Some(name)) = (&lab, &found.lab) {
                    let file = folder.join(&name.value);
                    if loader.named(&file, name, "a lab").is_none() {
                        unreadable = true;
                    }
                    lab = Some(file);
                }
                campaign = Some(Arc::clone(found));
            }
            Some(Document::Protocol(found)) => {
                protocol = Some(Arc::clone(found));
                let beside = folder.join("lab.yaml");
                lab = lab.or_else(|| beside.is_file().then_some(beside));
            }
            Some(other) => return Err(wrong_kind(path, other, "a campaign or a protocol")),
            None => {}
        }
        let mut definitions = Definitions::new();
        let mut found_lab = None;
        let protocols = protocol.as_ref().map(|p| loader.called(p)).unwrap_or_default();
        if unreadable {
            // It was reported where it is named.
        } else if let Some(file) = &lab {
            if let Some((found, all)) = loader.lab(file)? {
                found_lab = Some(found);
                definitions = all;
            }
        } else if protocol.is_some() {
            return Err(BundleError::NoLab { path: path.display().to_string() });
        }
        let show = |p: &Path| p.to_string_lossy().replace('\\', "/");
        let kept = Kept {
            document: show(path),
            lab: lab.as_deref().map(show),
            uses: loader.uses,
            texts: loader.texts,
        };
        Ok(Bundle {
            sources: loader.sources,
            report: loader.report,
            campaign,
            protocol,
            protocols,
            lab: found_lab,
            definitions,
            kept,
        })
    }
}
