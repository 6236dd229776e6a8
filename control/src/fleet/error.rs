//! The reasons why a session ends or does not begin.

use std::time::Duration;

use warren_model::{admission::Full, error::Violations, name::Name};
use warren_proto::SESSION_PROTOCOL_VERSION;

use super::newcomers::TooManyNewcomers;
use crate::{
    listen::{self, ConnectionError},
    store::StoreError,
};

/// The reason that is sent to a worker whose session the control plane ends.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A message that no worker of this protocol version sends, by its fields.
    #[error("{0}")]
    Invalid(Violations),
    #[error(
        "the worker speaks session protocol {0}, this control plane {SESSION_PROTOCOL_VERSION}: \
         run the same version of Warren on both"
    )]
    Protocol(u32),
    /// The worker follows another control plane, or another process has its id.
    #[error("{message}")]
    NotAdmitted { worker: Name, message: String },
    #[error(
        "another worker holds the name `{0}`: start this one with another --name, or, if this \
         machine replaces that one, wait until its replicas were given up as lost"
    )]
    NameTaken(Name),
    #[error(transparent)]
    Newcomers(#[from] TooManyNewcomers),
    /// There are as many of these as may be at once.
    #[error("{}", listen::at_capacity(what, *full))]
    Full { what: &'static str, full: Full },
    #[error("too many sessions are waiting for a Hello, and this one has waited the longest")]
    GivesWay,
    #[error("no Hello within {0:?}")]
    NoHello(Duration),
    #[error("no heartbeat for {0:?}")]
    NoHeartbeat(Duration),
    #[error("the worker does not read its session")]
    NotRead,
    #[error("the worker closed its stream")]
    Closed,
    #[error("the worker reports on more replicas than any worker can hold")]
    TooManyReplicas,
    #[error("the control plane is too busy to admit the worker")]
    TooBusy,
    #[error("the same worker opened another session")]
    Replaced,
    #[error("the control plane is shutting down")]
    ShuttingDown,
    /// The transport could not receive a message; `source` is its own error.
    #[error("{message}")]
    Receive {
        message: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

// === impl SessionError ===

impl SessionError {
    /// One field of a message is not valid.
    pub(super) fn field(field: &str, message: &str) -> Self {
        let mut violations = Violations::default();
        violations.push(field, message);
        Self::Invalid(violations)
    }
}
