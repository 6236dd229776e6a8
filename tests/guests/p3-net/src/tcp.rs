//! TCP.

use wasip3::sockets::types::{ErrorCode, IpAddressFamily, TcpSocket};
use wasip3::wit_bindgen::StreamResult;

use crate::{address, name};

/// Serves until it is ended: every connection in a task of its own.
pub async fn echo(at: &str) -> Result<String, ErrorCode> {
    let (family, local) = address::parse(at);
    let socket = TcpSocket::create(family)?;
    socket.bind(local)?;
    let mut connections = socket.listen()?;
    println!(
        "listening on {}",
        address::show(&socket.get_local_address()?)
    );
    // The stream of connections keeps listening without it.
    drop(socket);
    while let Some(connection) = connections.next().await {
        wasip3::spawn_local(async move {
            let (mut received, ended) = connection.receive();
            let (mut sender, stream) = wasip3::wit_stream::new();
            let sent = connection.send(stream);
            loop {
                let (result, bytes) = received.read(Vec::with_capacity(32 << 10)).await;
                if !bytes.is_empty() && !sender.write_all(bytes).await.is_empty() {
                    break;
                }
                if matches!(result, StreamResult::Dropped) {
                    break;
                }
            }
            drop(sender);
            if let Err(error) = ended.await {
                println!("received until {}", name(&error));
            }
            if let Err(error) = sent.await {
                println!("sent until {}", name(&error));
            }
        });
    }
    Ok("no more connections".to_owned())
}

/// Sends a message so often, and reads each back.
pub async fn ping(to: &str, count: usize, size: usize) -> Result<String, ErrorCode> {
    let (family, remote) = address::parse(to);
    let socket = TcpSocket::create(family)?;
    socket.connect(remote).await?;
    assert_eq!(address::show(&socket.get_remote_address()?), to);
    let (mut received, ended) = socket.receive();
    let (mut sender, stream) = wasip3::wit_stream::new();
    let sent = socket.send(stream);
    for round in 0..count {
        let message: Vec<u8> = (0..size).map(|i| (i + round) as u8).collect();
        let write = sender.write_all(message.clone());
        let read = async {
            let mut back = Vec::with_capacity(size);
            while back.len() < size {
                let (_, bytes) = received.read(Vec::with_capacity(size - back.len())).await;
                assert!(!bytes.is_empty(), "the echo ended early");
                back.extend(bytes);
            }
            back
        };
        // At once: a message may be more than all buffers on the way take.
        let (unwritten, back) = both(write, read).await;
        assert!(unwritten.is_empty(), "the peer takes no more");
        assert_eq!(back, message, "round {round}");
    }
    drop(sender);
    sent.await?;
    let (_, rest) = received.read(Vec::with_capacity(1)).await;
    assert!(rest.is_empty());
    ended.await?;
    Ok(format!("{count} x {size}"))
}

async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(move |cx| {
        if first.is_none()
            && let std::task::Poll::Ready(value) = a.as_mut().poll(cx)
        {
            first = Some(value);
        }
        if second.is_none()
            && let std::task::Poll::Ready(value) = b.as_mut().poll(cx)
        {
            second = Some(value);
        }
        match (first.take(), second.take()) {
            (Some(a), Some(b)) => std::task::Poll::Ready((a, b)),
            (a, b) => {
                (first, second) = (a, b);
                std::task::Poll::Pending
            }
        }
    })
    .await
}

pub async fn connect(to: &str) -> Result<String, ErrorCode> {
    let (family, remote) = address::parse(to);
    let socket = TcpSocket::create(family)?;
    socket.connect(remote).await?;
    Ok(address::show(&socket.get_remote_address()?))
}

pub async fn bind(at: &str) -> Result<String, ErrorCode> {
    let (family, local) = address::parse(at);
    let socket = TcpSocket::create(family)?;
    socket.bind(local)?;
    Ok(address::show(&socket.get_local_address()?))
}

pub fn listen_anywhere() -> Result<String, ErrorCode> {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4)?;
    let _connections = socket.listen()?;
    assert!(socket.get_is_listening());
    let local = socket.get_local_address()?;
    assert!(matches!(socket.listen(), Err(ErrorCode::InvalidState)));
    Ok(address::show(&local))
}

/// What each operation says in each state; `at` echoes.
pub async fn states(at: &str) {
    let (family, echo) = address::parse(at);
    let (_, any) = address::parse("127.0.0.1:0");
    let socket = TcpSocket::create(family).expect("a socket");
    say("unbound local", socket.get_local_address());
    say("unbound remote", socket.get_remote_address());
    say("unbound receive", socket.receive().1.await);
    say("bind", socket.bind(any));
    say("bound bind", socket.bind(any));
    say("bound remote", socket.get_remote_address());
    say("connect", socket.connect(echo).await);
    say("connected connect", socket.connect(echo).await);
    say("connected bind", socket.bind(any));
    say("connected listen", socket.listen());
    say("backlog", socket.set_listen_backlog_size(1));
    let (stream, ended) = socket.receive();
    say("second receive", socket.receive().1.await);
    let (writer, data) = wasip3::wit_stream::new();
    let sent = socket.send(data);
    let (_, again) = wasip3::wit_stream::new();
    say("second send", socket.send(again).await);
    drop((writer, stream));
    say("sent", sent.await);
    say("received", ended.await);
    say("local after", socket.get_local_address());
    say("remote after", socket.get_remote_address());
    say("hop limit 0", socket.set_hop_limit(0));
    say("buffer 0", socket.set_receive_buffer_size(0));
}

fn say<T>(what: &str, outcome: Result<T, ErrorCode>) {
    match outcome {
        Ok(_) => println!("{what}: ok"),
        Err(error) => println!("{what}: {}", name(&error)),
    }
}

/// Ends its own direction first, and still reads what comes back.
pub async fn shutdown(to: &str) -> Result<String, ErrorCode> {
    let (family, remote) = address::parse(to);
    let socket = TcpSocket::create(family)?;
    socket.connect(remote).await?;
    let (received, ended) = socket.receive();
    let (mut sender, stream) = wasip3::wit_stream::new();
    let sent = socket.send(stream);
    drop(socket);
    assert!(sender.write_all(b"last words".to_vec()).await.is_empty());
    drop(sender);
    sent.await?;
    let back = received.collect().await;
    ended.await?;
    Ok(String::from_utf8(back).expect("text"))
}

/// Reads from a peer that ends by a trap.
pub async fn reset(to: &str) -> Result<String, ErrorCode> {
    let (family, remote) = address::parse(to);
    let socket = TcpSocket::create(family)?;
    socket.connect(remote).await?;
    let (received, ended) = socket.receive();
    let bytes = received.collect().await;
    println!("read {}", bytes.len());
    ended.await?;
    Ok("a clean end".to_owned())
}
