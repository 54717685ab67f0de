//! `labloop lsp`: what an editor sees, over the pipes it uses.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at what it cannot read")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use labloop::editor::{Lines, Project, Texts, fixes};
use serde_json::{Value, json};

/// An editor with the real server.
struct Editor {
    server: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    folder: PathBuf,
    last: i64,
    notices: Vec<Value>,
}

impl Editor {
    /// Starts a server in a copy of an example, with the definitions of the repository above it.
    fn start(name: &str) -> Editor {
        let home = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = std::env::temp_dir().join(format!("labloop-lsp-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let folder = root.join("labs/flow µ");
        fs::create_dir_all(&folder).unwrap();
        for kind in ["lab", "protocol", "campaign"] {
            let file = format!("{kind}.yaml");
            fs::copy(home.join("examples/flow-synthesis").join(&file), folder.join(&file)).unwrap();
        }
        copy(&home.join("instruments"), &root.join("instruments"));
        fs::create_dir_all(root.join("docs")).unwrap();
        fs::copy(home.join("docs/errors.md"), root.join("docs/errors.md")).unwrap();
        let mut server = Command::new(env!("CARGO_BIN_EXE_labloop"))
            .arg("lsp")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (server.stdin.take().unwrap(), server.stdout.take().unwrap());
        let from = BufReader::new(from);
        let mut editor = Editor { server, to, from, folder, last: 0, notices: Vec::new() };
        let answer = editor.ask("initialize", json!({ "rootUri": uri(&root), "capabilities": {} }));
        assert_eq!(answer.pointer("/capabilities/textDocumentSync/change"), Some(&json!(1)));
        editor.tell("initialized", json!({}));
        editor
    }

    fn send(&mut self, message: &Value) {
        let body = message.to_string();
        write!(self.to, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        self.to.flush().unwrap();
    }

    fn tell(&mut self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// A request and its answer; what is published meanwhile is kept.
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let id = self.last;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let message = self.read();
            if message.get("id") == Some(&json!(id)) {
                return message.get("result").cloned().unwrap_or_else(|| panic!("{message}"));
            }
            self.notices.push(message);
        }
    }

    fn read(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(self.from.read_line(&mut line).unwrap() > 0, "the server has ended");
            match line.trim().split_once(": ") {
                Some((_, value)) => length = value.parse().unwrap(),
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.from.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    fn open(&mut self, file: &str, text: &str) -> String {
        let uri = uri(&self.folder.join(file));
        let document = json!({ "uri": uri, "languageId": "yaml", "version": 1, "text": text });
        self.tell("textDocument/didOpen", json!({ "textDocument": document }));
        uri
    }

    /// The findings last published for a file.
    fn findings(&mut self, uri: &str) -> Vec<Value> {
        // An answer comes behind all that was published before.
        self.ask("textDocument/formatting", json!({ "textDocument": { "uri": "file:///none" } }));
        let of = |n: &&Value| n.pointer("/params/uri") == Some(&json!(uri));
        let last = self.notices.iter().rev().find(of).unwrap_or_else(|| panic!("{uri}"));
        last.pointer("/params/diagnostics").and_then(Value::as_array).unwrap().clone()
    }

    fn at(&mut self, method: &str, uri: &str, (line, character): (usize, usize)) -> Value {
        let position = json!({ "line": line, "character": character });
        self.ask(method, json!({ "textDocument": { "uri": uri }, "position": position }))
    }

    fn finish(mut self) {
        assert_eq!(self.ask("shutdown", Value::Null), Value::Null);
        self.tell("exit", Value::Null);
        assert!(self.server.wait().unwrap().success());
        let root = self.folder.parent().and_then(Path::parent).unwrap();
        fs::remove_dir_all(root).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn uri(path: &Path) -> String {
    format!("file://{}", path.display()).replace(' ', "%20").replace('µ', "%C2%B5")
}

/// Line and UTF-16 column of the first byte of a word behind a mark.
fn find(text: &str, mark: &str, word: &str) -> (usize, usize) {
    let start = text.find(mark).unwrap_or_else(|| panic!("{mark}"));
    let byte = start + text[start..].find(word).unwrap();
    let line = text[..byte].matches('\n').count();
    let column = text[..byte].rsplit('\n').next().unwrap();
    (line, column.encode_utf16().count())
}

fn range(text: &str, mark: &str, word: &str) -> Value {
    let (line, start) = find(text, mark, word);
    let end = start + word.encode_utf16().count();
    json!({
        "start": { "line": line, "character": start },
        "end": { "line": line, "character": end },
    })
}

fn text_of(hover: &Value) -> &str {
    hover.pointer("/contents/value").and_then(Value::as_str).unwrap_or("")
}

#[test]
fn a_mistake_is_shown_at_its_place_with_the_limit_and_a_fix_that_repairs_it() {
    let mut editor = Editor::start("mistake");
    let right = fs::read_to_string(editor.folder.join("protocol.yaml")).unwrap();
    // Letters of one, two and three bytes before the place, so that no column is its byte.
    let wrong = right
        .replacen("{id: prime_a, do: pump_a.dispense, with: {volume: 0.2 mL, rate: 2 mL/min}}",
            "{id: prime_a, doc: \"µ中\u{1F9EA}\", do: pump_a.dispense, with: {volume: 0.2 mL, rate: 25 mL/min}}", 1);
    assert_ne!(wrong, right);
    let uri = editor.open("protocol.yaml", &wrong);
    let found = editor.findings(&uri);
    assert_eq!(found.len(), 1, "{found:#?}");
    let first = &found[0];
    assert_eq!(first["range"], range(&wrong, "rate: 25", "25 mL/min"));
    assert_eq!(first["code"], "LL0208", "{first:#}");
    assert_eq!(first["severity"], 1);
    let page = first["codeDescription"]["href"].as_str().unwrap();
    assert!(page.contains("/docs/errors.md#ll0208-"), "{page}");
    let related = first["relatedInformation"].as_array().unwrap();
    let limit = related.iter().find(|r| {
        r.pointer("/location/uri").and_then(Value::as_str).unwrap().ends_with("newera-ne1000.yaml")
    });
    let line =
        limit.unwrap().pointer("/location/range/start/line").and_then(Value::as_u64).unwrap();
    let definition = fs::read_to_string("instruments/syringe_pump/newera-ne1000.yaml").unwrap();
    let shown = definition.lines().nth(usize::try_from(line).unwrap()).unwrap();
    assert!(shown.contains("20 mL/min"), "{shown}");

    let actions = editor.ask("textDocument/codeAction", json!({
        "textDocument": { "uri": uri }, "range": first["range"], "context": { "diagnostics": [] },
    }));
    let edit = actions[0].pointer("/edit/changes").unwrap()[&uri][0].clone();
    assert_eq!(edit["range"], first["range"]);
    assert_eq!(edit["newText"], "20 mL/min");
    let repaired = wrong.replace("rate: 25 mL/min", "rate: 20 mL/min");
    editor.tell(
        "textDocument/didChange",
        json!({
            "textDocument": { "uri": uri, "version": 2 }, "contentChanges": [{ "text": repaired }],
        }),
    );
    assert_eq!(editor.findings(&uri), Vec::<Value>::new());
    editor.finish();
}

#[test]
fn hover_and_definition_lead_to_the_instrument_file() {
    let mut editor = Editor::start("hover");
    let text = fs::read_to_string(editor.folder.join("protocol.yaml")).unwrap();
    let uri = editor.open("protocol.yaml", &text);
    for (mark, word, wanted) in [
        ("prime_a, do", "rate", "from 0.001 mL/min to 20 mL/min"),
        ("prime_a, do", "dispense", "Infuse a volume and wait until it is out"),
        ("do: reactor", "reactor", "played by bath_1"),
        ("wait_until", "params", ""),
        ("wait_until", "temperature", "temperature in degC"),
        ("- params.temperature", "temperature", "of the reactor"),
        ("< 1 K", "K", "temperature"),
        ("residence_time: {unit", "residence_time", "from 12 s to 180 s"),
        ("flow_a: $", "total_flow", "derived.reactor_volume / params.residence_time"),
        ("analyse: beer_lambert", "beer", "molar, decadic"),
        ("spectra: $", "spectrum", "uv.measure"),
        ("stable_for", "stable_for", "without a break"),
        ("stable_for: 10 s", "10 s", "1 s = 1 s"),
    ] {
        let place = find(&text, mark, word);
        let hover = editor.at("textDocument/hover", &uri, place);
        assert!(text_of(&hover).contains(wanted), "{mark} {word}: {hover:#}");
    }
    for (mark, word, file, shown) in [
        ("prime_a, do", "dispense", "newera-ne1000.yaml", "  dispense:"),
        ("prime_a, do", "rate", "newera-ne1000.yaml", "      rate: {unit"),
        ("do: reactor", "reactor", "lab.yaml", "  bath_1:"),
        ("- params.temperature", "temperature", "protocol.yaml", "  temperature: {unit"),
        ("spectra: $", "spectrum", "protocol.yaml", "id: spectrum"),
        ("flow_a: $", "total_flow", "protocol.yaml", "  total_flow: $"),
    ] {
        let place = find(&text, mark, word);
        let found = editor.at("textDocument/definition", &uri, place);
        let path = found["uri"].as_str().unwrap_or_else(|| panic!("{mark} {word}: {found}"));
        assert!(path.ends_with(file), "{mark} {word}: {path}");
        let path = path.trim_start_matches("file://").replace("%20", " ").replace("%C2%B5", "µ");
        let target = fs::read_to_string(path).unwrap();
        let line = found.pointer("/range/start/line").and_then(Value::as_u64).unwrap();
        let line = target.lines().nth(usize::try_from(line).unwrap()).unwrap();
        assert!(line.contains(shown), "{mark} {word}: {line}");
    }
    let campaign = fs::read_to_string(editor.folder.join("campaign.yaml")).unwrap();
    let uri = editor.open("campaign.yaml", &campaign);
    let place = find(&campaign, "protocol: p", "protocol.yaml");
    let found = editor.at("textDocument/definition", &uri, place);
    assert!(found["uri"].as_str().unwrap().ends_with("/protocol.yaml"), "{found}");
    let hover = editor.at("textDocument/hover", &uri, find(&campaign, "ratio", "ratio"));
    assert!(text_of(&hover).contains("flow of feed B"), "{hover:#}");
    editor.finish();
}

#[test]
fn a_mistake_in_one_open_file_is_shown_in_the_other_that_it_breaks() {
    let mut editor = Editor::start("two");
    let protocol = fs::read_to_string(editor.folder.join("protocol.yaml")).unwrap();
    let lab = fs::read_to_string(editor.folder.join("lab.yaml")).unwrap();
    let of_protocol = editor.open("protocol.yaml", &protocol);
    assert_eq!(editor.findings(&of_protocol), Vec::<Value>::new());
    // Not saved: only the editor knows it.
    let of_lab = editor.open("lab.yaml", &lab.replace("plays: [uv]", "plays: [eye]"));
    let found = editor.findings(&of_protocol);
    assert!(
        found.iter().any(|d| d["code"] == "LL0401" || d.to_string().contains("uv")),
        "{found:#?}"
    );
    editor.tell("textDocument/didClose", json!({ "textDocument": { "uri": of_lab } }));
    assert_eq!(editor.findings(&of_protocol), Vec::<Value>::new());
    editor.finish();
}

#[test]
fn formatting_and_completion_know_the_document_and_the_lab() {
    let mut editor = Editor::start("write");
    let text = fs::read_to_string(editor.folder.join("protocol.yaml")).unwrap();
    let untidy = text.replace("uv: {type: spectrometer}", "uv:   { type: 'spectrometer' }");
    let uri = editor.open("protocol.yaml", &untidy);
    let edits = editor.ask("textDocument/formatting", json!({ "textDocument": { "uri": uri } }));
    assert_eq!(edits[0]["newText"], json!(text));
    assert_eq!(edits.as_array().map(Vec::len), Some(1));
    let head = text.split("          - id: result").next().unwrap();
    for (typed, wanted) in [
        ("do: reactor.s", "set_temperature"),
        ("do: uv.", "measure"),
        ("do: ", "pump_a.start"),
        ("do: uv.measure\n            with: {inte", "averages"),
        ("do: uv.measure\n            tim", "timeout"),
        ("wait_until: params.temp", "ratio"),
        ("wait: ${ derived.", "total_flow"),
        ("analyse: ", "beer_lambert"),
    ] {
        let text = format!("{head}          - {typed}");
        let document = json!({ "uri": uri, "version": 3 });
        editor.tell(
            "textDocument/didChange",
            json!({
                "textDocument": document, "contentChanges": [{ "text": text }],
            }),
        );
        let line = text.matches('\n').count();
        let column = text.rsplit('\n').next().unwrap().len();
        let found = editor.at("textDocument/completion", &uri, (line, column));
        let labels: Vec<&str> =
            found.as_array().unwrap().iter().map(|i| i["label"].as_str().unwrap()).collect();
        assert!(labels.contains(&wanted), "{typed}: {labels:?}");
    }
    editor.finish();
}

#[test]
fn requests_that_are_unknown_early_or_broken_are_answered_and_nothing_ends() {
    let mut editor = Editor::start("broken");
    editor.send(&json!({ "jsonrpc": "2.0", "id": 900, "method": "no/such" }));
    assert_eq!(editor.read()["error"]["code"], -32_601);
    write!(editor.to, "Content-Length: 4\r\n\r\n{{a: ").unwrap();
    assert_eq!(editor.read()["error"]["code"], -32_700);
    for params in [json!(null), json!([1]), json!({ "textDocument": 5 }), json!({ "position": {} })]
    {
        for method in ["hover", "definition", "codeAction", "formatting", "completion"] {
            editor.ask(&format!("textDocument/{method}"), params.clone());
        }
        for method in ["didOpen", "didChange", "didClose"] {
            editor.tell(&format!("textDocument/{method}"), params.clone());
        }
    }
    let far = json!({ "line": 4_000_000_000_u32, "character": u64::MAX });
    // YAML of other programs is not ours to judge.
    let foreign = editor.open("compose.yaml", "services:   {}\nsteps: [off]\n");
    assert_eq!(editor.findings(&foreign), Vec::<Value>::new());
    let edits =
        editor.ask("textDocument/formatting", json!({ "textDocument": { "uri": foreign } }));
    assert_eq!(edits, json!([]));
    let uri = editor.open("protocol.yaml", "schema: labloop/protocol/v1\nname: µ\n");
    for method in ["hover", "definition", "completion"] {
        editor.ask(
            &format!("textDocument/{method}"),
            json!({ "textDocument": { "uri": uri }, "position": far }),
        );
    }
    editor.finish();
}

#[test]
fn half_typed_documents_get_answers_and_never_a_panic() {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in [
        "examples/flow-synthesis",
        "examples/light-mixing",
        "instruments/syringe_pump",
        "instruments/thermostat",
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        files.extend(fs::read_dir(folder).unwrap().flatten().map(|e| e.path()));
    }
    for path in files.into_iter().filter(|p| p.extension().is_some_and(|e| e == "yaml")) {
        let text = fs::read_to_string(&path).unwrap();
        for cut in (0..text.len()).step_by(50).filter(|cut| text.is_char_boundary(*cut)) {
            let part = &text[..cut];
            let texts = Texts::from([(path.display().to_string(), part.to_owned())]);
            let project = Project::open(&path, &texts);
            let lines = Lines::of(part);
            for byte in [0, cut / 2, cut.saturating_sub(7), cut.saturating_sub(1), cut] {
                let byte = lines.byte(lines.at(byte));
                project.answer(byte);
                project.complete(byte);
            }
            for diagnostic in &project.report.diagnostics {
                if let Some(file) = project.sources.get(diagnostic.place.span.source) {
                    fixes(diagnostic, file);
                }
            }
            let _ = labloop::editor::format("x", part);
        }
    }
}
