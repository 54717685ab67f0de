//! `labloop lsp`: the language server, on stdin and stdout.
//!
//! One message at a time, each answered before the next is read. Documents are kept as the editor
//! has them; everything else is read from the disk when it is needed.

mod frame;
mod say;
mod uri;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Exit, output};
use crate::driver::golden;
use crate::editor::{self, Lines, Project, Target, Texts};
use crate::spec::{Diagnostic, codes};
use frame::Frame;

/// Documents that may be open at once; more are answered, but not checked together.
const OPEN_MAX: usize = 256;
/// Findings shown in one file.
const SHOWN_MAX: usize = 500;

/// Error codes of JSON-RPC.
const NOT_READY: i64 = -32_002;
const UNKNOWN_METHOD: i64 = -32_601;
const BAD_REQUEST: i64 = -32_600;
const NOT_JSON: i64 = -32_700;

pub(super) fn run() -> Exit {
    let mut from = BufReader::new(std::io::stdin().lock());
    let mut server = Server::new(std::io::stdout().lock());
    loop {
        let ended = match frame::read(&mut from) {
            Ok(Frame::Message(message)) => server.take(&message),
            Ok(Frame::NotJson(why)) => server.refuse(&Value::Null, NOT_JSON, &why).map(|()| None),
            // An editor that goes away without a word is no mistake of ours, but not an exit.
            Ok(Frame::End) => return Exit::RunFailed,
            Err(error) => {
                output::error(error.to_string());
                return Exit::Usage;
            }
        };
        // Of changes that came together only the last is checked.
        let ended = match ended {
            Ok(None) if from.buffer().is_empty() => server.publish().map(|()| None),
            other => other,
        };
        match ended {
            Ok(None) => {}
            Ok(Some(exit)) => return exit,
            Err(error) => {
                output::error(format!("the editor cannot be written to: {error}"));
                return Exit::RunFailed;
            }
        }
    }
}

/// A document as the editor has it.
struct Open {
    path: PathBuf,
    version: Value,
    project: Project,
}

struct Server<W> {
    to: W,
    ready: bool,
    ending: bool,
    /// Page of error codes in the workspace, if it has one.
    codes_page: Option<String>,
    open: BTreeMap<String, Open>,
    texts: Texts,
    /// Something has changed since the last check.
    changed: bool,
    /// Addresses with findings that the editor shows now.
    shown: BTreeSet<String>,
}

type Sent<T> = std::io::Result<T>;

impl<W: Write> Server<W> {
    fn new(to: W) -> Server<W> {
        Server {
            to,
            ready: false,
            ending: false,
            codes_page: None,
            open: BTreeMap::new(),
            texts: Texts::new(),
            changed: false,
            shown: BTreeSet::new(),
        }
    }

    fn send(&mut self, mut message: Value) -> Sent<()> {
        if let Value::Object(message) = &mut message {
            message.insert("jsonrpc".to_owned(), "2.0".into());
        }
        frame::write(&mut self.to, &message)
    }

    fn refuse(&mut self, id: &Value, code: i64, why: &str) -> Sent<()> {
        self.send(json!({ "id": id, "error": { "code": code, "message": why } }))
    }

    /// Takes one message; gives how to end, if it says so.
    fn take(&mut self, message: &Value) -> Sent<Option<Exit>> {
        let Some(method) = message.get("method").and_then(Value::as_str) else {
            // An answer: we ask nothing.
            return Ok(None);
        };
        let nothing = Value::Null;
        let params = message.get("params").unwrap_or(&nothing);
        let Some(id) = message.get("id") else { return self.notice(method, params) };
        if self.ending {
            self.refuse(id, BAD_REQUEST, "shutting down")?;
        } else if !self.ready && method != "initialize" {
            self.refuse(id, NOT_READY, "`initialize` comes first")?;
        } else {
            self.publish()?;
            match self.request(method, params) {
                Some(result) => self.send(json!({ "id": id, "result": result }))?,
                None => self.refuse(id, UNKNOWN_METHOD, &format!("no method {method}"))?,
            }
        }
        Ok(None)
    }

