//! The two streams of a connection, and `shutdown`.

use wasip2::{
    io::streams::{OutputStream, StreamError},
    sockets::{network::IpAddressFamily, tcp::ShutdownType},
};

use super::{Connection, pair, socket, try_connect};
use crate::{
    address::{at, from_wasi},
    check::{equal, holds, works},
};

pub fn run(family: IpAddressFamily) {
    receive_is_shut_down(family);
    send_is_shut_down(family);
    both_are(family);
    the_peer_closes(family);
    nothing_is_lost(family);
    back_pressure(family);
    splicing(family);
}

fn closed<T>(result: Result<T, StreamError>) -> bool {
    matches!(result, Err(StreamError::Closed))
}

fn receive_is_shut_down(family: IpAddressFamily) {
    let (client, server) = pair(family);
    server
        .output
        .blocking_write_and_flush(b"never to be read")
        .expect("room");
    client.input.subscribe().block();
    works(
        "shutdown(receive)",
        client.socket.shutdown(ShutdownType::Receive),
    );
    holds(
        "the input-stream is closed, what was in it discarded",
        closed(client.input.read(10)),
    );
    holds("also for 0 bytes", closed(client.input.read(0)));
    holds("and for who waits", closed(client.input.blocking_read(1)));
    works(
        "shutdown is idempotent",
        client.socket.shutdown(ShutdownType::Receive),
    );
    client
        .output
        .blocking_write_and_flush(b"still")
        .expect("room");
    equal(
        "the other direction stays open",
        server.input.blocking_read(10).ok(),
        Some(b"still".to_vec()),
    );
    works(
        "shutdown does not close the socket",
        client.socket.remote_address(),
    );
}

fn send_is_shut_down(family: IpAddressFamily) {
    let (client, server) = pair(family);
    holds(
        "the output-stream is writable",
        client.output.check_write().is_ok_and(|n| n >= 3),
    );
    client.output.write(b"bye").expect("permitted");
    works("shutdown(send)", client.socket.shutdown(ShutdownType::Send));
    holds(
        "the output-stream is closed: write",
        closed(client.output.write(b"x")),
    );
    holds(
        "the output-stream is closed: check-write",
        closed(client.output.check_write()),
    );
    holds(
        "the output-stream is closed: flush",
        closed(client.output.flush()),
    );
    works(
        "shutdown is idempotent",
        client.socket.shutdown(ShutdownType::Send),
    );
    equal(
        "what was sent before is read",
        server.input.blocking_read(10).ok(),
        Some(b"bye".to_vec()),
    );
    holds("then the end (FIN)", closed(server.input.blocking_read(10)));
    server
        .output
        .blocking_write_and_flush(b"answer")
        .expect("room");
    equal(
        "the other direction stays open",
        client.input.blocking_read(10).ok(),
        Some(b"answer".to_vec()),
    );
}

fn both_are(family: IpAddressFamily) {
    let (client, server) = pair(family);
    works("shutdown(both)", server.socket.shutdown(ShutdownType::Both));
    holds("both: input", closed(server.input.read(1)));
    holds("both: output", closed(server.output.check_write()));
    holds(
        "both: the peer's input ends",
        closed(client.input.blocking_read(1)),
    );
    works("both: again", server.socket.shutdown(ShutdownType::Both));
}

fn the_peer_closes(family: IpAddressFamily) {
    let (client, server) = pair(family);
    let remote = client.socket.remote_address().map(from_wasi);
    server
        .output
        .blocking_write_and_flush(b"last")
        .expect("room");
    drop(server);
    client.input.subscribe().block();
    equal(
        "what a peer sent before it closed is read",
        client.input.read(10).ok(),
        Some(b"last".to_vec()),
    );
    holds(
        "then closed, not an empty list",
        closed(client.input.read(10)),
    );
    holds("closed for 0 bytes too", closed(client.input.read(0)));
    holds(
        "writing to who has closed fails",
        closed(client.output.check_write()),
    );
    equal(
        "the remote address stays",
        client.socket.remote_address().map(from_wasi),
        remote,
    );
    works(
        "shutdown(send) after the peer closed",
        client.socket.shutdown(ShutdownType::Send),
    );
}

