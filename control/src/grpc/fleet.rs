//! `warren.v1.FleetService`.

use std::{sync::Arc, time::Duration};

use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, PollNext},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use warren_proto::v1::{self, fleet_service_server::FleetService};

use super::{Responses, error};
use crate::{
    fleet::{Fleet, Outbox, SessionError, session},
    listen::Connection,
    suggest::Absent,
};

/// The number of messages to a worker that may wait for its connection.
const OUTBOX: usize = 32;
/// The number of acknowledgements that may wait: a worker needs the newest one.
const ACKNOWLEDGEMENTS: usize = 8;

/// How long the first message of a stream of lines may take; it says which request the lines
/// answer.
const FIRST_WITHIN: Duration = Duration::from_secs(10);

/// How long the last message of a session may wait for its worker.
const FAREWELL: Duration = Duration::from_secs(1);

pub struct FleetApi(pub Arc<Fleet>);

// === impl FleetService for FleetApi ===

#[tonic::async_trait]
impl FleetService for FleetApi {
    type SessionStream = Responses<v1::SessionResponse>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (urgent, first) = mpsc::channel(ACKNOWLEDGEMENTS);
        let (rest, then) = mpsc::channel(OUTBOX);
        let outbox = Outbox { urgent, rest };
        let fleet = self.0.clone();
        let connection = request.extensions().get::<Connection>().cloned();
        let greeted = fleet
            .places
            .greet(connection.as_ref().map(Connection::peer))?;
        let inbound = request.into_inner().map_err(received).boxed();
        // The head of the response goes out before Hello arrives: a client may wait for it before
        // it sends anything.
        self.0.tasks.spawn(async move {
            if let Err(error) = session::run(fleet, inbound, &outbox, greeted, connection).await {
                // A worker that does not read, or has gone, does not need to know why.
                let _ = timeout(FAREWELL, outbox.rest.send(Err(error))).await;
            }
        });
        let (first, then) = (ReceiverStream::new(first), ReceiverStream::new(then));
        let overtakes = |_: &mut ()| PollNext::Left;
        let responses = stream::select_with_strategy(first, then, overtakes);
        Ok(Response::new(responses.map_err(Status::from).boxed()))
    }

    async fn push_logs(
        &self,
        request: Request<Streaming<v1::PushLogsRequest>>,
    ) -> Result<Response<v1::PushLogsResponse>, Status> {
        let mut inbound = request.into_inner();
        let first = timeout(FIRST_WITHIN, inbound.message()).await;
        let first =
            first.map_err(|_| error::late(format!("no message within {FIRST_WITHIN:?}")))?;
        let Some(first) = first? else {
            return Err(error::invalid_field(
                "request_id",
                "the stream ended before a first message",
            ));
        };
        let Some(answer) = self.0.logs.answer(&first.request_id) else {
            return Err(error::not_found(&Absent {
                kind: "request for logs",
                name: first.request_id,
                hint: "whoever asked has gone".to_owned(),
            }));
        };
        let mut next = Some(first);
        while let Some(message) = next {
            if !message.lines.is_empty() && answer.send(message.lines).await.is_err() {
                break;
            }
            // The reader may go away while the guest is silent.
            next = tokio::select! {
                message = inbound.message() => message?,
                () = answer.closed() => None,
            };
        }
        Ok(Response::new(v1::PushLogsResponse {}))
    }
}

/// Keeps what tonic says of a stream that broke, for the log and for the worker.
fn received(status: Status) -> SessionError {
    SessionError::Receive {
        message: status.message().to_owned(),
        source: Box::new(status),
    }
}
