//! What is wrong with a document, where, why, and what to write instead.

use super::source::Span;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The document cannot be used.
    Error,
    /// It can be used, and something in it is probably not meant.
    Warning,
    /// Worth knowing, such as how many `once` steps a protocol has.
    Note,
}

impl Severity {
    /// The word people and programs read.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// A place and what to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// A few words beside the caret; may be empty.
    pub text: String,
}

/// Text that repairs a finding when it stands at a place instead of what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced; empty to insert.
    pub span: Span,
    /// What stands there then.
    pub text: String,
}

/// One finding. The message alone must say what to do; the rest is evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code, `LL0312`; every code stands in [`super::codes`].
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// One line, without a final stop.
    pub message: String,
    /// The place that is wrong.
    pub place: Label,
    /// Other places that explain it, in any text of the check.
    pub others: Vec<Label>,
    /// Why it is wrong.
    pub reason: Option<String>,
    /// What to write instead.
    pub fix: Option<String>,
    /// The same as a change of the text, where it is as simple as that; for editors.
    pub edit: Option<Edit>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            place: Label { span, text: String::new() },
            others: Vec::new(),
            reason: None,
            fix: None,
            edit: None,
        }
    }

    /// A warning at a place.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, span, message) }
    }

    /// A note at a place.
    pub fn note(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Note, ..Diagnostic::error(code, span, message) }
    }

    /// Words beside the caret.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Diagnostic {
        self.place.text = text.into();
        self
    }

    /// Another place that explains the finding.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.others.push(Label { span, text: text.into() });
        self
    }

    /// Why.
    #[must_use]
    pub fn reason(mut self, text: impl Into<String>) -> Diagnostic {
        self.reason = Some(text.into());
        self
    }

    /// What to write instead.
    #[must_use]
    pub fn fix(mut self, text: impl Into<String>) -> Diagnostic {
        self.fix = Some(text.into());
        self
    }
}

impl Diagnostic {
    /// The text that stands at the place when the finding is repaired.
    #[must_use]
    pub fn replace(mut self, text: impl Into<String>) -> Diagnostic {
        self.edit = Some(Edit { span: self.place.span, text: text.into() });
        self
    }
}

/// All findings of one check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order found; [`Report::sort`] puts them in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Nothing found.
    pub fn new() -> Report {
        Report::default()
    }

    /// Adds a finding.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Adds all findings of another report.
    pub fn extend(&mut self, other: Report) {
        self.diagnostics.extend(other.diagnostics);
    }

    /// Whether anything is an error.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    /// How many findings there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == severity).count()
    }

    /// Whether nothing at all was found.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// Puts findings in the order of the files and places, and drops repeats.
    pub fn sort(&mut self) {
        self.diagnostics.sort_by(|a, b| {
            (a.place.span, a.severity, a.code, &a.message).cmp(&(
                b.place.span,
                b.severity,
                b.code,
                &b.message,
            ))
        });
        self.diagnostics.dedup();
    }
}

/// A value, if there is one worth going on with, and everything found while reading it.
///
/// A value may be present beside errors, so that later checks can find more; only
/// [`Checked::ok`] says that it may be used.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Checked<T> {
    /// What was read.
    pub value: Option<T>,
    /// What was found.
    pub report: Report,
}

impl<T> Checked<T> {
    /// A value and what was found.
    pub fn new(value: Option<T>, report: Report) -> Checked<T> {
        Checked { value, report }
    }

    /// The value if nothing is an error, otherwise the report.
    pub fn ok(self) -> Result<(T, Report), Report> {
        match self.value {
            Some(value) if !self.report.has_errors() => Ok((value, self.report)),
            _ => Err(self.report),
        }
    }
}
