//! `warren version`: this program's, and the server's where there is one.

use serde_json::{Value, json};
use warren_proto::v1;

use crate::{args::Global, client::Server, error, output, output::Format};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print as data
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// A server that is not there is part of the answer, not a failure.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let client = env!("CARGO_PKG_VERSION");
    let server = ask(global).await;
    if let Some(format) = args.output {
        let server = match &server {
            Ok((_, info)) => output::to_value(info)?,
            Err(_) => Value::Null,
        };
        let value = json!({ "client": { "version": client }, "server": server });
        return output::value(&value, format);
    }
    output::line(format_args!("client {client}"))?;
    match server {
        Ok((url, info)) => output::line(format_args!("server {} at {url}", info.version)),
        Err(why) => {
            output::note(format_args!("no server: {}", error::render(&why)));
            Ok(())
        }
    }
}

async fn ask(global: &Global) -> anyhow::Result<(String, v1::GetInfoResponse)> {
    let server = Server::connect(&global.servers()?).await?;
    let info = server.system().get_info(v1::GetInfoRequest {}).await?;
    Ok((server.url.to_string(), info.into_inner()))
}
