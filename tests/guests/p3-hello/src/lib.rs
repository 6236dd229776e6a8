//! A WASI 0.3 service: one behaviour of `wasi:cli/run` for each first argument, and without one a
//! short life that ends well.

use std::hint::black_box;
use std::net::SocketAddr;

use wasip3::cli::environment::get_arguments;
use wasip3::cli::stdout;
use wasip3::clocks::monotonic_clock::{Duration, wait_for};
use wasip3::exports::cli::run::Guest;
use wasip3::sockets::types::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress, TcpSocket,
};

const MILLISECOND: Duration = 1_000_000;

struct Hello;

wasip3::cli::command::export!(Hello);

impl Guest for Hello {
    async fn run() -> Result<(), ()> {
        let args = get_arguments();
        let args: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
        match args[..] {
            [] => live().await,
            ["fail"] => return Err(()),
            ["trap"] => panic!("asked to panic"),
            ["connect", address] => match connect(address).await {
                Ok(()) => print("ok").await,
                Err(error) => print(&format!("error {}", name(&error))).await,
            },
            ["spin"] => loop {
                black_box(());
            },
            _ => panic!("unknown arguments: {args:?}"),
        }
        Ok(())
    }
}

async fn live() {
    print("p3-hello: up").await;
    wait_for(50 * MILLISECOND).await;
    wait_for(50 * MILLISECOND).await;
    print("p3-hello: done").await;
}

/// Returns when the host has the whole line. `println!` would go through WASI 0.2.
async fn print(line: &str) {
    let (mut writer, reader) = wasip3::wit_stream::new();
    let outcome = stdout::write_via_stream(reader);
    let unwritten = writer.write_all(format!("{line}\n").into_bytes()).await;
    assert!(unwritten.is_empty(), "stdout closed early");
    // The end of the stream is what lets the outcome come.
    drop(writer);
    outcome.await.expect("stdout takes a line");
}

async fn connect(address: &str) -> Result<(), ErrorCode> {
    let (family, address) = match address.parse().expect("an address and port") {
        SocketAddr::V4(v4) => (
            IpAddressFamily::Ipv4,
            IpSocketAddress::Ipv4(Ipv4SocketAddress {
                port: v4.port(),
                address: v4.ip().octets().into(),
            }),
        ),
        SocketAddr::V6(v6) => (
            IpAddressFamily::Ipv6,
            IpSocketAddress::Ipv6(Ipv6SocketAddress {
                port: v6.port(),
                flow_info: v6.flowinfo(),
                address: v6.ip().segments().into(),
                scope_id: v6.scope_id(),
            }),
        ),
    };
    TcpSocket::create(family)?.connect(address).await
}

/// What WIT calls an error.
fn name(error: &ErrorCode) -> &'static str {
    match error {
        ErrorCode::AccessDenied => "access-denied",
        ErrorCode::NotSupported => "not-supported",
        ErrorCode::InvalidArgument => "invalid-argument",
        ErrorCode::OutOfMemory => "out-of-memory",
        ErrorCode::Timeout => "timeout",
        ErrorCode::InvalidState => "invalid-state",
        ErrorCode::AddressNotBindable => "address-not-bindable",
        ErrorCode::AddressInUse => "address-in-use",
        ErrorCode::RemoteUnreachable => "remote-unreachable",
        ErrorCode::ConnectionRefused => "connection-refused",
        ErrorCode::ConnectionBroken => "connection-broken",
        ErrorCode::ConnectionReset => "connection-reset",
        ErrorCode::ConnectionAborted => "connection-aborted",
        ErrorCode::DatagramTooLarge => "datagram-too-large",
        ErrorCode::Other(_) => "other",
    }
}
