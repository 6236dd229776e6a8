//! All output on stdout: text, tables, JSON and YAML.

pub mod harmless;
mod human;
mod json;
pub mod progress;
mod style;
mod table;
mod yaml;

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
};

use anyhow::Context as _;
use clap::ValueEnum;
use prost::{Message, Name};
use serde_json::Value;

pub use human::{age, age_at, ago_at, bytes, count, span, times};
pub use style::{Colour, Shown, Style, stderr_style, stdout_style};
pub use table::{Columns, Table};

/// The reader of stdout has closed it.
#[derive(Debug)]
pub struct Closed;

/// A format for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The protobuf JSON mapping
    Json,
    /// The same, as YAML
    Yaml,
}

/// Writes to stdout and flushes, so that output is visible even if the process is killed
/// afterwards. Progress on the terminal is hidden for the write.
pub fn write(text: impl Into<Shown>) -> anyhow::Result<()> {
    let text = text.into();
    let text = text.as_str();
    let written = progress::suspend(|| {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    });
    match written {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        Err(error) => Err(error).context("cannot write to stdout"),
    }
}

/// Writes a text and a line feed to stdout.
pub fn line(text: impl Into<Shown>) -> anyhow::Result<()> {
    write(text.into().and("\n"))
}

/// Writes a text and a line feed to stderr, for everything except the result.
pub fn note(text: impl Into<Shown>) {
    let text = text.into().and("\n");
    // If stderr is closed, there is no way to report that.
    let _ = progress::suspend(|| io::stderr().write_all(text.as_str().as_bytes()));
}

/// Returns whether stdout is a terminal.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Returns the width of the terminal; `None` if stdout is not a terminal or its width is unknown.
pub fn terminal_width() -> Option<usize> {
    let columns = || console::Term::stdout().size_checked();
    let (_, width) = is_terminal().then(columns)??;
    (width > 0).then_some(width.into())
}

/// Prints a table, fitted to the terminal if there is one.
pub fn table(table: &Table) -> anyhow::Result<()> {
    match terminal_width() {
        Some(width) => write(table.within(width)),
        None => write(table.to_string()),
    }
}

/// Converts a message to the contract's JSON.
pub fn to_value<M: Message + Name>(message: &M) -> anyhow::Result<Value> {
    warren_proto::json::to_value(message)
        .context("the server sent a value that JSON cannot represent")
}

/// Converts messages to one JSON array.
pub fn to_array<M: Message + Name>(messages: &[M]) -> anyhow::Result<Value> {
    messages.iter().map(to_value).collect()
}

/// Prints one complete value.
pub fn value(value: &Value, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => line(json::harmless(serde_json::to_string_pretty(value)?)),
        Format::Yaml => line(yaml::to_string(value)),
    }
}

/// Prints one value of a stream: one line of JSON, or one YAML document.
pub fn stream_item(value: &Value, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => line(json::harmless(serde_json::to_string(value)?)),
        Format::Yaml => line(yaml::document(value)),
    }
}

// === impl Closed ===

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stdout is closed")
    }
}

impl std::error::Error for Closed {}
