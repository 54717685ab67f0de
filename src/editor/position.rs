//! Bytes of a text and the lines and columns of the language server protocol: both from 0, the
//! column in UTF-16 code units.

use std::ops::Range;

/// A place as an editor says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// Line.
    pub line: u32,
    /// UTF-16 code units before it on its line.
    pub character: u32,
}

/// Where the lines of a text begin.
#[derive(Debug, Clone)]
pub struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// Looks at a text once.
    pub fn of(text: &'t str) -> Lines<'t> {
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Lines { text, starts: std::iter::once(0).chain(ends).collect() }
    }

    /// The place of a byte; one inside a character counts as its first.
    pub fn at(&self, byte: usize) -> At {
        let mut byte = byte.min(self.text.len());
        while !self.text.is_char_boundary(byte) {
            byte -= 1;
        }
        let line = self.starts.partition_point(|start| *start <= byte).saturating_sub(1);
        let start = self.starts.get(line).copied().unwrap_or(0);
        let before = self.text.get(start..byte).unwrap_or_default();
        let character = before.chars().map(char::len_utf16).sum();
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        At { line: small(line), character: small(character) }
    }

    /// The byte of a place; behind the end of a line it is the end of the line.
    pub fn byte(&self, at: At) -> usize {
        let Some(start) = self.starts.get(at.line as usize).copied() else {
            return self.text.len();
        };
        let line = self.text.get(start..).unwrap_or_default();
        let line = line.split(['\n']).next().unwrap_or_default().trim_end_matches('\r');
        let mut units = 0;
        for (byte, c) in line.char_indices() {
            if units >= at.character as usize {
                return start + byte;
            }
            units += c.len_utf16();
        }
        start + line.len()
    }

    /// First and last place of a range of bytes.
    pub fn range(&self, bytes: Range<usize>) -> (At, At) {
        (self.at(bytes.start), self.at(bytes.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_utf_16_units_and_come_back_to_the_same_byte() {
        let text = "a: 1 µL\n中: x\n\u{1F9EA}: y\r\nend";
        let lines = Lines::of(text);
        assert_eq!(lines.at(text.find('L').unwrap()), At { line: 0, character: 6 });
        assert_eq!(lines.at(text.find('x').unwrap()), At { line: 1, character: 3 });
        assert_eq!(lines.at(text.find('y').unwrap()), At { line: 2, character: 4 });
        for (byte, _) in text.char_indices().filter(|(_, c)| *c != '\r' && *c != '\n') {
            assert_eq!(lines.byte(lines.at(byte)), byte);
        }
        assert_eq!(lines.byte(At { line: 9, character: 0 }), text.len());
        assert_eq!(lines.byte(At { line: 0, character: 99 }), text.find('\n').unwrap());
        for byte in 0..text.len() + 3 {
            assert!(lines.byte(lines.at(byte)) <= text.len());
        }
    }
}
