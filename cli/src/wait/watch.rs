//! A watch that resumes after the last change that it received when its connection breaks.

use std::{collections::BTreeMap, marker::PhantomData, pin::Pin};

use futures::{Stream, stream};
use tonic::{Code, Response, Status, Streaming};
use warren_proto::v1::{self, watch_response::Type};

use crate::{
    client::Server,
    error,
    resume::{self, Resuming},
};

/// A change of the watched objects.
#[derive(Debug, PartialEq)]
pub enum Change<T> {
    /// The object is new or has changed to this.
    Is(T),
    /// The object is gone.
    Gone(T),
    /// The current state follows, up to [`Change::Complete`]. Objects that are not part of it are
    /// gone.
    Resync,
    /// The current state is complete.
    Complete,
    /// No server answers, for this reason. The watch retries until one does.
    Broken(String),
}

/// What is watched: the workload of this name or its replicas, or all objects with these labels.
#[derive(Clone, Debug)]
pub struct Target {
    pub server: Server,
    /// `*` is every namespace.
    pub namespace: String,
    /// Empty for all names.
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

/// A kind of object that can be watched.
pub trait Watched: Send + Sized + 'static {
    type Message: Send + 'static;

    /// Watches from a position, or from the current state if the position is empty.
    fn watch(
        target: &Target,
        resource_version: String,
    ) -> impl Future<Output = Result<Response<Streaming<Self::Message>>, Status>> + Send;

    /// Splits a message into its parts. A bookmark has no object.
    fn parts(message: Self::Message) -> (Type, Option<Self>, String);
}

pub type Changes<T> = Pin<Box<dyn Stream<Item = Result<Change<T>, Status>> + Send>>;

/// The position that a watch has reached. Pure.
#[derive(Debug, Default, PartialEq, Eq)]
struct Position {
    /// Empty until the current state is complete, because a watch cannot resume at the positions
    /// within it.
    version: String,
    complete: bool,
    /// Whether a part of the current state has been received.
    begun: bool,
}

/// The call of a watch.
struct Call<T> {
    target: Target,
    position: Position,
    /// Whether the broken connection has been reported.
    is_broken: bool,
    watched: PhantomData<fn() -> T>,
}

/// Returns the current state and then its changes, for as long as they are read. The stream ends
/// only with an error that a retry does not fix. Dropping the future of the next item loses
/// nothing.
pub fn changes<T: Watched>(target: Target) -> Changes<T> {
    let call = Call::<T> {
        target,
        position: Position::default(),
        is_broken: false,
        watched: PhantomData,
    };
    Box::pin(stream::unfold(Some(Resuming::new(call)), |watch| async {
        let mut watch = watch?;
        match next(&mut watch).await {
            Ok(change) => Some((Ok(change), Some(watch))),
            Err(status) => Some((Err(status), None)),
        }
    }))
}

async fn next<T: Watched>(watch: &mut Resuming<Call<T>>) -> Result<Change<T>, Status> {
    loop {
        let status = match watch.next().await {
            Ok(Some(message)) => {
                watch.source.is_broken = false;
                let (kind, item, version) = T::parts(message);
                match watch.source.position.received(kind, item, version) {
                    Some(change) => return Ok(change),
                    None => continue,
                }
            }
            Ok(None) => Status::unavailable("the server ended the watch"),
            Err(status) => status,
        };
        if status.code() != Code::OutOfRange && !resume::is_passing(&status) {
            return Err(status);
        }
        if watch.source.position.broke(status.code()) {
            return Ok(Change::Resync);
        }
        // A single failure is not reported.
        if watch.failures() > 1 && !watch.source.is_broken {
            watch.source.is_broken = true;
            return Ok(Change::Broken(error::render_status(&status)));
        }
    }
}

// === impl Call ===

impl<T: Watched> resume::Source for Call<T> {
    type Message = T::Message;