    fn notice(&mut self, method: &str, params: &Value) -> Sent<Option<Exit>> {
        let text_of = |pointer: &str| params.pointer(pointer).and_then(Value::as_str);
        let uri = text_of("/textDocument/uri").unwrap_or_default().to_owned();
        let version = params.pointer("/textDocument/version").cloned().unwrap_or(Value::Null);
        match method {
            "exit" => return Ok(Some(if self.ending { Exit::Done } else { Exit::RunFailed })),
            "textDocument/didOpen" => {
                if let Some(text) = text_of("/textDocument/text") {
                    self.replace(uri, version, text);
                }
            }
            "textDocument/didChange" => {
                // The whole text each time, as `initialize` asked; the last one counts.
                let changes = params.get("contentChanges").and_then(Value::as_array);
                let text = changes.and_then(|c| c.last()).and_then(|c| c.get("text"));
                if let (Some(text), true) =
                    (text.and_then(Value::as_str), self.open.contains_key(&uri))
                {
                    self.replace(uri, version, text);
                }
            }
            "textDocument/didClose" => {
                if let Some(open) = self.open.remove(&uri) {
                    self.texts.remove(&name(&open.path));
                }
                self.changed = true;
            }
            "textDocument/didSave" | "workspace/didChangeWatchedFiles" => self.changed = true,
            _ => {}
        }
        Ok(None)
    }

    fn replace(&mut self, uri: String, version: Value, text: &str) {
        if self.open.len() >= OPEN_MAX && !self.open.contains_key(&uri) {
            return;
        }
        self.changed = true;
        let path = crate::compiler::bundle::clean(&uri::path(&uri));
        self.texts.insert(name(&path), text.to_owned());
        self.open.insert(uri, Open { path, version, project: Project::default() });
    }

    fn request(&mut self, method: &str, params: &Value) -> Option<Value> {
        let uri = params.pointer("/textDocument/uri").and_then(Value::as_str).unwrap_or_default();
        Some(match method {
            "initialize" => self.initialize(params),
            "shutdown" => {
                self.ending = true;
                Value::Null
            }
            "textDocument/hover" => self.hover(uri, params).unwrap_or(Value::Null),
            "textDocument/definition" => self.definition(uri, params).unwrap_or(Value::Null),
            "textDocument/codeAction" => self.actions(uri, params).unwrap_or(json!([])),
            "textDocument/formatting" => self.formatting(uri).unwrap_or(json!([])),
            "textDocument/completion" => self.completion(uri, params).unwrap_or(json!([])),
            _ => return None,
        })
    }

    fn initialize(&mut self, params: &Value) -> Value {
        self.ready = true;
        let root = params.get("rootUri").and_then(Value::as_str).map(uri::path);
        let page = root.map(|root| root.join("docs/errors.md")).filter(|page| page.is_file());
        self.codes_page = page.and_then(|page| uri::of(&page));
        json!({
            "serverInfo": { "name": "labloop", "version": env!("CARGO_PKG_VERSION") },
            "capabilities": {
                "positionEncoding": "utf-16",
                "textDocumentSync": { "openClose": true, "change": 1, "save": true },
                "hoverProvider": true,
                "definitionProvider": true,
                "codeActionProvider": { "codeActionKinds": ["quickfix"] },
                "documentFormattingProvider": true,
                "completionProvider": { "triggerCharacters": [".", "{", " "] },
            },
        })
    }

