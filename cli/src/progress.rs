//! Progress on the terminal. The bars go to stderr, and hide themselves if that is not a terminal.

use std::{
    io::{self, IsTerminal as _},
    sync::LazyLock,
    time::Duration,
};

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::output::harmless;

/// There is one terminal per process and therefore one set of bars, which is hidden while anything
/// else is printed.
static BARS: LazyLock<MultiProgress> = LazyLock::new(|| {
    let terminal = Term::buffered_stderr();
    MultiProgress::with_draw_target(match terminal.features().is_attended() {
        true => ProgressDrawTarget::term_like_with_hz(Box::new(Lossy(terminal)), HERTZ),
        false => ProgressDrawTarget::hidden(),
    })
});

const HERTZ: u8 = 20;
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

/// A terminal that loses what it cannot write: the bars panic at an error, and a terminal that was
/// closed fails every write.
#[derive(Debug)]
struct Lossy(Term);

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

// === impl Lossy ===

impl TermLike for Lossy {
    fn width(&self) -> u16 {
        TermLike::width(&self.0)
    }

    fn height(&self) -> u16 {
        TermLike::height(&self.0)
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        lost(self.0.move_cursor_up(lines))
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        lost(self.0.move_cursor_down(lines))
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        lost(self.0.move_cursor_right(columns))
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        lost(self.0.move_cursor_left(columns))
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        lost(self.0.write_line(line))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        lost(self.0.write_str(text))
    }

    fn clear_line(&self) -> io::Result<()> {
        lost(self.0.clear_line())
    }

    fn flush(&self) -> io::Result<()> {
        lost(self.0.flush())
    }
}

/// Drops the error.
fn lost(written: io::Result<()>) -> io::Result<()> {
    written.or(Ok(()))
}
