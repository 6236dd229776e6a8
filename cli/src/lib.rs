//! The command line of Warren as a library. The `warren` binary calls [`main`], as may another
//! binary built from the same code.
//!
//! There is one module per command under `commands`, each with `Args` and `run`. The other modules
//! hold what several commands share.

mod args;
mod client;
mod commands;
mod deploy;
mod error;
mod explain;
mod logging;
mod output;
mod process;
mod push;
mod resume;
mod source;
mod wait;

use std::process::ExitCode;

use args::Cli;
/// The reference of the command line as Markdown. The documentation contains a copy.
pub use args::reference;
use clap::CommandFactory as _;

/// Runs the command line of this process. The exit code is 0 on success, 1 on failure and 2 on
/// wrong usage.
pub fn main() -> ExitCode {
    // A worker starts this program again as its compiler. That is not a command for users.
    if let Some(code) = warren_worker::compile_if_asked(std::env::args_os()) {
        return code;
    }
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(refused) => return error::explain(&refused),
    };
    let Err(error) = commands::run(cli) else {
        return ExitCode::SUCCESS;
    };
    match error.downcast::<clap::Error>() {
        // The arguments contradict each other, which the command noticed.
        Ok(refused) => error::explain(&refused.format(&mut Cli::command())),
        Err(error) => error::report(&error),
    }
}
