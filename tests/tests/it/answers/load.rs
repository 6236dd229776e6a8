//! Many clients at once, through a worker that has no replica.

use std::net::SocketAddr;

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use warren_tests::{Cluster, within};

use super::{places, well};
use crate::lab;

const CLIENTS: usize = 64;
/// Of each client. Together more than the 1,024 resets that HTTP/2 bears by default in the life of
/// a connection.
const REQUESTS: usize = 20;

/// One connection with one request after the other; the last one is given up.
async fn client(worker: SocketAddr, host: &str, path: &str) -> Result<(), String> {
    let stream = TcpStream::connect(worker).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut client, connection) = handshake.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let request = || {
        let request = Request::get(path).header(header::HOST, host);
        request.body(Empty::<Bytes>::new()).unwrap()
    };
    for _ in 0..REQUESTS {
        client.ready().await.map_err(|error| error.to_string())?;
        let answer = client.send_request(request()).await;
        let answer = answer.map_err(|error| format!("no answer: {error}"))?;
        let status = answer.status();
        let body = answer.into_body().collect().await;
        let body = body.map_err(|error| format!("a broken answer: {error}"))?;
        if status != 200 {
            return Err(format!("{status}: {:?}", body.to_bytes()));
        }
    }
    let last = client.send_request(request());
    drop(last);
    connection.abort();
    Ok(())
}

#[tokio::test]
async fn clients_of_a_second_worker_are_unaffected() {
    let cluster = Cluster::start(lab(), 2).await;
    for place in places(&cluster).await {
        let [_, other] = place.workers;
        // An answer whose length is known ends for its client before it ends between the workers.
        for path in ["/length", "/ok"] {
            well(other, &place.host).await;
            let clients = (0..CLIENTS).map(|_| client(other, &place.host, path));
            let failed: Vec<_> = within("all answers", join_all(clients))
                .await
                .into_iter()
                .filter_map(Result::err)
                .collect();
            assert!(failed.is_empty(), "{path} of {}: {failed:#?}", place.host);
        }
    }
}
