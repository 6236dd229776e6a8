//! `wasi:logging`: each call adds one line to the replica's log, as if it were written to stderr.
//!
//! The limits of the log apply: its rate, and the length of a line. The strings of a call are
//! bounded by the guest's host budget, as those of every host call are.

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker};

use crate::logs::{ReplicaLog, Stream};

use super::{GuestContext, HasHost, HostInterface};

mod bindings {
    wasmtime::component::bindgen!({ path: "wit/logging.wit" });
}

use bindings::wasi::logging::logging::{self, Level};

#[derive(Clone)]
pub struct Logging {
    log: ReplicaLog,
    source: Arc<str>,
}

impl HostInterface for Logging {
    const PACKAGE: &'static str = "wasi:logging";

    fn add_to_linker<T: HasHost>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
        logging::add_to_linker::<T, HasSelf<Self>>(linker, |data| &mut data.host().logging)
    }

    fn bind(guest: &GuestContext<'_>) -> Result<Self, String> {
        Ok(Self {
            log: guest.log.clone(),
            source: Arc::clone(guest.source),
        })
    }
}

impl logging::Host for Logging {
    fn log(&mut self, level: Level, context: String, message: String) {
        // The writer keeps no more than the longest line, however long the strings are.
        let mut line = self.log.writer(Arc::clone(&self.source), Stream::Stderr);
        let mut write = |text: &str| {
            // A line break would end the line. It becomes a space, as in the files of the log.
            for (i, part) in text.split('\n').enumerate() {
                if i > 0 {
                    line.write(b" ");
                }
                line.write(part.as_bytes());
            }
        };
        write(name(level));
        if !context.is_empty() {
            write(" ");
            write(&context);
            write(":");
        }
        write(" ");
        write(message.strip_suffix('\n').unwrap_or(&message));
        // Dropping the writer ends the line.
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Trace => "TRACE",
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
        Level::Critical => "CRITICAL",
    }
}