fn nothing_is_lost(family: IpAddressFamily) {
    let (client, server) = pair(family);
    client.socket.set_send_buffer_size(1_024).expect("a size");
    let small = client.socket.send_buffer_size().expect("a size");
    let permit = client.output.check_write().expect("room");
    holds(
        "check-write permits more than a small send buffer",
        permit > small,
    );
    let data: Vec<u8> = (0..permit).map(|n| n as u8).collect();
    client.output.write(&data).expect("permitted");
    client
        .socket
        .shutdown(ShutdownType::Send)
        .expect("connected");
    drop(client);
    equal(
        "a write just before shutdown is not lost",
        read_to_end(&server),
        data,
    );

    let (client, server) = pair(family);
    for i in 0..300 {
        let permit = client.output.check_write().expect("open");
        assert!(permit > 0, "no room after {i} small writes");
        client.output.write(b"x").expect("permitted");
    }
    drop(client);
    equal("nor are many small ones", read_to_end(&server).len(), 300);
}

fn read_to_end(from: &Connection) -> Vec<u8> {
    let mut all = Vec::new();
    while let Ok(bytes) = from.input.blocking_read(100_000) {
        all.extend(bytes);
    }
    all
}

fn fill(output: &OutputStream) -> u64 {
    let mut written = 0;
    while let permit @ 1.. = output.check_write().expect("open") {
        let chunk = permit.min(10_000);
        output.write(&vec![7; chunk as usize]).expect("permitted");
        written += chunk;
    }
    written
}

fn back_pressure(family: IpAddressFamily) {
    let (client, server) = pair(family);
    for size in [8_192, 100_000, 1 << 20] {
        server.socket.set_receive_buffer_size(size).expect("a size");
        let set = server.socket.receive_buffer_size().expect("a size");
        equal(
            "what a peer does not read is bounded by its receive-buffer-size",
            fill(&client.output),
            set,
        );
        let writable = client.output.subscribe();
        holds("a full buffer is not ready to write", !writable.ready());
        equal(
            "check-write permits nothing",
            client.output.check_write().ok(),
            Some(0),
        );
        let mut left = set;
        while left > 0 {
            left -= server.input.blocking_read(left).expect("bytes").len() as u64;
        }
        writable.block();
        holds(
            "room makes it ready",
            client.output.check_write().is_ok_and(|n| n > 0),
        );
    }
    for _ in 0..1_000 {
        assert!(client.output.check_write().is_ok_and(|n| n > 0));
    }
    holds("check-write costs nothing", true);
}

fn splicing(family: IpAddressFamily) {
    let (client, server) = pair(family);
    client
        .output
        .blocking_write_and_flush(b"back and forth")
        .expect("room");
    let mut moved = 0;
    while moved < 14 {
        moved += server
            .output
            .blocking_splice(&server.input, 100)
            .expect("open");
    }
    equal("splice moves what there is", moved, 14);
    equal(
        "and it comes back",
        client.input.blocking_read(100).ok(),
        Some(b"back and forth".to_vec()),
    );
    equal(
        "splice without bytes moves none",
        server.output.splice(&server.input, 100).ok(),
        Some(0),
    );
    client
        .output
        .blocking_write_zeroes_and_flush(100)
        .expect("room");
    equal(
        "skip reads and forgets",
        server.input.blocking_skip(60).ok(),
        Some(60),
    );
    equal(
        "zeroes were written",
        server.input.read(100).ok(),
        Some(vec![0; 40]),
    );
    drop(client);
    holds(
        "splice ends with its input",
        closed(server.output.blocking_splice(&server.input, 1)),
    );
}

/// The host sends five bytes and ends as a trapped guest does.
pub fn reset(remote: &str) {
    let peer = connect(remote);
    let mut read = Vec::new();
    let end = loop {
        match peer.input.blocking_read(100) {
            Ok(bytes) => read.extend(bytes),
            Err(end) => break end,
        }
    };
    equal("what was sent before is read", read, b"12345".to_vec());
    holds(
        "then last-operation-failed, and never a clean end",
        matches!(end, StreamError::LastOperationFailed(_)),
    );
    holds(
        "again, if asked again",
        matches!(peer.input.read(1), Err(StreamError::LastOperationFailed(_))),
    );
    holds(
        "for writing too",
        matches!(
            peer.output.check_write(),
            Err(StreamError::LastOperationFailed(_))
        ),
    );
    works("remote-address stays", peer.socket.remote_address());
    works("local-address stays", peer.socket.local_address());
}

/// The host never reads, and ends while the guest waits for room.
pub fn killed_writer(remote: &str) {
    let peer = connect(remote);
    fill(&peer.output);
    println!("full");
    let end = peer.output.blocking_write_and_flush(b"one more");
    holds(
        "who waits for room hears of the reset",
        matches!(end, Err(StreamError::LastOperationFailed(_))),
    );
}

fn connect(remote: &str) -> Connection {
    let socket = socket(IpAddressFamily::Ipv4);
    let (input, output) = try_connect(&socket, at(remote)).expect("a listener");
    Connection {
        input,
        output,
        socket,
    }
}
