//! Behaviour that only shows under concurrency. Everything has a time limit, so that a lost wake-up
//! fails the test instead of hanging it.

use std::{future::poll_fn, ops::ControlFlow, sync::Barrier, thread};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Duration, timeout},
};

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_hundred_thousand_connections_leave_nothing() {
    let network = network();
    let service = network.scope();
    let mut listener = listen(&service, "0.0.0.0:80", 4);
    let before = network.counts();
    let to = at("127.0.0.1:80");
    for i in 0..100_000_u32 {
        let guest = network.scope();
        match i % 8 {
            0 => assert!(guest.connect(None, at("127.0.0.1:81")).is_err()),
            1 => drop(guest.connect(None, to).unwrap()),
            2 => drop(connected(&guest, to)),
            3 => {
                let bound = guest.bind(at("127.0.0.1:0")).unwrap();
                drop(guest.connect(Some(bound), to).unwrap());
            }
            4 => {
                let (_reader, writer) = connected(&guest, to).split();
                writer.try_write(Bytes::from_static(b"never read")).unwrap();
                guest.end(End::Aborted);
            }
            5 => {
                let waiting: Vec<_> = (0..9).map(|_| guest.connect(None, to).unwrap()).collect();
                guest.end(if i % 16 == 5 {
                    End::Closed
                } else {
                    End::Aborted
                });
                drop(waiting);
            }
            6 => drop(guest.connect_as(at("192.0.2.1:5"), to).unwrap()),
            _ => {
                drop(guest.bind(at("127.0.0.1:0")).unwrap().listen(1).unwrap());
                assert!(guest.bind(to).is_err());
            }
        }
        while listener.try_accept().is_some() {}
        assert_eq!(network.counts(), before, "after {i}");
    }
    drop(listener);
    assert_empty(&network);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_in_a_conversation() {
    let network = network();
    let scope = network.scope();
    let mut listener = listen(&scope, "127.0.0.1:80", 1);
    let echo = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap();
        let mut buffer = [0; 64];
        loop {
            match stream.read(&mut buffer).await.unwrap() {
                0 => break,
                n => stream.write_all(&buffer[..n]).await.unwrap(),
            }
        }
    });
    let talk = tokio::spawn(async move {
        let mut stream = scope
            .connect(None, at("127.0.0.1:80"))
            .unwrap()
            .await
            .unwrap();
        for i in 0..30_000_u32 {
            let (sent, mut received) = (i.to_le_bytes(), [0; 4]);
            stream.write_all(&sent).await.unwrap();
            stream.read_exact(&mut received).await.unwrap();
            assert_eq!(received, sent);
        }
    });
    timeout(LIMIT, talk)
        .await
        .expect("no task was left waiting")
        .unwrap();
    timeout(LIMIT, echo)
        .await
        .expect("no task was left waiting")
        .unwrap();
    assert_empty(&network);
}

