use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};

use crate::report;

const LOCALHOST: &str = "127.0.0.1";
const CHUNK: usize = 64 * 1024;

/// Echoes one connection after the other until its end of stream.
pub fn echo(port: u16) -> io::Result<()> {
    serve(port, |stream| {
        io::copy(&mut &*stream, &mut &*stream).map(drop)
    })
}

/// Reads each connection to its end, and answers with how many bytes came: eight bytes,
/// little-endian.
pub fn sink(port: u16) -> io::Result<()> {
    serve(port, |mut stream| {
        let mut buffer = vec![0; CHUNK];
        let mut count: u64 = 0;
        loop {
            let length = stream.read(&mut buffer)?;
            if length == 0 {
                return stream.write_all(&count.to_le_bytes());
            }
            for byte in &buffer[..length] {
                assert_eq!(*byte, pattern(count), "byte {count}");
                count += 1;
            }
        }
    })
}

fn serve(port: u16, answer: impl Fn(&TcpStream) -> io::Result<()>) -> io::Result<()> {
    let listener = TcpListener::bind((LOCALHOST, port))?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept()?;
        if let Err(error) = answer(&stream) {
            println!("connection: error {:?}: {error}", error.kind());
        }
    }
}

/// What byte number `index` of a stream is. The period is prime, so that a lost or repeated block
/// shows.
fn pattern(index: u64) -> u8 {
    (index % 251) as u8
}

pub fn ping(port: u16, count: u64, size: usize) -> io::Result<()> {
    let mut stream = TcpStream::connect((LOCALHOST, port))?;
    let mut answer = vec![0; size];
    for round in 0..count {
        let message: Vec<u8> = (round..).take(size).map(pattern).collect();
        stream.write_all(&message)?;
        stream.read_exact(&mut answer)?;
        assert!(answer == message, "round {round} came back changed");
    }
    println!("ok {count}");
    Ok(())
}

pub fn stream(port: u16, bytes: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect((LOCALHOST, port))?;
    let mut sent = 0;
    while sent < bytes {
        let end = bytes.min(sent + CHUNK as u64);
        let chunk: Vec<u8> = (sent..end).map(pattern).collect();
        stream.write_all(&chunk)?;
        sent = end;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    assert_eq!(u64::from_le_bytes(count), bytes, "the sink's count");
    println!("ok {bytes}");
    Ok(())
}

/// To an echo service: after this side is shut, what was sent still comes back, then the end.
pub fn half_close(port: u16) -> io::Result<()> {
    let mut stream = TcpStream::connect((LOCALHOST, port))?;
    stream.write_all(b"half")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert_eq!(answer, "half");
    println!("ok {answer}");
    Ok(())
}

/// Returns the peer's address.
pub fn connect(address: &str) -> io::Result<SocketAddr> {
    TcpStream::connect(address)?.peer_addr()
}

pub fn bind(address: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}

/// Binds and, if that went well, accepts and closes connections for ever.
pub fn hold(address: &str) -> io::Result<()> {
    let (listener, local) = match bind(address) {
        Ok(bound) => bound,
        Err(error) => return report::<SocketAddr>(Err(error)),
    };
    report(Ok(local))?;
    loop {
        listener.accept()?;
    }
}

/// A taken port is refused, and free again once its holder is dropped.
pub fn double_bind(port: u16) -> io::Result<()> {
    let first = TcpListener::bind((LOCALHOST, port))?;
    let second = TcpListener::bind((LOCALHOST, port)).map(drop);
    let error = second.expect_err("the port is taken");
    println!("second: error {:?}", error.kind());
    drop(first);
    TcpListener::bind((LOCALHOST, port))?;
    println!("again: ok");
    Ok(())
}

/// Holds `count` ports at once that the system chose.
pub fn ephemeral(count: usize) -> io::Result<()> {
    let mut held = Vec::new();
    for _ in 0..count {
        let listener = TcpListener::bind((LOCALHOST, 0))?;
        println!("{}", listener.local_addr()?);
        held.push(listener);
    }
    println!("ok {count}");
    Ok(())
}

/// Both ends of a connection to itself name each other, also when the connection is over.
pub fn peer_names(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((LOCALHOST, port))?;
    let client = TcpStream::connect((LOCALHOST, port))?;
    let (server, peer) = listener.accept()?;
    let (client_local, client_peer) = (client.local_addr()?, client.peer_addr()?);
    let (server_local, server_peer) = (server.local_addr()?, server.peer_addr()?);
    println!("client {client_local} -> {client_peer}");
    println!("server {server_local} <- {server_peer}");
    assert_eq!(client_peer, listener.local_addr()?);
    assert_eq!(client_peer, server_local);
    assert_eq!(client_local, server_peer);
    assert_eq!(client_local, peer);

    client.shutdown(Shutdown::Both)?;
    match server.shutdown(Shutdown::Both) {
        Err(error) if error.kind() != ErrorKind::NotConnected => return Err(error),
        _ => {}
    }
    assert_eq!(client.peer_addr()?, client_peer);
    assert_eq!(server.peer_addr()?, server_peer);
    println!("ok");
    Ok(())
}

pub fn resolve(name: &str) -> io::Result<()> {
    report((name, 0).to_socket_addrs().map(|addresses| {
        let addresses: Vec<String> = addresses.map(|address| address.ip().to_string()).collect();
        addresses.join(" ")
    }))
}
