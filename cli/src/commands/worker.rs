//! `warren worker`: runs a worker.

use std::{
    collections::BTreeMap, net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration,
};

use clap::error::ErrorKind;
use warren_model::{cidr::Cidr, listen, publish_rule::PublishRule, quantity::format_bytes};
use warren_worker::{
    CompileLimits, CompileSettings, CompilerProgram, Config, DiskLimits, HostVolume, Worker,
    runtime::compile::{LEAST_MEMORY, LEAST_TIMEOUT},
};

use crate::{args::value, client::ServerUrl, logging, output, process};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Control planes, tried in this order
    #[arg(
        long,
        value_name = "URL,...",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:7700"
    )]
    control: Vec<ServerUrl>,
    /// Name, unique in the fleet [default: the machine's host name]
    #[arg(long, value_parser = value::name)]
    name: Option<String>,
    /// Label for placement; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Directory for its identity, artifacts, compiled code and guests' logs [default:
    /// $XDG_DATA_HOME/warren/worker]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address that serves HTTP for every route; port 0 takes any free port
    #[arg(long, value_name = "ADDR", value_parser = value::address, default_value = warren_worker::DEFAULT_HTTP)]
    http: SocketAddr,
    /// Address for health checks and other workers; port 0 takes any free port
    #[arg(long, value_name = "ADDR", value_parser = value::address, default_value = warren_worker::DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// URL at which other workers reach --listen [default: its address]
    #[arg(long, value_name = "URL")]
    advertise: Option<ServerUrl>,
    /// Memory for all guests together, such as 2GiB; the worker's own comes on top [default: 80% of
    /// the machine's]
    #[arg(long, value_name = "SIZE", value_parser = value::bytes)]
    memory: Option<u64>,
    /// Memory for compiling one component, on top of --memory [default: a quarter of the machine's,
    /// from 512MiB to 2GiB]
    #[arg(long, value_name = "SIZE", value_parser = compile_memory)]
    compile_memory: Option<u64>,
    /// CPU time for compiling one component
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = compile_timeout)]
    compile_timeout: Duration,
    /// Maximum number of components that are compiled at once
    #[arg(long, value_name = "N", default_value_t = warren_worker::runtime::compile::DEFAULT_CONCURRENCY)]
    compile_concurrency: NonZeroUsize,
    /// Disk space for components, and as much again for their compiled code; beyond it those that
    /// are not in use are removed
    #[arg(long, value_name = "SIZE", value_parser = value::bytes, default_value = "4GiB")]
    cache_max_size: u64,
    /// Disk space for the log of each replica, at least 256KiB; beyond it the oldest lines are
    /// removed
    #[arg(long, value_name = "SIZE", value_parser = value::bytes, default_value = "8MiB")]
    log_max_size: u64,
    /// Disk space for all logs; beyond it the oldest lines of ended replicas are removed first
    #[arg(long, value_name = "SIZE", value_parser = value::bytes, default_value = "1GiB")]
    log_max_total: u64,
    /// Directory that workloads may mount by its name, with `:ro` read-only; may be repeated
    #[arg(long = "volume", value_name = "NAME=PATH[:ro]", value_parser = value::volume)]
    volumes: Vec<HostVolume>,
    /// Let workloads reach this machine's own 127.0.0.1 if their egress names host.warren.internal
    #[arg(long)]
    allow_host_loopback: bool,
    /// Address or network of a proxy in front of --http whose X-Forwarded-* and Forwarded fields
    /// are trusted; may be repeated [default: none, the fields are replaced]
    #[arg(long = "trusted-proxy", value_name = "CIDR")]
    trusted_proxies: Vec<Cidr>,
    /// Address, with or without ports, where workloads may publish, such as 127.0.0.1 or
    /// 0.0.0.0:30000-30999; may be repeated [default: everywhere except Warren's own ports]
    #[arg(long, value_name = "ADDR[:PORT-PORT]")]
    publish_allow: Vec<PublishRule>,
    #[command(flatten)]
    connections: value::Connections,
    /// Time for which its replicas wait for it after it was stopped, as for `systemctl restart`;
    /// with 0, other workers take over at once
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = value::duration)]
    stop_keeps: Duration,
    /// Allow a --listen address that other machines can reach, although there is no TLS and no
    /// authentication
    #[arg(long)]
    insecure: bool,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    logging::start(logging::SERVER)?;
    listen::check(args.listen, args.insecure)?;
    if args.listen.ip().is_unspecified() && args.advertise.is_none() {
        let message = format!(
            "--listen {} is not an address that others can connect to: add --advertise http://HOST:{}",
            args.listen,
            args.listen.port()
        );
        let refused = clap::Error::raw(ErrorKind::MissingRequiredArgument, message);
        return Err(refused.into());
    }
    let stop = process::on_signals(|| (), process::exit_now)?;
    let data = match args.data {
        Some(data) => data,
        None => process::data_dir("worker")?,
    };
    let http = process::listen("--http", args.http).await?;
    let listen = process::listen("--listen", args.listen).await?;
    let (http_address, listen_address) = (http.local_addr()?, listen.local_addr()?);
    let config = Config {
        control: args.control.iter().map(ToString::to_string).collect(),
        name: args.name,
        labels: args.labels.into_iter().collect::<BTreeMap<_, _>>(),
        data,
        cache: None,
        cache_limit: args.cache_max_size,
        memory: args.memory,
        compile: CompileSettings {
            program: CompilerProgram::This,
            limits: CompileLimits {
                memory: args
                    .compile_memory
                    .unwrap_or_else(warren_worker::default_compile_memory),
                timeout: args.compile_timeout,
            },
            concurrency: args.compile_concurrency,
        },
        logs: DiskLimits {
            replica: args.log_max_size,
            total: args.log_max_total,
        },
        volumes: args.volumes,
        allow_host_loopback: args.allow_host_loopback,
        trusted_proxies: args.trusted_proxies,
        publish_allow: args.publish_allow,
        longest_grace: None,
        stop_keeps: args.stop_keeps,
        advertise: args.advertise.map(|url| url.to_string()),
        insecure: args.insecure,
        connections: args.connections.bounds()?,
    };
    process::prepare_data(&config.data)?;
    let worker = Worker::open(config).await?;
    let name = worker.name();
    output::line(format_args!(
        "warren worker {name}: http on {http_address}, listening on {listen_address}"
    ))?;
    worker.serve(http, listen, stop.cancelled_owned()).await?;
    Ok(())
}

