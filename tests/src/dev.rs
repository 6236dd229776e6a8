//! `warren dev`, a cluster in one process.

use std::net::SocketAddr;

use crate::{Answer, Lab, Process};

pub struct Dev {
    pub process: Process,
    /// The control plane's URL.
    pub url: String,
    /// Where HTTP is answered.
    pub http: SocketAddr,
}

// === impl Dev ===

impl Dev {
    /// On ports that are free; `arguments` are paths and flags.
    pub async fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let mut words = vec!["dev", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
        words.extend(arguments);
        let process = lab.start("dev", lab.command(&words));
        let line = process.said_line("control plane at ").await;
        let (url, http) = line
            .strip_prefix("control plane at ")
            .and_then(|rest| rest.split_once(", HTTP at http://"))
            .unwrap_or_else(|| panic!("no addresses in `{line}`"));
        Self {
            url: url.to_owned(),
            http: http.parse().expect("an address"),
            process,
        }
    }

    /// A client command against it, on a terminal of so many columns.
    pub async fn on_terminal(&self, lab: &Lab, columns: u16, arguments: &[&str]) -> Answer {
        let mut command = lab.on_terminal(columns, arguments);
        command.env("WARREN_SERVER", &self.url);
        lab.ask(arguments, command).await
    }

    /// A client command against it.
    pub async fn warren(&self, lab: &Lab, arguments: &[&str]) -> Answer {
        let mut command = lab.command(arguments);
        command.env("WARREN_SERVER", &self.url);
        lab.ask(arguments, command).await
    }
}
