//! `wasi:http/outgoing-handler` 0.2 and `wasi:http/client` 0.3: localhost is the workload's own
//! service, the rest is what `egress` allows.
//!
//! Each guest of a replica has connections of its own, because each has egress of its own: a
//! service for each of its lives, a component for all its instances. A connection is decided by the
//! guest's policy when it is opened, to the very address that was decided, and goes where it went
//! for as long as it is kept.

mod body;
mod client;
mod connect;
mod failure;
mod send;
mod tls;

#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc, time::Duration};

use http::{Request, Response};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::host_memory::HostBudget;
use crate::policy::Policy;

use client::Client;
use warren_net::Network;

pub(super) use send::add_to_linker;

/// What a guest waits at most for a connection, a first byte or a next one, unless it asks for
/// less.
const PATIENCE: Duration = Duration::from_secs(600);

/// Bytes of a body that its guest has written and that wait for its reader. One chunk more may be
/// on its way.
const BODY_CHUNK: usize = 64 << 10;

type Sent = Result<
    (
        Response<WasiBody>,
        Box<dyn Future<Output = Result<(), Error>> + Send>,
    ),
    Error,
>;

/// How the instances of one guest send requests. Clones share connections, which end with the last
/// of them.
#[derive(Clone)]
pub(super) struct Outgoing(Arc<Client>);

/// Where a guest's requests may go, and how.
#[derive(Clone)]
pub(super) struct Ways {
    pub network: Network,
    pub policy: Arc<Policy>,
    /// Ports of the service that speak HTTP/2 alone, as its routes say.
    pub http2_ports: Arc<[u16]>,
    /// For what responses bring.
    pub host_budget: Arc<HostBudget>,
}

/// Bounds of one guest's connections.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// At once; who needs one more waits for as long as it would for a connection.
    connections: usize,
    /// Without a request, to one authority.
    idle: usize,
    /// How long a connection is kept without a request.
    idle_timeout: Duration,
}

/// What one request waits for at most.
#[derive(Clone, Copy, Debug)]
struct Timeouts {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            idle: 32,
            idle_timeout: Duration::from_secs(30),
        }
    }
}

// === impl Outgoing ===

impl Outgoing {
    pub(super) fn new(ways: Ways) -> Self {
        Self(Client::new(ways, Limits::default(), tls::public()))
    }

    /// For the same guest, with connections of its own.
    pub(super) fn renewed(&self) -> Self {
        Self(self.0.renewed())
    }
}

impl WasiHttpHooks for Outgoing {
    /// The client below adds it, for the versions that have one.
    fn set_host_header(&mut self) -> bool {
        false
    }

    /// What one write of a guest copies at most, of answers too: a chunk waits for each body that
    /// nobody reads.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        self.0.host_budget().piece(BODY_CHUNK)
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _response_processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let client = Arc::clone(&self.0);
        let timeouts = Timeouts::from(options.unwrap_or_default());
        Box::new(async move {
            let response = client.send(request, timeouts).await?;
            // The client drives its connections itself.
            let done: Box<dyn Future<Output = _> + Send> = Box::new(async { Ok(()) });
            Ok((response, done))
        })
    }
}

// === impl Timeouts ===

impl From<RequestOptions> for Timeouts {
    fn from(options: RequestOptions) -> Self {
        let within = |asked: Option<Duration>| asked.map_or(PATIENCE, |asked| asked.min(PATIENCE));
        Self {
            connect: within(options.connect_timeout),
            first_byte: within(options.first_byte_timeout),
            between_bytes: within(options.between_bytes_timeout),
        }
    }
}
