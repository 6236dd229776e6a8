//! Speaks a line protocol with TCP clients and has a component answer: `TOPIC PAYLOAD` comes back as
//! `ok PAYLOAD` or `error WORDS`. It is a plain synchronous program of `std`, without a runtime: one
//! client at a time, and the next one waits to be accepted.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use example::bridge::handler::{self, Message};

wit_bindgen::generate!({ path: "../wit", world: "protocol" });

/// The longest line taken: a client shall not decide how much memory it costs.
const MAX_LINE: u64 = 64 * 1024;

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:7071")?;
    println!("listening on {}", listener.local_addr()?);
    for client in listener.incoming() {
        if let Err(error) = client.and_then(serve) {
            println!("client: {error}");
        }
    }
    Ok(())
}

/// Answers line by line, until the client has no more.
fn serve(client: TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(&client);
    loop {
        let mut line = Vec::new();
        lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        match line.pop() {
            Some(b'\n') => {}
            Some(_) => return Err(io::Error::other("a line without an end, or too long a one")),
            None => return Ok(()),
        }
        let (mark, answer) = match handler::handle(&message(&line)) {
            Ok(payload) => ("ok ", payload),
            // Also when the component panicked: it costs this one message, and no other.
            Err(error) => ("error ", error.into_bytes()),
        };
        // One line, whatever it is.
        let line = answer.split(|byte| *byte == b'\n').next();
        let line = line.unwrap_or_default();
        (&client).write_all(&[mark.as_bytes(), line, b"\n"].concat())?;
    }
}

fn message(line: &[u8]) -> Message {
    let mut words = line.splitn(2, |byte| *byte == b' ');
    let mut next = || words.next().unwrap_or_default();
    Message {
        topic: String::from_utf8_lossy(next()).into_owned(),
        payload: next().to_vec(),
    }
}
