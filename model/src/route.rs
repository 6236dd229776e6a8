//! HTTP routes: the owner of each host and path prefix, and the table that looks them up for a
//! request.

mod table;

use std::fmt;

use crate::hostname;

pub use table::RouteTable;

/// A host, or any, and a path prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Lower-case, without port and trailing dot. `None` is any host, tried last.
    pub host: Option<String>,
    /// Begins with `/`; ends with one only when it is `/`.
    pub path: String,
}

/// The host or path cannot be routed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("`{host}` is not a host name: {reason}")]
    Host { host: String, reason: String },
    #[error("`{path}` is not a path prefix: {reason}")]
    Path { path: String, reason: &'static str },
}

const MAX_PATH: usize = 1024;

/// Returns whether a request with this `Host` header (or authority) and path matches the route.
pub fn matches(route: &Route, host: &str, path: &str) -> bool {
    let host_matches = match &route.host {
        Some(wanted) => without_port(host).eq_ignore_ascii_case(wanted),
        None => true,
    };
    host_matches && path_matches(&route.path, path)
}

// === impl Route ===

impl Route {
    /// An empty host is any host; an empty path is `/`; slashes at the path's end make no
    /// difference.
    pub fn parse(host: &str, path: &str) -> Result<Self, RouteError> {
        let refused = |reason: String| RouteError::Host {
            host: host.to_owned(),
            reason,
        };
        let host = match host {
            "" => None,
            _ if host.contains('*') => {
                return Err(refused(
                    "wildcards are not supported; leave it out for any host".to_owned(),
                ));
            }
            _ if host.contains(':') => {
                return Err(refused("write it without scheme and port".to_owned()));
            }
            _ => Some(hostname::normalise(host).map_err(refused)?),
        };
        Ok(Self {
            host,
            path: parse_path(path)?,
        })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host.as_deref().unwrap_or("*"), self.path)
    }
}

fn parse_path(path: &str) -> Result<String, RouteError> {
    let refused = |reason| {
        Err(RouteError::Path {
            path: path.to_owned(),
            reason,
        })
    };
    if path.is_empty() {
        return Ok("/".to_owned());
    }
    if !path.starts_with('/') {
        return refused("it should begin with '/'");
    }
    if path.len() > MAX_PATH {
        return refused("it should have at most 1024 characters");
    }
    if path.contains(['?', '#']) {
        return refused("routes know no query and no fragment; end it before '?' or '#'");
    }
    if !path.bytes().all(|b| b.is_ascii_graphic()) {
        return refused("write spaces and non-ASCII characters percent-encoded");
    }
    let trimmed = path.trim_end_matches('/');
    // Clients resolve these before they send, so such a route would never match.
    if trimmed
        .split('/')
        .skip(1)
        .any(|segment| matches!(segment, "" | "." | ".."))
    {
        return refused("it should have no empty, '.' or '..' segments");
    }
    Ok(if trimmed.is_empty() { "/" } else { trimmed }.to_owned())
}

/// A prefix ends at the path's end or where a segment of it begins.
fn path_matches(prefix: &str, path: &str) -> bool {
    let segments = if prefix == "/" { "" } else { prefix };
    path.strip_prefix(segments)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn without_port(host: &str) -> &str {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests;
