//! `warren restart`: replaces every replica.

use super::{Wait, connect};
use crate::{
    args::{global::Global, value},
    output::{self, Format},
    source,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the workload
    #[arg(value_parser = value::name)]
    name: String,
    #[command(flatten)]
    wait: Wait,
    /// Print the workload as stored by the server
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let server = connect(global).await?;
    let workload = server.restart(&global.namespace()?, &args.name).await?;
    if args.output.is_none() {
        let title = source::title(&workload);
        let revision = workload.revision;
        output::line(format_args!("{title} restarted, as revision {revision}"))?;
    }
    args.wait.finish(&server, workload, args.output).await
}
