//! What the documents of `wasi:sockets` 0.2 promise, checked from inside: one area for each first argument.
//! Every check prints `ok` and the sentence it stands for; the first that does not hold panics with it.

mod address;
mod check;
mod lookup;
mod tcp;
mod udp;

use wasip2::sockets::network::IpAddressFamily;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["tcp-states"] => both(tcp::states::run),
        ["tcp-bind"] => both(tcp::bind::run),
        ["tcp-connect"] => both(tcp::connect::run),
        ["tcp-listen"] => both(tcp::listen::run),
        ["tcp-streams"] => both(tcp::streams::run),
        ["tcp-options"] => both(tcp::options::run),
        ["tcp-sample"] => both(tcp::sample::run),
        ["tcp-timeout"] => tcp::connect::timeout(),
        ["tcp-reset", address] => tcp::streams::reset(address),
        ["tcp-killed-writer", address] => tcp::streams::killed_writer(address),
        ["udp-states"] => both(udp::states::run),
        ["udp-bind"] => both(udp::bind::run),
        ["udp-connect"] => both(udp::connect::run),
        ["udp-streams"] => both(udp::streams::run),
        ["udp-options"] => both(udp::options::run),
        ["udp-too-many"] => udp::streams::too_many(),
        ["udp-unchecked"] => udp::streams::unchecked(),
        ["lookup"] => lookup::run(),
        ["lookup-allowed", name] => lookup::allowed(name),
        ["limit", kind] => tcp::limit::run(kind),
        ["churn", rounds] => churn(rounds.parse().expect("a number")),
        _ => panic!("unknown arguments: {args:?}"),
    }
}

/// Opens and closes, so often: a connection that carries a byte, one that is refused, and a datagram.
fn churn(rounds: usize) {
    let v4 = IpAddressFamily::Ipv4;
    let listener = tcp::listener(v4);
    let receiver = udp::bound(v4);
    let to = receiver.local_address().expect("bound");
    let (incoming, _) = receiver.stream(None).expect("bound");
    for _ in 0..rounds {
        let client = tcp::connect_to(&listener);
        client.output.blocking_write_and_flush(b"x").expect("room");
        let server = tcp::try_accept(&listener).expect("the client");
        assert_eq!(server.input.blocking_read(1).expect("a byte"), b"x");
        let refused = tcp::try_connect(&tcp::socket(v4), address::loopback(v4, 47));
        assert!(refused.is_err());
        let sender = udp::bound(v4);
        let (_, outgoing) = sender.stream(Some(to)).expect("bound");
        udp::send(&outgoing, b"x", None).expect("room");
        udp::receive(&incoming).expect("a datagram");
    }
}

/// Each area for both families: they are to behave alike.
fn both(area: fn(IpAddressFamily)) {
    area(IpAddressFamily::Ipv4);
    area(IpAddressFamily::Ipv6);
}