/// Returns bytes that depend on their position.
fn pattern(from: usize, len: usize) -> Bytes {
    (from..from + len)
        .map(|n| (n % 251).to_le_bytes()[0])
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_in_a_flood() {
    const TOTAL: usize = 8 << 20;
    // (receive buffer, bytes per write, bytes per read)
    for (buffer, write, read) in [
        (2 << 10, 1_000, 777),
        (2 << 10, 5_000, 100_000),
        (64 << 10, 65_536, 65_536),
    ] {
        let network = network();
        let scope = network.scope();
        let mut listener = listen(&scope, "127.0.0.1:80", 1);
        listener.set_buffer(buffer);
        let (_reader, writer) = connected(&scope, at("127.0.0.1:80")).split();
        let (reader, _writer) = listener.try_accept().unwrap().unwrap().split();
        let sends = tokio::spawn(async move {
            let mut sent = 0;
            while sent < TOTAL {
                poll_fn(|cx| writer.poll_ready(cx)).await;
                let len = write.min(TOTAL - sent).min(writer.capacity().unwrap());
                assert!(len > 0 && len <= buffer);
                assert_eq!(writer.try_write(pattern(sent, len)), Ok(len));
                sent += len;
            }
        });
        let receives = tokio::spawn(async move {
            let mut received = 0;
            loop {
                poll_fn(|cx| reader.poll_ready(cx)).await;
                match reader.try_read(read) {
                    Ok(data) => {
                        assert!(!data.is_empty());
                        assert_eq!(data, pattern(received, data.len()));
                        received += data.len();
                    }
                    Err(end) => return (received, end),
                }
            }
        });
        let result = timeout(LIMIT, receives)
            .await
            .expect("no task was left waiting")
            .unwrap();
        assert_eq!(result, (TOTAL, ReadEnd::Eof));
        sends.await.unwrap();
    }
}

/// Runs one connection and ignores its errors: it only matters that it ends and leaves nothing.
async fn visit(scope: &Scope, seed: usize) -> Result<(), std::io::Error> {
    let connecting = match scope.connect(None, at("127.0.0.1:80")) {
        Ok(connecting) => connecting,
        Err(NetError::ConnectionRefused | NetError::ScopeEnded | NetError::TooManySockets) => {
            tokio::task::yield_now().await;
            return Ok(());
        }
        Err(error) => panic!("{error}"),
    };
    if seed.is_multiple_of(7) {
        return Ok(());
    }
    let Ok(stream) = connecting.await else {
        return Ok(());
    };
    let (mut reader, mut writer) = stream.split();
    let sent = pattern(seed, seed % 3_000);
    if seed.is_multiple_of(5) {
        // Close without reading the echo.
        return writer.write(&sent).await.map(drop);
    }
    let mut received = Vec::new();
    let write = async {
        writer.write_all(&sent).await?;
        writer.shutdown();
        Ok::<_, std::io::Error>(())
    };
    tokio::try_join!(write, reader.read_to_end(&mut received))?;
    // The echo is shorter if the service ended in the meantime.
    assert!(sent.starts_with(&received), "bytes arrive in order");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn services_restart_under_load() {
    const GUESTS: usize = 12;
    let network = Network::new(NetLimits {
        sockets: 64,
        buffer: 512,
        ..NetLimits::default()
    });
    let guests: Vec<_> = (0..GUESTS)
        .map(|guest| {
            let network = network.clone();
            tokio::spawn(async move {
                for i in 0..400 {
                    let scope = network.scope();
                    let _ = visit(&scope, guest * 1_000 + i).await;
                    if i % 3 == 0 {
                        scope.end(if i % 2 == 0 {
                            End::Closed
                        } else {
                            End::Aborted
                        });
                    }
                }
            })
        })
        .collect();
    let service = {
        let network = network.clone();
        tokio::spawn(async move {
            for start in 0_usize.. {
                let scope = network.scope();
                let listener = scope
                    .bind(at("127.0.0.1:80"))
                    .unwrap()
                    .listen(start % 4)
                    .unwrap();
                if serve(listener, 10 + start % 30).await.is_break() {
                    break;
                }
                scope.end(if start % 2 == 0 {
                    End::Closed
                } else {
                    End::Aborted
                });
                tokio::task::yield_now().await;
            }
        })
    };
    for guest in guests {
        timeout(LIMIT, guest)
            .await
            .expect("no task was left waiting")
            .unwrap();
    }
    service.abort();
    assert!(service.await.unwrap_err().is_cancelled());
    // What a task of the last service still holds ends with its peers, which are all gone.
    timeout(LIMIT, async {
        while network.counts() != Counts::default() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("nothing is left");
    assert_empty(&network);
}

/// Echoes on this many connections, then returns while some of them are still open.
async fn serve(mut listener: Listener, connections: usize) -> ControlFlow<()> {
    for _ in 0..connections {
        let Ok(stream) = listener.accept().await else {
            return ControlFlow::Break(());
        };
        tokio::spawn(async move {
            let (mut from, mut to) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        });
    }
    ControlFlow::Continue(())
}

#[test]
fn the_end_of_a_scope_races_with_everything_it_does() {
    const ROUNDS: usize = 500;
    let network = limited(64);
    for round in 0..ROUNDS {
        let (service, guest) = (network.scope(), network.scope());
        let mut listener = listen(&service, "127.0.0.1:80", 2);
        let start = Barrier::new(3);
        thread::scope(|threads| {
            threads.spawn(|| {
                start.wait();
                while let Some(Ok(stream)) = listener.try_accept() {
                    let (reader, _writer) = stream.split();
                    let _ = reader.try_read(10);
                }
            });
            threads.spawn(|| {
                start.wait();
                let connect = || guest.connect(None, at("127.0.0.1:80"));
                for connecting in [connect(), connect(), connect()].into_iter().flatten() {
                    if round % 3 > 0 {
                        drop(connecting);
                    }
                }
                let _ = guest.bind(at("127.0.0.1:0")).map(|bound| bound.listen(1));
            });
            start.wait();
            let ending = if round % 2 == 0 { &service } else { &guest };
            ending.end(if round % 4 < 2 {
                End::Closed
            } else {
                End::Aborted
            });
        });
        drop(listener);
        assert_empty(&network);
    }
}

#[test]
fn a_waker_that_closes_sockets_does_not_deadlock() {
    /// A waker that closes sockets when it is dropped or woken, as the last reference to a task
    /// may.
    struct Closer(parking_lot::Mutex<Option<(Reader, Writer)>>);
    impl Wake for Closer {
        fn wake(self: Arc<Self>) {
            self.0.lock().take();
        }
    }
    let closer =
        |pair: (Reader, Writer)| Waker::from(Arc::new(Closer(parking_lot::Mutex::new(Some(pair)))));
    let Pair {
        network,
        client,
        server: (sr, sw),
        ..
    } = pair();
    // The waker is dropped when another replaces it in the pipe of the sockets that it closes.
    let waker = closer(client);
    assert!(sr.poll_ready(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    assert!(sr.poll_ready(&mut once()).is_pending());
    assert!(
        sr.poll_ready(&mut once()).is_ready(),
        "the waker has closed it"
    );
    assert!(sw.poll_end(&mut once()).is_ready());
    drop((sr, sw));
    assert_empty(&network);

    // The waker is woken because the listener closes.
    let scope = network.scope();
    let mut listener = listen(&scope, "127.0.0.1:80", 2);
    let client = connected(&scope, at("127.0.0.1:80")).split();
    listener.try_accept().unwrap().unwrap();
    let waker = closer(client);
    assert!(
        listener
            .poll_ready(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(waker);
    drop(listener);
    assert_empty(&network);
}
