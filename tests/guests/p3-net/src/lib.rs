//! The sockets of WASI 0.3: one behaviour for each first argument.
//! Outcomes are printed as `ok ...` or `error NAME`; what must not happen at all panics.

mod address;
mod tcp;
mod udp;

use wasip3::{
    cli::environment::get_arguments, exports::cli::run::Guest, sockets::types::ErrorCode,
};

struct Net;

wasip3::cli::command::export!(Net);

impl Guest for Net {
    async fn run() -> Result<(), ()> {
        let args = get_arguments();
        let args: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
        match args[..] {
            ["echo", address] => report(tcp::echo(address).await),
            ["ping", address, count, size] => {
                report(tcp::ping(address, number(count), number(size)).await);
            }
            ["connect", address] => report(tcp::connect(address).await),
            ["bind", address] => report(tcp::bind(address).await),
            ["listen-anywhere"] => report(tcp::listen_anywhere()),
            ["states", address] => tcp::states(address).await,
            ["shutdown", address] => report(tcp::shutdown(address).await),
            ["reset", address] => report(tcp::reset(address).await),
            ["udp-echo", address] => report(udp::echo(address).await),
            ["udp-ping", address, size] => report(udp::ping(address, number(size)).await),
            ["udp-states", address] => udp::states(address).await,
            ["resolve", name] => {
                match wasip3::sockets::ip_name_lookup::resolve_addresses(name.into()).await {
                    Ok(addresses) => println!("ok {}", addresses.len()),
                    Err(error) => println!("error {error:?}"),
                }
            }
            _ => panic!("unknown arguments: {args:?}"),
        }
        Ok(())
    }
}

fn number<N: std::str::FromStr>(word: &str) -> N {
    word.parse()
        .unwrap_or_else(|_| panic!("not a number here: {word}"))
}

fn report(outcome: Result<String, ErrorCode>) {
    match outcome {
        Ok(value) => println!("ok {value}"),
        Err(error) => println!("error {}", name(&error)),
    }
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
