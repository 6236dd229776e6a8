//! The output and the exit status of a CLI command.

use std::process::Output;

use serde_json::Value;

/// A command that has ended.
#[derive(Debug)]
pub struct Answer {
    command: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

// === impl Answer ===

impl Answer {
    pub(crate) fn new(command: String, output: &Output) -> Self {
        Self {
            command,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// What it printed; it must have done what was asked.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.stdout
    }

    /// The same as data.
    #[track_caller]
    pub fn json(self) -> Value {
        let command = self.command.clone();
        let text = self.ok();
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("`{command}` printed no JSON: {error}\n{text}"))
    }

    /// It must have ended with this code, and have said all of these words on stderr.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str]) -> String {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for word in words {
            assert!(
                self.stderr.contains(word),
                "`{word}` is missing in {self:#?}"
            );
        }
        self.stderr
    }
}
