//! A chat: an HTTP server that lives as long as its workload, with the page at `/`, what was said as
//! text at `/messages`, and everything as it is said over a WebSocket at `/live`.

mod room;

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{Html, Response};
use axum::routing::{any, get};
use tokio::net::TcpListener;

use room::Room;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let app = Router::new()
        .route("/", get(Html(include_str!("page.html"))))
        .route("/messages", get(messages).post(say))
        .route("/live", any(live))
        .with_state(Arc::<Room>::default());
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app).await
}

async fn messages(State(room): State<Arc<Room>>) -> String {
    room.said()
        .iter()
        .map(|words| format!("{words}\n"))
        .collect()
}

async fn say(State(room): State<Arc<Room>>, words: String) -> StatusCode {
    match room.say(words.trim()) {
        true => StatusCode::NO_CONTENT,
        false => StatusCode::BAD_REQUEST,
    }
}

/// The request that asks for the upgrade is answered at once; the connection then goes on as a task.
async fn live(State(room): State<Arc<Room>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(room::LONGEST)
        .on_upgrade(|socket| async move {
            // Whoever is gone has no use for the error.
            let _ = talk(&room, socket).await;
        })
}

async fn talk(room: &Room, mut socket: WebSocket) -> Result<(), axum::Error> {
    let (said, mut heard) = room.join();
    for words in said {
        socket.send(Message::Text(words)).await?;
    }
    loop {
        tokio::select! {
            words = heard.recv() => match words {
                Ok(words) => socket.send(Message::Text(words)).await?,
                // Too slow by a whole buffer of messages: it may join again.
                Err(_) => return socket.send(Message::Close(None)).await,
            },
            message = socket.recv() => match message {
                Some(message) => if let Message::Text(words) = message? {
                    room.say(words.trim());
                },
                None => return Ok(()),
            },
        }
    }
}
