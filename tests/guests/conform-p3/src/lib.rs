//! What the documents of `wasi:sockets`, `wasi:http` and `wasi:cli` 0.3 promise, checked from
//! inside: one area for each first argument. Every check prints `ok` and its sentence; the first
//! that fails panics.

mod address;
mod check;
mod cli;
mod http;
mod lookup;
mod tcp;
mod udp;

use wasip3::{
    cli::environment::get_arguments, exports::cli::run::Guest, sockets::types::IpAddressFamily,
};

struct Conform;

wasip3::cli::command::export!(Conform);

impl Guest for Conform {
    async fn run() -> Result<(), ()> {
        let args = get_arguments();
        let args: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
        // Areas that need no network of their own run for both families: they are to behave alike.
        for family in [IpAddressFamily::Ipv4, IpAddressFamily::Ipv6] {
            match args[..] {
                ["tcp-states"] => tcp::states::run(family).await,
                ["tcp-bind"] => tcp::bind::run(family).await,
                ["tcp-connect"] => tcp::connect::run(family).await,
                ["tcp-listen"] => tcp::listen::run(family).await,
                ["tcp-streams"] => tcp::streams::run(family).await,
                ["tcp-options"] => tcp::options::run(family).await,
                ["udp-states"] => udp::states::run(family).await,
                ["udp-bind"] => udp::bind::run(family),
                ["udp-connect"] => udp::connect::run(family).await,
                ["udp-datagrams"] => udp::datagrams::run(family).await,
                ["udp-options"] => udp::options::run(family),
                _ if family == IpAddressFamily::Ipv4 => match args[..] {
                    ["tcp-timeout"] => tcp::connect::timeout().await,
                    ["tcp-reset", address] => tcp::streams::reset(address).await,
                    ["tcp-killed-writer", address] => tcp::streams::killed_writer(address).await,
                    ["lookup"] => lookup::run().await,
                    ["http"] => http::run().await,
                    ["cli"] => cli::run().await,
                    ["limit", kind] => tcp::limit::run(kind).await,
                    ["churn", rounds] => churn(rounds.parse().expect("a number")).await,
                    _ => panic!("unknown arguments: {args:?}"),
                },
                _ => {}
            }
        }
        Ok(())
    }
}

/// Opens and closes, so often: a connection that carries a byte, one that is refused, and a datagram.
async fn churn(rounds: usize) {
    let v4 = IpAddressFamily::Ipv4;
    let mut listener = tcp::listener(v4);
    let receiver = udp::bound(v4);
    let to = receiver.get_local_address().expect("bound");
    for _ in 0..rounds {
        let mut client = tcp::Connection::new(tcp::connect_to(listener.address()).await);
        client.write(b"x").await;
        let mut server = tcp::Connection::new(listener.next().await);
        assert_eq!(server.read(1).await, b"x");
        let refused = tcp::socket(v4).connect(address::loopback(v4, 47)).await;
        assert!(refused.is_err());
        let sender = udp::socket(v4);
        sender.send(b"x".to_vec(), Some(to)).await.expect("room");
        receiver.receive().await.expect("a datagram");
    }
}
