//! As much of tokio's `watch` as Warren needs, for the simulation: who waits is woken in the order in which it came.
//! tokio's own wakes in a random one.

use std::{
    ops::Deref,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// The value, and where it is waited for. Receivers never see the sender go: it lives as long as they.
#[derive(Debug, Default)]
pub struct Sender<T>(Arc<Shared<T>>);

#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

#[derive(Debug, Default)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State<T> {
    value: T,
    version: u64,
}

/// The value, which cannot change meanwhile.
#[derive(Debug)]
pub struct Ref<'a, T>(MutexGuard<'a, State<T>>);

/// Never happens.
#[derive(Debug)]
pub struct RecvError(());

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Sender<T> {
    pub fn new(value: T) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State { value, version: 0 }),
            changed: Notify::new(),
        }))
    }

    pub fn subscribe(&self) -> Receiver<T> {
        Receiver {
            seen: self.0.state().version,
            shared: Arc::clone(&self.0),
        }
    }

    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.0.state())
    }

    pub fn send_replace(&self, value: T) -> T {
        let mut state = self.0.state();
        state.version += 1;
        let before = std::mem::replace(&mut state.value, value);
        drop(state);
        self.0.changed.notify_waiters();
        before
    }

    pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        let mut state = self.0.state();
        let modified = modify(&mut state.value);
        state.version += u64::from(modified);
        drop(state);
        if modified {
            self.0.changed.notify_waiters();
        }
        modified
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Receiver<T> {
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.state())
    }

    pub async fn changed(&mut self) -> Result<(), RecvError> {
        let seen = self.seen;
        self.until(|state| state.version != seen).await;
        Ok(())
    }

    pub async fn wait_for(
        &mut self,
        wanted: impl FnMut(&T) -> bool,
    ) -> Result<Ref<'_, T>, RecvError> {
        let mut wanted = wanted;
        self.until(|state| wanted(&state.value)).await;
        Ok(self.borrow())
    }

    async fn until(&mut self, mut wanted: impl FnMut(&State<T>) -> bool) {
        let mut changed = pin!(self.shared.changed.notified());
        loop {
            changed.as_mut().enable();
            {
                let state = self.shared.state();
                if wanted(&state) {
                    self.seen = state.version;
                    return;
                }
            }
            changed.as_mut().await;
            changed.set(self.shared.changed.notified());
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            seen: self.seen,
        }
    }
}

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}
