//! `bench-net` with the streams of WASI 0.3: the same arguments and the same lines, for the measurements that differ.

use std::time::{Duration, Instant};

use wasip3::{
    cli::environment::get_arguments,
    exports::cli::run::Guest,
    sockets::types::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket},
    wit_bindgen::{StreamReader, StreamResult, StreamWriter},
};

/// What one write carries when throughput is measured, in bytes.
const CHUNK: usize = 64 << 10;

struct Bench;

wasip3::cli::command::export!(Bench);

impl Guest for Bench {
    async fn run() -> Result<(), ()> {
        let args = get_arguments();
        let args: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
        let outcome = match args[..] {
            ["echo"] => serve(false).await,
            ["sink"] => serve(true).await,
            ["ping", port, size, millis] => ping(number(port), number(size), time(millis)).await,
            ["send", port, millis] => send(number(port), time(millis)).await,
            _ => panic!("unknown arguments: {args:?}"),
        };
        outcome.map_err(|error| println!("error {error:?}"))
    }
}

// --- servers ---

/// Answers one connection after the other.
async fn serve(sink: bool) -> Result<(), ErrorCode> {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4)?;
    socket.bind(localhost(0))?;
    let mut connections = socket.listen()?;
    let IpSocketAddress::Ipv4(local) = socket.get_local_address()? else {
        unreachable!("it was bound to an address of IPv4");
    };
    println!("listening {}", local.port);
    while let Some(connection) = connections.next().await {
        let mut stream = Connection::new(&connection);
        match sink {
            true => stream.sink().await,
            false => stream.echo().await,
        }
    }
    Ok(())
}

struct Connection {
    received: StreamReader<u8>,
    sender: StreamWriter<u8>,
}

impl Connection {
    /// Its ends are not waited for: who reads to the end of stream knows.
    fn new(socket: &TcpSocket) -> Self {
        let (received, _) = socket.receive();
        let (sender, stream) = wasip3::wit_stream::new();
        drop(socket.send(stream));
        Self { received, sender }
    }

    async fn echo(&mut self) {
        let mut buffer = Vec::with_capacity(4 << 10);
        loop {
            let (result, bytes) = self.received.read(buffer).await;
            if matches!(result, StreamResult::Dropped) {
                return;
            }
            buffer = write_all(&mut self.sender, bytes).await;
        }
    }

    async fn sink(&mut self) {
        let mut buffer = Vec::with_capacity(CHUNK);
        let mut count: u64 = 0;
        loop {
            let (result, bytes) = self.received.read(buffer).await;
            count += bytes.len() as u64;
            if matches!(result, StreamResult::Dropped) {
                break;
            }
            buffer = bytes;
            buffer.clear();
        }
        write_all(&mut self.sender, count.to_le_bytes().to_vec()).await;
    }

    async fn read_exact(&mut self, length: usize, mut buffer: Vec<u8>) -> Vec<u8> {
        buffer.clear();
        loop {
            let (result, bytes) = self.received.read(buffer).await;
            if bytes.len() >= length {
                return bytes;
            }
            assert!(!matches!(result, StreamResult::Dropped), "an early end");
            buffer = bytes;
        }
    }
}

// --- clients ---

async fn connect(port: u16) -> Result<Connection, ErrorCode> {
    let socket = TcpSocket::create(IpAddressFamily::Ipv4)?;
    socket.connect(localhost(port)).await?;
    Ok(Connection::new(&socket))
}

async fn ping(port: u16, size: usize, time: Duration) -> Result<(), ErrorCode> {
    let mut stream = connect(port).await?;
    let mut message = Vec::new();
    let mut answer = Vec::with_capacity(size);
    let start = Instant::now();
    let mut count = 0;
    loop {
        for _ in 0..32 {
            message.resize(size, 7);
            message = write_all(&mut stream.sender, message).await;
            answer = stream.read_exact(size, answer).await;
        }
        count += 32;
        let took = start.elapsed();
        if took >= time {
            report(count, took);
            return Ok(());
        }
    }
}

/// Sends for so long, and stops the clock when the server has told that everything came.
async fn send(port: u16, time: Duration) -> Result<(), ErrorCode> {
    let Connection {
        received,
        mut sender,
    } = connect(port).await?;
    let mut chunk = Vec::new();
    let start = Instant::now();
    let mut sent: u64 = 0;
    while start.elapsed() < time {
        for _ in 0..16 {
            chunk.resize(CHUNK, 7);
            chunk = write_all(&mut sender, chunk).await;
        }
        sent += 16 * CHUNK as u64;
    }
    drop(sender);
    let answer = received.collect().await;
    let took = start.elapsed();
    assert_eq!(answer, sent.to_le_bytes(), "what the sink received");
    report(sent, took);
    Ok(())
}

/// Returns the allocation, to be filled again.
async fn write_all(sender: &mut StreamWriter<u8>, mut bytes: Vec<u8>) -> Vec<u8> {
    loop {
        let (result, rest) = sender.write(bytes).await;
        assert!(!matches!(result, StreamResult::Dropped), "the peer is gone");
        bytes = rest.into_vec();
        if bytes.is_empty() {
            return bytes;
        }
    }
}

fn localhost(port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress {
        port,
        address: (127, 0, 0, 1),
    })
}

fn report(count: u64, took: Duration) {
    println!("did {count} {}", took.as_nanos());
}

fn number<N: std::str::FromStr>(word: &str) -> N {
    word.parse()
        .unwrap_or_else(|_| panic!("not a number here: {word}"))
}

fn time(millis: &str) -> Duration {
    Duration::from_millis(number(millis))
}
