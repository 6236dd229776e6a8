//! Streams that are opened anew when their connection breaks: what all of them share.

use std::time::Duration;

use tokio::time::{self, Instant};
use tonic::{Code, Status, Streaming};

/// A call that answers with a stream, and knows from where to go on.
pub trait Source: Send {
    type Message: Send + 'static;

    fn open(&mut self) -> impl Future<Output = Result<Streaming<Self::Message>, Status>> + Send;
}

/// The messages of a [`Source`].
pub struct Resuming<S: Source> {
    pub source: S,
    messages: Option<Streaming<S::Message>>,
    /// In a row, since the last message.
    failures: u32,
}

/// The first wait before the stream is opened anew, doubled with each further one up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_secs(1);

/// A request may be this long on its way to whoever reckons "within this time" from when it comes.
const ON_THE_WAY: Duration = Duration::from_secs(10);

/// Whether asking the same again can help.
pub fn is_passing(status: &Status) -> bool {
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}

/// For a request that goes on where an earlier one began: everything since then, and a little more.
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

    /// The next message, or `None` when the server ended the stream. After its end or a failure the next call opens it
    /// anew, with a wait before that grows from failure to failure.
    pub async fn next(&mut self) -> Result<Option<S::Message>, Status> {
        let told = match &mut self.messages {
            Some(messages) => messages.message().await,
            None => match self.open().await {
                Ok(mut messages) => {
                    let told = messages.message().await;
                    self.messages = Some(messages);
                    told
                }
                Err(status) => Err(status),
            },
        };
        if matches!(told, Ok(Some(_))) {
            self.failures = 0;
        } else {
            self.messages = None;
            self.failures = self.failures.saturating_add(1);
        }
        told
    }

    /// How often in a row it failed or ended.
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
