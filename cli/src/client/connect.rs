//! Finds a server of the wanted kind, and describes those that are something else.

use std::{error::Error as _, fmt, time::Duration};

use tokio::time;
use tonic::{Code, Status, transport::Endpoint};
use tonic_types::StatusExt as _;
use warren_model::quantity;
use warren_proto::v1;

use super::{
    Server, ServerUrl,
    call::{Connection, NotGrpc},
    diagnose,
};
use crate::error;

/// None of the given servers is of the wanted kind.
#[derive(Debug)]
pub struct Unreachable {
    wanted: Wanted,
    /// Each server with the reason.
    tried: Vec<(ServerUrl, Reason)>,
}

/// Why a server was not used.
#[derive(Debug)]
enum Reason {
    /// No server of the wanted kind is there.
    Absent(String),
    /// The server is there but cannot answer at present.
    Busy(String),
}

/// The kind of server that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    ControlPlane,
    /// A control plane or a worker.
    Any,
}

/// Long enough for another continent, short enough to try the next server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For the first answer of a server that accepted the connection.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// Detects a server that disappeared silently while a watch or `logs -f` waits for it.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The name of a worker's `--listen` in its health service.
const WORKER: &str = "warren.v1.Worker";

impl Server {
    /// Connects to the first of these URLs where a control plane answers.
    pub async fn connect(urls: &[ServerUrl]) -> Result<Self, Unreachable> {
        Self::first(urls, Wanted::ControlPlane).await
    }

    /// Connects to the first of these URLs where a control plane or a worker answers.
    pub async fn dial(urls: &[ServerUrl]) -> Result<Self, Unreachable> {
        Self::first(urls, Wanted::Any).await
    }

    async fn first(urls: &[ServerUrl], wanted: Wanted) -> Result<Self, Unreachable> {
        let mut tried = Vec::new();
        for url in urls {
            match Self::open(url, wanted).await {
                Ok(server) => return Ok(server),
                Err(why) => tried.push((url.clone(), why)),
            }
        }
        Err(Unreachable { wanted, tried })
    }

    async fn open(url: &ServerUrl, wanted: Wanted) -> Result<Self, Reason> {
        let channel = Endpoint::from_shared(url.to_string())
            .and_then(|endpoint| endpoint.user_agent(concat!("warren/", env!("CARGO_PKG_VERSION"))))
            .map_err(|error| Reason::Absent(error.to_string()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .connect()
            .await
            .map_err(|error| Reason::Absent(error::root_cause(&error)))?;
        let server = Self {
            url: url.clone(),
            connection: Connection::new(channel, url.clone()),
        };
        // The program that accepted the connection may be anything.
        match time::timeout(GREETING_TIMEOUT, server.greet(wanted)).await {
            Ok(Ok(())) => Ok(server),
            Ok(Err(status)) if is_busy(&status) => Err(Reason::Busy(error::render_status(&status))),
            Ok(Err(status)) => Err(Reason::Absent(server.explain(&status).await)),
            Err(_) => Err(Reason::Absent(format!(
                "it accepts connections but did not answer within {}",
                quantity::format_duration(GREETING_TIMEOUT)
            ))),
        }
    }

    async fn greet(&self, wanted: Wanted) -> Result<(), Status> {
        if wanted == Wanted::ControlPlane {
            let info = self.system().get_info(v1::GetInfoRequest {}).await?;
            self.connection.introduced(info.into_inner());
            return Ok(());
        }
        match self.check_health("").await {
            // It is gRPC nevertheless.
            Err(status) if status.code() == Code::Unimplemented => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Explains why the server is not of the wanted kind.
    async fn explain(&self, status: &Status) -> String {
        if let Some(answer) = status
            .source()
            .and_then(|source| source.downcast_ref::<NotGrpc>())
        {
            return answer.to_string();
        }
        let message = || status.message().to_owned();
        match status.code() {
            Code::Unavailable => diagnose::diagnose(&self.url).await.unwrap_or_else(message),
            Code::Unimplemented => match self.check_health(WORKER).await {
                Ok(_) => "it is a worker, not a control plane".to_owned(),
                Err(_) => "it is a gRPC server, but not a control plane".to_owned(),
            },
            _ => message(),
        }
    }
}

/// Returns whether a Warren server answered that it cannot serve the call now. It then says when to
/// retry.
fn is_busy(status: &Status) -> bool {
    let is_passing = matches!(
        status.code(),
        Code::ResourceExhausted | Code::Unavailable | Code::DeadlineExceeded | Code::Aborted
    );
    let says_when = status
        .get_details_retry_info()
        .is_some_and(|info| info.retry_delay.is_some());
    status.code() == Code::ResourceExhausted || is_passing && says_when
}

// === impl Unreachable ===

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.wanted {
            Wanted::ControlPlane => "a control plane",
            Wanted::Any => "a control plane or a worker",
        };
        let mut busy = self.tried.iter().filter_map(|(url, why)| match why {
            Reason::Busy(why) => Some((url, why)),
            Reason::Absent(_) => None,
        });
        // While a server is running, advice to start one would mislead.
        if let Some((url, why)) = busy.next() {
            write!(f, "the server at {url} cannot answer at present: {why}")?;
            return busy
                .try_for_each(|(url, why)| write!(f, "\nneither can the server at {url}: {why}"));
        }
        write!(f, "cannot reach {who}")?;
        for (i, (url, why)) in self.tried.iter().enumerate() {
            let (Reason::Absent(why) | Reason::Busy(why)) = why;
            write!(f, "{} at {url}: {why}", if i == 0 { "" } else { ", nor" })?;
        }
        f.write_str(
            "; start one with `warren control` or `warren dev`, or name another one with --server",
        )
    }
}

impl std::error::Error for Unreachable {}

#[cfg(test)]
mod tests;
