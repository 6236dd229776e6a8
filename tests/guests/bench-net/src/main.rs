//! The two ends of a measurement of TCP, for `warren-bench`: servers that print where they listen, and clients that
//! print what they did and how long it took, by the guest's own clock.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const LOCALHOST: &str = "127.0.0.1";
/// What one write carries when throughput is measured, in bytes.
const CHUNK: usize = 64 << 10;

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["echo"] => serve(0, echo),
        ["sink"] => serve(0, sink),
        ["close"] => serve(0, |_| Ok(())),
        ["hold", count] => serve(number(count), echo),
        ["ping", port, size, millis] => {
            let stream = TcpStream::connect((LOCALHOST, number(port)))?;
            ping(stream, number(size), time(millis))
        }
        ["send", port, millis] => send(number(port), time(millis)),
        ["connect", port, millis] => connect(number(port), time(millis)),
        ["idle", port, count, size, millis] => {
            idle(number(port), number(count), number(size), time(millis))
        }
        _ => panic!("unknown arguments: {args:?}"),
    }
}

// --- servers ---

/// Answers one connection after the other, after the first `held`, which stay as they are.
fn serve(held: usize, answer: impl Fn(TcpStream) -> io::Result<()>) -> io::Result<()> {
    let listener = TcpListener::bind((LOCALHOST, 0))?;
    println!("listening {}", listener.local_addr()?.port());
    let mut idle = Vec::with_capacity(held);
    for _ in 0..held {
        idle.push(listener.accept()?.0);
    }
    loop {
        answer(listener.accept()?.0)?;
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 4 << 10];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length])?;
    }
}

/// Reads to the end, and answers with how many bytes came: eight, little-endian.
fn sink(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut count: u64 = 0;
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return stream.write_all(&count.to_le_bytes());
        }
        count += length as u64;
    }
}

// --- clients ---

fn ping(mut stream: TcpStream, size: usize, time: Duration) -> io::Result<()> {
    let message = vec![7; size];
    let mut answer = vec![0; size];
    let mut round_trip = || {
        stream.write_all(&message)?;
        stream.read_exact(&mut answer)
    };
    measured(time, 32, &mut round_trip)
}

/// Sends for so long, and stops the clock when the server has told that everything came.
fn send(port: u16, time: Duration) -> io::Result<()> {
    let mut stream = TcpStream::connect((LOCALHOST, port))?;
    let chunk = vec![7; CHUNK];
    let start = Instant::now();
    let mut sent: u64 = 0;
    while start.elapsed() < time {
        for _ in 0..16 {
            stream.write_all(&chunk)?;
        }
        sent += 16 * CHUNK as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut received = [0; 8];
    stream.read_exact(&mut received)?;
    let took = start.elapsed();
    assert_eq!(u64::from_le_bytes(received), sent, "what the sink received");
    report(sent, took)
}

/// Connects, waits until the server has accepted and closed, and closes.
fn connect(port: u16, time: Duration) -> io::Result<()> {
    measured(time, 8, &mut || {
        let mut stream = TcpStream::connect((LOCALHOST, port))?;
        match stream.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    })
}

/// Opens so many connections that stay idle, says so, and measures round trips on one more.
fn idle(port: u16, count: usize, size: usize, time: Duration) -> io::Result<()> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        held.push(TcpStream::connect((LOCALHOST, port))?);
    }
    let stream = TcpStream::connect((LOCALHOST, port))?;
    println!("holding {count}");
    ping(stream, size, time)
}

/// Repeats a step for so long, looking at the clock after every `batch`.
fn measured(
    time: Duration,
    batch: u32,
    step: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let start = Instant::now();
    let mut count = 0;
    loop {
        for _ in 0..batch {
            step()?;
        }
        count += u64::from(batch);
        let took = start.elapsed();
        if took >= time {
            return report(count, took);
        }
    }
}

fn report(count: u64, took: Duration) -> io::Result<()> {
    println!("did {count} {}", took.as_nanos());
    Ok(())
}

fn number<N: std::str::FromStr>(word: &str) -> N {
    word.parse()
        .unwrap_or_else(|_| panic!("not a number here: {word}"))
}

fn time(millis: &str) -> Duration {
    Duration::from_millis(number(millis))
}