    async fn open(&mut self) -> Result<Streaming<T::Message>, Status> {
        let response = T::watch(&self.target, self.position.version.clone()).await?;
        Ok(response.into_inner())
    }
}

// === impl Position ===

impl Position {
    fn received<T>(&mut self, kind: Type, item: Option<T>, version: String) -> Option<Change<T>> {
        let completes = kind == Type::Bookmark && !self.complete;
        self.begun = true;
        self.complete |= completes;
        if self.complete {
            self.version = version;
        }
        match (kind, item) {
            (Type::Bookmark, _) => completes.then_some(Change::Complete),
            (Type::Deleted, Some(item)) => Some(Change::Gone(item)),
            (Type::Added | Type::Modified, Some(item)) => Some(Change::Is(item)),
            (Type::Unspecified, _) | (_, None) => None,
        }
    }

    /// Notes that the connection broke. Returns whether the state is sent again from the beginning:
    /// the position is no longer kept, or there is none yet and a part of the state has been
    /// received.
    fn broke(&mut self, code: Code) -> bool {
        if self.complete && code != Code::OutOfRange {
            return false;
        }
        std::mem::take(self).begun
    }
}

// === impl Watched ===

impl Watched for v1::Workload {
    type Message = v1::WatchResponse;

    async fn watch(
        target: &Target,
        resource_version: String,
    ) -> Result<Response<Streaming<Self::Message>>, Status> {
        let request = v1::WatchRequest {
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            resource_version,
            labels: target.labels.clone(),
        };
        target.server.workloads().watch(request).await
    }

    fn parts(message: Self::Message) -> (Type, Option<Self>, String) {
        (message.r#type(), message.workload, message.resource_version)
    }
}

impl Watched for v1::Replica {
    type Message = v1::WatchReplicasResponse;

    async fn watch(
        target: &Target,
        resource_version: String,
    ) -> Result<Response<Streaming<Self::Message>>, Status> {
        let request = v1::WatchReplicasRequest {
            namespace: target.namespace.clone(),
            workload: target.name.clone(),
            resource_version,
            labels: target.labels.clone(),
        };
        target.server.workloads().watch_replicas(request).await
    }

    fn parts(message: Self::Message) -> (Type, Option<Self>, String) {
        (message.r#type(), message.replica, message.resource_version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(position: &mut Position, kind: Type, version: &str) -> Option<Change<()>> {
        let item = (kind != Type::Bookmark).then_some(());
        position.received(kind, item, version.to_owned())
    }

    #[test]
    fn a_watch_resumes_only_after_the_whole_present_state() {
        let mut position = Position::default();
        assert_eq!(
            received(&mut position, Type::Added, "7"),
            Some(Change::Is(()))
        );
        assert_eq!(position.version, "");
        assert!(position.broke(Code::Unavailable));
        assert_eq!(
            received(&mut position, Type::Added, "7"),
            Some(Change::Is(()))
        );
        assert_eq!(
            received(&mut position, Type::Bookmark, "9"),
            Some(Change::Complete)
        );
        assert_eq!(position.version, "9");
        assert_eq!(
            received(&mut position, Type::Deleted, "12"),
            Some(Change::Gone(()))
        );
        assert!(!position.broke(Code::Unavailable));
        assert_eq!(position.version, "12");
        // A later bookmark only advances the position.
        assert_eq!(received(&mut position, Type::Bookmark, "15"), None);
        assert_eq!(position.version, "15");
    }

    #[test]
    fn a_position_that_is_not_kept_starts_over() {
        let mut position = Position::default();
        received(&mut position, Type::Bookmark, "9");
        // A restarted server is away at first, and then does not know the position.
        assert!(!position.broke(Code::Unavailable));
        assert!(position.broke(Code::OutOfRange));
        assert_eq!(position, Position::default());
        assert!(
            !position.broke(Code::Unavailable),
            "nothing was received since"
        );
    }
}
