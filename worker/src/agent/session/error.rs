//! The reasons why a session does not open, or ends.

use std::{error::Error, time::Duration};

use tonic::{Code, Status};
use warren_proto::SESSION_PROTOCOL_VERSION;

use crate::{agent::seen::Stranger, remote::RemoteError};

/// The address of a control plane is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is not the address of a control plane: {why}")]
pub struct InvalidControl {
    pub url: String,
    pub why: &'static str,
}

/// The reason why a session did not open, or ended although the worker did not close it.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(
        "another worker is called `{0}`: give this one a name of its own with --name, or stop the other and \
         start this one again after the control plane's worker timeout"
    )]
    NameTaken(String),
    #[error(
        "the control plane speaks version {0} of the session protocol and this worker version {SESSION_PROTOCOL_VERSION}: \
         run both from the same release"
    )]
    Version(u32),
    #[error(transparent)]
    Stranger(#[from] Stranger),
    #[error("cannot connect: {}", with_causes(&*.0.0))]
    Connect(#[from] RemoteError),
    #[error("{}", told(.0))]
    Status(Box<Status>),
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("the control plane ended the session")]
    Ended,
    #[error("the control plane answered with something other than Welcome")]
    NoWelcome,
}

impl SessionError {
    /// Returns whether another attempt cannot succeed until a person has changed something.
    pub fn needs_people(&self) -> bool {
        match self {
            Self::NameTaken(_) | Self::Version(_) => true,
            // The control plane rejects a property of this worker, such as a label.
            Self::Status(status) => status.code() == Code::InvalidArgument,
            _ => false,
        }
    }

    /// Returns whether a control plane answered but does not admit this worker, or is one that the
    /// worker does not follow.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Stranger(_) => true,
            Self::Status(status)
                if [Code::FailedPrecondition, Code::ResourceExhausted].contains(&status.code()) =>
            {
                true
            }
            error => error.needs_people(),
        }
    }

    /// Returns the error for a failed call, before or after the session has opened.
    pub(super) fn of(status: Status, name: &str) -> Self {
        match status.code() {
            Code::AlreadyExists => Self::NameTaken(name.to_owned()),
            _ => Self::Status(Box::new(status)),
        }
    }
}

fn told(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    }
}

/// Returns an error with its causes. tonic's own text is only "transport error".
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
