//! A document with all that belongs to it: its lab, its protocol, the definitions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::compiler::bundle::{Loader, clean};
use crate::compiler::{Bundle, check_bundle, check_lab};
use crate::spec::campaign::Campaign;
use crate::spec::instrument::Instrument;
use crate::spec::lab::{Lab, LabInstrument};
use crate::spec::protocol::Protocol;
use crate::spec::tree::{self, Node};
use crate::spec::{Document, Kind, Report, SourceFile, SourceId, Sources, lower};

/// Files of a folder that are looked at to find the campaign that names a protocol.
const SIBLINGS_MAX: usize = 200;
/// Largest file that is looked at for that.
const SIBLING_BYTES_MAX: u64 = 256 << 10;

/// Texts that stand for their files, by path.
pub type Texts = BTreeMap<String, String>;

/// A document with all that belongs to it.
#[derive(Debug, Default)]
pub struct Project {
    /// All texts.
    pub sources: Sources,
    /// What is wrong, with the document and with what belongs to it.
    pub report: Report,
    /// A file that cannot be had, where no place in a text says so.
    pub missing: Option<String>,
    /// What the document is.
    pub kind: Option<Kind>,
    /// Its tree, if it can be read.
    pub(super) root: Option<Node>,
    /// The document among the texts.
    pub(super) focus: SourceId,
    pub(super) path: PathBuf,
    pub(super) campaign: Option<Arc<Campaign>>,
    pub(super) protocol: Option<Arc<Protocol>>,
    pub(super) lab: Option<Arc<Lab>>,
    pub(super) definitions: BTreeMap<String, Arc<Instrument>>,
    pub(super) instrument: Option<Arc<Instrument>>,
}

impl Project {
    /// Reads and checks a document as it is in the editor.
    ///
    /// A protocol is checked for the lab of a campaign in its folder that names it, or for
    /// `lab.yaml` beside it or one folder up; without any, by itself.
    pub fn open(path: &Path, texts: &Texts) -> Project {
        let path = clean(path);
        let name = path.to_string_lossy().replace('\\', "/");
        let mut project = match texts.get(&name) {
            Some(text) => Project::read(&path, &name, text, texts),
            None => Project { missing: Some(format!("{name} is not open")), ..Project::default() },
        };
        project.focus = project
            .sources
            .iter()
            .find(|file| *file.name == *name)
            .map_or(SourceId::default(), |file| file.id);
        if let Some(file) = project.sources.get(project.focus) {
            project.kind = Kind::of(file);
            project.root = tree::parse(file, &mut Report::new());
        }
        project.path = path;
        project.report.sort();
        project
    }

    fn read(path: &Path, name: &str, text: &str, texts: &Texts) -> Project {
        let loader = || Loader::with_texts(texts.clone());
        let file = SourceFile::new(SourceId(0), name, text);
        match Kind::of(&file) {
            Some(Kind::Campaign) => match Bundle::load_with(loader(), path, None) {
                Ok(bundle) => Project::of_bundle(bundle),
                Err(error) => Project::alone(name, text, Some(error.to_string())),
            },
            Some(Kind::Protocol) => match lab_of(path, texts) {
                Some(lab) => match Bundle::load_with(loader(), path, Some(&lab)) {
                    Ok(bundle) => Project::of_bundle(bundle),
                    Err(error) => Project::alone(name, text, Some(error.to_string())),
                },
                None => Project::alone(name, text, None),
            },
            Some(Kind::Lab) => {
                let mut loader = loader();
                match loader.lab(path) {
                    Ok(found) => {
                        let mut project = Project::default();
                        if let Some((lab, definitions)) = found {
                            loader.report.extend(check_lab(&lab, &definitions));
                            project.lab = Some(lab);
                            project.definitions = definitions;
                        }
                        Project { sources: loader.sources, report: loader.report, ..project }
                    }
                    Err(error) => Project::alone(name, text, Some(error.to_string())),
                }
            }
            Some(Kind::Instrument) => Project::alone(name, text, None),
            // YAML of other programs is none of our business.
            None if !text.contains("labloop/") => {
                let mut sources = Sources::new();
                sources.add(name, text);
                Project { sources, ..Project::default() }
            }
            None => {
                // Half a protocol is no protocol, but its lab can still be asked for names.
                let mut project = Project::alone(name, text, None);
                if text.contains(Kind::Protocol.schema())
                    && let Some(lab) = lab_of(path, texts)
                    && let Ok(Some((lab, definitions))) = loader().lab(&lab)
                {
                    project.lab = Some(lab);
                    project.definitions = definitions;
                }
                project
            }
        }
    }

