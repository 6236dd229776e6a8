//! Programs that serve what Warren serves, as processes that end with their values.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStderr, ChildStdout, Command},
    time::timeout,
};

/// The time limit of a start, which may have to compile a large component.
const PATIENCE: Duration = Duration::from_secs(120);
/// The options with which `wasmtime serve` needs the least CPU for each request.
const BEST: &str = "pooling-allocator=y,pooling-memory-keep-resident=2097152,\
                    pooling-table-keep-resident=65536,pooling-async-stack-keep-resident=65536,\
                    pooling-decommit-batch-size=32,pooling-pagemap-scan=y";
/// The frame size of a body that is streamed; guests write the same.
const CHUNK: usize = 64 << 10;

/// A running program.
pub struct Peer {
    pub address: SocketAddr,
    child: Child,
    /// Read no further, but kept open so that the program can write to it.
    _output: Output,
}

enum Output {
    Stdout(#[expect(dead_code, reason = "keeps the pipe open")] Lines<BufReader<ChildStdout>>),
    Stderr(#[expect(dead_code, reason = "keeps the pipe open")] Lines<BufReader<ChildStderr>>),
}

/// The options of `wasmtime serve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flags {
    Defaults,
    Best,
}

/// Wasmtime's command line.
#[derive(Clone)]
pub struct Wasmtime {
    program: PathBuf,
    pub version: String,
}

// === impl Wasmtime ===

impl Wasmtime {
    /// Returns why the program cannot be used. The benchmark continues without it.
    pub async fn find(program: &Path) -> Result<Self, String> {
        let version = Command::new(program).arg("--version").output().await;
        let shown = program.display();
        let output = version.map_err(|error| format!("cannot run `{shown}`: {error}"))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            let last = why.lines().last().unwrap_or_default();
            return Err(format!("`{shown} --version` failed: {last}"));
        }
        Ok(Self {
            program: program.to_owned(),
            version: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        })
    }

    /// Starts `wasmtime serve`. The component may connect to the machine's loopback.
    pub async fn serve(&self, component: &str, flags: Flags) -> anyhow::Result<Peer> {
        let mut command = self.command("serve");
        command.args(["-Scli,inherit-network", "--addr", "127.0.0.1:0"]);
        if flags == Flags::Best {
            command.args(["-O", BEST]);
        }
        command.arg(component);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start `wasmtime serve`")?;
        let stderr = child.stderr.take().context("stderr is a pipe")?;
        let mut lines = BufReader::new(stderr).lines();
        let address = timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await? {
                let url = line.strip_prefix("Serving HTTP on http://");
                if let Some(address) = url {
                    return Ok(address.trim_end_matches('/').parse()?);
                }
            }
            bail!("`wasmtime serve` ended at once")
        });
        Ok(Peer {
            address: address.await.context("`wasmtime serve` did not start")??,
            child,
            _output: Output::Stderr(lines),
        })
    }

    /// Starts `wasmtime run` of a service that prints the address that it listens on.
    pub async fn run(&self, component: &str, arguments: &[&str]) -> anyhow::Result<Peer> {
        let mut command = self.command("run");
        command.arg("-Sinherit-network").arg(component);
        command.args(arguments).stderr(Stdio::null());
        Peer::listening(command).await
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        // A backtrace would be captured for each error.
        command.env("RUST_BACKTRACE", "0");
        command.arg(verb).stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

// === impl Peer ===

impl Peer {
    /// Starts this program's own server, without WebAssembly.
    pub async fn hyper() -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("hyper").stdin(Stdio::null()).kill_on_drop(true);
        Self::listening(command).await
    }

    /// Starts a program that prints a line that ends with `listening on ADDRESS`.
    async fn listening(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("stdout is a pipe")?;
        let mut lines = BufReader::new(stdout).lines();
        let address = timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, address)) = line.split_once("listening on ") {
                    return Ok(address.parse()?);
                }
            }
            bail!("a server ended at once")
        });
        Ok(Self {
            address: address.await.context("a server did not start")??,
            child,
            _output: Output::Stdout(lines),
        })
    }

    pub fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("a server has ended")
    }
}

// === the server without WebAssembly ===

type Body = BoxBody<Bytes, Infallible>;

/// Answers the paths of the guest `http-echo` that the benchmark requests.
pub async fn serve_natively() -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    #[expect(clippy::print_stdout, reason = "this is the program's output")]
    {
        println!("listening on {}", listener.local_addr()?);
    }
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let answer = service_fn(async |request| Ok::<_, Infallible>(answer(&request)));
            let server = auto::Builder::new(TokioExecutor::new());
            // A client that breaks off harms nothing.
            let _ = server.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

fn answer(request: &Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    let number = |prefix| path.strip_prefix(prefix)?.parse::<usize>().ok();
    if path == "/" {
        Response::new(Full::from("hello\n").boxed())
    } else if let Some(bytes) = number("/length/") {
        Response::new(Full::from(vec![b'x'; bytes]).boxed())
    } else if let Some(bytes) = number("/big/") {
        let sizes = (0..bytes)
            .step_by(CHUNK)
            .map(move |at| CHUNK.min(bytes - at));
        let frames = sizes.map(|size| Ok(Frame::data(Bytes::from(vec![b'x'; size]))));
        Response::new(BodyExt::boxed(StreamBody::new(tokio_stream::iter(frames))))
    } else {
        let mut response = Response::new(Full::default().boxed());
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    }
}
