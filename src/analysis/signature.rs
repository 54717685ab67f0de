//! What each function takes and gives, for the compiler to check before a run.

use std::collections::BTreeMap;

use crate::expr::Type;
use crate::units::Dimension;

/// One input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    /// Name in `with:`.
    pub name: &'static str,
    /// What it must be.
    pub is: Kind,
    /// May be left out.
    pub optional: bool,
    /// For people.
    pub doc: &'static str,
}

/// What an input must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number with this dimension.
    Quantity(Dimension),
    /// A curve or a list of curves.
    Curves,
    /// A list of numbers or of curves.
    List,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of numbers without a unit.
    Numbers,
}

/// A function.
#[derive(Debug, Clone, Copy)]
pub struct Signature {
    /// Name.
    pub name: &'static str,
    /// For people.
    pub doc: &'static str,
    /// Inputs.
    pub inputs: &'static [Input],
    /// Fields of the record it gives.
    outputs: &'static [(&'static str, Output)],
}

#[derive(Debug, Clone, Copy)]
enum Output {
    Quantity(Dimension),
    Bool,
    Unknown,
}

impl Signature {
    /// Type of its result.
    pub fn output(&self) -> Type {
        Type::Record(
            self.outputs
                .iter()
                .map(|(name, output)| {
                    let found = match output {
                        Output::Quantity(dim) => Type::Quantity { dim: *dim, point: false },
                        Output::Bool => Type::Bool,
                        Output::Unknown => Type::Unknown,
                    };
                    ((*name).to_owned(), found)
                })
                .collect::<BTreeMap<_, _>>(),
        )
    }

    /// An input by name.
    pub fn input(&self, name: &str) -> Option<&'static Input> {
        self.inputs.iter().find(|i| i.name == name)
    }
}

const fn input(name: &'static str, is: Kind, doc: &'static str) -> Input {
    Input { name, is, optional: false, doc }
}

const fn optional(name: &'static str, is: Kind, doc: &'static str) -> Input {
    Input { name, is, optional: true, doc }
}

use Dimension as D;
use Output as O;

static SIGNATURES: &[Signature] = &[
    Signature {
        name: "absorbance_at",
        doc: "Absorbance of spectra at one wavelength.",
        inputs: &[
            input("spectra", Kind::Curves, "one spectrum or repeated ones"),
            input("wavelength", Kind::Quantity(D::LENGTH), "where to read"),
        ],
        outputs: &[("value", O::Quantity(D::NONE)), ("sd", O::Quantity(D::NONE))],
    },
    Signature {
        name: "baseline",
        doc: "A spectrum with its straight base line between two ranges taken away.",
        inputs: &[
            input("spectra", Kind::Curves, "one curve"),
            input("from", Kind::Quantity(D::LENGTH), "first support of the base line"),
            input("to", Kind::Quantity(D::LENGTH), "second support of the base line"),
        ],
        outputs: &[("spectrum", O::Unknown)],
    },
    Signature {
        name: "beer_lambert",
        doc: "Concentration, and yield if the greatest possible concentration is given, from absorbance.",
        inputs: &[
            input("spectra", Kind::Curves, "one spectrum or repeated ones"),
            input("wavelength", Kind::Quantity(D::LENGTH), "where to read"),
            input("path_length", Kind::Quantity(D::LENGTH), "of the cell"),
            input("absorptivity", Kind::Quantity(D::ABSORPTIVITY), "molar, decadic"),
            optional("full", Kind::Quantity(D::CONCENTRATION), "concentration at 100 % yield"),
            optional(
                "saturation",
                Kind::Quantity(D::NONE),
                "absorbance above which a reading is not trusted; 2.5 if not given",
            ),
        ],
        outputs: &[
            ("absorbance", O::Quantity(D::NONE)),
            ("concentration", O::Quantity(D::CONCENTRATION)),
            ("concentration_sd", O::Quantity(D::CONCENTRATION)),
            ("yield", O::Quantity(D::NONE)),
            ("yield_sd", O::Quantity(D::NONE)),
            ("saturated", O::Bool),
        ],
    },
    Signature {
        name: "peak",
        doc: "Place, height and area of the highest peak of a curve.",
        inputs: &[input("of", Kind::Curves, "one curve")],
        outputs: &[("place", O::Unknown), ("height", O::Unknown), ("area", O::Unknown)],
    },
    Signature {
        name: "relative_change",
        doc: "Spread of the last values, relative to their mean: (greatest - least) / |mean|.",
        inputs: &[
            input("of", Kind::List, "values or curves in order of time"),
            optional("at", Kind::Quantity(D::LENGTH), "where to read curves"),
            optional("last", Kind::Quantity(D::NONE), "how many; 3 if not given"),
        ],
        outputs: &[("value", O::Quantity(D::NONE)), ("mean", O::Unknown)],
    },
    Signature {
        name: "spectral_distance",
        doc: "How far a spectrum is from a target: mean absolute difference and discrete Fréchet distance.",
        inputs: &[
            input("of", Kind::Curves, "one spectrum or repeated ones, which are averaged"),
            input("target", Kind::Numbers, "values at the points of the spectrum"),
            optional(
                "normalise",
                Kind::Word(&["none", "area", "peak"]),
                "scale both to one before comparing; none if not given",
            ),
        ],
        outputs: &[("mean_absolute", O::Quantity(D::NONE)), ("frechet", O::Quantity(D::NONE))],
    },
    Signature {
        name: "summary",
        doc: "Count, mean, standard deviation, standard error, least and greatest of a list.",
        inputs: &[input("of", Kind::List, "numbers with one unit")],
        outputs: &[
            ("count", O::Quantity(D::NONE)),
            ("mean", O::Unknown),
            ("sd", O::Unknown),
            ("standard_error", O::Unknown),
            ("min", O::Unknown),
            ("max", O::Unknown),
        ],
    },
];

/// What a function takes and gives.
pub fn signature(function: &str) -> Option<&'static Signature> {
    SIGNATURES.iter().find(|s| s.name == function)
}

/// Names of all functions.
pub fn names() -> Vec<&'static str> {
    SIGNATURES.iter().map(|s| s.name).collect()
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::Quantity(dim) => write!(f, "a {dim}"),
            Kind::Curves => f.write_str("a curve or a list of curves"),
            Kind::List => f.write_str("a list of numbers or curves"),
            Kind::Word(words) => write!(f, "one of {}", words.join(", ")),
            Kind::Numbers => f.write_str("a list of numbers without a unit"),
        }
    }
}
