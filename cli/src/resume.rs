//! Streams that are reopened when their connection breaks.

use std::time::Duration;

use tokio::time::{self, Instant};
use tonic::{Code, Status, Streaming};

/// A call that answers with a stream and can continue where it stopped.
pub trait Source: Send {
    type Message: Send + 'static;

    fn open(&mut self) -> impl Future<Output = Result<Streaming<Self::Message>, Status>> + Send;
}

/// The messages of a [`Source`].
pub struct Resuming<S: Source> {
    pub source: S,
    messages: Option<Streaming<S::Message>>,
    /// The number of failures in a row since the last message.
    failures: u32,
}

/// The first delay before the stream is reopened. It doubles with each failure, up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_secs(1);

/// An allowance for the time that a request travels, because the server counts "within this time"
/// from its arrival.
const ON_THE_WAY: Duration = Duration::from_secs(10);

/// Returns whether repeating the call can help.
pub fn is_passing(status: &Status) -> bool {
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}

/// Returns the `since` of a request that continues an earlier one: the time since that one began,
/// and a little more.
pub fn since(began: Instant, now: Instant) -> Option<prost_types::Duration> {
    let since = now.duration_since(began).saturating_add(ON_THE_WAY);
    prost_types::Duration::try_from(since).ok()
}

// === impl Resuming ===

impl<S: Source> Resuming<S> {
    pub fn new(source: S) -> Self {
        Self {
            source,
            messages: None,
            failures: 0,
        }
    }

    /// Returns the next message, or `None` when the server ended the stream. After its end or a
    /// failure, the next call reopens it, after a delay that grows with each failure.
    pub async fn next(&mut self) -> Result<Option<S::Message>, Status> {
        let message = match &mut self.messages {
            Some(messages) => messages.message().await,
            None => match self.open().await {
                Ok(mut messages) => {
                    let message = messages.message().await;
                    self.messages = Some(messages);
                    message
                }
                Err(status) => Err(status),
            },
        };
        if matches!(message, Ok(Some(_))) {
            self.failures = 0;
        } else {
            self.messages = None;
            self.failures = self.failures.saturating_add(1);
        }
        message
    }

    /// Returns how many times in a row it failed or ended.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    async fn open(&mut self) -> Result<Streaming<S::Message>, Status> {
        if let Some(before) = self.failures.checked_sub(1) {
            let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(before));
            time::sleep(wait.min(LAST_WAIT)).await;
        }
        self.source.open().await
    }
}
