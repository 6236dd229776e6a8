//! The definition of the command line. Arguments that only one command needs are in that command's
//! module.

mod examples;
mod limits;
mod reference;
mod values;

use std::{env, ffi::OsString, fmt, process::ExitCode};

use crate::{
    client::ServerUrl,
    commands::{
        apply, backup, completions, control, delete, describe, dev, events, get, health, history,
        inspect, logs, maintenance, push, restart, restore, rollback, scale, validate, version,
        worker,
    },
    output::{self, harmless},
};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, error::ErrorKind};

pub use limits::ArtifactLimits;
pub use reference::reference;
pub use values::{Connections, address, bytes, duration, name, number, volume};

/// Runs WebAssembly workloads: stateless components and a long-running service that is their
/// private localhost.
#[derive(Debug, Parser)]
#[command(
    name = "warren",
    version,
    arg_required_else_help = true,
    max_term_width = 120
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// The cluster and the namespace that a command works with.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub struct Global {
    /// Control planes, tried in this order [env: WARREN_SERVER] [default: http://127.0.0.1:7700]
    #[arg(long, global = true, value_name = "URL,...", value_delimiter = ',')]
    pub server: Vec<ServerUrl>,
    /// Namespace to work in [env: WARREN_NAMESPACE] [default: default]
    #[arg(short, long, global = true, value_name = "NAME", value_parser = name)]
    pub namespace: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a control plane and a worker in this process, deploy the given workloads, and redeploy
    /// them when they change
    Dev(dev::Args),
    /// Run a control plane
    Control(control::Args),
    /// Run a worker
    Worker(worker::Args),
    /// Create or update workloads from manifests
    Apply(apply::Args),
    /// List workloads, replicas, workers or artifacts
    Get(get::Args),
    /// Explain one workload, replica, worker or artifact
    Describe(describe::Args),
    /// Delete workloads, artifacts or workers
    Delete(delete::Args),
    /// Set how many replicas a workload has
    Scale(scale::Args),
    /// Replace every replica of a workload
    Restart(restart::Args),
    /// List the revisions of a workload and their changes
    History(history::Args),
    /// Roll a workload back to an earlier revision
    Rollback(rollback::Args),
    /// Stop placing new replicas on workers; the replicas that they run stay
    Cordon(maintenance::Args),
    /// Allow new replicas on workers again
    Uncordon(maintenance::Args),
    /// Cordon workers and move their replicas to other workers, as carefully as an update does
    Drain(maintenance::DrainArgs),
    /// Print the output of a workload's guests
    Logs(logs::Args),
    /// Print events
    Events(events::Args),
    /// Store a component as an artifact
    Push(push::Args),
    /// Show what a component imports and exports, how a workload may use it, and what would link to
    /// it
    Inspect(inspect::Args),
    /// Check manifests and the components they name, without a server
    Validate(validate::Args),
    /// Write the whole state of a running control plane to a file
    Backup(backup::Args),
    /// Create a control plane's data directory from a backup
    Restore(restore::Args),
    /// Check whether a control plane or a worker is serving
    Health(health::Args),
    /// Print the version of this program and of the server
    Version(version::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

/// Global arguments that have no effect on a command. They are hidden in its help and refused.
const WITHOUT_EFFECT: [(&str, &[&str]); 11] = [
    ("dev", &["server"]),
    ("control", &["server", "namespace"]),
    ("worker", &["server", "namespace"]),
    ("inspect", &["server", "namespace"]),
    ("validate", &["server"]),
    ("completions", &["server", "namespace"]),
    ("cordon", &["namespace"]),
    ("uncordon", &["namespace"]),
    ("drain", &["namespace"]),
    ("backup", &["namespace"]),
    ("restore", &["server", "namespace"]),
];

/// Returns the definition of the command line.
pub fn command() -> clap::Command {
    let mut command = with_examples(Cli::command(), "");
    // Gives each subcommand the global arguments as its own.
    command.build();
    // `mut_subcommand` and `mut_arg` would move what they change to the end of the help.
    command.mut_subcommands(|subcommand| {
        let name = subcommand.get_name().to_owned();
        let useless = WITHOUT_EFFECT.iter().find(|(of, _)| *of == name);
        let useless = useless.map_or(&[][..], |(_, useless)| useless);
        subcommand.mut_args(|argument| {
            let hide = useless.contains(&argument.get_id().as_str());
            if hide { argument.hide(true) } else { argument }
        })
    })
}

/// Adds examples below the long help of each command. `words` are the words that lead to this
/// command.
fn with_examples(mut command: clap::Command, words: &str) -> clap::Command {
    let examples = examples::of(words);
    if !examples.is_empty() {
        command = command.after_long_help(examples::text(examples));
    }
    command.mut_subcommands(|subcommand| {
        let words = format!("{words} {}", subcommand.get_name());
        with_examples(subcommand, words.trim_start())
    })
}

// === impl Cli ===

impl Cli {
    /// Reads the arguments of this process.
    pub fn read() -> Result<Self, clap::Error> {
        Self::parse_from_words(env::args_os())
    }

    fn parse_from_words(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(words)?;
        let cli = Self::from_arg_matches(&matches)?;
        let given = matches.subcommand_name().unwrap_or_default();
        let (_, useless) = WITHOUT_EFFECT
            .into_iter()
            .find(|(name, _)| *name == given)
            .unwrap_or_default();
        for argument in useless {
            let used = match *argument {
                "server" => !cli.global.server.is_empty(),
                _ => cli.global.namespace.is_some(),
            };
            if used {
                return Err(usage(
                    ErrorKind::ArgumentConflict,
                    format!("`--{argument}` has no effect on `warren {given}`: omit it"),
                ));
            }
        }
        Ok(cli)
    }
}

// === impl Global ===

impl Global {
    /// Returns the control planes to try: from the flag, else the environment, else the one on this
    /// machine.
    pub fn servers(&self) -> Result<Vec<ServerUrl>, clap::Error> {
        if !self.server.is_empty() {
            return Ok(self.server.clone());
        }
        let from_env = env::var("WARREN_SERVER").unwrap_or_default();
        let given: Vec<&str> = from_env
            .split(',')
            .map(str::trim)
            .filter(|url| !url.is_empty())
            .collect();
        if given.is_empty() {
            return Ok(vec![ServerUrl::default()]);
        }
        given
            .into_iter()
            .map(|url| url.parse().map_err(|error| bad_env("WARREN_SERVER", error)))
            .collect()
    }

    /// Returns the namespace from the flag, else the environment, else `default`.
    pub fn namespace(&self) -> Result<String, clap::Error> {
        if let Some(namespace) = &self.namespace {
            return Ok(namespace.clone());
        }
        match env::var("WARREN_NAMESPACE") {
            Ok(text) if !text.is_empty() => {
                name(&text).map_err(|error| bad_env("WARREN_NAMESPACE", error))
            }
            _ => Ok("default".to_owned()),
        }
    }
}

/// Prints a result of clap: help and version to stdout with exit code 0, usage errors to stderr
/// with exit code 2.
pub fn explain(refused: &clap::Error) -> ExitCode {
    // The message quotes the arguments, which may contain escape sequences. A message without
    // colour can be escaped as a whole.
    let plain = refused.to_string();
    if harmless::text(&plain) != plain {
        output::note(plain.trim_end());
    } else {
        // If the stream is closed, there is no way to report that.
        let _ = refused.print();
    }
    ExitCode::from(u8::try_from(refused.exit_code()).unwrap_or(2))
}

/// Returns a usage error like clap's own, with exit code 2.
pub fn usage(kind: ErrorKind, message: impl fmt::Display) -> clap::Error {
    Cli::command().error(kind, message)
}

fn bad_env(variable: &str, error: impl fmt::Display) -> clap::Error {
    usage(ErrorKind::InvalidValue, format!("{variable}: {error}"))
}

#[cfg(test)]
mod tests;