/// Parses the memory limit of the compiler, which needs some memory itself.
fn compile_memory(text: &str) -> Result<u64, String> {
    match value::bytes(text)? {
        bytes if bytes < LEAST_MEMORY => Err(format!(
            "the compiler itself needs at least {}",
            format_bytes(LEAST_MEMORY)
        )),
        bytes => Ok(bytes),
    }
}

/// Parses the time limit of the compiler. The kernel counts CPU time in seconds.
fn compile_timeout(text: &str) -> Result<Duration, String> {
    match value::duration(text)? {
        time if time < LEAST_TIMEOUT => Err("it must be at least 1s".to_owned()),
        time => Ok(time),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, such as zone=a".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_compiling_have_a_minimum() {
        assert_eq!(compile_memory("64MiB"), Ok(64 << 20));
        assert!(compile_memory("63MiB").is_err_and(|e| e.contains("at least 64MiB")));
        assert_eq!(compile_timeout("1s"), Ok(Duration::from_secs(1)));
        assert!(compile_timeout("999ms").is_err());
    }

    #[test]
    fn labels() {
        assert_eq!(label("zone=a"), Ok(("zone".into(), "a".into())));
        assert_eq!(label("zone="), Ok(("zone".into(), String::new())));
        assert!(label("zone").is_err());
        assert!(label("=a").is_err());
    }
}
