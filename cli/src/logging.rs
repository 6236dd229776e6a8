//! What the processes say about themselves, on stderr.

use std::{env, io};

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::output;

/// Chooses by target and level, as `tracing-subscriber` reads it: `warren_worker=debug,warn`.
const VARIABLE: &str = "WARREN_LOG";

/// Starts logging: what `WARREN_LOG` says, else this.
pub fn start(default: &str) -> anyhow::Result<()> {
    let wanted = env::var(VARIABLE).unwrap_or_default();
    let filter = match wanted.as_str() {
        "" => EnvFilter::new(default),
        wanted => EnvFilter::try_new(wanted).with_context(|| {
            format!(
                "{VARIABLE}={wanted} is not a filter such as `debug` or `warren_worker=debug,warn`"
            )
        })?,
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(output::stderr_style().is_coloured())
        .init();
    Ok(())
}

/// For a process whose logs are read by its operator: Warren's own doings, and others' troubles.
pub const SERVER: &str = "warn,warren=info,warren_control=info,warren_worker=info";

/// For `dev`, which tells what matters itself; a call that failed is told by whoever made it.
pub const DEV: &str =
    "error,warren=warn,warren_control=warn,warren_control::api=error,warren_worker=warn";
