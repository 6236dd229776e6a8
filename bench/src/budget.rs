//! Operations that are repeated a given number of times, so that a program which counts
//! instructions can work out what one of them costs: the difference between two numbers of
//! operations contains no start.
//!
//! Everything runs on one thread, because the order in which threads wake each other changes what
//! is executed. No guest runs: the address space that the pools of instances reserve is more than
//! callgrind offers.

use std::{future::Future, net::Ipv4Addr, pin::Pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::ValueEnum;
use hyper::{Request, Response, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    runtime::Builder,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use warren_model::route::Route;
use warren_worker::{
    http::{
        Admission, Admissions, Body, ClientBody, HttpTarget, RequestMeta,
        forwarded::TrustedProxies, listener, plain_text,
    },
    ingress::{Ingress, Router},
};

use crate::{host::Transport as _, load::read_answer, workload};

/// The operation to repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// A request of HTTP/1.1 to the ingress, whose target answers without a guest, and its client.
    Request,
    /// The same beside 999 other routes.
    Routes,
    /// 64 bytes through the workload network and back, between two tasks of the host.
    Loopback,
    /// A connection of the workload network, from its start to its end.
    Connect,
}

const HOST: &str = "budget.localhost";
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers without a guest.
#[derive(Default)]
struct Hello(Admissions);

/// Repeats the operation.
pub fn run(what: What, rounds: u32) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match what {
            What::Request => requests(1, rounds).await,
            What::Routes => requests(1_000, rounds).await,
            What::Loopback => round_trips(rounds).await,
            What::Connect => connections(rounds).await,
        }
    })
}

/// Sends requests to one of this many routes, one after the other on one connection.
async fn requests(routes: u32, rounds: u32) -> anyhow::Result<()> {
    let target: Arc<dyn HttpTarget> = Arc::new(Hello::default());
    let others = (1..routes).map(|number| format!("w{number}.localhost"));
    let hosts = others.chain([HOST.to_owned()]);
    let routes = hosts.map(|host| anyhow::Ok((Route::parse(&host, "/")?, Arc::clone(&target))));
    let router = Router::new();
    router.set("budget-0", routes.collect::<Result<_, _>>()?);
    router.set_ready("budget-0", true);
    let ingress = Ingress {
        router,
        proxies: TrustedProxies::default(),
    };
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = socket.local_addr()?;
    let serve = listener::serve(socket, ingress, CancellationToken::new(), PATIENCE);
    let _serving = AbortOnDropHandle::new(tokio::spawn(serve));

    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nuser-agent: budget\r\n\r\n");
    let mut line = Vec::new();
    for _ in 0..rounds {
        stream.write_all(request.as_bytes()).await?;
        read_answer(&mut stream, &mut line).await?;
    }
    Ok(())
}

async fn round_trips(rounds: u32) -> anyhow::Result<()> {
    let scope = workload::network().scope();
    let (mut listener, port) = scope.listen().await?;
    let echo = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut stream = warren_net::Scope::accept(&mut listener).await?;
        let mut buffer = [0; 64];
        while stream.read_exact(&mut buffer).await.is_ok() {
            stream.write_all(&buffer).await?;
        }
        std::io::Result::Ok(())
    }));
    let mut stream = connect(&scope, port).await?;
    let (message, mut answer) = ([7; 64], [0; 64]);
    for _ in 0..rounds {
        stream.write_all(&message).await?;
        stream.read_exact(&mut answer).await?;
    }
    drop(stream);
    Ok(echo.await??)
}

async fn connections(rounds: u32) -> anyhow::Result<()> {
    let scope = workload::network().scope();
    let (mut listener, port) = scope.listen().await?;
    let _accepting = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok(stream) = warren_net::Scope::accept(&mut listener).await {
            drop(stream);
        }
    }));
    for _ in 0..rounds {
        let mut stream = connect(&scope, port).await?;
        let read = stream.read(&mut [0]).await?;
        anyhow::ensure!(read == 0, "the other end sent something");
    }
    Ok(())
}

/// Connects through the trait, whose method a method of [`warren_net::Scope`] hides.
async fn connect(scope: &warren_net::Scope, port: u16) -> anyhow::Result<warren_net::Stream> {
    let connected = crate::host::Transport::connect(scope, port).await;
    connected.context("cannot connect through the workload network")
}

// === impl Hello ===

impl HttpTarget for Hello {
    fn admit(&self) -> Option<Admission> {
        self.0.admit()
    }

    fn call(
        &self,
        admission: Admission,
        _request: Request<ClientBody>,
        _meta: RequestMeta,
    ) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        Box::pin(async move {
            let _admission = admission;
            plain_text(StatusCode::OK, "hello")
        })
    }
}
