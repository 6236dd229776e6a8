//! Serves requests through `wasi:http/incoming-handler` 0.2, each with a fresh instance.

use std::sync::Arc;

use http::{Request, Response, uri::Scheme};
use tokio::{sync::oneshot, time::Instant};
use wasmtime::Store;
use wasmtime_wasi_http::{
    WasiBody, WasiHttpView as _,
    p2::{
        bindings::{ProxyPre, http::types},
        body::{HostOutgoingBody, HyperOutgoingBody, StreamContext},
    },
};

use crate::{
    http::{Body, RequestMeta},
    runtime::{
        ComponentRuntime, Guest,
        failure::Failure,
        guest::GuestStore,
        host_memory::{self, Held},
    },
};

use super::{
    name_authority,
    run::{Outcome, Progress, Seat},
};

/// A request, and the place of its answer.
struct Asked {
    request: Request<WasiBody>,
    meta: RequestMeta,
    answer: oneshot::Sender<Result<Response<HyperOutgoingBody>, types::ErrorCode>>,
}

impl ComponentRuntime {
    pub(super) async fn ask(
        self: &Arc<Self>,
        pre: &ProxyPre<Guest>,
        request: Request<WasiBody>,
        meta: RequestMeta,
        deadline: Instant,
    ) -> Result<Response<Body>, Failure> {
        let method = request.method().clone();
        let seat = Seat::wait(self, deadline).await?;
        let (answer, mut answered) = oneshot::channel();
        let asked = Asked {
            request,
            meta,
            answer,
        };
        let (component, pre) = (Arc::clone(self), pre.clone());
        let work = move |guest, outcome| serve(component, pre, asked, guest, outcome);
        let progress = Arc::new(Progress::new());
        let run = Box::pin(self.run_guest(seat, work, &progress));
        let begun = || {
            let answer = answered.try_recv().ok()?;
            Some(match answer {
                Ok(response) => Ok((response, None)),
                Err(code) => Err(Failure::error_code(code)),
            })
        };
        self.answer_by(&method, run, progress, begun).await
    }
}

async fn serve(
    component: Arc<ComponentRuntime>,
    pre: ProxyPre<Guest>,
    asked: Asked,
    mut guest: GuestStore,
    outcome: Outcome,
) -> Result<(), Failure> {
    let Asked {
        mut request,
        meta,
        answer,
    } = asked;
    name_authority(&mut request, &meta);
    let scheme = if meta.scheme == Scheme::HTTPS {
        types::Scheme::Https
    } else {
        types::Scheme::Http
    };
    let head = host_memory::fields_bytes(request.headers());
    let result = async {
        // wasmtime reads no more of the head than the guest asks for.
        guest.store.data_mut().account().keep(Held::Fields, head)?;
        let mut http = guest.store.data_mut().http();
        let request = http.new_incoming_request(scheme, request)?;
        let outparam = http.new_response_outparam(answer)?;
        let proxy = pre.instantiate_async(&mut guest.store).await?;
        proxy
            .wasi_http_incoming_handler()
            .call_handle(&mut guest.store, request, outparam)
            .await
    }
    .await;
    match result {
        Ok(()) => {
            abandon_bodies(&mut guest.store);
            outcome.succeed();
            guest.finish();
            Ok(())
        }
        Err(error) => Err(component.failure(&error, &guest)),
    }
}

/// Aborts the bodies that a guest has neither finished nor dropped. The interface requires that a
/// complete body is finished, and dropping the store would finish them all.
fn abandon_bodies(store: &mut Store<Guest>) {
    for resource in store.data_mut().http().table.iter_mut() {
        if let Some(body) = resource.downcast_mut::<HostOutgoingBody>() {
            let (none, _) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
            std::mem::replace(body, none).abort();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};

    use super::*;
    use crate::{
        http::{ClientBody, HttpTarget as _},
        runtime::{
            component::Http,
            http::ComponentHandle,
            tests::{Bench, doors::answering},
        },
    };

    /// The most bytes of the future that answers a request. The connection owns it.
    const ANSWER: usize = 4 << 10;

    /// The most bytes of the future that runs a guest. It is written to the heap once.
    const GUEST: usize = 8 << 10;

    #[tokio::test]
    async fn the_futures_of_a_request_are_small() {
        let component = answering(&["wasi:http/incoming-handler@0.2.12"]);
        let prepared = Bench::new().prepare(None, &[("api", &component)]).await;
        let component = Arc::clone(&prepared.unwrap().components[0]);
        let meta = RequestMeta {
            scheme: Scheme::HTTP,
            authority: Some(http::uri::Authority::from_static("api")),
            peer: ([127, 0, 0, 1], 1).into(),
        };

        let handle = ComponentHandle(Arc::clone(&component));
        let request = Request::new(ClientBody::empty());
        let answer = handle.call(handle.admit().unwrap(), request, meta.clone());
        let size = size_of_val(&*answer);
        assert!(size <= ANSWER, "the answer takes {size} bytes");

        let Some(Http::P2(pre)) = component.http() else {
            panic!("it answers by another generation");
        };
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let asked = Asked {
            request: Request::new(body),
            meta,
            answer: oneshot::channel().0,
        };
        let seat = Seat::wait(&component, component.deadline()).await.unwrap();
        let (owner, pre, progress) = (Arc::clone(&component), pre.clone(), Progress::new());
        let work = move |guest, outcome| serve(owner, pre, asked, guest, outcome);
        let guest = component.run_guest(seat, work, &Arc::new(progress));
        let size = size_of_val(&guest);
        assert!(size <= GUEST, "the guest takes {size} bytes");
    }
}
