//! A service that harms itself, and would harm others, in the way that its first argument names.
//!
//!   spin              never returns and never calls the host
//!   alloc             takes memory, a mebibyte at a time, and writes to it
//!   overflow          recurses for ever
//!   logs              prints lines for ever
//!   line              prints one line for ever
//!   sockets           opens sockets for ever; what is refused is told once, and tried again
//!   exit CODE         ends by `wasi:cli/exit`'s exit-with-code
//!   panic             panics
//!   drop              returns from main, and panics while a value is dropped
//!   nest DIRECTORY    nests directories 20,000 deep, makes files and writes to one until it is refused, and waits
//!   silent            runs, and never listens
//!   drip              a server that answers each request one byte a time, for ever
//!   trap-on-connect   listens, and traps once somebody has connected
//!   idle              listens, and waits for a client that it never answers

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

const MEBIBYTE: usize = 1024 * 1024;
const HERE: &str = "127.0.0.1:8080";

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["spin"] => spin(),
        ["alloc"] => alloc(),
        ["overflow"] => println!("{}", overflow(0)),
        ["logs"] => logs(),
        ["line"] => line()?,
        ["sockets"] => sockets(),
        ["exit", code] => {
            let code = code.parse().expect("a code is 0 to 255");
            wasip2::cli::exit::exit_with_code(code);
        }
        ["panic"] => panic!("asked to panic"),
        ["drop"] => drop(black_box(Bomb)),
        ["nest", directory] => nest(directory)?,
        ["silent"] => loop {
            sleep(Duration::from_secs(3600));
        },
        ["drip"] => drip()?,
        ["trap-on-connect"] => trap_on_connect()?,
        ["idle"] => idle()?,
        _ => panic!("unknown arguments: {args:?}"),
    }
    Ok(())
}

// Not inlined, each of them: its name stands in a trap's backtrace.

#[inline(never)]
fn spin() -> ! {
    loop {
        black_box(());
    }
}

#[inline(never)]
fn alloc() -> ! {
    let mut held = Vec::new();
    loop {
        // Written to, so that the memory is really used.
        held.push(black_box(vec![1_u8; MEBIBYTE]));
    }
}

#[inline(never)]
#[expect(unconditional_recursion, reason = "this is what it is for")]
fn overflow(depth: u64) -> u64 {
    black_box(overflow(black_box(depth) + 1)) + 1
}

fn logs() -> ! {
    for number in 0_u64.. {
        println!("line {number} of a flood");
    }
    unreachable!("a flood has no end")
}

fn line() -> io::Result<()> {
    let piece = [b'x'; 4096];
    loop {
        io::stdout().write_all(&piece)?;
        // The standard library keeps what has no end of line.
        io::stdout().flush()?;
    }
}

fn sockets() -> ! {
    let (mut held, mut told) = (Vec::new(), false);
    loop {
        match UdpSocket::bind("127.0.0.1:0") {
            Ok(socket) => held.push(socket),
            Err(error) if !told => {
                told = true;
                println!(
                    "had {} sockets: error {:?}: {error}",
                    held.len(),
                    error.kind()
                );
            }
            Err(_) => {}
        }
    }
}

struct Bomb;

impl Drop for Bomb {
    #[inline(never)]
    fn drop(&mut self) {
        panic!("asked to panic while dropped");
    }
}

fn nest(directory: &str) -> io::Result<()> {
    let (mut depth, mut names, mut bytes) = (1, 0, 0);
    let (inner, outer) = (format!("{directory}/inner"), format!("{directory}/outer"));
    fs::create_dir(&inner)?;
    // All that is nested gets one more directory around it.
    let deeper = || {
        fs::create_dir(&outer)?;
        fs::rename(&inner, format!("{outer}/inner"))?;
        fs::rename(&outer, &inner)
    };
    while depth < 20_000 {
        if let Err(error) = deeper() {
            println!("nested {depth} deep: {:?}", error.kind());
            break;
        }
        depth += 1;
    }
    let path = format!("{directory}/written");
    let mut written = File::create(&path)?;
    while names < 1_000_000 {
        if let Err(error) = File::create(format!("{directory}/{names}")) {
            println!("made {names} files: {:?}", error.kind());
            break;
        }
        names += 1;
    }
    let mut write = || loop {
        match written.write(&[1; 65_536]) {
            Ok(count) => bytes += count,
            Err(error) => break error,
        }
    };
    let refused = write();
    // Without a name it takes as much, until it is closed.
    fs::remove_file(&path)?;
    let still = write();
    println!(
        "wrote {bytes} bytes: {:?}, {:?}",
        refused.kind(),
        still.kind()
    );
    drop(written);
    fs::write(&path, [1; 65_536])?;
    println!("wrote again");
    loop {
        sleep(Duration::from_secs(3600));
    }
}

fn drip() -> io::Result<()> {
    let listener = TcpListener::bind(HERE)?;
    loop {
        let (mut stream, _) = listener.accept()?;
        // Until the client is gone.
        let _ = answer_slowly(&mut stream);
    }
}

fn answer_slowly(stream: &mut TcpStream) -> io::Result<()> {
    stream.read_exact(&mut [0; 16])?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nX-Slow: ")?;
    loop {
        stream.write_all(b"x")?;
        sleep(Duration::from_millis(20));
    }
}

fn trap_on_connect() -> io::Result<()> {
    let listener = TcpListener::bind(HERE)?;
    listener.accept()?;
    panic!("somebody connected")
}

fn idle() -> io::Result<()> {
    let listener = TcpListener::bind(HERE)?;
    let mut held = Vec::new();
    loop {
        held.push(listener.accept()?);
    }
}
