//! A client that sends all of its request before it reads, and says exactly what it saw.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use futures::{StreamExt as _, channel::mpsc, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use warren_tests::within;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

#[derive(Clone, Debug)]
pub struct Request {
    method: &'static str,
    path: &'static str,
    /// Bytes of its body.
    size: usize,
    fields: Vec<(String, String)>,
    cut: bool,
    half_close: bool,
}

/// What came.
#[derive(Debug)]
pub struct Seen {
    pub status: Option<u16>,
    pub body: String,
    /// Whether the answer came to its end as HTTP marks it.
    pub whole: bool,
}

const NOTHING: Seen = Seen {
    status: None,
    body: String::new(),
    whole: false,
};

// === impl Request ===

impl Request {
    fn new(method: &'static str, path: &'static str, size: usize) -> Self {
        Self {
            method,
            path,
            size,
            fields: Vec::new(),
            cut: false,
            half_close: false,
        }
    }

    pub fn get(path: &'static str) -> Self {
        Self::new("GET", path, 0)
    }

    pub fn head(path: &'static str) -> Self {
        Self::new("HEAD", path, 0)
    }

    pub fn post(path: &'static str, size: usize) -> Self {
        Self::new("POST", path, size)
    }

    /// Further fields, with values of so many bytes.
    pub fn fields(mut self, count: usize, size: usize) -> Self {
        let fields = (0..count).map(|n| (format!("x-{n}"), "v".repeat(size)));
        self.fields.extend(fields);
        self
    }

    /// A part of the body is all that comes.
    pub fn cut(mut self) -> Self {
        self.cut = true;
        self
    }

    /// The client closes its side and reads on. HTTP/2 does as much with every request.
    pub fn half_close(mut self) -> Self {
        self.half_close = true;
        self
    }

    pub fn is_cut(&self) -> bool {
        self.cut
    }

    fn sent(&self) -> usize {
        match self.cut {
            true => self.size / 10,
            false => self.size,
        }
    }
}

pub async fn ask(protocol: Protocol, worker: SocketAddr, host: &str, request: &Request) -> Seen {
    let stream = TcpStream::connect(worker).await.unwrap();
    let seen = async {
        match protocol {
            Protocol::Http1 => http1(stream, host, request).await,
            Protocol::Http2 => http2(stream, host, request).await,
        }
    };
    within("an answer", seen).await
}

async fn http1(mut stream: TcpStream, host: &str, request: &Request) -> Seen {
    let Request {
        method, path, size, ..
    } = request;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in &request.fields {
        head += &format!("{name}: {value}\r\n");
    }
    if *size > 0 {
        head += &format!("Content-Length: {size}\r\n");
    }
    head += "\r\n";
    let mut bytes = head.into_bytes();
    bytes.resize(bytes.len() + request.sent(), b'x');
    // All of it first, as most clients do: an answer that is there meanwhile waits.
    if stream.write_all(&bytes).await.is_err() {
        return NOTHING;
    }
    if request.cut || request.half_close {
        stream.shutdown().await.unwrap();
    }
    let mut answer = Vec::new();
    if stream.read_to_end(&mut answer).await.is_err() {
        // A connection that is reset has lost what else there was.
        return NOTHING;
    }
    read(&answer, *method == "HEAD").unwrap_or(NOTHING)
}

/// Reads an answer that ended with its connection.
fn read(answer: &[u8], bodiless: bool) -> Option<Seen> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end])
        .ok()?
        .to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok();
    let body = &answer[end + 4..];
    let length = head
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length: "));
    let (body, whole) = match length {
        _ if bodiless => (body.to_vec(), body.is_empty()),
        Some(length) => (body.to_vec(), body.len() == length.parse::<usize>().ok()?),
        None if head.contains("transfer-encoding: chunked") => chunks(body),
        None => (body.to_vec(), false),
    };
    Some(Seen {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
        whole,
    })
}

fn chunks(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok();
        let Some(size) = size.and_then(|size| usize::from_str_radix(size, 16).ok()) else {
            break;
        };
        if size == 0 {
            return (body, true);
        }
        let data = rest.get(end + 2..end + 2 + size);
        let Some(data) = data else { break };
        body.extend_from_slice(data);
        rest = rest.get(end + 4 + size..).unwrap_or_default();
    }
    (body, false)
}

async fn http2(stream: TcpStream, host: &str, request: &Request) -> Seen {
    const PIECE: usize = 16 << 10;
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut client, connection) = handshake.unwrap();
    let connection = tokio::spawn(connection);
    let uri = format!("http://{host}{}", request.path);
    let mut head = http::Request::builder().method(request.method).uri(uri);
    for (name, value) in &request.fields {
        head = head.header(name, value);
    }
    if request.size > 0 {
        head = head.header("content-length", request.size);
    }
    let (frames, body) = mpsc::unbounded();
    for at in (0..request.sent()).step_by(PIECE) {
        let piece = vec![b'x'; PIECE.min(request.sent() - at)];
        frames
            .unbounded_send(Ok(Frame::data(Bytes::from(piece))))
            .unwrap();
    }
    let cut = stream::once(async { Err(io::Error::other("given up")) });
    let body = match request.cut {
        true => body.chain(cut).boxed(),
        false => body.boxed(),
    };
    drop(frames);
    let sending = client.send_request(head.body(StreamBody::new(body)).unwrap());
    let Ok(response) = sending.await else {
        return NOTHING;
    };
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    let whole = loop {
        match body.frame().await {
            None => break true,
            Some(Err(_)) => break false,
            Some(Ok(frame)) => bytes.extend(frame.into_data().unwrap_or_default()),
        }
    };
    connection.abort();
    Seen {
        status: Some(head.status.as_u16()),
        body: String::from_utf8_lossy(&bytes).into_owned(),
        whole,
    }
}
