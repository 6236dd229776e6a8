use std::io;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const BUFFER: usize = 256 << 10;

fn chunk(len: usize) -> Bytes {
    Bytes::from(vec![7; len])
}

#[test]
fn bytes_arrive_in_order_both_ways() {
    let Pair {
        client: (cr, cw),
        server: (sr, sw),
        ..
    } = pair();
    assert_eq!(cw.try_write(Bytes::from_static(b"ping")), Ok(4));
    assert_eq!(cw.try_write(Bytes::from_static(b"pong")), Ok(4));
    assert_eq!(sr.try_read(6), Ok(Bytes::from_static(b"pingpo")));
    assert_eq!(sr.try_read(6), Ok(Bytes::from_static(b"ng")));
    assert_eq!(sr.try_read(6), Ok(Bytes::new()), "there is nothing to read");
    assert_eq!(sw.try_write(Bytes::from_static(b"back")), Ok(4));
    assert_eq!(cr.try_read(0), Ok(Bytes::new()));
    assert_eq!(cr.try_read(usize::MAX), Ok(Bytes::from_static(b"back")));
}

#[test]
fn a_writer_is_bounded_by_the_receivers_buffer() {
    for size in [1, 100, 4_096, 65_536, 1_000_000] {
        let Pair {
            network,
            client: (_cr, cw),
            server: (sr, _sw),
            ..
        } = pair();
        let mut written = 0;
        while let n @ 1.. = cw.try_write(chunk(size)).unwrap() {
            written += n;
        }
        assert_eq!(written, BUFFER, "in pieces of {size}");
        assert_eq!(cw.capacity(), Ok(0));
        assert_eq!(network.counts().buffered, BUFFER);

        let (flag, waker) = Flag::new();
        let mut cx = Context::from_waker(&waker);
        assert!(cw.poll_ready(&mut cx).is_pending());
        assert!(!flag.take());
        assert_eq!(sr.try_read(10).unwrap().len(), 10);
        assert!(flag.take(), "room wakes the writer");
        assert!(cw.poll_ready(&mut cx).is_ready());
        assert_eq!(cw.try_write(chunk(size)), Ok(size.min(10)));
    }
}

#[test]
fn the_receivers_buffer_can_be_changed() {
    let Pair {
        client: (_cr, cw),
        server: (sr, _sw),
        ..
    } = pair();
    sr.set_buffer(4_096);
    assert_eq!(sr.buffer(), 4_096);
    assert_eq!(cw.try_write(chunk(BUFFER)), Ok(4_096));
    let (flag, waker) = Flag::new();
    assert!(cw.poll_ready(&mut Context::from_waker(&waker)).is_pending());
    sr.set_buffer(8_192);
    assert!(flag.take(), "a larger one makes room");
    assert_eq!(cw.capacity(), Ok(4_096));
    sr.set_buffer(2_048);
    assert_eq!(cw.try_write(chunk(4_096)), Ok(4_096), "the promise holds");
    assert_eq!(cw.capacity(), Ok(0));
}

#[test]
fn an_accepted_socket_has_the_listeners_buffer() {
    let network = network();
    let scope = network.scope();
    let mut listener = listen(&scope, "127.0.0.1:80", 1);
    listener.set_buffer(2_048);
    let (_cr, cw) = connected(&scope, at("127.0.0.1:80")).split();
    let server = listener.try_accept().unwrap().unwrap().split();
    assert_eq!(server.0.buffer(), 2_048);
    assert_eq!(cw.try_write(chunk(BUFFER)), Ok(2_048));
}

