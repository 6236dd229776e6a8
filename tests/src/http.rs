//! An HTTP/1.1 client that connects to a given address and sends a given host.

use std::net::SocketAddr;

use bytes::Bytes;
use futures::channel::mpsc;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::within;

/// An answer with all of its body that came.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub body: Bytes,
    /// Whether the body came to its end as HTTP marks it: a part is not taken for the whole.
    pub whole: bool,
}

/// A request whose body is sent as the test goes on. The body ends when `body` is dropped.
pub struct Open {
    pub response: Response<Incoming>,
    pub body: mpsc::UnboundedSender<Result<Frame<Bytes>, std::io::Error>>,
}

pub async fn get(address: SocketAddr, host: &str, path: &str) -> Reply {
    request(address, Method::GET, host, path, Bytes::new()).await
}

pub async fn request(
    address: SocketAddr,
    method: Method,
    host: &str,
    path: &str,
    body: Bytes,
) -> Reply {
    let request = head(method, host, path).body(Full::new(body));
    let response = send(address, request.expect("a test's request is valid")).await;
    within("the answer's body", Reply::read(response)).await
}

/// As [`get`], for a client that bears it when there is no answer; it waits for as long as it
/// takes.
pub async fn try_get(address: SocketAddr, host: &str, path: &str) -> Result<Reply, String> {
    let request = head(Method::GET, host, path).body(Full::new(Bytes::new()));
    let response = try_send(address, request.expect("a test's request is valid")).await?;
    Ok(Reply::read(response).await)
}

/// Sends a request and waits for the head of its answer alone.
pub async fn open(address: SocketAddr, host: &str, path: &str, first: &'static str) -> Open {
    let (body, frames) = mpsc::unbounded();
    let request = head(Method::POST, host, path).body(StreamBody::new(frames));
    let sent = body.unbounded_send(Ok(Frame::data(Bytes::from_static(first.as_bytes()))));
    sent.expect("the receiver is in the request's body");
    let response = send(address, request.expect("a test's request is valid")).await;
    Open { response, body }
}

fn head(method: Method, host: &str, path: &str) -> http::request::Builder {
    let request = Request::builder().method(method).uri(path);
    request.header(header::HOST, host)
}

async fn send<B>(address: SocketAddr, request: Request<B>) -> Response<Incoming>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    match within("an answer", try_send(address, request)).await {
        Ok(response) => response,
        Err(error) => panic!("no answer: {error}"),
    }
}

async fn try_send<B>(address: SocketAddr, request: Request<B>) -> Result<Response<Incoming>, String>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
    let exchange = async {
        let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the answer, or with the test.
        tokio::spawn(connection);
        client.send_request(request).await
    };
    exchange
        .await
        .map_err(|error: hyper::Error| error.to_string())
}

// === impl Reply ===

impl Reply {
    /// Reads what there is of a body.
    pub async fn read(response: Response<Incoming>) -> Self {
        let (head, mut incoming) = response.into_parts();
        let mut body = Vec::new();
        let whole = loop {
            match incoming.frame().await {
                None => break true,
                Some(Err(_)) => break false,
                Some(Ok(frame)) => body.extend(frame.into_data().unwrap_or_default()),
            }
        };
        Self {
            status: head.status,
            headers: head.headers,
            body: body.into(),
            whole,
        }
    }

    /// The body of a success, as text.
    #[track_caller]
    pub fn text(&self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        assert!(self.whole, "{self:?}");
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
