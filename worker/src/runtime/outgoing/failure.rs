//! What went wrong with a request, in the words of `wasi:http` `error-code`.

use std::{error::Error as _, io};

use hyper_util::client::legacy;
use warren_net::NetError;
use wasmtime_wasi_http::Error;

use crate::policy::{DenyReason, ResolveError};

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the guest's egress does not allow it")]
    Denied,
    #[error("the name leads to an address that no name allows")]
    Prohibited,
    #[error("not a host name")]
    InvalidName,
    #[error("{rcode}")]
    Dns { rcode: String },
    #[error("no name server answers")]
    DnsTimeout,
    #[error("the server refused the connection")]
    Refused,
    #[error("the server does not answer")]
    Timeout,
    #[error("there is no way to the server")]
    Unreachable,
    #[error("the guest has too many connections")]
    Limit,
    #[error("the connection broke while it was made")]
    Broken,
    #[error("the server's certificate is not valid")]
    Certificate,
    #[error("the server ended the handshake: {name}")]
    Alert { id: u8, name: String },
    #[error("the server does not speak TLS as it should")]
    Tls,
}

/// What a response's head did not come for.
pub(super) fn of_request(error: &legacy::Error) -> Error {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<ConnectError>() {
            return error.clone().into();
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return of_hyper(error, Error::ConnectionTerminated);
        }
        cause = error.source();
    }
    Error::InternalError(Some(error.to_string()))
}

/// What a response's body broke off for.
pub(super) fn of_body(error: &hyper::Error) -> Error {
    of_hyper(error, Error::HttpResponseIncomplete)
}

/// Whether the server may have closed the connection before it saw the request.
pub(super) fn is_dropped(error: &legacy::Error) -> bool {
    let hyper = error.source().and_then(|cause| cause.downcast_ref());
    hyper.is_some_and(is_cut)
}

fn of_hyper(error: &hyper::Error, cut: Error) -> Error {
    if error.is_parse_too_large() {
        Error::HttpResponseHeaderSectionSize(None)
    } else if error.is_parse() {
        Error::HttpProtocolError
    } else if error.is_timeout() {
        Error::ConnectionReadTimeout
    } else if is_cut(error) {
        cut
    } else {
        Error::HttpProtocolError
    }
}

/// Whether the connection broke, rather than that the server said what makes no sense.
fn is_cut(error: &hyper::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput};

    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return !matches!(error.kind(), InvalidData | InvalidInput);
        }
        cause = error.source();
    }
    error.is_incomplete_message() || error.is_canceled() || error.is_closed()
}

// === impl ConnectError ===

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Denied => Self::HttpRequestDenied,
            ConnectError::Prohibited => Self::DestinationIpProhibited,
            ConnectError::InvalidName => Self::HttpRequestUriInvalid,
            ConnectError::Dns { rcode } => Self::DnsError {
                rcode: Some(rcode),
                info_code: None,
            },
            ConnectError::DnsTimeout => Self::DnsTimeout,
            ConnectError::Refused => Self::ConnectionRefused,
            ConnectError::Timeout => Self::ConnectionTimeout,
            ConnectError::Unreachable => Self::DestinationIpUnroutable,
            ConnectError::Limit => Self::ConnectionLimitReached,
            ConnectError::Broken => Self::ConnectionTerminated,
            ConnectError::Certificate => Self::TlsCertificateError,
            ConnectError::Alert { id, name } => Self::TlsAlertReceived {
                alert_id: Some(id),
                alert_message: Some(name),
            },
            ConnectError::Tls => Self::TlsProtocolError,
        }
    }
}

impl From<ResolveError> for ConnectError {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Denied(_) => Self::Denied,
            ResolveError::InvalidName => Self::InvalidName,
            ResolveError::TimedOut => Self::DnsTimeout,
            ResolveError::NotFound | ResolveError::Temporary(_) => Self::Dns {
                rcode: error.to_string(),
            },
        }
    }
}

impl From<NetError> for ConnectError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Timeout => Self::Timeout,
            NetError::TooManySockets | NetError::AddressInUse => Self::Limit,
            NetError::ScopeEnded => Self::Broken,
            _ => Self::Refused,
        }
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Self::Broken,
            // No route, no address of the family, or the machine's own firewall.
            _ => Self::Unreachable,
        }
    }
}

impl ConnectError {
    /// `named`: the guest asked for a name, which led to the address; it did not name the address
    /// itself.
    pub(super) fn denied(reason: &DenyReason, named: bool) -> Self {
        match reason {
            DenyReason::LinkLocal { .. }
            | DenyReason::Metadata { .. }
            | DenyReason::WorkerAddress { .. }
            | DenyReason::WarrenListener { .. }
            | DenyReason::Unknown { .. }
            | DenyReason::NotAHost { .. }
                if named =>
            {
                Self::Prohibited
            }
            _ => Self::Denied,
        }
    }
}
