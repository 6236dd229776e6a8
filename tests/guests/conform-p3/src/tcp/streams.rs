//! `send` and `receive`.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use wasip3::{
    sockets::types::{ErrorCode, IpAddressFamily},
    wit_bindgen::StreamResult,
    wit_stream,
};

use super::{Connection, both, connect_to, pair};
use crate::{
    address::{at, from_wasi},
    check::{equal, fails, holds, works},
};

pub async fn run(family: IpAddressFamily) {
    there_and_back(family).await;
    half_close(family).await;
    the_peer_closes(family).await;
    nobody_reads(family).await;
    once_each(family).await;
    lifetimes(family).await;
    cancelled_reads(family).await;
    back_pressure(family).await;
}

async fn there_and_back(family: IpAddressFamily) {
    let (mut client, mut server) = pair(family).await;
    let (result, _) = client.send.write(vec![]).await;
    equal(
        "a write of nothing completes",
        result,
        StreamResult::Complete(0),
    );
    client.write(b"ping").await;
    let (result, bytes) = server.receive.read(Vec::with_capacity(100)).await;
    equal(
        "receive: what was sent",
        (result, bytes),
        (StreamResult::Complete(4), b"ping".to_vec()),
    );
    server.write(b"pong").await;
    equal("and back", client.read(100).await, b"pong".to_vec());
}

async fn half_close(family: IpAddressFamily) {
    let (mut client, mut server) = pair(family).await;
    client.write(b"last words").await;
    drop(client.send);
    works(
        "send: returns once the full contents are transmitted",
        client.sent.await,
    );
    equal(
        "the peer reads what was sent",
        server.read(100).await,
        b"last words".to_vec(),
    );
    holds(
        "then the stream is dropped",
        server.read(1).await.is_empty(),
    );
    works(
        "receive: ok after a graceful shutdown",
        server.received.await,
    );
    let rest = server.send.write_all(b"answer".to_vec()).await;
    holds("the other direction stays open", rest.is_empty());
    let bytes = client.receive.read(Vec::with_capacity(100)).await.1;
    equal("both ways", bytes, b"answer".to_vec());
    drop(server.send);
    holds(
        "until it ends, too",
        client
            .receive
            .read(Vec::with_capacity(1))
            .await
            .1
            .is_empty(),
    );
    works("with ok", client.received.await);
    works(
        "get-remote-address after both directions ended",
        client.socket.get_remote_address(),
    );
    works(
        "get-local-address likewise",
        server.socket.get_local_address(),
    );
}

async fn the_peer_closes(family: IpAddressFamily) {
    let (client, mut server) = pair(family).await;
    let local = client.socket.get_local_address().map(from_wasi);
    drop(client);
    let (result, bytes) = server.receive.read(Vec::with_capacity(1)).await;
    equal(
        "receive: the peer closed",
        (result, bytes),
        (StreamResult::Dropped, vec![]),
    );
    works("receive: a close is graceful", server.received.await);
    let mut result = StreamResult::Complete(0);
    for _ in 0..1_000 {
        result = server.send.write(b"undeliverable".to_vec()).await.0;
        if result == StreamResult::Dropped {
            break;
        }
    }
    equal(
        "send: drops the stream when nobody can read",
        result,
        StreamResult::Dropped,
    );
    fails(
        "connection-broken: not writable anymore",
        server.sent.await,
        ErrorCode::ConnectionBroken,
    );
    let seen = server.socket.get_remote_address().map(from_wasi);
    holds("get-remote-address stays", seen.ok() == local.ok());
}

/// "If the caller is not expecting to receive any more data from the peer, they should drop the stream."
async fn nobody_reads(family: IpAddressFamily) {
    let (mut client, mut server) = pair(family).await;
    server.write(&[7; 1_000]).await;
    client.receive.next().await.expect("a byte");
    drop(client.receive);
    works(
        "receive: resolves when the stream is dropped, whatever was pending",
        client.received.await,
    );
    for _ in 0..100 {
        server.write(&[7; 10_000]).await;
    }
    holds("shutdown(SHUT_RD): the peer does not notice", true);
    client.send.write_all(b"still".to_vec()).await;
    equal(
        "the other direction stays open",
        server.read(10).await,
        b"still".to_vec(),
    );
    drop(server.send);
    works("send: all was transmitted", server.sent.await);
}

async fn once_each(family: IpAddressFamily) {
    let (client, mut server) = pair(family).await;
    server.write(b"never read").await;
    for _ in 0..3 {
        let (mut stream, received) = client.socket.receive();
        let (result, bytes) = stream.read(Vec::with_capacity(10)).await;
        equal(
            "receive: a second time: a closed stream",
            (result, bytes),
            (StreamResult::Dropped, vec![]),
        );
        fails(
            "receive: only once per socket",
            received.await,
            ErrorCode::InvalidState,
        );
        let (mut writer, data) = wit_stream::new();
        let sent = client.socket.send(data);
        let (result, rest) = writer.write(b"undeliverable".to_vec()).await;
        equal(
            "send: a second time: takes nothing",
            (result, rest.into_vec()),
            (StreamResult::Dropped, b"undeliverable".to_vec()),
        );
        fails("send: at most once", sent.await, ErrorCode::InvalidState);
    }
}