#[test]
fn shutdown_of_one_direction_leaves_the_other_open() {
    let Pair {
        client: (cr, cw),
        server: (sr, sw),
        ..
    } = pair();
    cw.try_write(Bytes::from_static(b"last words")).unwrap();
    let (flag, waker) = Flag::new();
    sr.try_read(4).unwrap();
    cw.shutdown();
    assert_eq!(cw.try_write(chunk(1)), Err(WriteEnd::Shutdown));
    assert_eq!(cw.capacity(), Err(WriteEnd::Shutdown));
    assert!(cw.poll_ready(&mut once()).is_ready());
    assert_eq!(sr.try_read(100), Ok(Bytes::from_static(b" words")));
    assert_eq!(sr.try_read(100), Err(ReadEnd::Eof));

    assert!(cr.poll_ready(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(sw.try_write(chunk(3)), Ok(3));
    assert!(flag.take());
    assert_eq!(cr.try_read(100), Ok(chunk(3)));
    sw.shutdown();
    assert_eq!(cr.try_read(100), Err(ReadEnd::Eof));
}

#[test]
fn a_reader_that_stopped_discards_and_its_peer_does_not_notice() {
    let Pair {
        network,
        client: (_cr, cw),
        server: (sr, sw),
        ..
    } = pair();
    while cw.try_write(chunk(BUFFER)).unwrap() > 0 {}
    let (flag, waker) = Flag::new();
    assert!(cw.poll_ready(&mut Context::from_waker(&waker)).is_pending());
    sr.stop();
    assert!(flag.take());
    assert_eq!(network.counts().buffered, 0, "buffered bytes are discarded");
    assert_eq!(sr.try_read(100), Err(ReadEnd::Eof));
    for _ in 0..10 {
        assert_eq!(cw.try_write(chunk(BUFFER)), Ok(BUFFER));
    }
    assert_eq!(network.counts().buffered, 0);
    drop((sr, sw));
    assert_eq!(
        cw.try_write(chunk(1)),
        Err(WriteEnd::Closed),
        "until it is closed"
    );
}

#[test]
fn a_part_of_a_huge_chunk_does_not_keep_the_whole_allocation() {
    let Pair {
        client: (_cr, cw),
        server: (sr, _sw),
        ..
    } = pair();
    let huge = chunk(10 << 20);
    assert_eq!(cw.try_write(huge.clone()), Ok(BUFFER));
    assert!(huge.is_unique(), "a copy was taken");
    let fits = chunk(BUFFER);
    assert_eq!(sr.try_read(usize::MAX).unwrap().len(), BUFFER);
    assert_eq!(cw.try_write(fits.clone()), Ok(BUFFER));
    assert!(!fits.is_unique(), "no copy was taken");
}

#[tokio::test]
async fn tokio_traits_copy_in_and_out() {
    let network = network();
    let scope = network.scope();
    let mut listener = listen(&scope, "127.0.0.1:80", 1);
    let mut client = connected(&scope, at("127.0.0.1:80"));
    let mut server = listener.accept().await.unwrap();
    let data: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let sent = data.clone();
    let writer = tokio::spawn(async move {
        client.write_all(&sent).await.unwrap();
        client.flush().await.unwrap();
        client.shutdown().await.unwrap();
        let mut reply = String::new();
        client.read_to_string(&mut reply).await.unwrap();
        assert_eq!(
            client.write(b"x").await.unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
        reply
    });
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.unwrap();
    assert!(received == data);
    server.write_all(b"thanks").await.unwrap();
    drop(server);
    assert_eq!(writer.await.unwrap(), "thanks");
}

/// The parts of a vectored write keep their order while a reader makes room at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_one_write_arrive_in_order() {
    let Pair {
        client: (_cr, mut cw),
        server: (mut sr, _sw),
        ..
    } = pair();
    let total = 20 << 20;
    let pattern = |at: usize| at.to_le_bytes()[1];
    let reads = tokio::spawn(async move {
        let mut all = Vec::new();
        sr.read_to_end(&mut all).await.unwrap();
        all
    });
    let data: Vec<u8> = (0..total).map(pattern).collect();
    let mut rest = &data[..];
    while !rest.is_empty() {
        let parts = rest.chunks(50_000).take(4).map(io::IoSlice::new);
        let parts: Vec<_> = [io::IoSlice::new(&[])].into_iter().chain(parts).collect();
        let n = cw.write_vectored(&parts).await.unwrap();
        assert!(n > 0);
        rest = &rest[n..];
    }
    drop(cw);
    assert!(reads.await.unwrap() == data);

    let Pair {
        client: (_cr, mut cw),
        server: (sr, sw),
        ..
    } = pair();
    drop((sr, sw));
    let error = cw.write_vectored(&[io::IoSlice::new(b"x")]).await;
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_waker_is_not_called_when_no_task_waits() {
    let Pair {
        client: (_cr, cw),
        server: (sr, _sw),
        ..
    } = pair();
    let (flag, waker) = Flag::new();
    let mut cx = Context::from_waker(&waker);
    cw.try_write(chunk(1)).unwrap();
    assert!(sr.poll_ready(&mut cx).is_ready());
    cw.try_write(chunk(1)).unwrap();
    assert!(!flag.take());
    sr.try_read(2).unwrap();
    assert!(sr.poll_ready(&mut cx).is_pending());
    cw.try_write(chunk(1)).unwrap();
    assert!(flag.take());
    cw.try_write(chunk(1)).unwrap();
    assert!(!flag.take(), "once");
}
