//! The real sockets, with the tasks that wait on them.

use proptest::prelude::*;

use super::*;

/// The real counterpart of a socket of the reference.
pub enum Real {
    Bound(Bound),
    Listener(Listener, Waiter),
    Connecting(Connecting, Waiter),
    Udp(UdpSocket, Waiter),
    Connected {
        reader: Option<(Reader, Waiter)>,
        writer: Option<(Writer, Waiter)>,
    },
}

/// Whether a task had to wait, with a flag that records whether it was woken since.
#[derive(Default)]
pub struct Waiter {
    flag: Arc<Flag>,
    waits: bool,
}

impl Waiter {
    pub fn poll<T>(&mut self, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        self.flag.take();
        let waker = Waker::from(Arc::clone(&self.flag));
        let result = poll(&mut Context::from_waker(&waker));
        self.waits = result.is_pending();
        result
    }

    pub fn check(&self, ready: bool, what: &str) -> Result<(), TestCaseError> {
        let missed = self.waits && ready && !self.flag.0.load(Ordering::Relaxed);
        prop_assert!(!missed, "{what}: the waiting task was not woken");
        Ok(())
    }
}
