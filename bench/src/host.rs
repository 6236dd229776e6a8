//! The same programs as host tasks, over the kernel's loopback or a workload's network. The
//! difference from guests is the cost of WebAssembly and WASI.

use std::{
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use warren_net::{Listener, Scope, Stream};

use crate::guests::{Client, Did, Server, Serving};

/// The chunk size of the guests.
const CHUNK: usize = 64 << 10;

/// A way to connect two tasks.
pub trait Transport: Clone + Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;
    type Listener: Send;

    fn listen(&self) -> impl Future<Output = io::Result<(Self::Listener, u16)>> + Send;
    fn accept(
        listener: &mut Self::Listener,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;
    fn connect(&self, port: u16) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// The kernel's loopback.
#[derive(Clone)]
pub struct Kernel;

pub async fn serve<T: Transport>(transport: &T, server: Server) -> anyhow::Result<Serving> {
    let (mut listener, port) = transport.listen().await?;
    let task = tokio::spawn(async move {
        let mut held = Vec::new();
        let keep = match server {
            Server::Hold(count) => count,
            _ => 0,
        };
        while held.len() < keep {
            held.push(T::accept(&mut listener).await?);
        }
        loop {
            let stream = T::accept(&mut listener).await?;
            match server {
                Server::Echo | Server::Hold(_) => echo(stream).await?,
                Server::Sink => sink(stream).await?,
                Server::Close => drop(stream),
            }
        }
        #[expect(unreachable_code, reason = "names the type of the errors")]
        io::Result::Ok(())
    });
    Ok(Serving::new(port, task.abort_handle()))
}

pub async fn run<T: Transport>(
    transport: &T,
    client: Client,
    port: u16,
    time: Duration,
    mut holding: impl FnMut(),
) -> anyhow::Result<Did> {
    let mut held = Vec::new();
    if let Client::Idle(count) = client {
        while held.len() < count {
            held.push(transport.connect(port).await?);
        }
        holding();
    }
    let transport = transport.clone();
    // It runs in a task of its own, as a guest does.
    let task = tokio::spawn(async move {
        match client {
            Client::Ping(size) => ping(transport.connect(port).await?, size, time).await,
            Client::Idle(_) => ping(transport.connect(port).await?, 64, time).await,
            Client::Send => send(transport.connect(port).await?, time).await,
            Client::Connect => connect(&transport, port, time).await,
        }
    });
    Ok(task.await??)
}

// --- servers ---

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; 4 << 10];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length]).await?;
    }
}

async fn sink(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut count = 0;
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return stream.write_u64_le(count).await;
        }
        count += length as u64;
    }
}

// --- clients ---

async fn ping(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    size: usize,
    time: Duration,
) -> io::Result<Did> {
    let message = vec![7; size];
    let mut answer = vec![0; size];
    let start = Instant::now();
    let mut count = 0;
    loop {
        for _ in 0..32 {
            stream.write_all(&message).await?;
            stream.read_exact(&mut answer).await?;
        }
        count += 32;
        let took = start.elapsed();
        if took >= time {
            return Ok(Did { count, took });
        }
    }
}

async fn send(mut stream: impl AsyncRead + AsyncWrite + Unpin, time: Duration) -> io::Result<Did> {
    let chunk = vec![7; CHUNK];
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < time {
        for _ in 0..16 {
            stream.write_all(&chunk).await?;
        }
        sent += 16 * CHUNK as u64;
    }
    stream.shutdown().await?;
    let received = stream.read_u64_le().await?;
    let took = start.elapsed();
    match received == sent {
        true => Ok(Did { count: sent, took }),
        false => Err(io::Error::other("the sink received something else")),
    }
}

async fn connect<T: Transport>(transport: &T, port: u16, time: Duration) -> io::Result<Did> {
    let start = Instant::now();
    let mut count = 0;
    loop {
        for _ in 0..8 {
            let mut stream = transport.connect(port).await?;
            if stream.read(&mut [0]).await? != 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        count += 8;
        let took = start.elapsed();
        if took >= time {
            return Ok(Did { count, took });
        }
    }
}

fn localhost(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

// === impl Transport ===

impl Transport for Kernel {
    type Stream = TcpStream;
    type Listener = TcpListener;

    async fn listen(&self) -> io::Result<(TcpListener, u16)> {
        let listener = TcpListener::bind(localhost(0)).await?;
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    }

    async fn accept(listener: &mut TcpListener) -> io::Result<TcpStream> {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(localhost(port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Transport for Scope {
    type Stream = Stream;
    type Listener = Listener;

    async fn listen(&self) -> io::Result<(Listener, u16)> {
        let bound = self.bind(localhost(0)).map_err(io::Error::other)?;
        let port = bound.local_addr().port();
        let listener = bound.listen_default().map_err(io::Error::other)?;
        Ok((listener, port))
    }

    async fn accept(listener: &mut Listener) -> io::Result<Stream> {
        listener.accept().await.map_err(io::Error::other)
    }

    async fn connect(&self, port: u16) -> io::Result<Stream> {
        let connecting = Scope::connect(self, None, localhost(port)).map_err(io::Error::other)?;
        connecting.await.map_err(io::Error::other)
    }
}
