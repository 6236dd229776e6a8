//! Connects readers of a replica's log lines with the worker that has them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use warren_model::name::Name;
use warren_proto::v1;

use super::Registry;

/// The number of messages that may be queued for a reader; beyond it the worker waits.
const BUFFER: usize = 8;
/// The time within which a worker has to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The requests that wait for their worker's answer.
pub struct LogsBroker {
    registry: Arc<Registry>,
    waiting: Arc<Waiting>,
}

type Batch = Vec<v1::LogLine>;

/// The readers by request id: one for each request that is neither answered nor cancelled.
type Waiting = Mutex<HashMap<String, Reader>>;

struct Reader {
    batches: mpsc::Sender<Batch>,
    /// Notifies the reader that its worker has begun.
    answered: oneshot::Sender<()>,
}

/// The log lines of one replica, as its worker sends them.
pub struct Lines {
    batches: mpsc::Receiver<Batch>,
    request_id: String,
    waiting: Arc<Waiting>,
}

/// The reason why there are no lines.
#[derive(Debug, thiserror::Error)]
pub enum NoLines {
    #[error("worker `{0}` is not connected")]
    NotConnected(Name),
    #[error("worker `{worker}` did not answer within {within:?}")]
    NoAnswer { worker: Name, within: Duration },
}

// === impl LogsBroker ===

impl LogsBroker {
    pub fn new(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            waiting: Arc::default(),
        }
    }

    /// Sends the request to a worker, and waits until it begins to answer. Dropping the lines
    /// cancels the request.
    pub async fn request(
        &self,
        worker: &Name,
        mut wanted: v1::LogsWanted,
    ) -> Result<Lines, NoLines> {
        let request_id = uuid::Uuid::new_v4().to_string();
        wanted.request_id.clone_from(&request_id);
        let (sender, batches) = mpsc::channel(BUFFER);
        let (answered, begun) = oneshot::channel();
        let reader = Reader {
            batches: sender,
            answered,
        };
        self.waiting.lock().insert(request_id.clone(), reader);
        let lines = Lines {
            batches,
            request_id,
            waiting: self.waiting.clone(),
        };
        if !self.registry.want_logs(worker, wanted) {
            return Err(NoLines::NotConnected(worker.clone()));
        }
        match tokio::time::timeout(ANSWER_WITHIN, begun).await {
            Ok(Ok(())) => Ok(lines),
            _ => Err(NoLines::NoAnswer {
                worker: worker.clone(),
                within: ANSWER_WITHIN,
            }),
        }
    }

    /// Returns the reader of a request, once.
    pub fn answer(&self, request_id: &str) -> Option<mpsc::Sender<Batch>> {
        let reader = self.waiting.lock().remove(request_id)?;
        // An error means that the reader has just given up; it drops its end of `batches` too.
        let _ = reader.answered.send(());
        Some(reader.batches)
    }
}

// === impl Lines ===

impl Lines {
    /// Returns the next lines, or `None` when the worker has sent all of them.
    pub async fn next(&mut self) -> Option<Batch> {
        self.batches.recv().await
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.request_id);
    }
}
