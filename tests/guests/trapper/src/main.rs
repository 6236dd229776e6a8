//! A service with a short life: it greets its first client, and traps.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:8080")?;
    eprintln!("trapper: up");

    let (stream, peer) = listener.accept()?;
    eprintln!("trapper: {peer} connected");
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    (&stream).write_all(b"hello\n")?;
    // Closed before the trap: the client has its whole answer and a clean end.
    drop(stream);
    fall_over()
}

/// Not inlined, so that its name stands in the trap's backtrace.
#[inline(never)]
fn fall_over() -> ! {
    eprintln!("about to fall over");
    panic!("the trapper fell over")
}
