//! Colour, only where a person sees it.

use std::{
    env,
    io::{self, IsTerminal},
};

/// Whether a stream takes colour.
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

/// To tell replicas apart. Red is left for errors.
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
    /// Colour on a terminal, unless `NO_COLOR` (<https://no-color.org>) or a terminal that cannot says otherwise.
    fn of(stream: &impl IsTerminal) -> Self {
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            colour: stream.is_terminal() && !unwanted,
        }
    }

    /// Never colour.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { colour: false }
    }

    pub fn is_coloured(self) -> bool {
        self.colour
    }

    pub fn paint(self, colour: Colour, text: &str) -> String {
        if self.colour {
            format!("\x1b[{}m{text}\x1b[0m", colour.code())
        } else {
            text.to_owned()
        }
    }
}

// === impl Colour ===

impl Colour {
    /// Always the same of the palette for the same text.
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
        assert_eq!(Style { colour: false }.paint(Colour::Red, "x"), "x");
        assert_eq!(
            Style { colour: true }.paint(Colour::Red, "x"),
            "\x1b[31mx\x1b[0m"
        );
        assert_eq!(Colour::of("counter-abc"), Colour::of("counter-abc"));
    }
}
