//! An HTTP component that answers in the way that its path names, rightly or wrongly, and then may go on working.
//!
//!   /status/CODE/BODY     a status, and a body of these letters
//!   /fields/COUNT         so many fields
//!   /field/BYTES          one field with a value of so many bytes
//!   /length/SAID/GIVEN    a body of GIVEN bytes, and a content-length of SAID
//!   /pieces/SAID/GIVEN    the same, SAID bytes of it first
//!   /bare/SAID            a content-length and no body
//!   /trailer/BYTES        a trailer of so many bytes
//!   /error                an error in place of an answer
//!   /nothing              no answer
//!   /leave                a part of a body, which is neither finished nor dropped
//!   /drop                 a part of a body, which is dropped
//!   /hang                 a part of a body, and nothing more for ever
//!   /trap                 a part of a body, and a trap
//!   /then/HOW/WORK        a whole answer, and work after it
//!
//! HOW is `length`, `chunked`, `empty`, `trailers` or `error`. WORK is a number of milliseconds, after which it prints
//! `worked after HOW`, or `spin`, or `trap`. It reads the whole request first if that has the query `read`.

use std::{thread::sleep, time::Duration};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, OutgoingBody, OutgoingResponse, OutputStream,
    ResponseOutparam,
};
use wasip2::io::streams::StreamError;

struct Answers;

wasip2::http::proxy::export!(Answers);

const PART: &[u8] = b"a part";
/// The most that one blocking write takes.
const CHUNK: usize = 4096;

impl Guest for Answers {
    fn handle(request: IncomingRequest, answer: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        if query == "read" {
            read(&request);
        }
        let words: Vec<&str> = path.split('/').skip(1).collect();
        match words[..] {
            ["status", code, body] => whole(answer, number(code) as u16, &[], body.as_bytes()),
            ["fields", count] => {
                let names: Vec<String> = (0..number(count)).map(|n| format!("x-{n}")).collect();
                let fields: Vec<_> = names.iter().map(|name| (name.as_str(), "v")).collect();
                whole(answer, 200, &fields, b"");
            }
            ["field", bytes] => {
                let value = "v".repeat(number(bytes));
                whole(answer, 200, &[("x-large", value.as_str())], b"");
            }
            ["length", said, given] => {
                whole(
                    answer,
                    200,
                    &[("content-length", said)],
                    &vec![b'x'; number(given)],
                );
            }
            ["pieces", said, given] => {
                let (body, stream) = begin(answer, 200, &[("content-length", said)]);
                let (said, given) = (number(said), number(given));
                write(&stream, &vec![b'x'; said]);
                write(&stream, &vec![b'x'; given - said]);
                finish(body, stream, None);
            }
            ["bare", said] => {
                let response = OutgoingResponse::new(fields(&[("content-length", said)]));
                ResponseOutparam::set(answer, Ok(response));
            }
            ["trailer", bytes] => {
                let (body, stream) = begin(answer, 200, &[("trailer", "x-after")]);
                write(&stream, PART);
                let value = "v".repeat(number(bytes));
                finish(body, stream, Some(fields(&[("x-after", &value)])));
            }
            ["error"] => error(answer),
            ["nothing"] => drop(answer),
            ["leave"] => std::mem::forget(part(answer)),
            ["drop"] => {
                let (body, stream) = part(answer);
                drop(stream);
                drop(body);
            }
            ["hang"] => {
                let _held = part(answer);
                sleep(Duration::from_secs(100_000));
            }
            ["trap"] => {
                let _held = part(answer);
                panic!("asked to, in the body");
            }
            ["then", how, work] => {
                match how {
                    "length" => whole(answer, 200, &[("content-length", "9")], b"answered\n"),
                    "chunked" => whole(answer, 200, &[], b"answered\n"),
                    "empty" => whole(answer, 204, &[], b""),
                    "trailers" => {
                        let (body, stream) = begin(answer, 200, &[("trailer", "x-after")]);
                        write(&stream, b"answered\n");
                        finish(body, stream, Some(fields(&[("x-after", "1")])));
                    }
                    "error" => error(answer),
                    _ => panic!("no such answer: {how}"),
                }
                after(how, work);
            }
            _ => whole(answer, 404, &[], b"no such path\n"),
        }
    }
}

fn after(how: &str, work: &str) {
    match work {
        "spin" => loop {
            std::hint::black_box(());
        },
        "trap" => panic!("asked to, after the answer"),
        milliseconds => {
            sleep(Duration::from_millis(number(milliseconds) as u64));
            println!("worked after {how}");
        }
    }
}

fn read(request: &IncomingRequest) {
    let body = request.consume().expect("a request has one body");
    let stream = body.stream().expect("a body has one stream");
    loop {
        match stream.blocking_read(CHUNK as u64) {
            Ok(_) => {}
            Err(StreamError::Closed) => return,
            Err(error) => panic!("the request broke off: {error}"),
        }
    }
}

fn error(answer: ResponseOutparam) {
    let code = ErrorCode::InternalError(Some("the reason of the guest".into()));
    ResponseOutparam::set(answer, Err(code));
}

fn whole(answer: ResponseOutparam, status: u16, list: &[(&str, &str)], bytes: &[u8]) {
    let (body, stream) = begin(answer, status, list);
    write(&stream, bytes);
    finish(body, stream, None);
}

fn part(answer: ResponseOutparam) -> (OutgoingBody, OutputStream) {
    let (body, stream) = begin(answer, 200, &[]);
    write(&stream, PART);
    (body, stream)
}

fn begin(
    answer: ResponseOutparam,
    status: u16,
    list: &[(&str, &str)],
) -> (OutgoingBody, OutputStream) {
    let response = OutgoingResponse::new(fields(list));
    response.set_status_code(status).expect("a status");
    let body = response.body().expect("a response has one body");
    ResponseOutparam::set(answer, Ok(response));
    let stream = body.write().expect("a body has one stream");
    (body, stream)
}

/// Until nobody takes any more.
fn write(stream: &OutputStream, bytes: &[u8]) {
    for chunk in bytes.chunks(CHUNK) {
        if let Err(error) = stream.blocking_write_and_flush(chunk) {
            return println!("write: {error}");
        }
    }
}

fn finish(body: OutgoingBody, stream: OutputStream, trailers: Option<Fields>) {
    drop(stream);
    if let Err(error) = OutgoingBody::finish(body, trailers) {
        println!("finish: {error}");
    }
}

fn fields(list: &[(&str, &str)]) -> Fields {
    let entries: Vec<_> = list
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
        .collect();
    Fields::from_list(&entries).expect("valid fields")
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}
