//! A client that keeps a number of requests in flight for a while, and what it saw.
//!
//! It runs on one thread and parses no more than it needs, so that it leaves the cores to the
//! server.

use std::{io, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Serialize;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    runtime::Builder,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::stats::Spread;

/// How long a request may take beyond the end of the measurement before it counts as failed.
const GRACE: Duration = Duration::from_secs(3);
/// The number of requests in flight on one HTTP/2 connection.
const STREAMS: usize = 32;
/// The size of the buffer of an HTTP/1.1 connection.
const BUFFER: usize = 64 << 10;
/// The longest line of a head or of a chunk's size.
const LINE: u64 = 8 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Protocol {
    #[serde(rename = "HTTP/1.1")]
    Http1,
    /// HTTP/2 without TLS, by prior knowledge.
    #[serde(rename = "h2c")]
    H2c,
}

/// The requests of a measurement. All of them are the same `GET`.
#[derive(Clone, Debug)]
pub struct Load {
    pub address: SocketAddr,
    pub host: String,
    pub path: String,
    pub protocol: Protocol,
    /// The number of requests in flight; with HTTP/1.1 also that of connections.
    pub connections: usize,
    pub time: Duration,
}

/// The result of a load.
#[derive(Debug)]
pub struct Outcome {
    /// The number of requests that were answered with 200 and a whole body.
    pub answered: u64,
    pub failed: u64,
    /// From the first request to the end of the last one.
    pub took: Duration,
    /// From a request to the end of its answer, in microseconds.
    pub latency: Spread,
    /// The last failure.
    pub failure: Option<String>,
}

/// The figures of one connection, or of all.
#[derive(Default)]
struct Tally {
    /// In microseconds, one for each request that was answered.
    latencies: Vec<f64>,
    failed: u64,
    failure: Option<String>,
}

// === impl Load ===

impl Load {
    /// Sends the requests from a thread of its own.
    pub async fn run(self) -> anyhow::Result<Outcome> {
        let measured = tokio::task::spawn_blocking(move || {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let began = Instant::now();
            let tally = runtime.block_on(self.run_here());
            anyhow::Ok((tally, began.elapsed()))
        });
        let (tally, took) = measured.await??;
        let nothing = || format!("no request was answered: {:?}", tally.failure);
        Ok(Outcome {
            answered: tally.latencies.len() as u64,
            failed: tally.failed,
            took,
            latency: Spread::of(tally.latencies).with_context(nothing)?,
            failure: tally.failure,
        })
    }

    async fn run_here(self) -> Tally {
        let end = Instant::now() + self.time;
        let mut connections = JoinSet::new();
        match self.protocol {
            Protocol::Http1 => {
                for _ in 0..self.connections {
                    connections.spawn(self.clone().http1(end));
                }
            }
            Protocol::H2c => {
                let mut rest = self.connections;
                while rest > 0 {
                    let streams = rest.min(STREAMS);
                    rest -= streams;
                    connections.spawn(self.clone().h2c(streams, end));
                }
            }
        }
        let mut all = Tally::default();
        while let Some(joined) = connections.join_next().await {
            match joined {
                Ok(tally) => all.add(tally),
                Err(error) => all.fail(error.to_string()),
            }
        }
        all
    }

    /// Sends one request after the other on one connection, which ends with the first failure.
    async fn http1(self, end: Instant) -> Tally {
        let mut tally = Tally::default();
        let request = format!("GET {} HTTP/1.1\r\nhost: {}\r\n\r\n", self.path, self.host);
        let mut stream = match connect(self.address).await {
            Ok(stream) => BufReader::with_capacity(BUFFER, stream),
            Err(error) => {
                tally.fail(format!("cannot connect: {error}"));
                return tally;
            }
        };
        let mut line = Vec::new();
        while Instant::now() < end {
            let exchange = async {
                stream.write_all(request.as_bytes()).await?;
                read_answer(&mut stream, &mut line).await
            };
            if !tally.time(end, exchange).await {
                break;
            }
        }
        tally
    }

    /// Keeps this many requests in flight on one connection.
    async fn h2c(self, streams: usize, end: Instant) -> Tally {
        let mut tally = Tally::default();
        let connected = async {
            let stream = TokioIo::new(connect(self.address).await?);
            let handshake = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(1 << 24)
                .handshake(stream);
            handshake.await.map_err(io::Error::other)
        };
        let (client, connection) = match connected.await {
            Ok(connected) => connected,
            Err(error) => {
                tally.fail(format!("cannot connect: {error}"));
                return tally;
            }
        };
        let connection = tokio::spawn(connection);
        let uri = format!("http://{}{}", self.host, self.path);
        let mut requests = JoinSet::new();
        for _ in 0..streams {
            let (mut client, uri) = (client.clone(), uri.clone());
            requests.spawn(async move {
                let mut tally = Tally::default();
                while Instant::now() < end && tally.time(end, get(&mut client, &uri)).await {}
                tally
            });
        }
        for of_stream in requests.join_all().await {
            tally.add(of_stream);
        }
        connection.abort();
        tally
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn get(client: &mut http2::SendRequest<Empty<Bytes>>, uri: &str) -> io::Result<()> {
    let request = Request::get(uri).body(Empty::new());
    let request = request.map_err(io::Error::other)?;
    client.ready().await.map_err(io::Error::other)?;
    let sent = client.send_request(request).await;
    let answer = sent.map_err(io::Error::other)?;
    let status = answer.status();
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        frame.map_err(io::Error::other)?;
    }
    match status.as_u16() {
        200 => Ok(()),
        other => Err(io::Error::other(format!("status {other}"))),
    }
}

/// Reads one answer of HTTP/1.1 to its end. An answer other than 200 is an error.
pub async fn read_answer(
    stream: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<()> {
    read_line(stream, line).await?;
    if !line.starts_with(b"HTTP/1.1 200 ") {
        return Err(malformed("status line", line));
    }
    let mut length = None;
    let mut chunked = false;
    loop {
        read_line(stream, line).await?;
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            break;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = std::str::from_utf8(value).ok();
            length = digits.and_then(|digits| digits.parse().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            chunked = value.eq_ignore_ascii_case(b"chunked");
        }
    }
    match length {
        _ if chunked => loop {
            read_line(stream, line).await?;
            let digits = std::str::from_utf8(line.trim_ascii()).ok();
            let size = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let size = size.ok_or_else(|| malformed("size of a chunk", line))?;
            if size > 0 {
                skip(stream, size).await?;
            }
            // The end of the chunk, or of an answer without trailers.
            read_line(stream, line).await?;
            if size == 0 {
                return Ok(());
            }
        },
        Some(length) => skip(stream, length).await,
        None => Err(io::Error::other("an answer without a length")),
    }
}

async fn read_line(stream: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<()> {
    line.clear();
    stream.take(LINE).read_until(b'\n', line).await?;
    match line.last() {
        Some(b'\n') => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads this many bytes and forgets them.
async fn skip(stream: &mut (impl AsyncBufRead + Unpin), mut bytes: u64) -> io::Result<()> {
    while bytes > 0 {
        let available = stream.fill_buf().await?.len();
        if available == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let taken = (available as u64).min(bytes);
        bytes -= taken;
        stream.consume(usize::try_from(taken).unwrap_or(available));
    }
    Ok(())
}

fn malformed(what: &str, line: &[u8]) -> io::Error {
    io::Error::other(format!("{what} `{}`", line.trim_ascii().escape_ascii()))
}

// === impl Tally ===

impl Tally {
    /// Measures one exchange, and returns whether it succeeded.
    async fn time(&mut self, end: Instant, exchange: impl Future<Output = io::Result<()>>) -> bool {
        let began = Instant::now();
        match timeout_at(end + GRACE, exchange).await {
            Ok(Ok(())) => {
                self.latencies.push(began.elapsed().as_secs_f64() * 1e6);
                true
            }
            Ok(Err(error)) => {
                self.fail(error.to_string());
                false
            }
            Err(_) => {
                self.fail(format!("no answer {GRACE:?} after the end"));
                false
            }
        }
    }

    fn fail(&mut self, failure: String) {
        self.failed += 1;
        self.failure = Some(failure);
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.failed += other.failed;
        self.failure = other.failure.or(self.failure.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what follows the answer, or why there is none.
    async fn rest_after(answer: &str) -> Result<String, String> {
        let mut stream = answer.as_bytes();
        let read = read_answer(&mut stream, &mut Vec::new()).await;
        read.map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(stream).into_owned())
    }

    #[tokio::test]
    async fn an_answer_is_read_to_its_end() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndate: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
        ] {
            let next = "HTTP/1.1 200";
            assert_eq!(
                rest_after(&format!("{answer}{next}")).await.as_deref(),
                Ok(next)
            );
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_or_not_200_is_a_failure() {
        for answer in [
            "",
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nz\r\n",
        ] {
            assert!(rest_after(answer).await.is_err(), "{answer}");
        }
    }
}
