//! What becomes known of refusals: the guest sees an error code, the workload's owner the reason.

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

/// Attempts of one guest that are told apart; a guest that goes on trying others has made its point.
const MAX_TOLD: usize = 16;
/// Refusals of one replica that wait to be read.
const MAX_WAITING: usize = 64;

/// What a guest was not allowed to do.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub role: Role,
    /// "service" or the component's name.
    pub guest: Arc<str>,
    pub attempt: Attempt,
    pub reason: DenyReason,
    /// No more will be told of this guest: what else it is refused counts here.
    pub last: bool,
    /// How often it was refused, which goes on.
    pub times: Times,
}

/// A number that grows.
#[derive(Clone, Debug)]
pub struct Times(Arc<AtomicU64>);

/// What a guest tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    Socket(Op),
    Lookup(String),
}

/// Where the refusals of one guest are told: each attempt once, and counted each time.
pub struct Refusals {
    role: Role,
    guest: Arc<str>,
    told: Mutex<Vec<(Attempt, Times)>>,
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
        let is_full = told.len() == MAX_TOLD;
        let before = told.iter().find(|(before, _)| *before == attempt);
        if let Some((_, times)) = before.or(told.last().filter(|_| is_full)) {
            times.0.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let times = Times(Arc::new(AtomicU64::new(1)));
        let refusal = Refusal {
            role: self.role,
            guest: Arc::clone(&self.guest),
            attempt: attempt.clone(),
            reason: reason.clone(),
            last: told.len() + 1 == MAX_TOLD,
            times: times.clone(),
        };
        // A replica that is gone is not told, and one that has more to read than anyone would not this time.
        if self.reader.try_send(refusal).is_ok() {
            told.push((attempt, times));
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
            true => f.write_str("; whatever else it is refused is only counted"),
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
