//! The URL of a server.

use std::{fmt, str::FromStr};

use tonic::codegen::http::Uri;

/// The base URL of a control plane, or of a worker's `--listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    text: String,
    host: String,
    port: u16,
}

/// The port of HTTP if none is given.
const DEFAULT_PORT: u16 = 80;

// === impl ServerUrl ===

impl ServerUrl {
    /// Returns the target of a TCP connection: a name, or an address without brackets, and a port.
    pub fn peer(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

impl Default for ServerUrl {
    fn default() -> Self {
        Self {
            text: "http://127.0.0.1:7700".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 7700,
        }
    }
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().trim_end_matches('/');
        if text.starts_with("https://") {
            return Err(format!(
                "`{text}`: this version of Warren does not support TLS: use http://"
            ));
        }
        let Some(rest) = text.strip_prefix("http://") else {
            return Err(format!("`{text}` is not a URL: write `http://{text}`"));
        };
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("`{text}` is not a URL: {error}"))?;
        let host = uri.host().unwrap_or_default();
        // `port_u16` returns `None` for a port beyond 65535 too, but then `rest` is longer than the
        // host.
        let port = match uri.port_u16() {
            None if rest == host => Some(DEFAULT_PORT),
            port => port,
        };
        match port {
            Some(port) if !host.is_empty() && !rest.contains(['/', '?', '@']) => Ok(Self {
                text: text.to_owned(),
                host: host.trim_matches(['[', ']']).to_owned(),
                port,
            }),
            _ => Err(format!("`{text}` is not `http://HOST:PORT`")),
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_its_text_says() {
        let default = ServerUrl::default();
        assert_eq!(default.to_string().parse(), Ok(default));
    }

    #[test]
    fn urls_are_a_host_and_a_port() {
        for (text, peer) in [
            ("http://127.0.0.1:7700", ("127.0.0.1", 7700)),
            ("http://control:7700/", ("control", 7700)),
            (" http://[::1]:1", ("::1", 1)),
            ("http://control", ("control", 80)),
        ] {
            let url: ServerUrl = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(url.peer(), peer, "{text}");
        }
        for (text, part) in [
            ("https://control:7700", "does not support TLS"),
            ("localhost:7700", "write `http://localhost:7700`"),
            ("http://", "not"),
            ("http://control/api", "not `http://HOST:PORT`"),
            ("http://me@control:1", "not `http://HOST:PORT`"),
            ("http://control:70000", "not"),
            ("", "not a URL"),
        ] {
            let error = text.parse::<ServerUrl>().err().unwrap_or_default();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
