//! Text that is safe to print, with colour on terminals only.

use std::{
    env, fmt,
    io::{self, IsTerminal},
};

use super::harmless;

/// Text that is safe for a terminal: its only escape sequences are those of [`Style`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown(String);

/// Whether a stream gets colour.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    colour: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Blue,
    Magenta,
    Cyan,
}

/// Colours that distinguish replicas. Red is reserved for errors.
pub const PALETTE: [Colour; 5] = [
    Colour::Cyan,
    Colour::Green,
    Colour::Magenta,
    Colour::Yellow,
    Colour::Blue,
];

pub fn stdout_style() -> Style {
    Style::of(&io::stdout())
}

pub fn stderr_style() -> Style {
    Style::of(&io::stderr())
}

// === impl Style ===

impl Style {
    /// Uses colour on a terminal, unless `NO_COLOR` (<https://no-color.org>) is set or the terminal
    /// has no colour.
    fn of(stream: &impl IsTerminal) -> Self {
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            colour: stream.is_terminal() && !unwanted,
        }
    }

    /// Returns the style without colour.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { colour: false }
    }

    pub fn is_coloured(self) -> bool {
        self.colour
    }

    pub fn paint(self, colour: Colour, text: &str) -> Shown {
        let text = harmless::text(text);
        Shown(if self.colour {
            format!("\x1b[{}m{text}\x1b[0m", colour.code())
        } else {
            text.into_owned()
        })
    }
}

// === impl Shown ===

impl Shown {
    /// Keeps text unchanged, for output that is not a terminal or if the user asked for it.
    pub fn unchanged(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Escapes text that must stay on one line.
    pub fn line(text: &str) -> Self {
        Self(harmless::line(text).into_owned())
    }

    pub fn and(mut self, more: impl Into<Self>) -> Self {
        self.push(more);
        self
    }

    pub fn push(&mut self, more: impl Into<Self>) {
        self.0.push_str(&more.into().0);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Shown {
    fn from(text: &str) -> Self {
        Self(harmless::text(text).into_owned())
    }
}

impl From<String> for Shown {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&String> for Shown {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<fmt::Arguments<'_>> for Shown {
    fn from(text: fmt::Arguments<'_>) -> Self {
        Self::from(text.to_string())
    }
}

impl FromIterator<Self> for Shown {
    fn from_iter<I: IntoIterator<Item = Self>>(parts: I) -> Self {
        let mut all = Self::default();
        parts.into_iter().for_each(|part| all.push(part));
        all
    }
}

// === impl Colour ===

impl Colour {
    /// Picks a colour of the palette, always the same one for the same text.
    pub fn of(text: &str) -> Self {
        let sum = text.bytes().fold(0_usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        PALETTE[sum % PALETTE.len()]
    }

    fn code(self) -> u8 {
        match self {
            Self::Bold => 1,
            Self::Dim => 2,
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Blue => 34,
            Self::Magenta => 35,
            Self::Cyan => 36,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paint_only_with_colour() {
        let painted = |colour| Style { colour }.paint(Colour::Red, "x");
        assert_eq!(painted(false).as_str(), "x");
        assert_eq!(painted(true).as_str(), "\x1b[31mx\x1b[0m");
        assert_eq!(Colour::of("counter-abc"), Colour::of("counter-abc"));
    }

    #[test]
    fn colour_is_the_only_escape_sequence() {
        let coloured = Style { colour: true };
        let shown = Shown::line("\x1b[2J\n")
            .and(coloured.paint(Colour::Red, "\x1b[0m\x1b]0;x\x07"))
            .and("\r");
        assert_eq!(
            shown.as_str(),
            "\\u{1b}[2J\\n\x1b[31m\\u{1b}[0m\\u{1b}]0;x\\u{7}\x1b[0m\\r"
        );
    }
}
