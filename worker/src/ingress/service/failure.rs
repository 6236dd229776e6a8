//! The reasons why a service gave no answer, and what the client receives instead.

use std::{error::Error as _, time::Duration};

use http::{HeaderValue, Response, StatusCode, header};
use warren_net::NetError;

use crate::http::{Body, plain_text, response};

/// The reason why a service did not answer one request.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("nothing listens there")]
    NotListening,
    #[error("it cannot be reached: {0}")]
    Unreachable(NetError),
    #[error("{0} requests are on their way to it already")]
    Busy(usize),
    #[error("its replica is stopping")]
    Stopping,
    #[error("it closed the connection before it answered")]
    Dropped,
    /// The answer is not HTTP, not of the version that was used, or too large.
    #[error("it did not answer in {version}: {cause}")]
    Malformed {
        version: &'static str,
        cause: String,
    },
    #[error("its response is not valid HTTP: {0}")]
    Response(response::Malformed),
    #[error("it did not begin to answer within {0:?}")]
    Timeout(Duration),
    #[error("the request ended before it was complete")]
    Request,
    #[error("the request's body is larger than its limit of {0} bytes")]
    RequestTooLarge(u64),
    #[error("its response's body is larger than its limit of {0} bytes")]
    ResponseTooLarge(u64),
    #[error(
        "its route uses HTTP/2, which has no upgrades: set `protocol: http1` for the route to allow them"
    )]
    NoUpgrade,
}

// === impl Failure ===

impl Failure {
    pub(super) fn malformed(error: &hyper::Error, version: &'static str) -> Self {
        // hyper's own texts are general; those of its causes are specific.
        let cause = error
            .source()
            .map_or_else(|| error.to_string(), ToString::to_string);
        Self::Malformed { version, cause }
    }

    /// Returns the answer for the client. `place` names the port and the workload.
    pub(super) fn answer(&self, place: &str) -> Response<Body> {
        let status = self.status();
        let mut response = plain_text(status, format!("{place}: {self}"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let soon = HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, soon);
        }
        response
    }

    /// Returns whether the service has answered, but its answer cannot be passed on.
    pub(super) fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::Malformed { .. } | Self::Response(_) | Self::ResponseTooLarge(_)
        )
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Busy(_) | Self::Stopping | Self::Unreachable(NetError::TooManySockets) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NotListening
            | Self::Dropped
            | Self::Malformed { .. }
            | Self::Response(_)
            | Self::Unreachable(_)
            | Self::ResponseTooLarge(_) => StatusCode::BAD_GATEWAY,
            Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Request => StatusCode::BAD_REQUEST,
            Self::RequestTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoUpgrade => StatusCode::NOT_IMPLEMENTED,
        }
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        match error {
            NetError::ConnectionRefused => Self::NotListening,
            error => Self::Unreachable(error),
        }
    }
}
