//! UDP.

use wasip3::sockets::types::{ErrorCode, UdpSocket};

use crate::{address, name};

/// Sends each datagram back to where it came from, until it is ended.
pub async fn echo(at: &str) -> Result<String, ErrorCode> {
    let (family, local) = address::parse(at);
    let socket = UdpSocket::create(family)?;
    socket.bind(local)?;
    println!("bound to {}", address::show(&socket.get_local_address()?));
    loop {
        let (data, from) = socket.receive().await?;
        socket.send(data, Some(from)).await?;
    }
}

/// Sends one datagram and waits for it to come back.
pub async fn ping(to: &str, size: usize) -> Result<String, ErrorCode> {
    let (family, remote) = address::parse(to);
    let socket = UdpSocket::create(family)?;
    let message: Vec<u8> = (0..size).map(|i| i as u8).collect();
    socket.send(message.clone(), Some(remote)).await?;
    let (back, from) = socket.receive().await?;
    assert_eq!(back, message);
    assert_eq!(address::show(&from), to);
    Ok(size.to_string())
}

/// What each operation says in each state; `at` echoes.
pub async fn states(at: &str) {
    let (family, echo) = address::parse(at);
    let (_, other) = address::parse("127.0.0.1:9");
    let (_, any) = address::parse("127.0.0.1:0");
    let (_, v6) = address::parse("[::1]:9");
    let socket = UdpSocket::create(family).expect("a socket");
    say("unbound local", socket.get_local_address());
    say("unbound receive", socket.receive().await);
    say("unbound disconnect", socket.disconnect());
    say("nowhere", socket.send(vec![], None).await);
    say("bind", socket.bind(any));
    say("bound bind", socket.bind(any));
    say("to port 0", socket.send(vec![], Some(any)).await);
    say("other family", socket.send(vec![], Some(v6)).await);
    say("too large", socket.send(vec![0; 65_508], Some(echo)).await);
    say("connect", socket.connect(echo));
    say(
        "connected to another",
        socket.send(vec![], Some(other)).await,
    );
    say("connected to it", socket.send(vec![1], Some(echo)).await);
    say("connected", socket.send(vec![2], None).await);
    say("receive", socket.receive().await);
    say("reconnect", socket.connect(other));
    say("to nobody", socket.send(vec![3], None).await);
    say("which is told", socket.receive().await);
    say("disconnect", socket.disconnect());
    say("remote", socket.get_remote_address());
}

fn say<T>(what: &str, outcome: Result<T, ErrorCode>) {
    match outcome {
        Ok(_) => println!("{what}: ok"),
        Err(error) => println!("{what}: {}", name(&error)),
    }
}
