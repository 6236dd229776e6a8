//! `warren health`: a health check, for containers among others.

use anyhow::bail;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::{args::global::Global, client::Server, output};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// One service, such as warren.v1.WorkloadService; by default the server as a whole
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    service: String,
}

/// Checks a control plane, or a worker at its `--listen` address.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let server = Server::dial(&global.servers()?).await?;
    let status = match server.check_health(&args.service).await {
        Ok(response) => response.status(),
        Err(status) if status.code() == Code::NotFound => {
            bail!("{} has no service named `{}`", server.url, args.service)
        }
        Err(status) => return Err(status.into()),
    };
    if status != ServingStatus::Serving {
        bail!("{} is {}", server.url, status.as_str_name());
    }
    output::line(status.as_str_name())
}
