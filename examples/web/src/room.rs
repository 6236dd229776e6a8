//! What everybody in the chat shares.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::broadcast;

/// The longest that anybody may say at once, in bytes.
pub const LONGEST: usize = 1024;

/// So many messages are remembered for those who come later, and wait for those who read slowly.
const REMEMBERED: usize = 32;

pub struct Room {
    said: Mutex<VecDeque<Utf8Bytes>>,
    everybody: broadcast::Sender<Utf8Bytes>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            said: Mutex::default(),
            everybody: broadcast::Sender::new(REMEMBERED),
        }
    }
}

impl Room {
    /// Says something to everybody, unless it is nothing or too long.
    pub fn say(&self, words: &str) -> bool {
        if words.is_empty() || words.len() > LONGEST {
            return false;
        }
        let words = Utf8Bytes::from(words);
        let mut said = self.lock();
        if said.len() == REMEMBERED {
            said.pop_front();
        }
        said.push_back(words.clone());
        // Nobody listening is no error.
        let _ = self.everybody.send(words);
        true
    }

    /// What is remembered, oldest first.
    pub fn said(&self) -> Vec<Utf8Bytes> {
        self.lock().iter().cloned().collect()
    }

    /// What is remembered, and all that is said from now on: nothing is missed in between.
    pub fn join(&self) -> (Vec<Utf8Bytes>, broadcast::Receiver<Utf8Bytes>) {
        let said = self.lock();
        (said.iter().cloned().collect(), self.everybody.subscribe())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Utf8Bytes>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
