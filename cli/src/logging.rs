//! The log of the long-running processes, on stderr.

mod limit;

use std::{env, fmt, io};

use anyhow::Context as _;
use tracing_subscriber::{
    field::{MakeExt as _, RecordFields},
    filter::Targets,
    fmt::{
        FormatFields,
        format::{Format, Writer, debug_fn},
    },
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use self::limit::Limited;
use crate::output::{self, harmless};

/// Filters by target and level, in the syntax of `tracing-subscriber`: `warren_worker=debug,warn`.
const VARIABLE: &str = "WARREN_LOG";

/// Starts logging with the filter in `WARREN_LOG`, or else `default`.
pub fn start(default: &str) -> anyhow::Result<()> {
    let wanted = env::var(VARIABLE).unwrap_or_default();
    let filter = if wanted.is_empty() { default } else { &wanted };
    let filter: Targets = filter.parse().with_context(|| {
        format!("{VARIABLE}={filter} is not a filter such as `debug` or `warren_worker=debug,warn`")
    })?;
    let lines = tracing_subscriber::fmt::layer()
        .fmt_fields(Fields)
        .with_writer(io::stderr)
        .with_ansi(output::stderr_style().is_coloured())
        // These are written with `eprintln!`, which panics after the terminal was closed.
        .log_internal_errors(false)
        .event_format(Limited::new(Format::default()));
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    Ok(())
}

/// Writes fields in the usual form, each on one line and safe for a terminal: names, errors and
/// addresses in them come from guests, users and other machines.
struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let one = debug_fn(|writer: &mut Writer<'_>, field, value| {
            let value = format!("{value:?}");
            let value = harmless::line(&value);
            match field.name() {
                "message" => write!(writer, "{value}"),
                // Metadata of records from the `log` crate, which the formatter already prints.
                name if name.starts_with("log.") => Ok(()),
                name => write!(writer, "{}={value}", name.trim_start_matches("r#")),
            }
        });
        one.delimited(" ").format_fields(writer.by_ref(), fields)
    }
}

/// The filter for a process whose log an operator reads: Warren's own actions, and warnings of
/// other crates.
pub const SERVER: &str = "warn,warren=info,warren_control=info,warren_worker=info";

/// The filter for `dev`, which prints what matters itself. Failed calls are reported by their
/// callers.
pub const DEV: &str =
    "error,warren=warn,warren_control=warn,warren_control::grpc=error,warren_worker=warn";

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    pub(super) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub fn text(&self) -> String {
            let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8_lossy(&bytes).into_owned()
        }
    }

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn names_from_others_stay_on_one_line_and_are_escaped() {
        let written = Written::default();
        let sink = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(Fields)
            .with_writer(move || sink.clone())
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let name = "w\x1b[2J\r\nforged\u{9b}2J\u{202e}";
            let span = tracing::error_span!("replica", id = %name);
            let _entered = span.enter();
            let error = io::Error::other(name);
            tracing::error!(name, %name, ?name, error = &error as &dyn std::error::Error, "{name} ended");
        });
        let text = written.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end().contains(harmless::is_hazard), "{text:?}");
        let name = r"w\u{1b}[2J\r\nforged\u{9b}2J\u{202e}";
        for part in [
            &format!("replica{{id={name}}}"),
            &format!("{name} ended "),
            &format!("error={name}"),
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
