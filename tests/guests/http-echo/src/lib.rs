//! One behaviour of an HTTP component for each path.

use std::convert::Infallible;
use std::fmt::Write;
use std::hint::black_box;
use std::net::{TcpListener, TcpStream};

use futures_lite::stream::unfold;
use wstd::http::body::{Body, Bytes};
use wstd::http::{Error, HeaderMap, Request, Response, StatusCode};

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
        ["big", bytes] => Ok(Response::new(big(bytes.parse()?))),
        _ => Ok(Response::builder()
            .status(StatusCode::NOT_FOUND)
            .body(Body::empty())?),
    }
}

fn text(body: impl Into<String>) -> Result<Response<Body>, Error> {
    Ok(Response::new(body.into().into()))
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
