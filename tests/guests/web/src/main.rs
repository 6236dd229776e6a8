//! An HTTP server on 127.0.0.1 and the port given as first argument (8080), with HTTP/1.1 and HTTP/2. Where a second
//! port is given it is bound by UDP: what arrives there is sent back with the sender's address before it.
//!
//!   /            what arrived: method, target, version, peer and every field, one a line
//!   /echo        the body, as it comes, then its trailers or `x-frames: N`
//!   /count       reads the whole body, then says how long it was
//!   /early       413 before the body was read
//!   /events      a stream of events, one each 20 ms, until the client goes; then prints `events: the client is gone`
//!   /slow?MS     answers after so many milliseconds
//!   /half        promises 100 bytes, sends 10, breaks off
//!   /empty       204
//!   /close       204, and closes the connection
//!   /exit        ends the program with code 0
//!   /ws          WebSocket: echoes messages until it is closed

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Channel, Empty, Full, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, UdpSocket},
    time::sleep,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

type Body = UnsyncBoxBody<Bytes, io::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "8080".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    if let Some(port) = std::env::args().nth(2) {
        let socket = UdpSocket::bind(format!("127.0.0.1:{port}")).await?;
        tokio::spawn(echo_datagrams(socket));
    }
    println!("web: listening on {}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().await?;
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, peer));
            let server = auto::Builder::new(TokioExecutor::new());
            let io = TokioIo::new(stream);
            if let Err(error) = server.serve_connection_with_upgrades(io, service).await {
                eprintln!("web: {error}");
            }
        });
    }
}

async fn echo_datagrams(socket: UdpSocket) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await?;
        let mut reply = format!("{peer} ").into_bytes();
        reply.extend_from_slice(&buffer[..length]);
        socket.send_to(&reply, peer).await?;
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response<Body>, Infallible> {
    Ok(match request.uri().path() {
        "/echo" => echo(request.into_body()),
        "/count" => count(request.into_body()).await,
        "/early" => status(StatusCode::PAYLOAD_TOO_LARGE),
        "/events" => events(),
        "/slow" => slow(request.uri().query()).await,
        "/half" => half(),
        "/empty" => status(StatusCode::NO_CONTENT),
        "/close" => close(),
        "/exit" => std::process::exit(0),
        "/ws" => websocket(request),
        _ => text(&told(&request, peer)),
    })
}

fn told(request: &Request<Incoming>, peer: SocketAddr) -> String {
    let (method, uri, version) = (request.method(), request.uri(), request.version());
    let mut lines = vec![format!("{method} {uri} {version:?} from {peer}")];
    for (name, value) in request.headers() {
        lines.push(format!("{name}: {}", value.to_str().unwrap_or("?")));
    }
    lines.join("\n")
}

fn echo(mut body: Incoming) -> Response<Body> {
    let (mut to, from) = Channel::<Bytes, io::Error>::new(1);
    tokio::spawn(async move {
        let mut frames = 0_u32;
        let mut trailers = None;
        while let Some(Ok(frame)) = body.frame().await {
            frames += 1;
            match frame.into_data() {
                Ok(data) => {
                    if to.send_data(data).await.is_err() {
                        return println!("echo: the client is gone");
                    }
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        let trailers =
            trailers.unwrap_or_else(|| HeaderMap::from_iter([(X_FRAMES, frames.into())]));
        let _ = to.send(Frame::trailers(trailers)).await;
    });
    let mut response = Response::new(from.boxed_unsync());
    let names = header::HeaderValue::from_static("x-frames, x-sum, grpc-status");
    response.headers_mut().insert(header::TRAILER, names);
    response
}

const X_FRAMES: header::HeaderName = header::HeaderName::from_static("x-frames");

async fn count(mut body: Incoming) -> Response<Body> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => length += frame.data_ref().map_or(0, Bytes::len),
            Err(error) => {
                println!("count: the body broke off after {length}: {error}");
                return status(StatusCode::BAD_REQUEST);
            }
        }
    }
    text(&length.to_string())
}

fn events() -> Response<Body> {
    let (mut to, from) = Channel::<Bytes, io::Error>::new(1);
    tokio::spawn(async move {
        for n in 0.. {
            if to.send_data(format!("data: {n}\n\n").into()).await.is_err() {
                return println!("events: the client is gone");
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    let mut response = Response::new(from.boxed_unsync());
    let kind = header::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

async fn slow(query: Option<&str>) -> Response<Body> {
    let wait = query.and_then(|query| query.parse().ok()).unwrap_or(100);
    println!("slow: began");
    sleep(Duration::from_millis(wait)).await;
    text("at last")
}

fn half() -> Response<Body> {
    let (mut to, from) = Channel::<Bytes, io::Error>::new(1);
    tokio::spawn(async move {
        let _ = to.send_data(Bytes::from_static(b"0123456789")).await;
        // hyper sends nothing of a body that breaks off before it was asked for more.
        sleep(Duration::from_millis(50)).await;
        to.abort(io::Error::other("half is enough"));
    });
    let mut response = Response::new(from.boxed_unsync());
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, 100.into());
    response
}

fn close() -> Response<Body> {
    let mut response = status(StatusCode::NO_CONTENT);
    let close = header::HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

fn websocket(mut request: Request<Incoming>) -> Response<Body> {
    let Some(key) = request.headers().get("sec-websocket-key") else {
        return status(StatusCode::UPGRADE_REQUIRED);
    };
    let accept = derive_accept_key(key.as_bytes());
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(&mut request).await else {
            return;
        };
        let mut socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            let message_back = message.is_text() || message.is_binary();
            if message_back && socket.send(message).await.is_err() {
                break;
            }
        }
        println!("ws: closed");
    });
    let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
    for (name, value) in [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
    ] {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn text(text: &str) -> Response<Body> {
    let body = Full::new(Bytes::copy_from_slice(text.as_bytes()));
    Response::new(body.map_err(|never| match never {}).boxed_unsync())
}

fn status(status: StatusCode) -> Response<Body> {
    let body = Empty::new().map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}
