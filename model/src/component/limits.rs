//! Bounds on what a component may hold, so that neither its inspection nor its compilation can be
//! made to take long.

use std::{fmt, str::FromStr};

use crate::quantity::{format_bytes, parse_bytes};

/// One limit. Those from [`Self::Nesting`] on count the contents of the whole artifact; those
/// before apply to each function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of one function's body.
    FunctionSize,
    /// Local variables of one function, parameters not counted.
    Locals,
    /// Blocks, loops and conditions of one function inside each other.
    BlockDepth,
    /// Parameters and results of one type of core functions.
    Signature,
    /// Components, modules and types of components and instances inside each other.
    Nesting,
    /// Core modules and components.
    Modules,
    /// Instances of core modules and of components.
    Instances,
    /// Functions with a body.
    Functions,
    Memories,
    Tables,
    /// Types and their parts, imports, exports, aliases, globals and segments.
    Definitions,
    /// Parts of types, counted again wherever an import, an export or an instantiation repeats
    /// them. Types share parts, so a small component can describe huge ones.
    TypeSize,
}

/// The value of each limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits([u64; ALL.len()]);

/// The text names an unknown limit, or a value that it cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("write KEY=VALUE, such as function-size=1MiB")]
    Syntax,
    #[error("there is no limit `{0}`: {1} can be set")]
    Unknown(String, String),
    #[error("`{0}` {1}")]
    Value(&'static str, String),
}

/// The limits with their keys and defaults, in the order of [`Limit`].
const ALL: [(Limit, &str, u64); 12] = [
    (Limit::FunctionSize, "function-size", 768 << 10),
    (Limit::Locals, "locals", 10_000),
    (Limit::BlockDepth, "block-depth", 5_000),
    (Limit::Signature, "signature", 128),
    (Limit::Nesting, "nesting", 32),
    (Limit::Modules, "modules", 1_000),
    (Limit::Instances, "instances", 2_000),
    (Limit::Functions, "functions", 500_000),
    (Limit::Memories, "memories", 100),
    (Limit::Tables, "tables", 200),
    (Limit::Definitions, "definitions", 200_000),
    (Limit::TypeSize, "type-size", 300_000),
];

/// The greatest value for nesting. Nested types are read recursively, and this many levels fit on
/// the stack of any thread.
const MOST_NESTING: u64 = 100;

// === impl Limit ===

impl Limit {
    /// Its name in `--artifact-limit`.
    pub fn key(self) -> &'static str {
        ALL[self as usize].1
    }

    /// How a value is written, for people.
    pub(super) fn write(self, value: u64) -> String {
        match self {
            Self::FunctionSize => format_bytes(value),
            _ => value.to_string(),
        }
    }

    /// What is counted, for people.
    pub(super) fn counts(self) -> &'static str {
        match self {
            Self::FunctionSize => "bytes of a function",
            Self::Locals => "local variables of a function",
            Self::BlockDepth => "blocks inside each other",
            Self::Signature => "parameters and results of a function type",
            Self::Nesting => "components, modules and their types inside each other",
            Self::Modules => "core modules and components",
            Self::Instances => "instances of core modules and components",
            Self::Functions => "functions",
            Self::Memories => "memories",
            Self::Tables => "tables",
            Self::Definitions => "types and their parts, imports, exports, globals and segments",
            Self::TypeSize => "the parts of types written out at each use",
        }
    }

    /// What an author can do about too much of it.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::FunctionSize | Self::BlockDepth => "split the function",
            Self::Locals => "split the function, or build it with optimizations",
            Self::Signature => "pass structures in memory",
            Self::Nesting | Self::Modules | Self::Instances => "compose fewer components into one",
            Self::Functions => "leave out what is not used, or make several components of it",
            Self::Memories | Self::Tables => "use fewer, or make several components of it",
            Self::Definitions | Self::TypeSize => "make its interfaces smaller",
        }
    }
}

// === impl Limits ===

impl Limits {
    pub fn get(&self, limit: Limit) -> u64 {
        self.0[limit as usize]
    }

    /// With another value for one limit; [`Limit::Nesting`] is cut to what is safe.
    #[must_use]
    pub fn with(mut self, limit: Limit, value: u64) -> Self {
        self.0[limit as usize] = match limit {
            Limit::Nesting => value.min(MOST_NESTING),
            _ => value,
        };
        self
    }

    /// Applies settings as `--artifact-limit` takes them; of several for one limit the last counts.
    #[must_use]
    pub fn changed(self, settings: &[Setting]) -> Self {
        settings
            .iter()
            .fold(self, |limits, one| limits.with(one.limit, one.value))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self(ALL.map(|(_, _, default)| default))
    }
}

/// `KEY=VALUE`: another value for one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    limit: Limit,
    value: u64,
}

impl FromStr for Setting {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let (key, value) = text.split_once('=').ok_or(LimitError::Syntax)?;
        let Some((limit, key, _)) = ALL.into_iter().find(|(_, known, _)| *known == key) else {
            let known = ALL.map(|(_, key, _)| key).join(", ");
            return Err(LimitError::Unknown(key.to_owned(), known));
        };
        let number = match limit {
            Limit::FunctionSize => parse_bytes(value).map_err(|error| error.to_string()),
            _ => value
                .parse()
                .map_err(|_| format!("takes a whole number, not `{value}`")),
        };
        let value = number.map_err(|why| LimitError::Value(key, why))?;
        let why = match limit {
            _ if value == 0 => "should be at least 1".to_owned(),
            Limit::Nesting if value > MOST_NESTING => format!("should be at most {MOST_NESTING}"),
            _ => return Ok(Self { limit, value }),
        };
        Err(LimitError::Value(key, why))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}
