//! Text of others, as a terminal may be given it: it is shown, and not obeyed. Pure.
//!
//! Guests, other users, servers and files write what commands print. A terminal takes some characters as commands (it
//! moves its cursor, names its window, answers as if somebody had typed), and some are seen nowhere and change how what
//! stands around them is read (<https://www.unicode.org/reports/tr36/>, <https://trojansource.codes>). Those are written
//! as escapes; letters of every script, emoji included, stay as they are.

use std::{borrow::Cow, fmt::Write as _};

/// A text of several lines: their ends and tabs stay.
pub fn text(text: &str) -> Cow<'_, str> {
    neutralise(text, |c| c == '\n' || c == '\t')
}

/// A text that must not become two lines. Tabs stay.
pub fn line(text: &str) -> Cow<'_, str> {
    neutralise(text, |c| c == '\t')
}

/// A cell of a table: a tab would move what stands beside it.
pub fn cell(text: &str) -> Cow<'_, str> {
    match line(text) {
        one if one.contains('\t') => one.replace('\t', " ").into(),
        one => one,
    }
}

/// Whether a terminal may obey the character, or a reader be deceived by it, wherever it stands. Line ends and tabs are
/// among them.
pub fn is_hazard(c: char) -> bool {
    match c {
        ' '..='~' => false,
        // C0, DEL and C1: U+009B alone begins what ESC [ begins.
        c if c.is_control() => true,
        // Ends of lines and paragraphs; embeddings, overrides and isolates, which reorder what follows.
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        // Seen nowhere: soft hyphen, spaces without width, invisible operators, deprecated and reserved format
        // characters, annotations, shorthand and music controls, tags.
        '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' => {
            true
        }
        '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' => true,
        '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}' => true,
        // Not characters, and never to be.
        '\u{fdd0}'..='\u{fdef}' => true,
        c => u32::from(c) & 0xfffe == 0xfffe,
    }
}

/// What a character without width stands behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// The beginning, ASCII or an escape.
    Ascii(char),
    /// A letter or sign of another script.
    Other,
    Selected,
    Joined,
}

impl Before {
    /// Joiners and marks of direction belong into words of scripts other than ASCII's, and into emoji. A single one of
    /// them, behind a letter of those, is left; anywhere else it only hides.
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
        // Joiners, marks of direction, the grapheme joiner, fillers and vowels that are seen nowhere.
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
            // Memory takes whatever is written.
            let _ = write!(out, "{}", c.escape_unicode());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown() {
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

    /// The characters that matter more often than chance would have them.
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
                // What is harmless already stays as it is.
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
