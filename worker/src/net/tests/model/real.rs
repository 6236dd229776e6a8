//! The network's own sockets, with who waits on them.

use proptest::prelude::*;

use super::*;

/// The real thing for each socket of the reference.
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

/// Whether somebody was told to wait, and a flag that tells if it was woken since.
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
        prop_assert!(!missed, "{what}: nobody was woken");
        Ok(())
    }
}
