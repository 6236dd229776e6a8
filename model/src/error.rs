//! Every problem of a value at once, each with the field that it is about.

use std::fmt;

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in the protobuf message, such as `spec.components[0].routes[1].path`.
    pub field: String,
    /// The problem, and what to do about it.
    pub message: String,
}

/// Everything that is wrong with a value. Never empty where it is returned as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(pub Vec<Violation>);

// === impl Violations ===

impl Violations {
    /// Adds a problem.
    pub fn push(&mut self, field: impl Into<String>, message: impl fmt::Display) {
        self.0.push(Violation {
            field: field.into(),
            message: message.to_string(),
        });
    }

    /// Records the problem of a failed result, and continues without its value.
    pub fn ok<T, E: fmt::Display>(
        &mut self,
        field: impl Into<String>,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.push(field, error)).ok()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, violation) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{violation}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

// === impl Violation ===

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}
