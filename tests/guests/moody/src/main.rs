//! A server on 127.0.0.1:8080, after LISTEN_AFTER_MS milliseconds, that is as well as it was told to be.
//!
//!   /healthz                        200, 503, or nothing at all
//!   /grpc.health.v1.Health/Check    the same: SERVING, NOT_SERVING, or nothing at all
//!   /sick?MS                        it is not well for so long, from now on
//!   /hang                           it answers no question about its health any more
//!   /                               how many requests of this kind it has answered

use std::{
    cell::Cell,
    convert::Infallible,
    future::pending,
    io,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Channel, Full, combinators::UnsyncBoxBody};
use hyper::{HeaderMap, Request, Response, body::Incoming, header, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, time::sleep};

type Body = UnsyncBoxBody<Bytes, Infallible>;

thread_local! {
    static SICK_UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
    static HANGS: Cell<bool> = const { Cell::new(false) };
    static ANSWERED: Cell<u32> = const { Cell::new(0) };
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    if let Some(wait) = std::env::var("LISTEN_AFTER_MS")
        .ok()
        .and_then(|ms| ms.parse().ok())
    {
        sleep(Duration::from_millis(wait)).await;
    }
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!("moody: listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            let served = server.serve_connection(TokioIo::new(stream), service_fn(answer));
            if let Err(error) = served.await {
                eprintln!("moody: {error}");
            }
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    let health = matches!(path, "/healthz" | "/grpc.health.v1.Health/Check");
    if health && HANGS.get() {
        pending::<()>().await;
    }
    let well = SICK_UNTIL.get().is_none_or(|until| until <= Instant::now());
    Ok(match path {
        "/healthz" => text(if well { 200 } else { 503 }, "health\n"),
        "/grpc.health.v1.Health/Check" => checked(if well { 1 } else { 2 }),
        "/sick" => {
            let query = request.uri().query().unwrap_or_default();
            let time = Duration::from_millis(query.parse().unwrap_or(1000));
            SICK_UNTIL.set(Some(Instant::now() + time));
            text(200, "sick\n")
        }
        "/hang" => {
            HANGS.set(true);
            text(200, "hanging\n")
        }
        _ => {
            ANSWERED.set(ANSWERED.get() + 1);
            text(200, &format!("{}\n", ANSWERED.get()))
        }
    })
}

/// A `HealthCheckResponse` with this status, whole: five bytes of frame, field 1, the status; `grpc-status` after it.
fn checked(status: u8) -> Response<Body> {
    let (mut to, from) = Channel::<Bytes, Infallible>::new(2);
    tokio::spawn(async move {
        let frame = Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]);
        if to.send_data(frame).await.is_ok() {
            let ok = header::HeaderValue::from_static("0");
            let name = header::HeaderName::from_static("grpc-status");
            let _ = to.send_trailers(HeaderMap::from_iter([(name, ok)])).await;
        }
    });
    let mut response = Response::new(from.boxed_unsync());
    let kind = header::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn text(status: u16, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::copy_from_slice(text.as_bytes()));
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status.try_into().expect("these are statuses");
    response
}
