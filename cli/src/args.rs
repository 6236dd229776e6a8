//! The definition of the command line. Arguments that only one command needs are in that command's
//! module.

mod examples;
pub mod global;
pub mod limits;
mod reference;
pub mod value;

use std::{env, ffi::OsString};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, error::ErrorKind};

use self::global::Global;
use crate::commands::{
    apply, backup, completions, control, delete, describe, dev, events, get, health, history,
    inspect, logs, maintenance, push, restart, restore, rollback, scale, validate, version, worker,
};

pub use reference::reference;

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
                return Err(Self::command().error(
                    ErrorKind::ArgumentConflict,
                    format!("`--{argument}` has no effect on `warren {given}`: omit it"),
                ));
            }
        }
        Ok(cli)
    }
}

#[cfg(test)]
mod tests;
