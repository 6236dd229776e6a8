//! One behaviour of the standard library's sockets, streams or exits for each first argument.
//! Outcomes are printed as `ok ...` or `error KIND: text`; what must not happen at all panics.

mod process;
mod tcp;
mod udp;

use std::fmt::Display;
use std::io;

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["echo", port] => tcp::echo(number(port)),
        ["ping", port, count, size] => tcp::ping(number(port), number(count), number(size)),
        ["sink", port] => tcp::sink(number(port)),
        ["stream", port, bytes] => tcp::stream(number(port), number(bytes)),
        ["half-close", port] => tcp::half_close(number(port)),
        ["refused", port] => report(tcp::connect(&format!("127.0.0.1:{port}"))),
        ["connect", address] => report(tcp::connect(address)),
        ["bind", address] => report(tcp::bind(address).map(|(_, local)| local)),
        ["bind", address, "--hold"] => tcp::hold(address),
        ["double-bind", port] => tcp::double_bind(number(port)),
        ["ephemeral", count] => tcp::ephemeral(number(count)),
        ["peer-names", port] => tcp::peer_names(number(port)),
        ["resolve", name] => tcp::resolve(name),
        ["udp-bind", address] => report(udp::bind(address)),
        ["udp-send", address] => report(udp::send(address)),
        ["udp-echo", address] => udp::echo(address),
        ["udp-ping", address, size] => report(udp::ping(address, number(size))),
        ["exit", how] => process::exit(how),
        ["print", lines] => process::print(number(lines)),
        ["env"] => process::env(),
        _ => panic!("unknown arguments: {args:?}"),
    }
}

fn number<N: std::str::FromStr>(word: &str) -> N {
    word.parse()
        .unwrap_or_else(|_| panic!("not a number here: {word}"))
}

fn report<T: Display>(outcome: io::Result<T>) -> io::Result<()> {
    match outcome {
        Ok(value) => println!("ok {value}"),
        Err(error) => println!("error {:?}: {error}", error.kind()),
    }
    Ok(())
}
