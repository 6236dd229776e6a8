//! One behaviour of an HTTP component for each path.

use std::convert::Infallible;
use std::fmt::Write;
use std::hint::black_box;
use std::net::{TcpListener, TcpStream};

use futures_lite::stream::unfold;
use wstd::http::body::{Body, Bytes};
use wstd::http::error::ErrorCode;
use wstd::http::{Client, Error, HeaderMap, Request, Response, StatusCode};
use wstd::task::sleep;
use wstd::time::Duration;

const MEBIBYTE: usize = 1024 * 1024;
const CHUNK: u64 = 64 * 1024;

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match segments[..] {
        [""] => text("hello\n"),
        // The request's body becomes the answer's, piece by piece.
        ["echo"] => Ok(Response::new(request.into_body())),
        ["headers"] => text(headers(request.headers())),
        ["env"] => text(env()),
        ["status", code] => Ok(Response::builder().status(code).body(Body::empty())?),
        // The request's body is not read.
        ["wait", milliseconds] => {
            sleep(Duration::from_millis(milliseconds.parse()?)).await;
            text("waited\n")
        }
        ["read"] => {
            let mut body = request.into_body();
            let bytes = body.contents().await?.len();
            text(format!("{bytes}\n"))
        }
        ["length", bytes] => {
            let length: u64 = bytes.parse()?;
            let response = Response::builder().header("content-length", length);
            Ok(response.body(big(length))?)
        }
        ["panic"] => panic!("asked to panic"),
        ["spin"] => loop {
            black_box(());
        },
        ["alloc", mebibytes] => {
            // Written to, so that the memory is really used.
            black_box(vec![1_u8; mebibytes.parse::<usize>()? * MEBIBYTE]);
            text(format!("ok {mebibytes}\n"))
        }
        ["connect", address] => text(match TcpStream::connect(address) {
            Ok(_) => "ok\n".to_owned(),
            Err(error) => format!("error {:?}: {error}\n", error.kind()),
        }),
        ["bind", address] => text(match TcpListener::bind(address) {
            Ok(_) => "ok\n".to_owned(),
            Err(error) => format!("error {:?}: {error}\n", error.kind()),
        }),
        ["stdout"] => {
            println!("a line on stdout");
            eprintln!("a line on stderr");
            text("ok\n")
        }
        ["fetch"] => fetch(request).await,
        ["fetch", times] => {
            let url = request.uri().query().unwrap_or_default();
            text(match fetch_again(times.parse()?, url).await {
                Ok(micros) => format!("{micros} us\n"),
                Err(error) => format!("error {error:#}\n"),
            })
        }
        ["big", bytes] => Ok(Response::new(big(bytes.parse()?))),
        _ => Ok(Response::builder()
            .status(StatusCode::NOT_FOUND)
            .body(Body::empty())?),
    }
}

fn text(body: impl Into<String>) -> Result<Response<Body>, Error> {
    Ok(Response::new(body.into().into()))
}

/// Sends the request on to the URL of its query, and the answer back; an error as its code. `x-connect`, `x-first-byte` and
/// `x-between-bytes` are milliseconds.
async fn fetch(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    let milliseconds = |name: &str| {
        let value = head.headers.get(name)?.to_str().ok()?;
        value.parse().ok().map(Duration::from_millis)
    };
    let mut client = Client::new();
    if let Some(wait) = milliseconds("x-connect") {
        client.set_connect_timeout(wait);
    }
    if let Some(wait) = milliseconds("x-first-byte") {
        client.set_first_byte_timeout(wait);
    }
    if let Some(wait) = milliseconds("x-between-bytes") {
        client.set_between_bytes_timeout(wait);
    }
    let url = head.uri.query().unwrap_or_default();
    let mut outgoing = Request::builder().method(head.method.clone()).uri(url);
    for name in ["content-type", "trailer"] {
        if let Some(value) = head.headers.get(name) {
            outgoing = outgoing.header(name, value);
        }
    }
    match client.send(outgoing.body(body)?).await {
        Ok(answer) => {
            let mut response = Response::builder().status(answer.status());
            if let Some(names) = answer.headers().get("trailer") {
                response = response.header("trailer", names);
            }
            Ok(response.body(answer.into_body())?)
        }
        Err(error) => text(match error.downcast_ref::<ErrorCode>() {
            Some(code) => format!("error {code:?}\n"),
            None => format!("error {error:#}\n"),
        }),
    }
}

/// Asks for the same so many times, one after the other. Returns how long it took, in microseconds.
async fn fetch_again(times: u32, url: &str) -> Result<u128, Error> {
    let began = std::time::Instant::now();
    for _ in 0..times {
        let mut answer = Client::new()
            .send(Request::get(url).body(Body::empty())?)
            .await?;
        answer.body_mut().contents().await?;
    }
    Ok(began.elapsed().as_micros())
}

fn headers(headers: &HeaderMap) -> String {
    headers
        .iter()
        .fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name}: {}", value.as_bytes().escape_ascii());
            text
        })
}

fn env() -> String {
    std::env::vars()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect()
}

fn big(bytes: u64) -> Body {
    Body::from_try_stream(unfold(bytes, |left| async move {
        let length = left.min(CHUNK);
        (length > 0).then(|| {
            (
                Ok::<_, Infallible>(Bytes::from(vec![b'x'; length as usize])),
                left - length,
            )
        })
    }))
}
