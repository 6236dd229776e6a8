//! A service that is an HTTP server, reached by a route.

use std::net::SocketAddr;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::Method;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};
use warren_tests::{get, request, within};

use super::{manifest, restarts};
use crate::cluster;

const HOST: &str = "web.localhost";

type Socket = WebSocketStream<TcpStream>;

/// A browser that has the page open.
async fn join(worker: SocketAddr) -> Socket {
    let stream = TcpStream::connect(worker).await.unwrap();
    let url = format!("ws://{HOST}:{}/live", worker.port());
    let upgrade = client_async(url.into_client_request().unwrap(), stream);
    let (socket, response) = within("an upgrade", upgrade).await.unwrap();
    assert_eq!(response.status(), 101);
    socket
}

async fn hear(socket: &mut Socket) -> String {
    let message = within("a message", socket.next()).await;
    message.unwrap().unwrap().into_text().unwrap().to_string()
}

async fn say(worker: SocketAddr, words: &str) -> u16 {
    let body = Bytes::copy_from_slice(words.as_bytes());
    let reply = request(worker, Method::POST, HOST, "/messages", body).await;
    reply.status.as_u16()
}

#[tokio::test]
async fn a_chat_over_websockets_through_the_ingress() {
    let cluster = cluster(1).await;
    cluster.apply(&manifest("web")).await;
    let worker = cluster.http();
    let page = get(worker, HOST, "/").await;
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(page.text().contains("new WebSocket("));

    let (mut one, mut other) = (join(worker).await, join(worker).await);
    one.send(Message::text("hello")).await.unwrap();
    for socket in [&mut one, &mut other] {
        assert_eq!(hear(socket).await, "hello");
    }
    assert_eq!(say(worker, "from a terminal").await, 204);
    for socket in [&mut one, &mut other] {
        assert_eq!(hear(socket).await, "from a terminal");
    }
    let said = get(worker, HOST, "/messages").await.text();
    assert_eq!(said, "hello\nfrom a terminal\n");

    // Who comes later is told, and nobody may say too much.
    let mut late = join(worker).await;
    assert_eq!(hear(&mut late).await, "hello");
    assert_eq!(hear(&mut late).await, "from a terminal");
    assert_eq!(say(worker, &"x".repeat(1025)).await, 400);
    one.send(Message::text("x".repeat(1025))).await.unwrap();
    let end = within("its end", one.next()).await;
    assert!(!matches!(end, Some(Ok(Message::Text(_)))), "{end:?}");
    drop(one);
    other.send(Message::text("and on")).await.unwrap();
    assert_eq!(hear(&mut other).await, "and on");

    other.close(None).await.unwrap();
    let closed = within("a close", other.next()).await;
    assert!(matches!(closed, Some(Ok(Message::Close(_)))), "{closed:?}");
    assert_eq!(restarts(&cluster, "web").await, 0);
}
