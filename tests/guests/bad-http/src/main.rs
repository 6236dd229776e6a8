//! Answers on 127.0.0.1 and the port given as first argument (8080), one connection at a time, in the way its path names.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
};

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "8080".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    println!("bad-http: listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept()?;
        if let Err(error) = serve(&stream) {
            println!("bad-http: {error}");
        }
    }
}

fn serve(stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(path) = request(&mut reader)? {
        let go_on = answer(&path, &mut &*stream, &mut reader)?;
        if !go_on {
            break;
        }
    }
    Ok(())
}

/// The path of the next request; `None` when the client is done.
fn request(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            return Ok(first.split(' ').nth(1).map(str::to_owned));
        }
    }
}

/// Whether the connection stays for another request.
fn answer(path: &str, out: &mut impl Write, rest: &mut impl Read) -> io::Result<bool> {
    match path {
        "/garbage" => {
            out.write_all(b"\x00\x01\x02 what do you mean?\r\n\r\n")?;
            Ok(false)
        }
        "/mid-head" => {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Le")?;
            Ok(false)
        }
        "/never" => {
            // Until the client gives up.
            io::copy(rest, &mut io::sink())?;
            println!("never: the client is gone");
            Ok(false)
        }
        "/too-long" => {
            out.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\nmore",
            )?;
            Ok(true)
        }
        "/short" => {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")?;
            Ok(false)
        }
        // Says nothing of it, and closes: the next request finds the connection gone.
        "/close" => {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            Ok(false)
        }
        "/huge" => {
            out.write_all(b"HTTP/1.1 200 OK\r\nX-Huge: ")?;
            for _ in 0..256 {
                out.write_all(&[b'x'; 1024])?;
            }
            out.write_all(b"\r\nContent-Length: 2\r\n\r\nok")?;
            Ok(true)
        }
        "/many" => {
            out.write_all(b"HTTP/1.1 200 OK\r\n")?;
            for n in 0..200 {
                write!(out, "X-{n}: {n}\r\n")?;
            }
            out.write_all(b"Content-Length: 2\r\n\r\nok")?;
            Ok(true)
        }
        "/unasked" => {
            out.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            )?;
            Ok(true)
        }
        "/two-lengths" => {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")?;
            Ok(true)
        }
        "/old" => {
            out.write_all(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")?;
            Ok(false)
        }
        _ => {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            Ok(true)
        }
    }
}
