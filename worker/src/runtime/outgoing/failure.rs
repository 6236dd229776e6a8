//! Translates the failures of a request to the `error-code` of `wasi:http`.

use std::{error::Error as _, io};

use hyper_util::client::legacy;
use warren_net::NetError;
use wasmtime_wasi_http::Error;

use crate::policy::{DenyReason, ResolveError};

/// The reason why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the guest's egress does not allow it")]
    Denied,
    #[error("the name resolves to an address that a name may not lead to")]
    Prohibited,
    #[error("not a host name")]
    InvalidName,
    #[error("{rcode}")]
    Dns { rcode: String },
    #[error("no name server answered")]
    DnsTimeout,
    #[error("the server refused the connection")]
    Refused,
    #[error("the server did not answer")]
    Timeout,
    #[error("there is no route to the server")]
    Unreachable,
    #[error("the guest has too many connections")]
    Limit,
    #[error("the connection broke while it was being opened")]
    Broken,
    #[error("the server's certificate is not valid")]
    Certificate,
    #[error("the server ended the handshake: {name}")]
    Alert { id: u8, name: String },
    #[error("the server violated the TLS protocol")]
    Tls,
}

/// Returns the reason why the head of a response did not arrive.
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

/// Returns the reason why the body of a response broke off.
pub(super) fn of_body(error: &hyper::Error) -> Error {
    of_hyper(error, Error::HttpResponseIncomplete)
}

/// Returns whether the server may have closed the connection before it saw the request.
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

/// Returns whether the connection broke, as opposed to a server that sent something invalid.
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
            // There is no route, this machine has no address of the family, or its own firewall
            // refused.
            _ => Self::Unreachable,
        }
    }
}

impl ConnectError {
    /// Returns the error for a refusal of the policy. `named` says that the guest used a name that
    /// led to the address, and not the address itself.
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
