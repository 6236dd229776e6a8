//! What the command line understands. Everything that a command alone needs stands in the command's own module.

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

/// Runs WebAssembly workloads: stateless components, and the long-running service that is their private localhost.
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

/// Where the cluster is, for the commands that ask one.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub struct Global {
    /// Control planes to ask, tried in this order [env: WARREN_SERVER] [default: http://127.0.0.1:7700]
    #[arg(long, global = true, value_name = "URL,...", value_delimiter = ',')]
    pub server: Vec<ServerUrl>,
    /// Namespace to work in [env: WARREN_NAMESPACE] [default: default]
    #[arg(short, long, global = true, value_name = "NAME", value_parser = name)]
    pub namespace: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a control plane and one worker in this process, deploy what is given, and redeploy it when it changes
    Dev(dev::Args),
    /// Run a control plane
    Control(control::Args),
    /// Run a worker
    Worker(worker::Args),
    /// Create or update workloads from manifests
    Apply(apply::Args),
    /// List workloads, replicas, workers or artifacts
    Get(get::Args),
    /// Explain one workload, replica, worker or artifact in words
    Describe(describe::Args),
    /// Delete workloads, artifacts or workers
    Delete(delete::Args),
    /// Set how many replicas a workload has
    Scale(scale::Args),
    /// Replace every replica of a workload by a new one
    Restart(restart::Args),
    /// List the revisions of a workload, and what each changed
    History(history::Args),
    /// Roll an earlier revision of a workload out again
    Rollback(rollback::Args),
    /// Let workers take no new replicas; those that they have stay
    Cordon(maintenance::Args),
    /// Let workers take replicas again
    Uncordon(maintenance::Args),
    /// Cordon workers and move their replicas to others, with the care of an update
    Drain(maintenance::DrainArgs),
    /// Print what a workload wrote to stdout and stderr
    Logs(logs::Args),
    /// Print what happened
    Events(events::Args),
    /// Store a component as an artifact
    Push(push::Args),
    /// Tell what a component imports and exports, what a workload may use it as, and what would link to it
    Inspect(inspect::Args),
    /// Check manifests and the components they name, without a server
    Validate(validate::Args),
    /// Write everything that a control plane knows to a file, while it runs
    Backup(backup::Args),
    /// Make a control plane's data directory from a backup
    Restore(restore::Args),
    /// Ask whether a control plane or a worker is serving
    Health(health::Args),
    /// Print the version of this program and of the server
    Version(version::Args),
    /// Print a script that completes commands in a shell
    Completions(completions::Args),
}

/// Global arguments that have no effect on a command: not shown, and refused.
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

/// The definition of the command line.
pub fn command() -> clap::Command {
    let mut command = with_examples(Cli::command(), "");
    // From here on each subcommand has the global arguments as its own.
    command.build();
    // Neither `mut_subcommand` nor `mut_arg`, which move what they change to the end.
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

/// Below the long help of each command; `words` are those that lead to this one.
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
                    format!("`--{argument}` has no effect on `warren {given}`: leave it out"),
                ));
            }
        }
        Ok(cli)
    }
}

// === impl Global ===

impl Global {
    /// The control planes to try: the flag, else the environment, else the one on this machine.
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

    /// The namespace where none is written: the flag, else the environment, else `default`.
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

/// Prints what clap has to say: help and version to stdout with exit code 0, refusals to stderr with 2.
pub fn explain(refused: &clap::Error) -> ExitCode {
    // The message quotes what was given, which may hold escape sequences of its own: without
    // colour all of them can be escaped.
    let plain = refused.to_string();
    if harmless::text(&plain) != plain {
        output::note(plain.trim_end());
    } else {
        // When the stream is gone there is nobody left to tell.
        let _ = refused.print();
    }
    ExitCode::from(u8::try_from(refused.exit_code()).unwrap_or(2))
}

/// A refusal like clap's own, with exit code 2.
pub fn usage(kind: ErrorKind, message: impl fmt::Display) -> clap::Error {
    Cli::command().error(kind, message)
}

fn bad_env(variable: &str, error: impl fmt::Display) -> clap::Error {
    usage(ErrorKind::InvalidValue, format!("{variable}: {error}"))
}

#[cfg(test)]
mod tests;
