//! Clients that send requests continuously, on a thread of their own.

use std::{
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    runtime,
    sync::{Mutex, oneshot},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use warren_tests::{Reply, try_get};

use crate::host;

/// After this a client has given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts of a client that tries again.
const PAUSE: Duration = Duration::from_millis(20);

/// A load that goes on until it is told to end.
pub struct Load<T> {
    end: oneshot::Sender<()>,
    thread: thread::JoinHandle<Vec<T>>,
}

/// One request of [`constant`].
pub struct Outcome {
    pub result: Result<(), String>,
    /// It was sent on a connection that was there already.
    pub kept: bool,
}

type Kept = Arc<Vec<Mutex<Vec<SendRequest<Empty<Bytes>>>>>>;

impl<T: Send + Sync + 'static> Load<T> {
    /// Asks no more, and tells how each request went.
    pub async fn finish(self) -> Vec<T> {
        self.end.send(()).unwrap();
        let joined = tokio::task::spawn_blocking(|| self.thread.join());
        joined.await.unwrap().unwrap()
    }
}

/// So many requests a second, whether earlier ones were answered or not: each host in turn at each
/// worker in turn, and each pair on a new connection and on a kept one in turn. Nothing is tried
/// twice.
pub fn constant(workers: Vec<SocketAddr>, hosts: usize, per_second: u32) -> Load<Outcome> {
    start(async move |mut end| {
        let kept: Kept = Arc::new(workers.iter().map(|_| Mutex::default()).collect());
        let mut every = interval(Duration::from_secs(1) / per_second);
        every.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut asking = JoinSet::new();
        let mut number = 0;
        loop {
            tokio::select! {
                _ = &mut end => break,
                _ = every.tick() => {}
            }
            let at = number / 2 % workers.len();
            let host = host(number / 2 / workers.len() % hosts);
            let (worker, keep) = (workers[at], number % 2 == 0);
            let kept = Arc::clone(&kept);
            asking.spawn(async move {
                let asked = async {
                    match keep {
                        true => ask_again(&kept[at], worker, &host).await,
                        false => (try_get(worker, &host, "/").await, false),
                    }
                };
                let (reply, kept) = match timeout(PATIENCE, asked).await {
                    Ok(answered) => answered,
                    Err(_) => (Err("no answer in time".to_owned()), keep),
                };
                let result = reply.and_then(|reply| judge(&reply));
                let result = result.map_err(|error| format!("{host} at {worker}: {error}"));
                Outcome { result, kept }
            });
            number += 1;
        }
        asking.join_all().await
    })
}

/// A client for each host that tries again at the next worker until it is answered, and then asks
/// anew. How long each of its requests took in all.
pub fn retrying(workers: Vec<SocketAddr>, hosts: usize) -> Load<Duration> {
    start(async move |end| {
        let workers = Arc::new(workers);
        let mut asking = JoinSet::new();
        let (told, ended) = tokio::sync::watch::channel(false);
        for number in 0..hosts {
            let (workers, ended) = (Arc::clone(&workers), ended.clone());
            asking.spawn(async move {
                let mut took = Vec::new();
                let mut workers = workers.iter().cycle();
                while !*ended.borrow() {
                    let began = Instant::now();
                    for &worker in workers.by_ref() {
                        let asked = timeout(PATIENCE, try_get(worker, &host(number), "/")).await;
                        let over = began.elapsed() > PATIENCE;
                        if over || asked.is_ok_and(|reply| reply.is_ok_and(|it| judge(&it).is_ok()))
                        {
                            break;
                        }
                        sleep(PAUSE).await;
                    }
                    took.push(began.elapsed());
                    sleep(PAUSE).await;
                }
                took
            });
        }
        let _ = end.await;
        told.send_replace(true);
        asking.join_all().await.concat()
    })
}

fn start<T: Send + 'static>(
    load: impl AsyncFnOnce(oneshot::Receiver<()>) -> Vec<T> + Send + 'static,
) -> Load<T> {
    let (end, ended) = oneshot::channel();
    let thread = thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(load(ended))
    });
    Load { end, thread }
}

/// On a connection that was kept, if there is one; and keeps it for the next.
async fn ask_again(
    kept: &Mutex<Vec<SendRequest<Empty<Bytes>>>>,
    worker: SocketAddr,
    host: &str,
) -> (Result<Reply, String>, bool) {
    let held = kept.lock().await.pop();
    let was_kept = held.is_some();
    let asked = async {
        let mut client = match held {
            Some(client) => client,
            None => connect(worker).await.map_err(|error| error.to_string())?,
        };
        let failed = |error: hyper::Error| format!("{error:?}");
        client.ready().await.map_err(failed)?;
        let request = Request::get("/").header(header::HOST, host);
        let response = client.send_request(request.body(Empty::new()).unwrap());
        let reply = Reply::read(response.await.map_err(failed)?).await;
        kept.lock().await.push(client);
        Ok(reply)
    };
    (asked.await, was_kept)
}

async fn connect(worker: SocketAddr) -> Result<SendRequest<Empty<Bytes>>, hyper::Error> {
    let stream = TcpStream::connect(worker).await.unwrap();
    let (client, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

fn judge(reply: &Reply) -> Result<(), String> {
    match reply.status.is_success() && reply.whole {
        true => Ok(()),
        false => Err(format!("{reply:?}")),
    }
}
