//! Progress on the terminal. The bars go to stderr, and hide themselves when that is no terminal.

use std::{
    io::{self, IsTerminal as _},
    sync::LazyLock,
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output::harmless;

/// There is one terminal a process, so there is one of these: whatever prints makes it step aside.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

const TICK: Duration = Duration::from_millis(100);

/// Whether there is a terminal to show it on.
pub fn is_shown() -> bool {
    io::stderr().is_terminal()
}

/// A bar for bytes that move; gone when it is dropped.
pub fn transfer(label: &str, bytes: u64) -> Bar {
    Bar::new(
        ProgressBar::new(bytes),
        label,
        "{prefix} {wide_bar} {binary_bytes}/{binary_total_bytes}",
    )
}

/// A line with a moving mark for something that takes as long as it takes; gone when it is dropped.
pub fn spinner(label: &str) -> Bar {
    let bar = Bar::new(
        ProgressBar::new_spinner(),
        label,
        "{spinner} {prefix} {msg}",
    );
    bar.0.enable_steady_tick(TICK);
    bar
}

/// Does something that writes to the terminal while the bars are away.
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

    /// One line, whatever it is made of.
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
