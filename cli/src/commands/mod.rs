//! One module per command.

pub mod apply;
pub mod backup;
pub mod completions;
pub mod control;
pub mod delete;
pub mod describe;
pub mod dev;
pub mod events;
pub mod get;
pub mod health;
pub mod history;
pub mod inspect;
pub mod logs;
pub mod maintenance;
pub mod push;
pub mod restart;
pub mod restore;
pub mod rollback;
pub mod scale;
pub mod validate;
pub mod version;
pub mod worker;

use warren_proto::v1;

use crate::{
    args::{Cli, Command, global::Global},
    client::Server,
    output::{self, Format},
    process::{self, finish},
    source,
    wait::{self, Patience},
};

/// Runs one command to completion.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    let Cli { global, command } = cli;
    match command {
        Command::Dev(args) => finish(process::guest_runtime()?, dev::run(args, global)),
        Command::Control(args) => finish(process::control_runtime()?, control::run(args)),
        Command::Worker(args) => finish(process::guest_runtime()?, worker::run(args)),
        Command::Inspect(args) => inspect::run(args, &global),
        Command::Validate(args) => validate::run(&args, &global),
        Command::Restore(args) => restore::run(args),
        Command::Completions(args) => completions::run(args),
        command => finish(process::client_runtime()?, ask(command, &global)),
    }
}

/// Runs a command that calls a server.
async fn ask(command: Command, global: &Global) -> anyhow::Result<()> {
    match command {
        Command::Apply(args) => apply::run(args, global).await,
        Command::Get(args) => get::run(args, global).await,
        Command::Describe(args) => describe::run(args, global).await,
        Command::Delete(args) => delete::run(args, global).await,
        Command::Scale(args) => scale::run(args, global).await,
        Command::Restart(args) => restart::run(args, global).await,
        Command::History(args) => history::run(args, global).await,
        Command::Rollback(args) => rollback::run(args, global).await,
        Command::Cordon(args) => maintenance::cordon(args, global).await,
        Command::Uncordon(args) => maintenance::uncordon(args, global).await,
        Command::Drain(args) => maintenance::drain(args, global).await,
        Command::Logs(args) => logs::run(args, global).await,
        Command::Events(args) => events::run(args, global).await,
        Command::Push(args) => push::run(args, global).await,
        Command::Backup(args) => backup::run(args, global).await,
        Command::Health(args) => health::run(args, global).await,
        Command::Version(args) => version::run(args, global).await,
        Command::Dev(_)
        | Command::Control(_)
        | Command::Worker(_)
        | Command::Inspect(_)
        | Command::Validate(_)
        | Command::Restore(_)
        | Command::Completions(_) => Ok(()),
    }
}

async fn connect(global: &Global) -> anyhow::Result<Server> {
    Ok(Server::connect(&global.servers()?).await?)
}

/// `--all-namespaces`, for the commands that list objects.
#[derive(Debug, clap::Args)]
struct AllNamespaces {
    /// All namespaces instead of one
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
}

impl AllNamespaces {
    /// Returns the namespace in the form that requests have: `*` for all.
    fn or(&self, global: &Global) -> anyhow::Result<String> {
        if self.all_namespaces {
            return Ok("*".to_owned());
        }
        Ok(global.namespace()?)
    }
}

/// `--wait` and `--timeout`.
#[derive(Debug, clap::Args)]
struct Wait {
    /// Wait until the change is complete; fail if it is not complete in time
    #[arg(long)]
    wait: bool,
    /// Maximum time to wait, such as 90s or 5m
    #[arg(long, requires = "wait", value_name = "DURATION", default_value = "2m", value_parser = crate::args::value::duration)]
    timeout: std::time::Duration,
}

impl Wait {
    /// Finishes a command that changed a workload: waits if `--wait` is given, and prints the
    /// workload as data if a format is given.
    async fn finish(
        &self,
        server: &Server,
        mut workload: v1::Workload,
        format: Option<Format>,
    ) -> anyhow::Result<()> {
        if self.wait {
            wait::ready(server, &workload, self.timeout, Patience::UntilFailed).await??;
            if format.is_none() {
                return output::line(format_args!("{} ready", source::title(&workload)));
            }
            workload = server
                .get_workload(&workload.namespace, &workload.name)
                .await?;
        }
        match format {
            Some(format) => output::value(&output::to_value(&workload)?, format),
            None => Ok(()),
        }
    }
}