    /// Checks all open documents, and sends what is wrong with each file that is involved.
    fn publish(&mut self) -> Sent<()> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        let mut files: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (uri, open) in &mut self.open {
            open.project = Project::open(&open.path, &self.texts);
            golden_bytes(&mut open.project);
            files.entry(uri.clone()).or_default();
        }
        for open in self.open.values() {
            let project = &open.project;
            for diagnostic in &project.report.diagnostics {
                let Some(file) = project.sources.get(diagnostic.place.span.source) else {
                    continue;
                };
                let Some(uri) = self.address(&file.name) else { continue };
                let said = say::diagnostic(diagnostic, project, self.codes_page.as_deref());
                let all = files.entry(uri).or_default();
                if all.len() < SHOWN_MAX && !all.contains(&said) {
                    all.push(said);
                }
            }
            if let (Some(missing), Some(uri)) = (&project.missing, uri::of(&open.path)) {
                files.entry(uri).or_default().push(say::missing(missing));
            }
        }
        let gone: Vec<String> =
            self.shown.iter().filter(|uri| !files.contains_key(*uri)).cloned().collect();
        self.shown = files.keys().cloned().collect();
        for uri in gone {
            files.insert(uri, Vec::new());
        }
        for (uri, diagnostics) in files {
            let version = self.open.get(&uri).map_or(Value::Null, |open| open.version.clone());
            let mut params = json!({ "uri": uri, "diagnostics": diagnostics });
            if let (Value::Object(params), false) = (&mut params, version.is_null()) {
                params.insert("version".to_owned(), version);
            }
            self.send(json!({ "method": "textDocument/publishDiagnostics", "params": params }))?;
        }
        Ok(())
    }

    /// The address an editor knows a file by: its own spelling if it is open.
    fn address(&self, file: &str) -> Option<String> {
        let path = crate::compiler::bundle::clean(&PathBuf::from(file));
        let open = self.open.iter().find(|(_, open)| open.path == path);
        open.map(|(uri, _)| uri.clone()).or_else(|| uri::of(&path))
    }

    fn hover(&self, uri: &str, params: &Value) -> Option<Value> {
        let project = &self.open.get(uri)?.project;
        let lines = Lines::of(project.text());
        let answer = project.answer(lines.byte(say::at(params)?))?;
        Some(json!({
            "contents": { "kind": "markdown", "value": answer.text },
            "range": say::range(&lines, answer.span),
        }))
    }

    fn definition(&self, uri: &str, params: &Value) -> Option<Value> {
        let project = &self.open.get(uri)?.project;
        let lines = Lines::of(project.text());
        match project.answer(lines.byte(say::at(params)?))?.target? {
            Target::Place(span) => {
                let file = project.sources.get(span.source)?;
                let range = say::range(&Lines::of(&file.text), span);
                Some(json!({ "uri": self.address(&file.name)?, "range": range }))
            }
            Target::File(path) if path.is_file() => {
                let start = json!({ "line": 0, "character": 0 });
                Some(json!({ "uri": uri::of(&path)?, "range": { "start": start, "end": start } }))
            }
            Target::File(_) => None,
        }
    }

    fn actions(&self, uri: &str, params: &Value) -> Option<Value> {
        let lines = Lines::of(self.open.get(uri)?.project.text());
        let from = lines.byte(say::at(&json!({ "position": params.pointer("/range/start")? }))?);
        let to = lines.byte(say::at(&json!({ "position": params.pointer("/range/end")? }))?);
        let mut found = Vec::new();
        for open in self.open.values() {
            for diagnostic in &open.project.report.diagnostics {
                let span = diagnostic.place.span;
                let Some(file) = open.project.sources.get(span.source) else { continue };
                let touches = span.start as usize <= to && from <= span.end as usize;
                if !touches || self.address(&file.name).as_deref() != Some(uri) {
                    continue;
                }
                let said = say::diagnostic(diagnostic, &open.project, self.codes_page.as_deref());
                for (title, edit) in editor::fixes(diagnostic, file) {
                    let change =
                        json!({ "range": say::range(&lines, edit.span), "newText": edit.text });
                    let action = json!({
                        "title": title,
                        "kind": "quickfix",
                        "diagnostics": [said],
                        "edit": { "changes": { uri: [change] } },
                    });
                    if !found.contains(&action) {
                        found.push(action);
                    }
                }
            }
        }
        Some(Value::Array(found))
    }

    fn formatting(&self, uri: &str) -> Option<Value> {
        let open = self.open.get(uri)?;
        let text = self.texts.get(&name(&open.path))?;
        let better = editor::format(&name(&open.path), text).ok()?;
        if better == *text {
            return None;
        }
        let (start, end) = Lines::of(text).range(0..text.len());
        Some(
            json!([{ "range": { "start": say::place(start), "end": say::place(end) }, "newText": better }]),
        )
    }

    fn completion(&self, uri: &str, params: &Value) -> Option<Value> {
        let project = &self.open.get(uri)?.project;
        let byte = Lines::of(project.text()).byte(say::at(params)?);
        Some(project.complete(byte).into_iter().map(|item| say::proposal(&item)).collect())
    }
}

/// The golden bytes of a definition, as `labloop check` looks at them.
fn golden_bytes(project: &mut Project) {
    if project.report.has_errors() {
        return;
    }
    let Some(definition) = project.instrument() else { return };
    let failed: Vec<Diagnostic> = golden::check(definition)
        .into_iter()
        .filter_map(|example| {
            let why = example.result.err()?;
            let message = format!("golden bytes of {} do not come out: {why}", example.of);
            Some(Diagnostic::error(codes::EXAMPLE_FAILED, example.span, message))
        })
        .collect();
    project.report.diagnostics.extend(failed);
}

fn name(path: &std::path::Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}
