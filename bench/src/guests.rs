//! The measured programs, as the same components on every side.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use tokio::task::AbortHandle;
use warren_model::{
    digest::Digest,
    name::{Name, WorkloadId},
};
use warren_worker::{
    policy::Role,
    runtime::{Compiled, Runtime},
};

/// The time limit of everything that is not measured.
const PATIENCE: Duration = Duration::from_secs(60);

/// The WASI version of a guest, which decides how it does input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The standard library's blocking sockets over `wasi:io` streams.
    P2,
    /// Streams of the component model.
    P3,
}

/// The listening end of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Sends back what it receives.
    Echo,
    /// Counts what it receives.
    Sink,
    /// Accepts and closes.
    Close,
    /// Keeps this many connections, and echoes on the next one.
    Hold(usize),
}

/// The connecting end, which measures for about as long as it is asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Round trips of this many bytes.
    Ping(usize),
    /// 64 KiB chunks one way.
    Send,
    /// Connections, each one until both ends have closed it.
    Connect,
    /// Round trips of 64 bytes while this many connections are idle.
    Idle(usize),
}

/// The work of a client: round trips, bytes or connections.
#[derive(Clone, Copy, Debug)]
pub struct Did {
    pub count: u64,
    pub took: Duration,
}

/// A running server. Dropping it stops the server.
pub struct Serving {
    pub port: u16,
    task: AbortHandle,
}

/// A component, with the digest of its bytes.
#[derive(Clone)]
pub struct Guest {
    pub digest: Digest,
    pub code: Compiled,
}

/// The lines that a guest or a host program prints.
pub trait Lines {
    /// Returns the next line, or `None` at the end.
    async fn next(&mut self) -> anyhow::Result<Option<String>>;
}

// === impl Generation ===

impl Generation {
    /// Compiles the guest with the worker's own engine, as the worker does.
    pub async fn load(self, runtime: &Runtime) -> anyhow::Result<Guest> {
        let name = match self {
            Self::P2 => "bench-net.wasm",
            Self::P3 => "bench-net-p3.wasm",
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/guests/components")
            .join(name);
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let digest = Digest::of(&bytes);
        let bench = Name::parse("bench")?;
        let workload = WorkloadId {
            namespace: bench.clone(),
            name: bench,
        };
        let code = runtime
            .load(Role::Service, &workload, digest, &path)
            .await?;
        Ok(Guest { digest, code })
    }
}

// === impl Server ===

impl Server {
    pub fn args(self) -> Vec<String> {
        match self {
            Self::Echo => vec!["echo".into()],
            Self::Sink => vec!["sink".into()],
            Self::Close => vec!["close".into()],
            Self::Hold(count) => vec!["hold".into(), count.to_string()],
        }
    }
}

// === impl Client ===

impl Client {
    pub fn args(self, port: u16, time: Duration) -> Vec<String> {
        let (port, millis) = (port.to_string(), time.as_millis().to_string());
        match self {
            Self::Ping(size) => vec!["ping".into(), port, size.to_string(), millis],
            Self::Send => vec!["send".into(), port, millis],
            Self::Connect => vec!["connect".into(), port, millis],
            Self::Idle(count) => {
                vec!["idle".into(), port, count.to_string(), "64".into(), millis]
            }
        }
    }
}

// === impl Serving ===

impl Serving {
    pub fn new(port: u16, task: AbortHandle) -> Self {
        Self { port, task }
    }

    /// Returns a server once it has printed its address.
    pub async fn of(lines: &mut impl Lines, task: AbortHandle) -> anyhow::Result<Self> {
        match words(&line(lines).await?)[..] {
            ["listening", port] => Ok(Self::new(port.parse()?, task)),
            ref other => bail!("a server printed {other:?}"),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Did ===

impl Did {
    /// Returns the result that a client prints at the end. `holding` is called when the client
    /// reports that its connections are open.
    pub async fn of(lines: &mut impl Lines, mut holding: impl FnMut()) -> anyhow::Result<Self> {
        loop {
            match words(&line(lines).await?)[..] {
                ["holding", _] => holding(),
                ["did", count, nanos] => {
                    return Ok(Self {
                        count: count.parse()?,
                        took: Duration::from_nanos(nanos.parse()?),
                    });
                }
                ref other => bail!("a client printed {other:?}"),
            }
        }
    }
}

async fn line(lines: &mut impl Lines) -> anyhow::Result<String> {
    tokio::time::timeout(PATIENCE, lines.next())
        .await
        .context("a guest printed nothing for a minute")??
        .context("a guest ended without printing anything")
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}
