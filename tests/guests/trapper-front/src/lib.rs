//! Passes one line from the trapper on: 200 with what it said, or 502 with the kind of the error.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Front;

wasip2::http::proxy::export!(Front);

impl Guest for Front {
    fn handle(_request: IncomingRequest, answer: ResponseOutparam) {
        match ask() {
            Ok(line) => respond(answer, 200, &line),
            Err(error) => respond(answer, 502, &format!("{:?}\n", error.kind())),
        }
    }
}

fn ask() -> io::Result<String> {
    let mut stream = TcpStream::connect("127.0.0.1:8080")?;
    stream.write_all(b"hi\n")?;
    let mut line = String::new();
    match BufReader::new(stream).read_line(&mut line)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(line),
    }
}

fn respond(answer: ResponseOutparam, status: u16, text: &str) {
    let response = OutgoingResponse::new(Fields::new());
    response.set_status_code(status).expect("a valid status");
    let body = response.body().expect("a response has one body");
    ResponseOutparam::set(answer, Ok(response));
    let stream = body.write().expect("a body has one stream");
    stream
        .blocking_write_and_flush(text.as_bytes())
        .expect("the client waits for its answer");
    drop(stream);
    OutgoingBody::finish(body, None).expect("no length was promised");
}
