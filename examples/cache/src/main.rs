//! A key-value service that speaks the Redis protocol (RESP2). It keeps everything in memory: its
//! replica's life is the data's life.

mod command;
mod glob;
mod resp;
mod store;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

use command::{Server, Then};
use resp::{Parser, Reply};

const READ_CHUNK: usize = 16 * 1024;
/// Replies to a pipeline are gathered up to this size and then written at once.
const WRITE_BATCH: usize = 64 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let address = std::env::var("CACHE_LISTEN").unwrap_or_else(|_| "127.0.0.1:6379".into());
    let listener = TcpListener::bind(&address).await?;
    println!("cache: listening on {address}");

    let run_id = getrandom::u64().expect("the system has randomness");
    let server = Rc::new(RefCell::new(Server::new(run_id, Instant::now())));
    LocalSet::new().run_until(accept(listener, server)).await
}

async fn accept(listener: TcpListener, server: Rc<RefCell<Server>>) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = Rc::clone(&server);
                spawn_local(async move {
                    server.borrow_mut().clients += 1;
                    // A client that went away is no event of the service's.
                    let _ = serve(stream, &server).await;
                    server.borrow_mut().clients -= 1;
                });
            }
            // A connection that failed while it waited must not end the service or make it spin.
            Err(error) => {
                eprintln!("cache: accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers one client until it leaves, sends QUIT or breaks the protocol. Every complete request
/// that a read brought is executed before anything is written, so a pipeline costs one write.
async fn serve(mut stream: TcpStream, server: &RefCell<Server>) -> io::Result<()> {
    let mut parser = Parser::default();
    let mut input = BytesMut::new();
    let mut reply = Reply::default();

    loop {
        input.reserve(READ_CHUNK);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        server.borrow_mut().store.advance(Instant::now());

        let mut then = Then::Continue;
        while then == Then::Continue {
            match parser.next(&input) {
                Ok(None) => break,
                Ok(Some(request)) => {
                    then = command::execute(request.args, &mut server.borrow_mut(), &mut reply);
                    input.advance(request.length);
                }
                Err(error) => {
                    reply.error(format_args!("ERR Protocol error: {error}"));
                    then = Then::Close;
                }
            }
            if reply.as_bytes().len() >= WRITE_BATCH {
                flush(&mut stream, &mut reply).await?;
            }
        }
        flush(&mut stream, &mut reply).await?;
        if then == Then::Close {
            return Ok(());
        }
    }
}

async fn flush(stream: &mut TcpStream, reply: &mut Reply) -> io::Result<()> {
    stream.write_all(reply.as_bytes()).await?;
    reply.clear(WRITE_BATCH);
    Ok(())
}
