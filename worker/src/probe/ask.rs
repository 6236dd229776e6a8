//! A single check and its result, on a separate connection.

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use warren_model::{
    quantity::format_duration,
    spec::{Probe, ProbeCheck},
};
use warren_net::{End, NetError, Scope};

use crate::dial::{Dialer, Driver, Io};

/// The user agent that services see.
const USER_AGENT: &str = concat!("warren-probe/", env!("CARGO_PKG_VERSION"));

/// Runs the check once. The error says what was checked and what came instead of a success.
pub(super) async fn ask(dialer: &Dialer, probe: &Probe) -> Result<(), String> {
    let asked = async {
        match &probe.check {
            ProbeCheck::Tcp { .. } => tcp(dialer).await,
            ProbeCheck::Http { path, .. } => http(dialer, path).await,
            ProbeCheck::Grpc { service, .. } => grpc(dialer, service).await,
        }
    };
    let answer = match timeout(probe.timeout, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!(
            "no answer within {}",
            format_duration(probe.timeout)
        )),
    };
    answer.map_err(|why| format!("{}: {why}", question(&probe.check)))
}

fn question(check: &ProbeCheck) -> String {
    match check {
        ProbeCheck::Tcp { port } => format!("connect to TCP port {port}"),
        ProbeCheck::Http { port, path } => format!("GET {path} on port {port}"),
        ProbeCheck::Grpc { port, service } if service.is_empty() => {
            format!("gRPC health on port {port}")
        }
        ProbeCheck::Grpc { port, service } => {
            format!("gRPC health of `{service}` on port {port}")
        }
    }
}

async fn connect(dialer: &Dialer) -> Result<(Io, Scope), String> {
    dialer.connect().await.map_err(|error| match error {
        NetError::ConnectionRefused => "nothing listens there".to_owned(),
        error => error.to_string(),
    })
}

/// Succeeds as soon as the connection is in the listener's backlog, as a client's connect does.
async fn tcp(dialer: &Dialer) -> Result<(), String> {
    let (_stream, scope) = connect(dialer).await?;
    scope.end(End::Closed);
    Ok(())
}

async fn http(dialer: &Dialer, path: &str) -> Result<(), String> {
    let (io, scope) = connect(dialer).await?;
    let handshake = http1::handshake(io).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let driver = Driver::spawn(connection, scope);
    let request = Request::get(path)
        .header(header::HOST, "localhost")
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await;
    let status = answer.map_err(|error| error.to_string())?.status();
    driver.close();
    match status.as_u16() {
        200..400 => Ok(()),
        _ => Err(format!("it answered {status}")),
    }
}

async fn grpc(dialer: &Dialer, service: &str) -> Result<(), String> {
    let (io, scope) = connect(dialer).await?;
    let mut http2 = http2::Builder::new(TokioExecutor::new());
    let handshake = http2.timer(TokioTimer::new()).handshake(io).await;
    let (sender, connection) = handshake.map_err(|error| error.to_string())?;
    let driver = Driver::spawn(connection, scope);
    let send = tower::service_fn(move |request| sender.clone().send_request(request));
    let mut client = HealthClient::with_origin(send, Uri::from_static("http://localhost"));
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = client.check(request).await;
    let answer = answer.map_err(|status| match status.message() {
        "" => format!("{:?}", status.code()),
        message => format!("{:?}, {message}", status.code()),
    })?;
    driver.close();
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        status => Err(format!("it answered {}", status.as_str_name())),
    }
}
