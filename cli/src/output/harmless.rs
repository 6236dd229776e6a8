//! Makes text from others safe for a terminal, so that it is shown and not interpreted. Pure.
//!
//! Much of what commands print was written by guests, other users, servers and files. Some
//! characters control a terminal: they move the cursor, set the title, or make the terminal type an
//! answer. Others are invisible, or change how the text around them is read
//! (<https://www.unicode.org/reports/tr36/>, <https://trojansource.codes>). All of these are
//! replaced by escapes. Letters of every script and emoji are kept.

use std::{borrow::Cow, fmt::Write as _};

/// Escapes text of several lines: line feeds and tabs are kept.
pub fn text(text: &str) -> Cow<'_, str> {
    neutralise(text, |c| c == '\n' || c == '\t')
}

/// Escapes text that must stay on one line. Tabs are kept.
pub fn line(text: &str) -> Cow<'_, str> {
    neutralise(text, |c| c == '\t')
}

/// Escapes a table cell, where a tab would shift the next column.
pub fn cell(text: &str) -> Cow<'_, str> {
    match line(text) {
        one if one.contains('\t') => one.replace('\t', " ").into(),
        one => one,
    }
}

/// Returns whether the character can control a terminal or deceive a reader, in any position. This
/// includes line feeds and tabs.
pub fn is_hazard(c: char) -> bool {
    match c {
        ' '..='~' => false,
        // C0, DEL and C1: U+009B alone means the same as ESC [.
        c if c.is_control() => true,
        // Line and paragraph separators; embeddings, overrides and isolates, which reorder text.
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        // Invisible: soft hyphen, zero-width spaces, invisible operators, deprecated and reserved
        // format characters, annotations, shorthand and music controls, tags.
        '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' => {
            true
        }
        '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' => true,
        '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}' => true,
        // Noncharacters.
        '\u{fdd0}'..='\u{fdef}' => true,
        c => u32::from(c) & 0xfffe == 0xfffe,
    }
}

/// What precedes a zero-width character.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// The start of the text, an ASCII character, or an escape.
    Ascii(char),
    /// A visible character beyond ASCII.
    Other,
    /// A variation selector.
    Selected,
    /// A joiner or a direction mark.
    Joined,
}

impl Before {
    /// Returns the state after `c`, or `None` if `c` must be escaped. Joiners and direction marks
    /// belong to words of non-ASCII scripts and to emoji: a single one after such a character is
    /// kept. Anywhere else they can only hide something.
    fn admits(self, c: char) -> Option<Self> {
        match c {
            // Variation selectors; 0 to 9, # and * have an emoji form.
            '\u{fe0e}' | '\u{fe0f}' if matches!(self, Self::Ascii('0'..='9' | '#' | '*')) => {
                Some(Self::Selected)
            }
            '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => {
                (self == Self::Other).then_some(Self::Selected)
            }
            c if is_joiner(c) => {
                matches!(self, Self::Other | Self::Selected).then_some(Self::Joined)
            }
            c if c.is_ascii() => Some(Self::Ascii(c)),
            _ => Some(Self::Other),
        }
    }
}

fn is_joiner(c: char) -> bool {
    matches!(
        c,
        // Joiners, direction marks, the grapheme joiner, fillers, and invisible vowels.
        '\u{200c}'
            ..='\u{200f}'
                | '\u{61c}'
                | '\u{34f}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{3164}'
                | '\u{ffa0}'
                | '\u{17b4}'
                | '\u{17b5}'
    )
}

fn neutralise(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') || byte.is_ascii() && stays(byte.into());
    if text.bytes().all(plain) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut before = Before::Ascii(' ');
    for c in text.chars() {
        let admitted = match stays(c) || !is_hazard(c) {
            true => before.admits(c),
            false => None,
        };
        match admitted {
            Some(_) => out.push(c),
            None => escape(c, &mut out),
        }
        before = admitted.unwrap_or(Before::Ascii('}'));
    }
    out.into()
}

