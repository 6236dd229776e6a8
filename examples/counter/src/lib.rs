//! Counts requests. The component keeps nothing: each request finds it in a new instance, and the
//! number lives in the cache, the service of its workload, on 127.0.0.1:6379.

mod cache;

use std::io::Write;
use std::sync::LazyLock;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::random::random::get_random_u64;

use cache::Cache;

/// Drawn once an instance: two requests that show the same one shared an instance.
static INSTANCE: LazyLock<u32> = LazyLock::new(|| get_random_u64() as u32);

struct Counter;

wasip2::http::proxy::export!(Counter);

impl Guest for Counter {
    fn handle(_request: IncomingRequest, answer: ResponseOutparam) {
        match count() {
            Ok(body) => respond(answer, 200, &body),
            Err(error) => respond(
                answer,
                502,
                &format!("cache at {}: {error}\n", cache::ADDRESS),
            ),
        }
    }
}

fn count() -> Result<String, cache::Error> {
    let mut cache = Cache::connect()?;
    let count = cache.increment("count")?;
    let service = cache.run_id()?;
    Ok(format!(
        "{count} (component instance {:08x}, service instance {service:.8})\n",
        *INSTANCE
    ))
}

fn respond(answer: ResponseOutparam, status: u16, text: &str) {
    let headers =
        Fields::from_list(&[("content-type".into(), "text/plain".into())]).expect("a valid header");
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("a valid status");
    let body = response.body().expect("a response has one body");
    ResponseOutparam::set(answer, Ok(response));

    let mut stream = body.write().expect("a body has one stream");
    // A client that left before its answer is nothing to act upon.
    let written = stream
        .write_all(text.as_bytes())
        .and_then(|()| Write::flush(&mut stream));
    drop(stream);
    if written.is_ok() {
        let _ = OutgoingBody::finish(body, None);
    }
}
