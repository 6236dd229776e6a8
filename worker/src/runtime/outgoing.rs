//! `wasi:http/outgoing-handler` 0.2 and `wasi:http/client` 0.3. Requests to localhost go to the
//! workload's own service; others go where `egress` allows.
//!
//! Each guest of a replica has connections of its own, because each has egress of its own: a
//! service for each of its lives, a component for all its instances. The guest's policy decides on
//! a connection when it is opened, for one particular address. The connection stays with this
//! address for as long as it is kept.

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

/// The longest time that a guest waits for a connection, the first byte or the next one, unless it
/// asks for less.
const PATIENCE: Duration = Duration::from_secs(600);

/// The bytes of a body that its guest has written and that wait for their reader. One more chunk
/// may be on its way.
const BODY_CHUNK: usize = 64 << 10;

type Sent = Result<
    (
        Response<WasiBody>,
        Box<dyn Future<Output = Result<(), Error>> + Send>,
    ),
    Error,
>;

/// Sends the requests of the instances of one guest. Clones share connections, which end with the
/// last clone.
#[derive(Clone)]
pub(super) struct Outgoing(Arc<Client>);

/// The surroundings of a guest's requests: where they may go, and how.
#[derive(Clone)]
pub(super) struct Ways {
    pub network: Network,
    pub policy: Arc<Policy>,
    /// The ports of the service that speak only HTTP/2, according to its routes.
    pub http2_ports: Arc<[u16]>,
    /// The budget for responses.
    pub host_budget: Arc<HostBudget>,
}

/// The bounds of one guest's connections.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// The most connections at once. A request that needs one more waits for as long as it would
    /// for a connection.
    connections: usize,
    /// The most connections to one authority that are kept without a request.
    idle: usize,
    /// The time for which a connection is kept without a request.
    idle_timeout: Duration,
}

/// The longest times that one request waits.
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

    /// Returns the same for the same guest, with connections of its own.
    pub(super) fn renewed(&self) -> Self {
        Self(self.0.renewed())
    }
}

impl WasiHttpHooks for Outgoing {
    /// The client below adds this field for the versions that need it.
    fn set_host_header(&mut self) -> bool {
        false
    }

    /// The most bytes that one write of a guest copies, which applies to answers, too: one chunk
    /// waits for each body that is not read.
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
            // The client runs its connections itself.
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