fn escape(c: char, out: &mut String) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        c => {
            // Writing to a string cannot fail.
            let _ = write!(out, "{}", c.escape_unicode());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_characters_are_shown() {
        for (given, shown) in [
            (
                "\x1b]0;owned\x07\x1b[2Jgone",
                r"\u{1b}]0;owned\u{7}\u{1b}[2Jgone",
            ),
            ("cr\rforged", r"cr\rforged"),
            (
                "a\u{9b}31mb\u{85}\u{90}q\u{9c}",
                r"a\u{9b}31mb\u{85}\u{90}q\u{9c}",
            ),
            (
                "a\x08\x7f\0\x0e\x0b\x0c",
                r"a\u{8}\u{7f}\u{0}\u{e}\u{b}\u{c}",
            ),
            (
                "user\u{202e}nimda\u{2066}x\u{2069}",
                r"user\u{202e}nimda\u{2066}x\u{2069}",
            ),
            (
                "ad\u{200b}min\u{feff}\u{2060}\u{ad}",
                r"ad\u{200b}min\u{feff}\u{2060}\u{ad}",
            ),
            ("ad\u{200d}min", r"ad\u{200d}min"),
            (
                "x\u{e0041}\u{e007f}\u{fe0f}",
                r"x\u{e0041}\u{e007f}\u{fe0f}",
            ),
            ("é\u{200d}\u{200d}", "é\u{200d}\\u{200d}"),
            ("\u{3164}", r"\u{3164}"),
            ("a\u{2028}b\u{2029}", r"a\u{2028}b\u{2029}"),
            ("\u{fdd0}\u{1ffff}", r"\u{fdd0}\u{1ffff}"),
        ] {
            assert_eq!(text(given), shown);
        }
        assert_eq!(line("a\nb\tc"), "a\\nb\tc");
        assert_eq!(cell("a\nb\tc"), "a\\nb c");
    }

    #[test]
    fn ordinary_text_stays() {
        for ordinary in [
            "plain \\u{1b} ~ `x`\n\tindented",
            "naïve cafe\u{301} Straße",
            "日本語 한국어 \u{f121}",
            "עברית\u{200f} وعربي",
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "👩🏽\u{200d}❤\u{fe0f}\u{200d}💋\u{200d}👨🏻 1\u{fe0f}\u{20e3} 🇨🇭 ☎\u{fe0e}",
            "葛\u{e0100}飾",
            "│ ├─ ✓ … \u{2800}",
        ] {
            assert_eq!(text(ordinary), ordinary);
        }
    }

    /// Generates text in which the relevant characters are frequent.
    fn hostile() -> impl Strategy<Value = String> {
        let special = prop::sample::select(vec![
            '\x1b',
            '\r',
            '\n',
            '\t',
            '\x7f',
            '\u{9b}',
            '\u{202e}',
            '\u{200b}',
            '\u{200d}',
            '\u{fe0f}',
            '\u{200f}',
            '\u{e0041}',
            '[',
            ']',
            '\\',
            '1',
            'é',
            '👩',
        ]);
        let each = prop_oneof![special, any::<char>()];
        prop::collection::vec(each, 0..40).prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #[test]
        fn nothing_is_left_to_obey(given in hostile()) {
            for (shown, stays) in [(text(&given), "\n\t"), (line(&given), "\t"), (cell(&given), "")] {
                prop_assert!(shown.chars().all(|c| stays.contains(c) || !is_hazard(c)), "{:?}", shown);
                // Escaping is idempotent.
                prop_assert_eq!(&text(&shown), &shown);
            }
            prop_assert_eq!(line(&given).lines().count() <= 1, true);
        }

        #[test]
        fn visible_text_is_kept(given in "[ -~\u{a1}-\u{ac}\u{ae}-\u{2ff}\u{400}-\u{4ff}\u{4e00}-\u{9fff}]*") {
            prop_assert_eq!(&text(&given), &given);
        }
    }
}
