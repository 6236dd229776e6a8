//! An HTTP component of WASI 0.3 that answers in the way that its path names, rightly or wrongly, and then may go on working.
//! The paths are those of `answers`, its sibling of 0.2, but for `/nothing`, which 0.3 has no way to say.

use wasip3::{
    clocks::monotonic_clock::wait_for,
    http::types::{ErrorCode, Fields, Request, Response},
    spawn_local,
    wit_bindgen::{FutureWriter, StreamReader, StreamWriter},
    wit_future, wit_stream,
};

struct Answers;

wasip3::http::service::export!(Answers);

const MILLISECOND: u64 = 1_000_000;
const PART: &[u8] = b"a part";

/// What ends a body: its trailers, or an error in place of them.
type End = FutureWriter<Result<Option<Fields>, ErrorCode>>;

impl wasip3::exports::http::handler::Guest for Answers {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        if query == "read" {
            read(request).await;
        }
        let words: Vec<&str> = path.split('/').skip(1).collect();
        match words[..] {
            ["status", code, body] => Ok(whole(number(code) as u16, &[], body.as_bytes())),
            ["fields", count] => {
                let names: Vec<String> = (0..number(count)).map(|n| format!("x-{n}")).collect();
                let list: Vec<_> = names.iter().map(|name| (name.as_str(), "v")).collect();
                Ok(whole(200, &list, b""))
            }
            ["field", bytes] => {
                let value = "v".repeat(number(bytes));
                Ok(whole(200, &[("x-large", value.as_str())], b""))
            }
            ["length", said, given] => {
                let body = vec![b'x'; number(given)];
                Ok(whole(200, &[("content-length", said)], &body))
            }
            ["pieces", said, given] => {
                let (mut writer, end, response) = begin(200, &[("content-length", said)]);
                let (said, given) = (number(said), number(given));
                spawn_local(async move {
                    writer.write_all(vec![b'x'; said]).await;
                    writer.write_all(vec![b'x'; given - said]).await;
                    drop((writer, end));
                });
                Ok(response)
            }
            ["bare", said] => {
                let (_, trailers) = wit_future::new(|| Ok(None));
                let list = fields(&[("content-length", said)]);
                Ok(Response::new(list, None, trailers).0)
            }
            ["trailer", bytes] => {
                let (mut writer, end, response) = begin(200, &[("trailer", "x-after")]);
                let value = "v".repeat(number(bytes));
                spawn_local(async move {
                    writer.write_all(PART.to_vec()).await;
                    drop(writer);
                    let _ = end.write(Ok(Some(fields(&[("x-after", &value)])))).await;
                });
                Ok(response)
            }
            ["error"] => Err(error()),
            ["leave"] => Ok(part(async |writer, end| {
                std::mem::forget((writer, end));
            })),
            ["drop"] => Ok(part(async |writer, end| {
                drop(writer);
                let _ = end.write(Err(error())).await;
            })),
            ["hang"] => Ok(part(async |_writer, _end| {
                wait_for(100_000_000 * MILLISECOND).await;
            })),
            ["trap"] => Ok(part(async |_writer, _end| {
                panic!("asked to, in the body");
            })),
            ["then", how, work] => then(how.to_owned(), work.to_owned()),
            _ => Ok(whole(404, &[], b"no such path\n")),
        }
    }
}

fn then(how: String, work: String) -> Result<Response, ErrorCode> {
    let (status, list): (u16, &[(&str, &str)]) = match how.as_str() {
        "length" => (200, &[("content-length", "9")]),
        "chunked" => (200, &[]),
        "empty" => (204, &[]),
        "trailers" => (200, &[("trailer", "x-after")]),
        "error" => {
            spawn_local(async move { after(&how, &work).await });
            return Err(error());
        }
        _ => panic!("no such answer: {how}"),
    };
    let (mut writer, end, response) = begin(status, list);
    spawn_local(async move {
        if status != 204 {
            writer.write_all(b"answered\n".to_vec()).await;
        }
        drop(writer);
        match how.as_str() {
            "trailers" => drop(end.write(Ok(Some(fields(&[("x-after", "1")])))).await),
            _ => drop(end),
        }
        after(&how, &work).await;
    });
    Ok(response)
}

async fn after(how: &str, work: &str) {
    match work {
        "spin" => loop {
            std::hint::black_box(());
        },
        "trap" => panic!("asked to, after the answer"),
        milliseconds => {
            wait_for(number(milliseconds) as u64 * MILLISECOND).await;
            println!("worked after {how}");
        }
    }
}

async fn read(request: Request) {
    let (_, done) = wit_future::new(|| Ok(()));
    let (mut body, end) = Request::consume_body(request, done);
    while !body.read(Vec::with_capacity(4096)).await.1.is_empty() {}
    if let Err(error) = end.await {
        panic!("the request broke off: {error}");
    }
}

fn error() -> ErrorCode {
    ErrorCode::InternalError(Some("the reason of the guest".into()))
}

fn whole(status: u16, list: &[(&str, &str)], bytes: &[u8]) -> Response {
    let (mut writer, end, response) = begin(status, list);
    let bytes = bytes.to_vec();
    spawn_local(async move {
        writer.write_all(bytes).await;
        drop((writer, end));
    });
    response
}

/// A part of a body, and then something else.
fn part(then: impl AsyncFnOnce(StreamWriter<u8>, End) + 'static) -> Response {
    let (mut writer, end, response) = begin(200, &[]);
    spawn_local(async move {
        writer.write_all(PART.to_vec()).await;
        then(writer, end).await;
    });
    response
}

fn begin(status: u16, list: &[(&str, &str)]) -> (StreamWriter<u8>, End, Response) {
    let (writer, body): (StreamWriter<u8>, StreamReader<u8>) = wit_stream::new();
    let (end, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(fields(list), Some(body), trailers);
    response.set_status_code(status).expect("a status");
    (writer, end, response)
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
