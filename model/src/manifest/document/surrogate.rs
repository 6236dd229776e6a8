//! Characters beyond U+FFFF as JSON writes them in ASCII: two escapes, `"\ud83d\ude00"`.
//!
//! JSON is YAML, but YAML's own escapes name whole characters, and its scanner refuses surrogates.
//! It is therefore given a text in which each surrogate escape is replaced by another escape of the
//! same length that occurs nowhere else in the document. The scanner decides which of them are in
//! double quotes, no position moves, and the replacement is undone in what it read.

use std::borrow::Cow;

use marked_yaml::{
    Node,
    types::{MarkedMappingNode, MarkedScalarNode, MarkedSequenceNode},
};

/// A document's text for the scanner, and how to undo the replacement in what the scanner reads.
pub(super) struct StandIns {
    text: String,
    /// The hexadecimal digit that takes the place of the `d` in `\ud800` to `\udfff`.
    digit: u8,
}

/// A surrogate without its other half.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lone;

/// Digits that, followed by one of 8 to f, do not begin a surrogate. As letters they keep their
/// case, so that text outside of double quotes can be restored exactly. The first is the block for
/// private use; a document rarely has characters of all four.
const DIGITS: [u8; 4] = *b"ecba";

const FIRST_SURROGATE: u32 = 0xd800;
const FIRST_LOW: u32 = 0xdc00;

impl StandIns {
    /// `None` where the text has no surrogate escape, which is the usual case, or where it uses
    /// every stand-in itself: then the scanner refuses the surrogates.
    pub(super) fn new(text: &str) -> Option<Self> {
        let halves: Vec<usize> = halves(text).map(|(at, _)| at).collect();
        if halves.is_empty() {
            return None;
        }
        let digit = DIGITS.into_iter().find(|digit| !uses(text, *digit))?;
        let mut bytes = text.as_bytes().to_vec();
        for at in halves {
            let written = &mut bytes[at + 2];
            *written = same_case(digit, *written);
        }
        let text = String::from_utf8(bytes).ok()?;
        Some(Self { text, digit })
    }

    /// What the scanner reads.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What a scalar's text means.
    pub(super) fn decode<'t>(&self, read: &'t str) -> Result<Cow<'t, str>, Lone> {
        let first = u32::from(self.digit - b'a' + 10) << 12 | 0x800;
        let half = |c: char| u32::from(c).checked_sub(first).filter(|n| *n < 0x800);
        if !read.contains(|c| c == '\\' || half(c).is_some()) {
            return Ok(Cow::Borrowed(read));
        }
        let mut text = String::with_capacity(read.len());
        let mut chars = read.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if let Some(high) = half(c) {
                let low = chars.next().and_then(|(_, low)| half(low)).ok_or(Lone)?;
                text.push(join(high + FIRST_SURROGATE, low + FIRST_SURROGATE).ok_or(Lone)?);
            } else if c == '\\' && self.is_stand_in(&read.as_bytes()[at..]) {
                // Outside of double quotes it was literal text, which is restored.
                text.push_str("\\u");
                text.push(char::from(same_case(b'd', read.as_bytes()[at + 2])));
                chars.nth(1);
            } else {
                text.push(c);
            }
        }
        Ok(Cow::Owned(text))
    }

    /// The tree as it would be if the scanner had read the document's own text.
    pub(super) fn restore(&self, node: Node) -> Node {
        match node {
            Node::Scalar(scalar) => Node::Scalar(self.restore_scalar(&scalar)),
            Node::Sequence(items) => {
                let span = *items.span();
                let items = items.iter().cloned().map(|item| self.restore(item));
                Node::Sequence(MarkedSequenceNode::new(span, items.collect()))
            }
            Node::Mapping(map) => {
                let span = *map.span();
                let pairs = map
                    .iter()
                    .map(|(key, value)| (self.restore_scalar(key), self.restore(value.clone())));
                Node::Mapping(MarkedMappingNode::new(span, pairs.collect()))
            }
        }
    }

    fn restore_scalar(&self, scalar: &MarkedScalarNode) -> MarkedScalarNode {
        let read = scalar.as_str();
        // A document with a lone surrogate is refused before its tree is built.
        let text = self.decode(read).unwrap_or(Cow::Borrowed(read));
        let mut restored = MarkedScalarNode::new(*scalar.span(), text);
        restored.set_coerce(scalar.may_coerce());
        restored
    }

    fn is_stand_in(&self, bytes: &[u8]) -> bool {
        escape(bytes).is_some() && bytes[2].eq_ignore_ascii_case(&self.digit) && bytes[3] >= b'8'
    }
}

