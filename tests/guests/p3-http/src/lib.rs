//! An HTTP component of WASI 0.3: one behaviour for each path.

use std::cell::Cell;

use wasip3::{
    clocks::monotonic_clock::wait_for,
    http::{
        client,
        types::{ErrorCode, Fields, Method, Request, Response, Scheme},
    },
    spawn_local,
    wit_bindgen::{StreamReader, StreamWriter},
    wit_future, wit_stream,
};

struct Component;

wasip3::http::service::export!(Component);

thread_local! {
    /// Requests that this instance has seen, and how many of them are not answered.
    static SEEN: Cell<u32> = const { Cell::new(0) };
    static OPEN: Cell<u32> = const { Cell::new(0) };
}

const MILLISECOND: u64 = 1_000_000;

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        SEEN.set(SEEN.get() + 1);
        OPEN.set(OPEN.get() + 1);
        let response = answer(request).await;
        OPEN.set(OPEN.get() - 1);
        response
    }
}

async fn answer(request: Request) -> Result<Response, ErrorCode> {
    let target = request.get_path_with_query().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    match path {
        "/" => Ok(text("hello\n")),
        "/target" => {
            let authority = request.get_authority().unwrap_or_default();
            Ok(text(&format!("{authority} {target}\n")))
        }
        "/count" => Ok(text(&format!("{}\n", SEEN.get()))),
        "/wait" => {
            wait_for(number(query) * MILLISECOND).await;
            Ok(text(&format!("{} of {}\n", OPEN.get(), SEEN.get())))
        }
        "/echo" => {
            // The stream goes back as it comes: nothing of it passes through here.
            let (_, done) = wit_future::new(|| Ok(()));
            let (body, trailers) = Request::consume_body(request, done);
            Ok(Response::new(Fields::new(), Some(body), trailers).0)
        }
        "/upper" => {
            let (_, done) = wit_future::new(|| Ok(()));
            let (mut body, _trailers) = Request::consume_body(request, done);
            let (mut writer, response) = streamed();
            spawn_local(async move {
                loop {
                    let (_, mut bytes) = body.read(Vec::with_capacity(16 << 10)).await;
                    bytes.make_ascii_uppercase();
                    if bytes.is_empty() || !writer.write_all(bytes).await.is_empty() {
                        return;
                    }
                }
            });
            Ok(response)
        }
        "/bytes" => {
            let mut left = number(query);
            let (mut writer, response) = streamed();
            spawn_local(async move {
                while left > 0 {
                    let size = left.min(64 << 10);
                    if !writer.write_all(vec![b'x'; size as usize]).await.is_empty() {
                        return;
                    }
                    left -= size;
                }
            });
            Ok(response)
        }
        "/drip" => {
            let (mut writer, response) = streamed();
            let lines = number(query);
            spawn_local(async move {
                for line in 0..lines {
                    if !writer
                        .write_all(format!("{line}\n").into_bytes())
                        .await
                        .is_empty()
                    {
                        return;
                    }
                    wait_for(20 * MILLISECOND).await;
                }
            });
            Ok(response)
        }
        "/trap" => panic!("asked to"),
        "/spin" => loop {
            std::hint::black_box(());
        },
        "/trap-in-body" => {
            let (_, done) = wit_future::new(|| Ok(()));
            let (mut body, _trailers) = Request::consume_body(request, done);
            let (mut writer, response) = streamed();
            spawn_local(async move {
                writer.write_all(b"half of the ans".to_vec()).await;
                // Until the client has sent all that it sends.
                while !body.read(Vec::with_capacity(1 << 10)).await.1.is_empty() {}
                panic!("asked to, in the body");
            });
            Ok(response)
        }
        "/error" => Err(ErrorCode::InternalError(Some("as asked".into()))),
        "/fetch" => fetch(query, None).await,
        "/fetch-grpc" => fetch(query, Some("application/grpc")).await,
        _ => {
            let response = text("no such path\n");
            response.set_status_code(404).expect("a status");
            Ok(response)
        }
    }
}

/// Asks another server, and hands its body on.
async fn fetch(url: &str, content_type: Option<&str>) -> Result<Response, ErrorCode> {
    let rest = url.strip_prefix("http://").expect("an http URL");
    let (authority, path) = rest.split_once('/').expect("a path");
    let (_, trailers) = wit_future::new(|| Ok(None));
    let fields = Fields::new();
    if let Some(content_type) = content_type {
        fields
            .set("content-type", &[content_type.into()])
            .expect("a field");
    }
    let (request, _sent) = Request::new(fields, None, trailers, None);
    request.set_method(&Method::Get).expect("a method");
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request
        .set_authority(Some(authority))
        .expect("an authority");
    request
        .set_path_with_query(Some(&format!("/{path}")))
        .expect("a path");
    let response = client::send(request).await?;
    let status = response.get_status_code();
    let (_, done) = wit_future::new(|| Ok(()));
    let (body, trailers) = Response::consume_body(response, done);
    let (answer, _) = Response::new(Fields::new(), Some(body), trailers);
    answer.set_status_code(status).expect("a status");
    Ok(answer)
}

fn text(text: &str) -> Response {
    let (mut writer, response) = streamed();
    let text = text.as_bytes().to_vec();
    spawn_local(async move {
        writer.write_all(text).await;
    });
    response
}

fn streamed() -> (StreamWriter<u8>, Response) {
    let (writer, body): (StreamWriter<u8>, StreamReader<u8>) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(Fields::new(), Some(body), trailers);
    (writer, response)
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}
