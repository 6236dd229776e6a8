//! `warren control`: runs a control plane.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use warren_control::{ClientLimits, Config, ControlPlane, OnLoss};
use warren_model::listen;

use crate::{
    args::{limits, value},
    logging, output, process,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address for clients and workers; port 0 takes any free port
    #[arg(long, value_name = "ADDR", value_parser = value::address, default_value = warren_control::DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// Directory for the state [default: $XDG_DATA_HOME/warren/control]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Time without a heartbeat after which the replicas of a worker are replaced
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = value::duration)]
    worker_timeout: Duration,
    /// Revisions of each workload that are kept for rollbacks, besides those that run
    #[arg(
        long, value_name = "N", default_value_t = 10,
        value_parser = value::number(1..=1000), allow_negative_numbers = true
    )]
    revision_history_limit: u32,
    /// Time after which a component is removed that no workload and no kept revision names, at
    /// least 1s
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = retention)]
    artifact_retention: Duration,
    #[command(flatten)]
    artifact_limits: limits::ArtifactLimits,
    #[command(flatten)]
    connections: value::Connections,
    /// Continue with what is left of a damaged store instead of refusing to start; to recover a
    /// backup, use `warren restore`
    #[arg(long)]
    accept_data_loss: bool,
    /// Allow an address that other machines can reach, although there is no TLS and no
    /// authentication
    #[arg(long)]
    insecure: bool,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    logging::start(logging::SERVER)?;
    listen::check(args.listen, args.insecure)?;
    warren_control::keep_new_files_private();
    let stop = process::on_signals(|| (), process::exit_now)?;
    let data = match args.data {
        Some(data) => data,
        None => process::data_dir("control")?,
    };
    let config = Config {
        worker_timeout: args.worker_timeout,
        revision_history_limit: args.revision_history_limit.try_into()?,
        artifact_limits: args.artifact_limits.limits(),
        artifact_retention: args.artifact_retention,
        on_loss: match args.accept_data_loss {
            true => OnLoss::Accept,
            false => OnLoss::Refuse,
        },
        limits: ClientLimits {
            connections: args.connections.bounds()?,
            ..ClientLimits::default()
        },
        ..Config::new(data)
    };
    let listener = process::listen("--listen", args.listen).await?;
    let address = listener
        .local_addr()
        .context("the listener has no address")?;
    process::prepare_data(&config.data)?;
    let control = ControlPlane::open(config).await?;
    output::line(format_args!("warren control listening on http://{address}"))?;
    control.serve(listener, stop.cancelled_owned()).await?;
    Ok(())
}

fn retention(text: &str) -> Result<Duration, String> {
    let retention = value::duration(text)?;
    // A client needs some time between pushing a component and applying the workload that names it.
    if retention < Duration::from_secs(1) {
        return Err("it must be at least 1s".to_owned());
    }
    Ok(retention)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_stay_for_a_while() {
        assert_eq!(retention("36h"), Ok(Duration::from_secs(36 * 3600)));
        assert!(retention("999ms").is_err());
        assert_eq!(
            retention("1d"),
            Ok(warren_control::DEFAULT_ARTIFACT_RETENTION)
        );
    }
}
