//! An HTTP component that harms itself, and would harm others, in the way that its path names.
//!
//!   /                  200
//!   /spin              never returns and never calls the host
//!   /alloc             takes memory, a mebibyte at a time, and writes to it
//!   /overflow          recurses for ever
//!   /logs              prints lines for ever
//!   /sockets           opens sockets for ever
//!   /panic             panics
//!   /drop              answers, and panics while a value is dropped
//!   /drip              an answer without end, one byte a time
//!   /flood             an answer without end, as fast as it is read
//!   /fields            makes lists of HTTP fields for ever, 120 KB each
//!   /bodies            writes to bodies that nobody reads, one after another for ever
//!   /wit/spin          calls a function that never returns: its error, or 200
//!   /wit/trap-result   calls a function that traps and has an error to say so: the error
//!   /wit/trap-plain    calls a function that traps and has none
//!   /wit/ok            calls a function that does its work

use std::hint::black_box;
use std::net::UdpSocket;
use std::thread::sleep;
use std::time::Duration;

use warren::kitchen::values;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, OutputStream, ResponseOutparam,
};

wit_bindgen::generate!({ path: "../wit", world: "guest" });

const MEBIBYTE: usize = 1024 * 1024;
/// The most that one blocking write takes.
const CHUNK: [u8; 4096] = [b'x'; 4096];

struct Hostile;

wasip2::http::proxy::export!(Hostile);

impl Guest for Hostile {
    fn handle(request: IncomingRequest, answer: ResponseOutparam) {
        match request.path_with_query().unwrap_or_default().as_str() {
            "/spin" => spin(),
            "/alloc" => alloc(),
            "/overflow" => text(answer, 200, &overflow(0).to_string()),
            "/logs" => logs(),
            "/sockets" => sockets(),
            "/panic" => panic!("asked to panic"),
            "/drop" => {
                let bomb = black_box(Bomb);
                text(answer, 200, "about to be dropped\n");
                drop(bomb);
            }
            "/drip" => endless(answer, || {
                sleep(Duration::from_millis(20));
                b"x"
            }),
            "/flood" => endless(answer, || &CHUNK),
            "/fields" => fields(),
            "/bodies" => bodies(),
            "/wit/spin" => outcome(answer, values::spin()),
            "/wit/trap-result" => outcome(answer, values::trap_result()),
            "/wit/trap-plain" => outcome(answer, Ok(values::trap_plain())),
            "/wit/ok" => outcome(answer, Ok(values::sum(&[1, 2, 3]) as u32)),
            _ => text(answer, 200, "hello\n"),
        }
    }
}

// Not inlined, each of them: its name stands in a trap's backtrace.

#[inline(never)]
fn spin() -> ! {
    loop {
        black_box(());
    }
}

#[inline(never)]
fn alloc() -> ! {
    let mut held = Vec::new();
    loop {
        // Written to, so that the memory is really used.
        held.push(black_box(vec![1_u8; MEBIBYTE]));
    }
}

#[inline(never)]
#[expect(unconditional_recursion, reason = "this is what it is for")]
fn overflow(depth: u64) -> u64 {
    black_box(overflow(black_box(depth) + 1)) + 1
}

fn logs() -> ! {
    for number in 0_u64.. {
        println!("line {number} of a flood");
    }
    unreachable!("a flood has no end")
}

fn sockets() -> ! {
    let mut held = Vec::new();
    loop {
        held.extend(UdpSocket::bind("127.0.0.1:0"));
    }
}

#[inline(never)]
fn fields() -> ! {
    let entry = ("a".to_owned(), vec![b'x'; 120_000]);
    let mut held = Vec::new();
    loop {
        held.push(Fields::from_list(std::slice::from_ref(&entry)).expect("a valid list"));
    }
}

#[inline(never)]
fn bodies() -> ! {
    let chunk = vec![b'x'; 64 << 10];
    let mut held = Vec::new();
    loop {
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("a response has one body");
        let stream = body.write().expect("a body has one stream");
        let most = stream.check_write().expect("a stream has room") as usize;
        stream
            .write(&chunk[..most.min(chunk.len())])
            .expect("what was allowed");
        held.push((stream, body, response));
    }
}

struct Bomb;

impl Drop for Bomb {
    #[inline(never)]
    fn drop(&mut self) {
        panic!("asked to panic while dropped");
    }
}

fn outcome(answer: ResponseOutparam, outcome: Result<u32, String>) {
    match outcome {
        Ok(value) => text(answer, 200, &format!("{value}\n")),
        Err(error) => text(answer, 502, &format!("{error}\n")),
    }
}

fn text(answer: ResponseOutparam, status: u16, text: &str) {
    let (body, stream) = head(answer, status);
    // A client that is gone hears no more.
    let _ = stream.blocking_write_and_flush(text.as_bytes());
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

/// Until the client is gone.
fn endless(answer: ResponseOutparam, next: impl Fn() -> &'static [u8]) {
    let (_body, stream) = head(answer, 200);
    while stream.blocking_write_and_flush(next()).is_ok() {}
}

fn head(answer: ResponseOutparam, status: u16) -> (OutgoingBody, OutputStream) {
    let response = OutgoingResponse::new(Fields::new());
    response.set_status_code(status).expect("a valid status");
    let body = response.body().expect("a response has one body");
    ResponseOutparam::set(answer, Ok(response));
    let stream = body.write().expect("a body has one stream");
    (body, stream)
}