    fn of_bundle(mut bundle: Bundle) -> Project {
        check_bundle(&mut bundle);
        Project {
            sources: bundle.sources,
            report: bundle.report,
            campaign: bundle.campaign,
            protocol: bundle.protocol,
            lab: bundle.lab,
            definitions: bundle.definitions,
            ..Project::default()
        }
    }

    /// A document by itself.
    fn alone(name: &str, text: &str, missing: Option<String>) -> Project {
        let mut sources = Sources::new();
        let id = sources.add(name, text);
        let mut project = Project { missing, ..Project::default() };
        if let Some(file) = sources.get(id) {
            let checked = lower(file);
            project.report = checked.report;
            match checked.value {
                Some(Document::Protocol(found)) => project.protocol = Some(found),
                Some(Document::Campaign(found)) => project.campaign = Some(found),
                Some(Document::Lab(found)) => project.lab = Some(found),
                Some(Document::Instrument(found)) => project.instrument = Some(found),
                None => {}
            }
        }
        project.sources = sources;
        project
    }

    /// The text of the document.
    pub fn text(&self) -> &str {
        self.sources.get(self.focus).map_or("", |file| &file.text)
    }

    /// The document among the texts.
    pub fn focus(&self) -> SourceId {
        self.focus
    }

    /// The definition of an instrument document.
    pub fn instrument(&self) -> Option<&Instrument> {
        self.instrument.as_deref()
    }

    /// Who plays a role in the lab, as the compiler would bind it without pins.
    pub(super) fn player(&self, role: &str) -> Option<(&LabInstrument, &Arc<Instrument>)> {
        let lab = self.lab.as_ref()?;
        let kind = self.protocol.as_ref().and_then(|p| p.role(role)).map(|role| &role.kind.value);
        let plays = |i: &&LabInstrument| i.plays.iter().any(|p| p.value == role);
        let fits = |i: &&LabInstrument| {
            let definition = self.definitions.get(&i.definition.value);
            i.plays.is_empty() && definition.is_some_and(|d| Some(&d.kind.value) == kind)
        };
        let found =
            lab.instruments.iter().find(plays).or_else(|| lab.instruments.iter().find(fits))?;
        Some((found, self.definitions.get(&found.definition.value)?))
    }
}

/// The lab a protocol is checked for.
pub(super) fn lab_of(protocol: &Path, texts: &Texts) -> Option<PathBuf> {
    let folder = protocol.parent()?;
    let mut siblings: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .take(SIBLINGS_MAX)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"))
        .collect();
    siblings.sort();
    for path in siblings {
        let name = path.to_string_lossy().replace('\\', "/");
        let text = match texts.get(&name) {
            Some(text) => text.clone(),
            None => {
                let small = std::fs::metadata(&path).is_ok_and(|m| m.len() <= SIBLING_BYTES_MAX);
                let Some(text) = small.then(|| std::fs::read_to_string(&path).ok()).flatten()
                else {
                    continue;
                };
                text
            }
        };
        if !text.contains("labloop/campaign/") {
            continue;
        }
        let file = SourceFile::new(SourceId(0), name, text);
        let Some(Document::Campaign(campaign)) = lower(&file).value else { continue };
        let named = clean(&folder.join(&campaign.protocol.value)) == protocol;
        if let (true, Some(lab)) = (named, &campaign.lab) {
            let lab = clean(&folder.join(&lab.value));
            if lab.is_file() {
                return Some(lab);
            }
        }
    }
    let beside = [folder.join("lab.yaml"), folder.parent()?.join("lab.yaml")];
    beside.into_iter().find(|lab| lab.is_file())
}
