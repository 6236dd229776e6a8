//! The arguments of every command that connects to a server.

use std::{env, fmt};

use clap::error::ErrorKind;

use super::value;
use crate::client::ServerUrl;

/// The cluster and the namespace that a command works with.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub struct Global {
    /// Control planes, tried in this order [env: WARREN_SERVER] [default: http://127.0.0.1:7700]
    #[arg(long, global = true, value_name = "URL,...", value_delimiter = ',')]
    pub server: Vec<ServerUrl>,
    /// Namespace to work in [env: WARREN_NAMESPACE] [default: default]
    #[arg(short, long, global = true, value_name = "NAME", value_parser = value::name)]
    pub namespace: Option<String>,
}

// === impl Global ===

impl Global {
    /// Returns the control planes to try: from the flag, else the environment, else the one on this
    /// machine.
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

    /// Returns the namespace from the flag, else the environment, else `default`.
    pub fn namespace(&self) -> Result<String, clap::Error> {
        if let Some(namespace) = &self.namespace {
            return Ok(namespace.clone());
        }
        match env::var("WARREN_NAMESPACE") {
            Ok(text) if !text.is_empty() => {
                value::name(&text).map_err(|error| bad_env("WARREN_NAMESPACE", error))
            }
            _ => Ok("default".to_owned()),
        }
    }
}

fn bad_env(variable: &str, error: impl fmt::Display) -> clap::Error {
    clap::Error::raw(ErrorKind::InvalidValue, format!("{variable}: {error}"))
}
