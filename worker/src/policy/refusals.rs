//! Reports refusals: the guest only sees an error code, but the workload's owner gets the reason.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{DenyReason, Op, Role};

/// How many distinct attempts of one guest are reported. Further ones are counted with the last.
const MAX_REPORTED: usize = 16;
/// How many refusals of one replica may wait to be read.
const MAX_WAITING: usize = 64;

/// An attempt of a guest that was refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub role: Role,
    /// "service" or the component's name.
    pub guest: Arc<str>,
    pub attempt: Attempt,
    pub reason: DenyReason,
    /// Whether this is the last refusal reported for the guest. Further ones are counted here.
    pub last: bool,
    /// The number of refusals so far, which keeps counting.
    pub times: Times,
}

/// A counter that is still being incremented. Clones share it.
#[derive(Clone, Debug)]
pub struct Times(Arc<AtomicU64>);

/// An operation that a guest attempted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    Socket(Op),
    Lookup(String),
}

/// Reports the refusals of one guest: each distinct attempt once, with a counter of its
/// repetitions.
pub struct Refusals {
    role: Role,
    guest: Arc<str>,
    reported: Mutex<Vec<(Attempt, Times)>>,
    reader: mpsc::Sender<Refusal>,
}

/// Creates the channel for the refusals of all guests of a replica. It is bounded: refusals that do
/// not fit are not reported.
pub fn refusals() -> (mpsc::Sender<Refusal>, mpsc::Receiver<Refusal>) {
    mpsc::channel(MAX_WAITING)
}

// === impl Refusals ===

impl Refusals {
    pub fn new(role: Role, guest: Arc<str>, reader: mpsc::Sender<Refusal>) -> Self {
        Self {
            role,
            guest,
            reported: Mutex::default(),
            reader,
        }
    }

    /// Reports or counts a refusal. Never waits.
    pub(super) fn report(&self, attempt: Attempt, reason: &DenyReason) {
        let mut reported = self.reported.lock();
        let is_full = reported.len() == MAX_REPORTED;
        let before = reported.iter().find(|(before, _)| *before == attempt);
        if let Some((_, times)) = before.or(reported.last().filter(|_| is_full)) {
            times.0.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let times = Times(Arc::new(AtomicU64::new(1)));
        let refusal = Refusal {
            role: self.role,
            guest: Arc::clone(&self.guest),
            attempt: attempt.clone(),
            reason: reason.clone(),
            last: reported.len() + 1 == MAX_REPORTED,
            times: times.clone(),
        };
        // If the channel is full or the replica is gone, the attempt counts as not reported yet.
        if self.reader.try_send(refusal).is_ok() {
            reported.push((attempt, times));
        }
    }
}

// === impl Times ===

impl Times {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
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
            true => f.write_str("; further refusals of this guest are only counted"),
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