/// "Send/receive streams remain functional after the original `tcp-socket` handle is dropped."
async fn lifetimes(family: IpAddressFamily) {
    let (mut client, mut server) = pair(family).await;
    drop(client.socket);
    drop(server.socket);
    let rest = client.send.write_all(b"ping".to_vec()).await;
    assert!(rest.is_empty());
    drop(client.send);
    works("send: without its socket", client.sent.await);
    equal(
        "receive: without its socket",
        server.receive.collect().await,
        b"ping".to_vec(),
    );
    works("receive: and its end", server.received.await);
    let rest = server.send.write_all(b"pong".to_vec()).await;
    assert!(rest.is_empty());
    drop(server.send);
    works("send: the other way", server.sent.await);
    equal(
        "receive: the other way",
        client.receive.collect().await,
        b"pong".to_vec(),
    );
    works("receive: the other end", client.received.await);
}

/// Reads that are given up lose nothing, and readiness can be asked for with room for nothing.
async fn cancelled_reads(family: IpAddressFamily) {
    const TOTAL: usize = 1 << 20;
    let (mut client, mut server) = pair(family).await;
    let writes = async {
        for from in (0..TOTAL).step_by(256) {
            let data: Vec<u8> = (from..from + 256).map(|n| (n % 251) as u8).collect();
            assert!(client.send.write_all(data).await.is_empty());
        }
        drop(client.send);
    };
    let reads = async {
        let mut all = Vec::new();
        let mut idle = 0;
        loop {
            let (result, bytes) = {
                let mut read = pin!(server.receive.read(Vec::with_capacity(1_000)));
                let mut cx = Context::from_waker(Waker::noop());
                match read.as_mut().poll(&mut cx) {
                    Poll::Ready(outcome) => outcome,
                    Poll::Pending => read.cancel(),
                }
            };
            all.extend(bytes);
            match result {
                StreamResult::Complete(_) => idle = 0,
                StreamResult::Dropped => break,
                StreamResult::Cancelled => {
                    idle += 1;
                    assert!(idle < 10, "ready, and nothing there");
                    server.receive.read(Vec::new()).await;
                }
            }
        }
        server.received.await.expect("a clean end");
        all
    };
    let ((), all) = both(writes, reads).await;
    let expected: Vec<u8> = (0..TOTAL).map(|n| (n % 251) as u8).collect();
    holds("no byte is lost to a cancelled read", all == expected);
}

async fn back_pressure(family: IpAddressFamily) {
    let (mut client, server) = pair(family).await;
    server
        .socket
        .set_receive_buffer_size(100_000)
        .expect("a size");
    let set = server.socket.get_receive_buffer_size().expect("a size") as usize;
    let written = fill(&mut client).await;
    // A chunk of it may be with the receiving stream already.
    holds(
        "what a peer does not read is bounded",
        (set..=set + (64 << 10)).contains(&written),
    );
    drop(client.send);
    let all = server.receive.collect().await;
    equal("and arrives when it reads", all.len(), written);
    drop(client.receive);
    works("send: transmitted", client.sent.await);
}

/// Writes until it would have to wait; returns how many bytes that were.
async fn fill(client: &mut Connection) -> usize {
    let mut written = 0;
    loop {
        let mut write = pin!(client.send.write(vec![7; 1_000]));
        let mut cx = Context::from_waker(Waker::noop());
        match write.as_mut().poll(&mut cx) {
            Poll::Ready((StreamResult::Complete(n), _)) => written += n,
            Poll::Ready((result, _)) => panic!("ended: {result:?}"),
            Poll::Pending => {
                // The host may only need a turn.
                for _ in 0..20 {
                    wasip3::wit_bindgen::yield_async().await;
                }
                match write.as_mut().poll(&mut cx) {
                    Poll::Ready((StreamResult::Complete(n), _)) => written += n,
                    Poll::Ready((result, _)) => panic!("ended: {result:?}"),
                    Poll::Pending => match write.cancel() {
                        (StreamResult::Complete(n), _) => written += n,
                        _ => return written,
                    },
                }
            }
        }
    }
}

/// The host sends five bytes and ends as a trapped guest does.
pub async fn reset(remote: &str) {
    let mut peer = Connection::new(connect_to(at(remote)).await);
    equal(
        "what was sent before is read",
        peer.read(100).await,
        b"12345".to_vec(),
    );
    let (result, bytes) = peer.receive.read(Vec::with_capacity(1)).await;
    equal(
        "then the stream is dropped",
        (result, bytes),
        (StreamResult::Dropped, vec![]),
    );
    fails(
        "connection-reset, and never a clean end",
        peer.received.await,
        ErrorCode::ConnectionReset,
    );
    let (result, _) = peer.send.write(vec![1]).await;
    equal("send: drops the stream", result, StreamResult::Dropped);
    fails(
        "send: connection-reset",
        peer.sent.await,
        ErrorCode::ConnectionReset,
    );
    works("get-remote-address stays", peer.socket.get_remote_address());
    works("get-local-address stays", peer.socket.get_local_address());
}

/// The host never reads, and ends while the guest waits for room.
pub async fn killed_writer(remote: &str) {
    let mut peer = Connection::new(connect_to(at(remote)).await);
    fill(&mut peer).await;
    println!("full");
    let rest = peer.send.write_all(vec![7; 1_000_000]).await;
    holds("who waits for room hears of the end", !rest.is_empty());
    fails(
        "send: connection-reset",
        peer.sent.await,
        ErrorCode::ConnectionReset,
    );
}
