//! `labloop export --what files`: curves and arrays that are kept as files.

use std::fmt::Write;
use std::path::Path;

use serde_json::json;

use super::args::ExportFormat;
use super::output;
use crate::engine::shell::{Reference, RunHistory, read_file, references};
use crate::expr::Value;
use crate::store::{Files, Journal};

/// The files that some runs refer to; with `to`, also their numbers into that folder.
pub(super) fn export(
    journal: &Journal,
    runs: &[&RunHistory],
    format: ExportFormat,
    to: Option<&Path>,
) -> Result<String, String> {
    let all = references(journal).map_err(|e| e.to_string())?;
    let mut places: Vec<&Reference> =
        all.values().flatten().filter(|p| runs.iter().any(|run| run.run == p.run)).collect();
    places.sort_by_key(|place| place.seq);
    if let Some(folder) = to {
        let mut written = std::collections::BTreeSet::new();
        std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for place in &places {
            if written.insert(&place.filed.sha256) {
                write(journal.files(), place, folder)?;
            }
        }
        output::say(format!("{} files written to {}.", written.len(), folder.display()));
    }
    Ok(match format {
        ExportFormat::Csv => csv(&places),
        ExportFormat::Json => {
            let rows: Vec<_> = places.iter().map(|p| row(p)).collect();
            format!("{:#}\n", serde_json::Value::Array(rows))
        }
    })
}

fn row(place: &Reference) -> serde_json::Value {
    json!({
        "run": place.run, "step": place.step, "entry": place.seq, "file": *place.filed,
    })
}

fn csv(places: &[&Reference]) -> String {
    let mut text = "run,step,kind,shape,axes,unit,numbers,bytes,sha256\n".to_owned();
    for place in places {
        let filed = &place.filed;
        let lengths: Vec<String> = filed.axes.iter().map(|a| a.length.to_string()).collect();
        let axes: Vec<String> =
            filed.axes.iter().map(|a| format!("{} [{}]", a.name, a.unit)).collect();
        let cells = [
            place.run.clone(),
            place.step.clone(),
            filed.is.as_str().to_owned(),
            lengths.join(" x "),
            axes.join("; "),
            filed.unit.clone(),
            filed.sample.name().to_owned(),
            filed.bytes.to_string(),
            filed.sha256.clone(),
        ];
        text.push_str(&cells.iter().map(|c| output::csv_cell(c)).collect::<Vec<_>>().join(","));
        text.push('\n');
    }
    text
}

/// Writes the numbers of one file for other programs, and what they are beside them.
fn write(files: &Files, place: &Reference, folder: &Path) -> Result<(), String> {
    let filed = &place.filed;
    let value =
        read_file(files, filed).map_err(|e| format!("entry {} of the journal: {e}", place.seq))?;
    let (ending, numbers, about) = match &value {
        Value::Series(series) => {
            let x_unit = filed.axes.first().map_or("1", |axis| axis.unit.as_str());
            let mut text = format!("x [{x_unit}],y [{}]\n", filed.unit);
            for (x, y) in series.x.iter().zip(&series.y) {
                // Writing into a String cannot fail.
                let _ = writeln!(text, "{x:e},{y:e}");
            }
            ("csv", text.into_bytes(), json!({"axes": filed.axes, "unit": filed.unit}))
        }
        Value::Array(array) => {
            let parts = array.parts();
            let axes: Vec<_> = parts
                .axes
                .iter()
                .zip(&filed.axes)
                .map(|(axis, named)| {
                    json!({
                        "name": axis.name, "length": axis.length, "start": axis.start,
                        "step": axis.step, "unit": named.unit,
                    })
                })
                .collect();
            let about = json!({
                "axes": axes, "order": "the last axis is the fastest", "unit": filed.unit,
                "numbers": parts.sample.name(), "byte_order": "little",
                "value": "number * scale + offset", "scale": parts.scale, "offset": parts.offset,
            });
            ("raw", parts.bytes.clone(), about)
        }
        other => return Err(format!("the file {} holds {}", filed.sha256, other.show())),
    };
    let name = format!("{}.{ending}", filed.sha256);
    let about = json!({
        "file": name, "is": filed.is.as_str(), "sha256_in_labloop": filed.sha256, "about": about,
    });
    let save = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, content).map_err(|e| format!("{}: {e}", path.display()))
    };
    save(&name, &numbers)?;
    save(&format!("{}.json", filed.sha256), format!("{about:#}\n").as_bytes())
}
