//! The functions, their inputs and what they give.

use super::signature::{Dim, Input, Kind, Needed, Output, Signature};
use crate::units::Dimension;

use Dim as D;
use Kind as K;
use Output as O;

const NONE: Dim = D::Is(Dimension::NONE);

const fn input(name: &'static str, is: Kind, doc: &'static str) -> Input {
    Input { name, is, needed: Needed::Always, doc }
}

const fn optional(name: &'static str, is: Kind, doc: &'static str) -> Input {
    Input { name, is, needed: Needed::Optional, doc }
}

const fn when(needed: Needed, name: &'static str, is: Kind, doc: &'static str) -> Input {
    Input { name, is, needed, doc }
}

const COUNT: Kind = K::Quantity(NONE);

const PEAK: &[(&str, Output)] = &[
    ("place", O::Quantity(D::X("of"))),
    ("height", O::Quantity(D::Of("of"))),
    ("prominence", O::Quantity(D::Of("of"))),
    ("width", O::Quantity(D::X("of"))),
    ("area", O::Quantity(D::Product(&D::Of("of"), &D::X("of")))),
];

/// All functions, by name.
pub(super) static SIGNATURES: &[Signature] = &[
    Signature {
        name: "absorbance",
        doc: "Absorbance spectrum of a sample against a reference: -log10((S - D) / (R - D)).",
        inputs: &[
            input("sample", K::Curves, "light through the sample; repeated spectra are averaged"),
            input("reference", K::Curves, "light through the blank, at the same places"),
            optional("dark", K::Curves, "what is read without light; zero if not given"),
            optional("from", K::Quantity(D::X("sample")), "where to begin"),
            optional("to", K::Quantity(D::X("sample")), "where to end"),
        ],
        outputs: &[("spectrum", O::Curve(D::X("sample"), NONE)), ("max", O::Quantity(NONE))],
    },
    Signature {
        name: "absorbance_at",
        doc: "Absorbance of spectra at one wavelength.",
        inputs: &[
            input("spectra", K::Curves, "one spectrum or repeated ones"),
            input("wavelength", K::Quantity(D::X("spectra")), "where to read"),
        ],
        outputs: &[("value", O::Quantity(D::Of("spectra"))), ("sd", O::Quantity(D::Of("spectra")))],
    },
    Signature {
        name: "baseline",
        doc: "A curve without its base line: a straight line through two places, or one that \
              follows its lower side (asymmetric least squares).",
        inputs: &[
            input("spectra", K::Curves, "one curve"),
            optional("method", K::Word(&["line", "als"]), "line if not given"),
            when(
                Needed::Unless("method", "als"),
                "from",
                K::Quantity(D::X("spectra")),
                "first support of the straight line",
            ),
            when(
                Needed::Unless("method", "als"),
                "to",
                K::Quantity(D::X("spectra")),
                "second support of the straight line",
            ),
            optional("smoothness", COUNT, "als: weight of the line's bends; 1e5 if not given"),
            optional("asymmetry", COUNT, "als: weight of points above the line; 0.01 if not given"),
        ],
        outputs: &[
            ("spectrum", O::Curve(D::X("spectra"), D::Of("spectra"))),
            ("baseline", O::Curve(D::X("spectra"), D::Of("spectra"))),
        ],
    },
    Signature {
        name: "beer_lambert",
        doc: "Concentration, and yield if the greatest possible concentration is given, from absorbance.",
        inputs: &[
            input("spectra", K::Curves, "one spectrum or repeated ones"),
            input("wavelength", K::Quantity(D::X("spectra")), "where to read"),
            input("path_length", K::Quantity(D::Is(Dimension::LENGTH)), "of the cell"),
            input("absorptivity", K::Quantity(D::Is(Dimension::ABSORPTIVITY)), "molar, decadic"),
            optional(
                "full",
                K::Quantity(D::Is(Dimension::CONCENTRATION)),
                "concentration at 100 % yield",
            ),
            optional(
                "saturation",
                COUNT,
                "absorbance above which a reading is not trusted; 2.5 if not given",
            ),
        ],
        outputs: &[
            ("absorbance", O::Quantity(NONE)),
            ("concentration", O::Quantity(D::Is(Dimension::CONCENTRATION))),
            ("concentration_sd", O::Quantity(D::Is(Dimension::CONCENTRATION))),
            ("yield", O::Quantity(NONE)),
            ("yield_sd", O::Quantity(NONE)),
            ("saturated", O::Bool),
        ],
    },
    Signature {
        name: "calibration",
        doc: "Straight calibration line y = intercept + slope x, weighted where `sd` is given.",
        inputs: &[
            input("x", K::Measured, "what is known of the standards, such as concentrations"),
            input("y", K::Measured, "what was read for each"),
            optional("sd", K::Numbers(D::Of("y")), "standard deviation of each reading"),
        ],
        outputs: &[
            ("slope", O::Quantity(D::Ratio(&D::Of("y"), &D::Of("x")))),
            ("slope_sd", O::Quantity(D::Ratio(&D::Of("y"), &D::Of("x")))),
            ("intercept", O::Quantity(D::Of("y"))),
            ("intercept_sd", O::Quantity(D::Of("y"))),
            (
                "covariance",
                O::Quantity(D::Ratio(&D::Product(&D::Of("y"), &D::Of("y")), &D::Of("x"))),
            ),
            ("residual_sd", O::Quantity(D::Of("y"))),
            ("r2", O::Quantity(NONE)),
            ("count", O::Quantity(NONE)),
            ("x_min", O::Quantity(D::Of("x"))),
            ("x_max", O::Quantity(D::Of("x"))),
        ],
    },
    Signature {
        name: "combine",
        doc: "Mean of values weighted by their standard deviations, and how well they agree.",
        inputs: &[
            input("values", K::Measured, "values of one thing"),
            input("sds", K::Numbers(D::Of("values")), "standard deviation of each"),
        ],
        outputs: &[
            ("value", O::Same("values")),
            ("sd", O::Quantity(D::Of("values"))),
            ("birge_ratio", O::Quantity(NONE)),
            ("consistent", O::Bool),
        ],
    },
    Signature {
        name: "end_point",
        doc: "Equivalence volume of a titration, where the reading changes fastest.",
        inputs: &[
            input("volume", K::Measured, "titrant added, rising"),
            input("reading", K::Measured, "pH or potential after each addition"),
        ],
        outputs: &[
            ("volume", O::Quantity(D::Of("volume"))),
            ("volume_sd", O::Quantity(D::Of("volume"))),
            ("reading", O::Same("reading")),
            ("slope", O::Quantity(D::Ratio(&D::Of("reading"), &D::Of("volume")))),
        ],
    },
    Signature {
        name: "first_order_rate",
        doc: "Rate constant of a first-order change, from the logarithm of the distance to its end.",
        inputs: &[
            input("of", K::Values, "values in order of time, or one curve over time"),
            optional("over", K::Measured, "the time of each value of a list"),
            optional("end", K::Quantity(D::Of("of")), "value after a long time; zero if not given"),
        ],
        outputs: &[
            ("rate", O::Quantity(PER_PLACE)),
            ("rate_sd", O::Quantity(PER_PLACE)),
            ("half_life", O::Quantity(PLACE)),
            ("half_life_sd", O::Quantity(PLACE)),
            ("start", O::Quantity(D::Of("of"))),
            ("r2", O::Quantity(NONE)),
            ("count", O::Quantity(NONE)),
        ],
    },
    Signature {
        name: "integrate",
        doc: "Area under a curve between two places, over zero or over the line between them.",
        inputs: &[
            input("of", K::Curve, "the curve"),
            optional(
                "from",
                K::Quantity(D::X("of")),
                "where to begin; its first point if not given",
            ),
            optional("to", K::Quantity(D::X("of")), "where to end; its last point if not given"),
            optional(
                "baseline",
                K::Word(&["none", "line"]),
                "what to take away; none if not given",
            ),
        ],
        outputs: &[
            ("area", O::Quantity(D::Product(&D::Of("of"), &D::X("of")))),
            ("mean", O::Quantity(D::Of("of"))),
        ],
    },
    Signature {
        name: "inverse_calibration",
        doc: "What a reading means on a calibration line, with its standard deviation.",
        inputs: &[
            input("calibration", K::ResultOf("calibration"), "the line of the standards"),
            input(
                "reading",
                K::OneOrMore(D::Field("calibration", "intercept")),
                "one reading, or repeated ones, which are averaged",
            ),
            optional(
                "reading_sd",
                K::Quantity(D::Field("calibration", "intercept")),
                "of one reading; that of the line's residuals, or of the readings, if not given",
            ),
        ],
        outputs: &[
            ("value", O::Quantity(D::Field("calibration", "x_min"))),
            ("sd", O::Quantity(D::Field("calibration", "x_min"))),
            ("extrapolated", O::Bool),
        ],
    },
    Signature {
        name: "peak",
        doc: "Place, height and area of the highest peak of a curve.",
        inputs: &[input("of", K::Curves, "one curve")],
        outputs: &[
            ("place", O::Quantity(D::X("of"))),
            ("height", O::Quantity(D::Of("of"))),
            ("area", O::Quantity(D::Product(&D::Of("of"), &D::X("of")))),
        ],
    },
    Signature {
        name: "peaks",
        doc: "All peaks of a curve that stand out enough: place, height, prominence, width, area.",
        inputs: &[
            input("of", K::Curve, "the curve"),
            optional(
                "prominence",
                K::Quantity(D::Of("of")),
                "how far a peak stands out at least; 5 % of the curve's range if not given",
            ),
        ],
        outputs: &[("peaks", O::Records(PEAK)), ("count", O::Quantity(NONE))],
    },
    Signature {
        name: "rate",
        doc: "How fast values change: slope of the straight line through them.",
        inputs: &[
            input("of", K::Values, "values in order, or one curve"),
            optional("over", K::Measured, "the time or place of each value of a list"),
        ],
        outputs: &[
            ("slope", O::Quantity(D::Ratio(&D::Of("of"), &PLACE))),
            ("slope_sd", O::Quantity(D::Ratio(&D::Of("of"), &PLACE))),
            ("intercept", O::Same("of")),
            ("intercept_sd", O::Quantity(D::Of("of"))),
            ("r2", O::Quantity(NONE)),
            ("count", O::Quantity(NONE)),
        ],
    },
    Signature {
        name: "relative_change",
        doc: "Spread of the last values, relative to their mean: (greatest - least) / |mean|.",
        inputs: &[
            input("of", K::List, "values or curves in order of time"),
            optional("at", K::Quantity(D::X("of")), "where to read curves"),
            optional("last", COUNT, "how many; 3 if not given"),
        ],
        outputs: &[("value", O::Quantity(NONE)), ("mean", O::Quantity(D::Of("of")))],
    },
    Signature {
        name: "smooth",
        doc: "A curve smoothed by moving polynomials (Savitzky-Golay); its points must be evenly spaced.",
        inputs: &[
            input("of", K::Curve, "the curve"),
            optional("window", COUNT, "points of each polynomial, odd; 7 if not given"),
            optional("order", COUNT, "of the polynomials, less than the window; 2 if not given"),
        ],
        outputs: &[
            ("curve", O::Curve(D::X("of"), D::Of("of"))),
            ("noise", O::Quantity(D::Of("of"))),
        ],
    },
    Signature {
        name: "spectral_distance",
        doc: "How far a spectrum is from a target: mean absolute difference and discrete Fréchet distance.",
        inputs: &[
            input("of", K::Curves, "one spectrum or repeated ones, which are averaged"),
            input("target", K::Numbers(NONE), "values at the points of the spectrum"),
            optional(
                "normalise",
                K::Word(&["none", "area", "peak"]),
                "scale both to one before comparing; none if not given",
            ),
        ],
        outputs: &[("mean_absolute", O::Quantity(NONE)), ("frechet", O::Quantity(NONE))],
    },
    Signature {
        name: "steady_state",
        doc: "Whether the last values neither drift nor scatter by more than a tolerance.",
        inputs: &[
            input("of", K::Values, "values or curves in order, or one curve over time"),
            when(
                Needed::Or("relative"),
                "tolerance",
                K::Quantity(D::Of("of")),
                "greatest drift over the window, in the unit of the values",
            ),
            when(
                Needed::Or("tolerance"),
                "relative",
                COUNT,
                "greatest drift over the window, relative to the mean",
            ),
            optional("at", K::Quantity(D::X("of")), "where to read curves of a list"),
            optional("last", COUNT, "how many of the last values; 5 if not given"),
            optional(
                "window",
                K::Quantity(D::X("of")),
                "how much of a curve's end, instead of `last`",
            ),
        ],
        outputs: &[
            ("steady", O::Bool),
            ("slope", O::Quantity(D::Ratio(&D::Of("of"), &D::Over("of")))),
            ("drift", O::Quantity(D::Of("of"))),
            ("mean", O::Same("of")),
            ("sd", O::Quantity(D::Of("of"))),
            ("count", O::Quantity(NONE)),
        ],
    },
    Signature {
        name: "summary",
        doc: "Count, mean, standard deviation, standard error, least and greatest of a list.",
        inputs: &[input("of", K::Measured, "numbers with one unit")],
        outputs: &[
            ("count", O::Quantity(NONE)),
            ("mean", O::Same("of")),
            ("sd", O::Quantity(D::Of("of"))),
            ("standard_error", O::Quantity(D::Of("of"))),
            ("min", O::Same("of")),
            ("max", O::Same("of")),
        ],
    },
];

/// What the places of values are measured in: `over` of a list, the abscissa of one curve.
const PLACE: Dim = D::Places("of", "over");
const PER_PLACE: Dim = D::Ratio(&NONE, &PLACE);