/// Line and column, from 1, of the first lone surrogate in the double-quoted scalar that begins at
/// this character.
pub(super) fn lone(text: &str, scalar: usize) -> Option<(usize, usize)> {
    let start = text.char_indices().nth(scalar)?.0;
    let bytes = text.as_bytes();
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        match surrogate(&bytes[at..]) {
            None => at += 2,
            Some(high) => match bytes.get(at + 6..).and_then(surrogate) {
                Some(low) if join(high, low).is_some() => at += 12,
                _ => {
                    let before = &text[..at];
                    let line = before.rsplit('\n').next().unwrap_or_default();
                    let newlines = before.bytes().filter(|byte| *byte == b'\n').count();
                    return Some((newlines + 1, line.chars().count() + 1));
                }
            },
        }
    }
    None
}

fn join(high: u32, low: u32) -> Option<char> {
    if high >= FIRST_LOW || low < FIRST_LOW {
        return None;
    }
    char::from_u32(0x1_0000 + ((high - FIRST_SURROGATE) << 10) + (low - FIRST_LOW))
}

/// Every `\uXXXX` that names a surrogate, with its place in bytes.
fn halves(text: &str) -> impl Iterator<Item = (usize, u32)> {
    let escapes = text.match_indices("\\u");
    escapes.filter_map(|(at, _)| Some((at, surrogate(&text.as_bytes()[at..])?)))
}

fn surrogate(bytes: &[u8]) -> Option<u32> {
    escape(bytes).filter(|code| code >> 11 == FIRST_SURROGATE >> 11)
}

/// The code of the `\uXXXX` that begins here.
fn escape(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |code, digit| {
        Some(code << 4 | char::from(*digit).to_digit(16)?)
    })
}

/// Whether a document has characters of the block that begins with this digit, in whatever form.
/// `uXXXX` without a backslash counts as well: another escape may produce the backslash.
fn uses(text: &str, digit: u8) -> bool {
    let block = (u32::from(digit - b'a') + 10) << 1 | 1;
    let is_of_block = |code: u32| code >> 11 == block;
    if text.chars().any(|c| is_of_block(c.into())) {
        return true;
    }
    let digits = |bytes: &[u8]| -> Option<u32> {
        bytes.iter().try_fold(0, |code, digit| {
            Some(code << 4 | char::from(*digit).to_digit(16)?)
        })
    };
    let bytes = text.as_bytes();
    let written = bytes
        .windows(5)
        .any(|window| window[0] == b'u' && digits(&window[1..]).is_some_and(is_of_block));
    written
        || bytes
            .windows(9)
            .any(|window| window[0] == b'U' && digits(&window[1..]).is_some_and(is_of_block))
}

fn same_case(digit: u8, like: u8) -> u8 {
    match like.is_ascii_uppercase() {
        true => digit.to_ascii_uppercase(),
        false => digit,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_and_nothing_else_changes() {
        for text in [
            r#"{"a": "\ud83d\ude00", "b": '\uD83D'}"#,
            "a: \\udfff # \\uDC00\n",
        ] {
            let stand_ins = StandIns::new(text).unwrap();
            assert_eq!(stand_ins.text().len(), text.len());
            // Outside of double quotes all of it is plain text.
            assert_eq!(stand_ins.decode(stand_ins.text()).unwrap(), text);
        }
        for text in ["", "a: \\u0041", "\\ud8", "\\\\u d83d", "d83d"] {
            assert!(StandIns::new(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_document_keeps_its_own_characters() {
        // Each of these uses a block that would be taken otherwise.
        let used = ["\u{e800}", "\\uc800", "\\U0000b801", "\u{abcd}"];
        for (i, digit) in DIGITS.into_iter().enumerate() {
            let text = format!("{} \\ud800\\udc00", used[..i].concat());
            assert_eq!(StandIns::new(&text).unwrap().digit, digit);
        }
        assert!(StandIns::new(&format!("{} \\ud800", used.concat())).is_none());
    }

    #[test]
    fn two_halves_are_a_character_and_one_is_none() {
        let stand_ins = StandIns::new("\\ud800").unwrap();
        let decode = |text: &str| stand_ins.decode(text).map(Cow::into_owned);
        assert_eq!(decode("x\u{e83d}\u{ee00}y"), Ok("x\u{1f600}y".to_owned()));
        assert_eq!(decode("\u{e800}\u{ec00}"), Ok("\u{10000}".to_owned()));
        assert_eq!(decode("\u{ebff}\u{efff}"), Ok("\u{10ffff}".to_owned()));
        for lone in ["\u{e83d}", "\u{ee00}", "\u{ee00}\u{e83d}", "\u{e83d}x"] {
            assert_eq!(decode(lone), Err(Lone), "{lone:?}");
        }
    }

    #[test]
    fn a_lone_half_is_found_where_it_is_written() {
        for (text, place) in [
            (r#""\ud83d""#, Some((1, 2))),
            (r#""\\ud83d \ud83d\ude00 \ude00""#, Some((1, 23))),
            ("\"é\n \\ud83dx\\ude00\"", Some((2, 2))),
            (r#""\ud83d\ude00" "\ud83d""#, None),
        ] {
            assert_eq!(lone(text, 0), place, "{text}");
        }
    }
}
