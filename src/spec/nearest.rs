//! "Did you mean": the candidate nearest to a misspelt word.

/// Longest word that is compared; longer ones have no near candidate worth naming.
const MAX_CHARS: usize = 64;
/// Most candidates that are compared, so that a long file with a mistake on every line is still
/// read at once.
const MAX_CANDIDATES: usize = 300;

/// Words for the same thing elsewhere, and ours.
const SYNONYMS: &[(&str, &str)] = &[
    ("integer", "int"),
    ("float", "number"),
    ("double", "number"),
    ("string", "text"),
    ("str", "text"),
    ("boolean", "bool"),
    ("enum", "choice"),
    ("params", "parameters"),
    ("args", "with"),
    ("arguments", "with"),
    ("devices", "instruments"),
    ("device", "use"),
    ("driver", "use"),
    ("address", "at"),
    ("port", "at"),
    ("action", "do"),
    ("run", "do"),
    ("command", "do"),
    ("sleep", "wait"),
    ("delay", "wait"),
    ("pause", "wait"),
    ("until", "wait_until"),
    ("while", "repeat"),
    ("loop", "repeat"),
    ("for", "for_each"),
    ("foreach", "for_each"),
    ("concurrent", "parallel"),
    ("print", "log"),
    ("message", "log"),
    ("prompt", "ask"),
    ("analyze", "analyse"),
    ("include", "call"),
    ("import", "call"),
    ("cleanup", "finally"),
    ("teardown", "finally"),
    ("description", "doc"),
    ("comment", "doc"),
    ("outputs", "results"),
    ("inputs", "parameters"),
    ("variables", "derived"),
    ("vars", "derived"),
    ("depends_on", "after"),
    ("needs", "after"),
    ("max_iterations", "max_times"),
    ("times", "max_times"),
    ("retries", "retry"),
    ("bounds", "space"),
    ("targets", "objectives"),
    ("max", "to"),
    ("min", "from"),
];

/// The candidate that a person most probably meant, if one is near enough to be worth naming:
/// one wrong, missing, extra or swapped letter in every three.
///
/// Words that other languages and people use for the same thing (`integer`, `while`) come before
/// any that merely look alike.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let candidates: Vec<&'c str> = candidates.into_iter().take(MAX_CANDIDATES).collect();
    let meant = SYNONYMS.iter().filter(|(other, _)| other.eq_ignore_ascii_case(word));
    for (_, ours) in meant {
        if let Some(found) = candidates.iter().find(|c| *c == ours) {
            return Some(found);
        }
    }
    let word: Vec<char> = word.chars().flat_map(char::to_lowercase).collect();
    if word.len() > MAX_CHARS {
        return None;
    }
    let allowed = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let other: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
            if other.len().abs_diff(word.len()) > allowed {
                return None;
            }
            let same = usize::from(other.first() != word.first());
            Some((distance(&word, &other), same, candidate))
        })
        .filter(|(distance, ..)| *distance <= allowed)
        .min_by_key(|(distance, same, _)| (*distance, *same))
        .map(|(.., candidate)| candidate)
}

/// Names for a message: the first few, and how many more there are.
pub fn listed<'c>(names: impl IntoIterator<Item = &'c str>) -> String {
    const SHOWN: usize = 12;
    let mut names = names.into_iter();
    let first: Vec<&str> = names.by_ref().take(SHOWN).collect();
    let more = names.count();
    let shown = first.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// Edit distance in which swapping two neighbours counts once (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous_a = None;
    for (i, &ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        let mut previous_b = None;
        for (j, &cb) in b.iter().enumerate() {
            let at = |row: &[usize], n: usize| row.get(n).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&last, j) + usize::from(ca != cb))
                .min(at(&last, j + 1) + 1)
                .min(at(&row, j) + 1);
            if i > 0 && j > 0 && previous_a == Some(cb) && previous_b == Some(ca) {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
            previous_b = Some(cb);
        }
        before = std::mem::replace(&mut last, row);
        previous_a = Some(ca);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{listed, nearest};

    #[test]
    fn a_typing_error_finds_the_word_and_another_word_does_not() {
        let keys = ["timeout", "times", "retry", "on_error", "within"];
        assert_eq!(nearest("timout", keys), Some("timeout"));
        assert_eq!(nearest("Timeout", keys), Some("timeout"));
        assert_eq!(nearest("rerty", keys), Some("retry"));
        assert_eq!(nearest("on-error", keys), Some("on_error"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("", keys), None);
        assert_eq!(nearest(&"x".repeat(10_000), keys), None);
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        assert_eq!(listed(["a", "b"]), "a, b");
        let many: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        assert!(listed(many.iter().map(String::as_str)).ends_with("10, 11 and 8 more"));
    }
}
