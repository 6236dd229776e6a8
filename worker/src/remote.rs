//! Connections to a control plane: gRPC over any transport.

use async_trait::async_trait;
use tonic::{body::Body, transport::Endpoint};
use tower::{BoxError, ServiceExt as _, util::BoxCloneSyncService};

/// A connection to a control plane. Clones share it.
pub type Channel = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, RemoteError>;

/// A connection cannot be opened, or was lost.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RemoteError(#[source] pub BoxError);

/// A control plane to which connections can be opened.
#[async_trait]
pub trait Remote: Send + Sync + 'static {
    /// Returns its URL, for people.
    fn url(&self) -> String;

    /// Returns an open connection.
    async fn connect(&self) -> Result<Channel, RemoteError>;

    /// Returns a connection that is opened when it is first used.
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
