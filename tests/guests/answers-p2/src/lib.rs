//! An HTTP component of WASI 0.2: one way to answer for each path, most of them wrong.

use std::{thread::sleep, time::Duration};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, OutgoingBody, OutgoingResponse, OutputStream,
    ResponseOutparam,
};
use wasip2::io::streams::StreamError;

struct Component;

wasip2::http::proxy::export!(Component);

impl Guest for Component {
    fn handle(request: IncomingRequest, answer: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        match path {
            "/early" => text(answer, &[], b"early\n"),
            "/short" => text(answer, &length("100"), b"only this"),
            "/long" => text(answer, &length("3"), b"ok\nand more than that"),
            "/informational" => {
                let (body, _) = head(answer, 103, &[]);
                let _ = OutgoingBody::finish(body, None);
            }
            "/trap" => panic!("asked to"),
            "/trap-in-body" => {
                let (_body, stream) = head(answer, 200, &[]);
                let _ = stream.blocking_write_and_flush(b"half of the ans");
                panic!("asked to, in the body");
            }
            "/none" => drop(answer),
            "/error" => ResponseOutparam::set(answer, Err(ErrorCode::InternalError(None))),
            "/read" => match read(request) {
                Ok(size) => text(answer, &[], format!("{size} bytes\n").as_bytes()),
                Err(error) => text(answer, &[], format!("cut: {error:?}\n").as_bytes()),
            },
            "/wait" => {
                sleep(Duration::from_millis(300));
                text(answer, &[], b"waited\n");
            }
            "/huge" => text(answer, &[("x-huge".into(), vec![b'h'; 100_000])], b"huge\n"),
            "/many" => {
                let fields = (0..250).map(|n| (format!("x-{n}"), b"v".to_vec()));
                text(answer, &fields.collect::<Vec<_>>(), b"many\n");
            }
            "/length" => text(answer, &length("6"), b"sized\n"),
            _ => text(answer, &[], b"ok\n"),
        }
    }
}

type Field = (String, Vec<u8>);

fn length(bytes: &str) -> [Field; 1] {
    [("content-length".into(), bytes.into())]
}

fn head(answer: ResponseOutparam, status: u16, fields: &[Field]) -> (OutgoingBody, OutputStream) {
    let response = OutgoingResponse::new(Fields::from_list(fields).expect("fields"));
    response.set_status_code(status).expect("a status");
    let body = response.body().expect("taken once");
    ResponseOutparam::set(answer, Ok(response));
    let stream = body.write().expect("taken once");
    (body, stream)
}

/// Writes what it is given, whatever the head says, and finishes the body.
fn text(answer: ResponseOutparam, fields: &[Field], text: &[u8]) {
    let (body, stream) = head(answer, 200, fields);
    let _ = stream.blocking_write_and_flush(text);
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

fn read(request: IncomingRequest) -> Result<usize, StreamError> {
    let body = request.consume().expect("taken once");
    let stream = body.stream().expect("taken once");
    let mut size = 0;
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(bytes) => size += bytes.len(),
            Err(StreamError::Closed) => return Ok(size),
            Err(error) => return Err(error),
        }
    }
}
