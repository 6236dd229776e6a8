//! `warren version`: prints the version of this program, and of the server if there is one.

use serde_json::{Value, json};
use warren_proto::v1;

use crate::{args::global::Global, client::Server, error, output, output::Format};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print as data, with the features of the server
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// A server that cannot be reached is part of the output, not a failure.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let client = env!("CARGO_PKG_VERSION");
    let server = ask(global).await;
    if let Some(format) = args.output {
        let server = match &server {
            Ok((_, info)) => output::to_value(info)?,
            Err(_) => Value::Null,
        };
        let value = json!({ "client": { "version": client }, "server": server });
        output::value(&value, format)?;
    } else {
        output::line(format_args!("client {client}"))?;
        if let Ok((url, info)) = &server {
            output::line(format_args!("server {} at {url}", info.version))?;
        }
    }
    match &server {
        Ok((_, info)) => {
            if let Some(warning) = difference(client, &info.version) {
                output::note(warning);
            }
        }
        Err(why) => output::note(format_args!("no server: {}", error::render(why))),
    }
    Ok(())
}

async fn ask(global: &Global) -> anyhow::Result<(String, v1::GetInfoResponse)> {
    let server = Server::connect(&global.servers()?).await?;
    Ok((server.url.to_string(), server.info().clone()))
}

/// Explains what a difference of the two versions means.
fn difference(client: &str, server: &str) -> Option<String> {
    if client == server {
        return None;
    }
    let numbers = |version: &str| -> Vec<u64> {
        let core = version.split(['-', '+']).next().unwrap_or_default();
        core.split('.')
            .map_while(|part| part.parse().ok())
            .collect()
    };
    Some(match numbers(client).cmp(&numbers(server)) {
        std::cmp::Ordering::Less => format!(
            "warning: this program ({client}) is older than the server ({server}): it does not support every feature of the server"
        ),
        std::cmp::Ordering::Greater => format!(
            "warning: this program ({client}) is newer than the server ({server}): the server may refuse newer features"
        ),
        std::cmp::Ordering::Equal => {
            format!("warning: this program is {client} and the server is {server}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differing_versions_are_compared() {
        for (client, server, part) in [
            ("0.1.0", "0.2.0", "is older than"),
            ("0.10.0", "0.9.9", "is newer than"),
            ("1.0.0-rc.1", "1.0.0", "this program is 1.0.0-rc.1"),
        ] {
            let warning = difference(client, server).unwrap_or_default();
            assert!(warning.contains(part), "{client} {server}: {warning}");
        }
        assert_eq!(difference("0.1.0", "0.1.0"), None);
    }
}
