//! Holds the repository to its own rules: sizes, layers, dependencies, references and language.
//!
//! [`findings`] checks a [`Tree`], which is the files of the repository or, in a unit test, a few
//! planted ones. Each module is one kind of check. Findings that exist today are listed in
//! `tests/tidy/allowed.txt` and can only become fewer ([`ratchet`]).

pub mod dependencies;
pub mod paths;
pub mod prose;
pub mod ratchet;
pub mod rooms;
pub mod rust;
pub mod size;
pub mod tree;

use std::fmt;

pub use tree::Tree;

/// A place where a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub path: String,
    /// Starts at 1.
    pub line: usize,
    /// The name of the rule, as `allowed.txt` writes it.
    pub rule: String,
    pub message: String,
}

impl Finding {
    pub fn new(
        path: &str,
        line: usize,
        rule: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            path: path.into(),
            line,
            rule: rule.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            rule,
            message,
        } = self;
        write!(f, "{path}:{line}: {rule}: {message}")
    }
}

/// Returns every finding in `tree`, sorted by path and line.
pub fn findings(tree: &Tree) -> Vec<Finding> {
    let mut all = size::check(tree);
    all.extend(rooms::check(tree));
    all.extend(dependencies::check(tree));
    all.extend(paths::check(tree));
    all.extend(prose::check(tree));
    all.sort();
    all
}
