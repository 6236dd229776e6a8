//! `warren scale`: how many replicas a workload has.

use warren_proto::v1;

use super::{Wait, connect};
use crate::{
    args::{self, Global},
    client::incomplete,
    output, source,
    wait::{self, Patience},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The workload
    #[arg(value_parser = args::name)]
    name: String,
    /// How many, 0 to 1000
    replicas: u32,
    #[command(flatten)]
    wait: Wait,
}

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let server = connect(global).await?;
    let mut workload = server
        .get_workload(&global.namespace()?, &args.name)
        .await?;
    let expected_revision = Some(workload.revision);
    workload.spec.get_or_insert_default().replicas = Some(args.replicas);
    // Against the revision that was read: a change made meanwhile is not taken back.
    let request = v1::ApplyRequest {
        workload: Some(workload),
        expected_revision,
    };
    let response = server.workloads().apply(request).await?.into_inner();
    let workload = response.workload.ok_or_else(|| incomplete("workload"))?;
    let title = source::title(&workload);
    output::line(format_args!("{title} scaled to {}", args.replicas))?;
    if args.wait.wait {
        wait::ready(&server, &workload, args.wait.timeout, Patience::UntilFailed).await??;
        output::line(format_args!("{title} ready"))?;
    }
    Ok(())
}
