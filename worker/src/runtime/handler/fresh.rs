//! An instance that answers one request.

use std::sync::Arc;

use http::{Request, Response};
use tokio::{sync::oneshot, time::Instant};
use wasmtime_wasi_http::{WasiBody, p3::bindings::ServicePre};

use crate::{
    http::Body,
    runtime::{
        ComponentRuntime, Guest,
        failure::Failure,
        guest::GuestStore,
        http::run::{Outcome, Progress, Seat},
    },
};

use super::{Head, Job, instance};

/// Answers a request until `deadline` with an instance of its own.
pub(super) async fn answer(
    component: &Arc<ComponentRuntime>,
    pre: &ServicePre<Guest>,
    request: Request<WasiBody>,
    deadline: Instant,
) -> Result<Response<Body>, Failure> {
    let method = request.method().clone();
    let seat = Seat::wait(component, deadline).await?;
    let (answer, mut answered) = oneshot::channel();
    let job = Box::new(Job { request, answer });
    let (owner, pre) = (Arc::clone(component), pre.clone());
    let work = move |guest, outcome| serve(owner, pre, job, guest, outcome);
    let progress = Arc::new(Progress::new());
    let run = Box::pin(component.run_guest(seat, work, &progress));
    let begun = || {
        let head = answered.try_recv().ok()?;
        Some(head.map(|Head { response, done }| (response, Some(done))))
    };
    component.answer_by(&method, run, progress, begun).await
}

async fn serve(
    component: Arc<ComponentRuntime>,
    pre: ServicePre<Guest>,
    job: Box<Job>,
    mut guest: GuestStore,
    outcome: Outcome,
) -> Result<(), Failure> {
    let result = async {
        let service = pre.instantiate_async(&mut guest.store).await?;
        guest
            .store
            .run_concurrent(async |store| {
                instance::handle(store, &service, job).await?;
                // The guest may have spawned tasks.
                instance::no_tasks(store).await;
                Ok(())
            })
            .await
            .flatten()
    }
    .await;
    match result {
        Ok(()) => {
            outcome.succeed();
            guest.finish();
            Ok(())
        }
        Err(error) => Err(component.failure(&error, &guest)),
    }
}
