//! The way to a control plane: gRPC, whatever carries it.

use async_trait::async_trait;
use tonic::{body::Body, transport::Endpoint};
use tower::{BoxError, ServiceExt as _, util::BoxCloneSyncService};

/// A connection to a control plane. Clones share it.
pub type Channel = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, RemoteError>;

/// A connection cannot be made, or was lost.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RemoteError(#[source] pub BoxError);

/// A control plane that can be connected to.
#[async_trait]
pub trait Remote: Send + Sync + 'static {
    /// Its URL, for people.
    fn url(&self) -> String;

    /// A connection that stands.
    async fn connect(&self) -> Result<Channel, RemoteError>;

    /// A connection that is made when it is first used.
    fn connect_lazy(&self) -> Channel;
}

#[async_trait]
impl Remote for Endpoint {
    fn url(&self) -> String {
        self.uri().to_string()
    }

    async fn connect(&self) -> Result<Channel, RemoteError> {
        let connected = Endpoint::connect(self).await;
        Ok(boxed(connected.map_err(|error| RemoteError(error.into()))?))
    }

    fn connect_lazy(&self) -> Channel {
        boxed(Endpoint::connect_lazy(self))
    }
}

fn boxed(channel: tonic::transport::Channel) -> Channel {
    Channel::new(channel.map_err(|error| RemoteError(error.into())))
}
