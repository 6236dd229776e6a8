//! A watch that goes on when its connection breaks: it resumes after the last change that it was told of.

use std::{collections::BTreeMap, marker::PhantomData, pin::Pin};

use futures::{Stream, stream};
use tonic::{Code, Response, Status, Streaming};
use warren_proto::v1::{self, watch_response::Type};

use crate::{
    client::Server,
    error,
    resume::{self, Resuming},
};

/// What became of the things that are watched.
#[derive(Debug, PartialEq)]
pub enum Change<T> {
    /// It is new, or is now so.
    Is(T),
    /// It is no more.
    Gone(T),
    /// The present state follows, up to [`Change::Complete`]: what is not in it is gone.
    Anew,
    /// Everything that there is was told.
    Complete,
    /// Nobody answers, for this reason; tried again until somebody does.
    Broken(String),
}

/// What is watched: the workload of this name or its replicas, or all with these labels.
#[derive(Clone, Debug)]
pub struct Target {
    pub server: Server,
    /// `*`: every namespace.
    pub namespace: String,
    /// Empty: all.
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

/// What can be watched.
pub trait Watched: Send + Sized + 'static {
    type Message: Send + 'static;

    /// Watches from a position, or from the present state where it is empty.
    fn watch(
        target: &Target,
        resource_version: String,
    ) -> impl Future<Output = Result<Response<Streaming<Self::Message>>, Status>> + Send;

    /// The parts of a message. A bookmark has nothing in it.
    fn parts(message: Self::Message) -> (Type, Option<Self>, String);
}

pub type Changes<T> = Pin<Box<dyn Stream<Item = Result<Change<T>, Status>> + Send>>;

/// Where a watch has got to. Pure.
#[derive(Debug, Default, PartialEq, Eq)]
struct Position {
    /// Empty until the present state is complete: the positions within it are no places to resume from.
    version: String,
    complete: bool,
    /// Whether anything was told since the present state began.
    begun: bool,
}

/// The call of a watch.
struct Call<T> {
    target: Target,
    position: Position,
    /// Whether it was told that nobody answers.
    is_broken: bool,
    watched: PhantomData<fn() -> T>,
}

/// What is there, then what changes, for as long as it is read. Ends only with an error that trying again does not help.
/// Dropping the future of its next item loses nothing.
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
                match watch.source.position.told(kind, item, version) {
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
            return Ok(Change::Anew);
        }
        // One failure alone is not worth a word.
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
    fn told<T>(&mut self, kind: Type, item: Option<T>, version: String) -> Option<Change<T>> {
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

    /// Whether everything is told anew now: the position is not kept, or there is none yet and a part was told.
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

    fn told(position: &mut Position, kind: Type, version: &str) -> Option<Change<()>> {
        let item = (kind != Type::Bookmark).then_some(());
        position.told(kind, item, version.to_owned())
    }

    #[test]
    fn a_watch_resumes_only_after_the_whole_present_state() {
        let mut position = Position::default();
        assert_eq!(told(&mut position, Type::Added, "7"), Some(Change::Is(())));
        assert_eq!(position.version, "");
        assert!(position.broke(Code::Unavailable));
        assert_eq!(told(&mut position, Type::Added, "7"), Some(Change::Is(())));
        assert_eq!(
            told(&mut position, Type::Bookmark, "9"),
            Some(Change::Complete)
        );
        assert_eq!(position.version, "9");
        assert_eq!(
            told(&mut position, Type::Deleted, "12"),
            Some(Change::Gone(()))
        );
        assert!(!position.broke(Code::Unavailable));
        assert_eq!(position.version, "12");
        // A later bookmark only moves the position.
        assert_eq!(told(&mut position, Type::Bookmark, "15"), None);
        assert_eq!(position.version, "15");
    }

    #[test]
    fn a_position_that_is_not_kept_starts_anew() {
        let mut position = Position::default();
        told(&mut position, Type::Bookmark, "9");
        // A server that was started anew: first it is away, then it knows nothing of the position.
        assert!(!position.broke(Code::Unavailable));
        assert!(position.broke(Code::OutOfRange));
        assert_eq!(position, Position::default());
        assert!(!position.broke(Code::Unavailable), "nothing was told since");
    }
}
