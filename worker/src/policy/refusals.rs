//! What becomes known of refusals: the guest sees an error code, the workload's owner the reason.

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{DenyReason, Op, Role};

/// Refusals of one guest that are told; a guest that goes on trying has made its point.
const MAX_TOLD: usize = 16;
/// Refusals of one replica that wait to be read.
const MAX_WAITING: usize = 64;

/// What a guest was not allowed to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub role: Role,
    /// "service" or the component's name.
    pub guest: Arc<str>,
    pub attempt: Attempt,
    pub reason: DenyReason,
    /// No more will be told of this guest.
    pub last: bool,
}

/// What a guest tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    Socket(Op),
    Lookup(String),
}

/// Where the refusals of one guest are told: each attempt once, however often it is made.
pub struct Refusals {
    role: Role,
    guest: Arc<str>,
    told: Mutex<Vec<Attempt>>,
    reader: mpsc::Sender<Refusal>,
}

/// Where refusals of all guests of a replica arrive. When nobody reads, what is more than fits is not told.
pub fn refusals() -> (mpsc::Sender<Refusal>, mpsc::Receiver<Refusal>) {
    mpsc::channel(MAX_WAITING)
}

// === impl Refusals ===

impl Refusals {
    pub fn new(role: Role, guest: Arc<str>, reader: mpsc::Sender<Refusal>) -> Self {
        Self {
            role,
            guest,
            told: Mutex::default(),
            reader,
        }
    }

    /// Never waits.
    pub(super) fn tell(&self, attempt: Attempt, reason: &DenyReason) {
        let mut told = self.told.lock();
        if told.len() >= MAX_TOLD || told.contains(&attempt) {
            return;
        }
        told.push(attempt.clone());
        let refusal = Refusal {
            role: self.role,
            guest: Arc::clone(&self.guest),
            attempt,
            reason: reason.clone(),
            last: told.len() == MAX_TOLD,
        };
        drop(told);
        // A replica that is gone, or has more to read than anyone would, is not told.
        let _ = self.reader.try_send(refusal);
    }
}

// === impl Refusal ===

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.role {
            Role::Service => f.write_str("the service")?,
            Role::Component => write!(f, "component `{}`", self.guest)?,
        }
        write!(f, " was not allowed to {}: {}", self.attempt, self.reason)?;
        match self.last {
            true => f.write_str("; its later refusals are not told"),
            false => Ok(()),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(Op::TcpBind(to)) => write!(f, "bind TCP {to}"),
            Self::Socket(Op::TcpListen(to)) => write!(f, "listen on TCP {to}"),
            Self::Socket(Op::TcpConnect(to)) => write!(f, "connect to TCP {to}"),
            Self::Socket(Op::UdpBind(to)) => write!(f, "bind UDP {to}"),
            Self::Socket(Op::UdpSend(to)) => write!(f, "send to UDP {to}"),
            Self::Lookup(name) => write!(f, "look up {name}"),
        }
    }
}
