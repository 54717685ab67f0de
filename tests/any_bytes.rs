//! The properties of the fuzz targets on seeded mutations of real documents: short enough for
//! every test run. The targets themselves look for longer (`fuzz/Cargo.toml` says how).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../fuzz/properties.rs"]
mod properties;

use std::path::{Path, PathBuf};

/// Mutated documents, expressions and units each.
const DOCUMENTS: u64 = 1_500;
const TEXTS: u64 = 40_000;

/// splitmix64 (Steele, Lea and Flood 2014): a seed gives the same bytes everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            documents(&path, found);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            found.push(path);
        }
    }
    found.sort();
}

const BITS: &[&str] = &[
    "\n",
    "  ",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "${",
    " }",
    "#",
    "&a",
    "*a",
    "!!",
    "|",
    ">",
    "~",
    "µ",
    "中",
    "0",
    "-1",
    "1e400",
    " mL",
    " degC",
    "params.x",
    "steps.a",
    "within: 1 s",
    "\t",
    "\u{0}",
    "\u{feff}",
    "null",
];

/// Some bytes cut, doubled, swapped or put in.
fn mutated(random: &mut Random, text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let to = (at + random.below(24)).min(bytes.len());
        match random.below(4) {
            0 => drop(bytes.drain(at..to)),
            1 => {
                let piece = bytes.get(at..to).unwrap_or_default().to_vec();
                bytes.splice(at..at, piece);
            }
            2 => {
                let bit = BITS.get(random.below(BITS.len())).unwrap();
                bytes.splice(at..at, bit.bytes());
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
        }
    }
    bytes
}

#[test]
fn no_mutated_document_makes_the_reader_panic_or_the_formatter_change_its_mind() {
    let mut files = Vec::new();
    for folder in ["examples", "protocols", "instruments", "tests/bad"] {
        documents(Path::new(folder), &mut files);
    }
    let texts: Vec<Vec<u8>> = files.iter().map(|f| std::fs::read(f).unwrap()).collect();
    for seed in 0..DOCUMENTS {
        let mut random = Random(seed);
        let text = texts.get(random.below(texts.len())).unwrap();
        let data = mutated(&mut random, text);
        let done = std::panic::catch_unwind(|| properties::document(&data));
        assert!(done.is_ok(), "seed {seed}:\n{}", String::from_utf8_lossy(&data));
    }
}

const EXPRESSIONS: &[&str] = &[
    "params.x / (1 + params.x)",
    "abs(params.temp - 25 degC) < 0.5 K and not params.ok",
    "params.ok ? params.t : 5 min",
    "min(params.x, 2) ^ 2 - max(1, params.x)",
    "clamp(params.x, 0, 1) + sqrt(abs(params.x)) * exp(params.x)",
    "mean(steps.all) in [1, 2, 3] or params.name == \"a\"",
    "[1 mL, 2 mL][params.x].value",
    "round(params.t, 1 s) + last(steps.all) * 1 s",
];

#[test]
fn no_mutated_expression_panics_or_leaves_its_interval() {
    for seed in 0..TEXTS {
        let mut random = Random(seed);
        let text = EXPRESSIONS.get(random.below(EXPRESSIONS.len())).unwrap();
        properties::expression(&mutated(&mut random, text.as_bytes()));
    }
}

const QUANTITIES: &[&str] = &[
    "2.5 mL/min",
    "1 h 30 min",
    "25 degC",
    "-3e-4 kg.m/s2",
    "10*6/mL",
    "5 {cells}/mL",
    "4 J/(mol.K)",
    "20 %",
    "7 m^3/s",
];

#[test]
fn no_mutated_quantity_panics_or_is_printed_as_another_one() {
    for seed in 0..TEXTS {
        let mut random = Random(seed);
        let text = QUANTITIES.get(random.below(QUANTITIES.len())).unwrap();
        properties::unit(&mutated(&mut random, text.as_bytes()));
    }
}
