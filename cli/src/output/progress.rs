//! Progress on the terminal. The bars go to stderr, and hide themselves if that is not a terminal.

use std::{
    io::{self, IsTerminal as _},
    sync::LazyLock,
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::harmless;

/// There is one terminal per process and therefore one set of bars, which is hidden while anything
/// else is printed.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

const TICK: Duration = Duration::from_millis(100);

/// Returns whether stderr is a terminal.
pub fn is_shown() -> bool {
    io::stderr().is_terminal()
}

/// Returns a bar for a transfer of bytes. It disappears when it is dropped.
pub fn transfer(label: &str, bytes: u64) -> Bar {
    Bar::new(
        ProgressBar::new(bytes),
        label,
        "{prefix} {wide_bar} {binary_bytes}/{binary_total_bytes}",
    )
}

/// Returns a spinner for work of unknown length. It disappears when it is dropped.
pub fn spinner(label: &str) -> Bar {
    let bar = Bar::new(
        ProgressBar::new_spinner(),
        label,
        "{spinner} {prefix} {msg}",
    );
    bar.0.enable_steady_tick(TICK);
    bar
}

/// Runs a function that writes to the terminal while the bars are hidden.
pub fn suspend<R>(write: impl FnOnce() -> R) -> R {
    BARS.suspend(write)
}

/// One line of progress.
#[derive(Debug)]
pub struct Bar(ProgressBar);

// === impl Bar ===

impl Bar {
    fn new(bar: ProgressBar, label: &str, template: &str) -> Self {
        let bar = BARS.add(bar);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(harmless::line(label).into_owned());
        Self(bar)
    }

    pub fn advance(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }

    /// Sets the message, as one line whatever it contains.
    pub fn say(&self, message: &str) {
        self.0.set_message(harmless::line(message).into_owned());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        BARS.remove(&self.0);
    }
}
