//! `send` of `wasi:http/client` 0.3: wasmtime's implementation with two corrections.
//!
//! wasmtime reports that the transmission of a request went well even if it was never sent, and it
//! does not send a request whose path is empty.

use http::{Method, uri::PathAndQuery};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::sync::oneshot;
use wasmtime::component::{Accessor, Linker, Resource};
use wasmtime_wasi_http::{
    Error, FieldMap, WasiHttp, WasiHttpView as _,
    p3::{
        Request, Response,
        bindings::http::{client::HostWithStore, types::ErrorCode},
    },
};

use crate::runtime::{Guest, host_memory::HeldBody};

/// The interface as wasmtime defines it. Guests of other patch versions are linked to it, too.
const CLIENT: &str = "wasi:http/client@0.3.0";

/// Reports how the transmission of a request went, through the future that `request.new` returned.
struct Transmission(Option<oneshot::Sender<Result<(), Error>>>);

/// Shadows `send`. `linker` must already have all of `wasi:http` 0.3.
pub(in crate::runtime) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker
        .instance(CLIENT)?
        .func_wrap_concurrent("send", |store, (request,)| {
            Box::pin(async move { Ok((send(store, request).await?,)) })
        })?;
    linker.allow_shadowing(false);
    Ok(())
}

async fn send(
    store: &Accessor<Guest>,
    request: Resource<Request>,
) -> wasmtime::Result<Result<Resource<Response>, ErrorCode>> {
    let (sender, outcome) = oneshot::channel();
    let transmission = Transmission(Some(sender));
    // `Transmission` always sends before it is dropped.
    let transmitted = async { outcome.await.unwrap_or(Ok(())) };
    let request = match watched(store, request, transmitted)? {
        Ok(request) => request,
        Err(error) => return Ok(Err(transmission.failed(error))),
    };
    let http = store.with_getter::<WasiHttp>(Guest::http);
    match <WasiHttp as HostWithStore<_>>::send(&http, request).await {
        Ok(response) => {
            transmission.report(Ok(()));
            Ok(Ok(response))
        }
        Err(error) => Ok(Err(transmission.failed(error.downcast()?))),
    }
}

/// Returns the same request with a path. The outcome of its transmission is that of `transmitted`.
fn watched(
    store: &Accessor<Guest>,
    request: Resource<Request>,
    transmitted: impl Future<Output = Result<(), Error>> + Send + 'static,
) -> wasmtime::Result<Result<Resource<Request>, ErrorCode>> {
    store.with(|mut store| {
        let mut request = store.data_mut().http().table.delete(request)?;
        if request.path_with_query.is_none() {
            request.path_with_query = Some(empty_path(&request.method));
        }
        let (request, options) = match request.into_http(&mut store, transmitted) {
            Ok(request) => request,
            Err(error) => return Ok(Err(error.downcast()?)),
        };
        let (head, body) = request.into_parts();
        let target = head.uri.into_parts();
        let piece = store.data_mut().hold_piece();
        let body = match piece {
            Ok(_) if body.is_end_stream() => body,
            Ok(piece) => HeldBody::new(body, piece).boxed_unsync(),
            Err(exceeded) => return Ok(Err(ErrorCode::InternalError(Some(exceeded.to_string())))),
        };
        let http = store.data_mut().http();
        let (request, _) = Request::new(
            head.method,
            target.scheme,
            target.authority,
            target.path_and_query,
            FieldMap::new_immutable(http.hooks, head.headers),
            options,
            body,
        );
        Ok(Ok(http.table.push(request)?))
    })
}

/// Returns the target that is sent for an empty path (RFC 9112, sections 3.2.1 and 3.2.4).
fn empty_path(method: &Method) -> PathAndQuery {
    PathAndQuery::from_static(match *method {
        Method::OPTIONS => "*",
        _ => "/",
    })
}

// === impl Transmission ===

impl Transmission {
    fn report(mut self, outcome: Result<(), Error>) {
        if let Some(sender) = self.0.take() {
            // A guest that is not interested has dropped the future.
            let _ = sender.send(outcome);
        }
    }

    fn failed(self, error: ErrorCode) -> ErrorCode {
        self.report(Err(error.clone().into()));
        error
    }
}

impl Drop for Transmission {
    /// Reports that the guest has cancelled the call, unless the outcome was already sent.
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let given_up = "the request was given up before it was answered".to_owned();
            let _ = sender.send(Err(Error::InternalError(Some(given_up))));
        }
    }
}
