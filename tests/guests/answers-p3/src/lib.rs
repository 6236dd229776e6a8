//! An HTTP component of WASI 0.3: one way to answer for each path, most of them wrong.

use wasip3::{
    clocks::monotonic_clock::wait_for,
    http::types::{ErrorCode, Fields, Request, Response},
    spawn_local,
    wit_bindgen::{StreamReader, StreamWriter},
    wit_future, wit_stream,
};

struct Component;

wasip3::http::service::export!(Component);

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        match path {
            "/early" => Ok(text(&[], b"early\n")),
            "/short" => Ok(text(&length("100"), b"only this")),
            "/long" => Ok(text(&length("3"), b"ok\nand more than that")),
            "/informational" => {
                let response = text(&[], b"");
                response.set_status_code(103).expect("a status");
                Ok(response)
            }
            "/trap" => panic!("asked to"),
            "/trap-in-body" => {
                let (mut writer, response) = streamed(&[]);
                spawn_local(async move {
                    writer.write_all(b"half of the ans".to_vec()).await;
                    panic!("asked to, in the body");
                });
                Ok(response)
            }
            // A component of 0.3 cannot return without an answer: it can only end.
            "/none" => std::process::exit(0),
            "/error" => Err(ErrorCode::InternalError(None)),
            "/read" => match read(request).await {
                Ok(size) => Ok(text(&[], format!("{size} bytes\n").as_bytes())),
                Err(error) => Ok(text(&[], format!("cut: {error:?}\n").as_bytes())),
            },
            "/wait" => {
                wait_for(300_000_000).await;
                Ok(text(&[], b"waited\n"))
            }
            "/huge" => Ok(text(&[("x-huge".into(), vec![b'h'; 100_000])], b"huge\n")),
            "/many" => {
                let fields = (0..250).map(|n| (format!("x-{n}"), b"v".to_vec()));
                Ok(text(&fields.collect::<Vec<_>>(), b"many\n"))
            }
            "/length" => Ok(text(&length("6"), b"sized\n")),
            _ => Ok(text(&[], b"ok\n")),
        }
    }
}

type Field = (String, Vec<u8>);

fn length(bytes: &str) -> [Field; 1] {
    [("content-length".into(), bytes.into())]
}

fn streamed(fields: &[Field]) -> (StreamWriter<u8>, Response) {
    let (writer, body): (StreamWriter<u8>, StreamReader<u8>) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    let fields = Fields::from_list(fields).expect("fields");
    let (response, _sent) = Response::new(fields, Some(body), trailers);
    (writer, response)
}

/// A body of what it is given, whatever the head says.
fn text(fields: &[Field], text: &[u8]) -> Response {
    let (mut writer, response) = streamed(fields);
    let text = text.to_vec();
    spawn_local(async move {
        writer.write_all(text).await;
    });
    response
}

async fn read(request: Request) -> Result<usize, ErrorCode> {
    let (_, done) = wit_future::new(|| Ok(()));
    let (mut body, trailers) = Request::consume_body(request, done);
    let mut size = 0;
    loop {
        let (_, bytes) = body.read(Vec::with_capacity(64 << 10)).await;
        if bytes.is_empty() {
            break;
        }
        size += bytes.len();
    }
    trailers.await.map(|_| size)
}
