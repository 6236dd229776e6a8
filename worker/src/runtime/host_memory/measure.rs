//! Measures the bytes that a table holds.
//!
//! These are estimates that err on the high side: the overhead of the allocator is not known, and
//! what is private to wasmtime is not visible.

use std::collections::HashSet;

use http::HeaderMap;
use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::{
    FieldMap,
    p2::{
        bindings::http::types::{Method, Scheme},
        body::HostFutureTrailers,
        types::{HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse},
    },
    p3::{Request, Response},
};

/// The bytes of an entry of a table, with the object that it represents: a socket, a stream or a
/// pollable.
const ENTRY: usize = 256;
/// The bytes of a task, a stream or a future of 0.3.
const TASK: usize = 512;
/// The bytes of a request or a response without its fields and strings.
const MESSAGE: usize = 1 << 10;
/// The bytes of the buffer behind a received response, of which its fields are slices.
const READ_BUFFER: usize = 8 << 10;
/// The bytes of a field in a map: its place, name and value, in vectors that double as they grow.
const FIELD: usize = 240;

/// The contents of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Footprint {
    pub entries: usize,
    pub bytes: usize,
}

/// Returns the contents of the table, together with this many tasks, streams and futures.
pub(super) fn footprint(table: &mut ResourceTable, tasks: usize) -> Footprint {
    let mut sum = Footprint {
        entries: 0,
        bytes: tasks.saturating_mul(TASK),
    };
    // Maps are shared until one of their owners changes its own.
    let mut seen = HashSet::new();
    let mut fields = |map: &FieldMap| {
        let map: &HeaderMap = map;
        match seen.insert(std::ptr::from_ref(map).addr()) {
            true => fields_bytes(map),
            false => 0,
        }
    };
    for entry in table.iter_mut() {
        sum.entries += 1;
        sum.bytes += ENTRY;
        sum.bytes += if let Some(map) = entry.downcast_ref::<FieldMap>() {
            fields(map)
        } else if let Some(request) = entry.downcast_ref::<HostOutgoingRequest>() {
            MESSAGE + request_bytes(request) + fields(&request.headers)
        } else if let Some(response) = entry.downcast_ref::<HostOutgoingResponse>() {
            MESSAGE + fields(&response.headers)
        } else if let Some(response) = entry.downcast_ref::<HostIncomingResponse>() {
            MESSAGE + READ_BUFFER + fields(&response.headers)
        } else if let Some(HostFutureTrailers::Done(Ok(Some(trailers)))) = entry.downcast_ref() {
            READ_BUFFER + fields_bytes(trailers)
        } else if let Some(request) = entry.downcast_ref::<Request>() {
            let authority = request.authority.as_ref().map_or(0, |a| a.as_str().len());
            let path = request.path_with_query.as_ref();
            let target = authority + path.map_or(0, |path| path.as_str().len());
            MESSAGE + target + request.method.as_str().len() + fields(&request.headers)
        } else if let Some(response) = entry.downcast_ref::<Response>() {
            MESSAGE + READ_BUFFER + fields(&response.headers)
        } else {
            0
        };
    }
    sum
}

/// Returns the bytes that a map of fields takes.
pub(in crate::runtime) fn fields_bytes(map: &HeaderMap) -> usize {
    let content: usize = map
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    // A map has capacity for more than it holds.
    content + map.len().max(map.capacity() / 2) * FIELD
}

fn request_bytes(request: &HostOutgoingRequest) -> usize {
    let method = match &request.method {
        Method::Other(name) => name.len(),
        _ => 0,
    };
    let scheme = match &request.scheme {
        Some(Scheme::Other(name)) => name.len(),
        _ => 0,
    };
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    method + scheme + text(&request.authority) + text(&request.path_with_query)
}

/// Returns the most bytes that a field adds to a map.
pub(in crate::runtime) fn field_bytes(name: &str, value: &[u8]) -> usize {
    name.len() + value.len() + FIELD
}
