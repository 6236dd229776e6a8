//! Runs the query that it is sent, and answers with the rows as lines of JSON. A new instance for
//! each request could not keep a connection to PostgreSQL: the pool on its localhost does.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use wstd::http::{Body, Error, Request, Response, StatusCode};

const POOL: &str = "127.0.0.1:7072";

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let mut body = request.into_body();
    let query = body.str_contents().await?;
    if query.is_empty() {
        return answer(
            StatusCode::BAD_REQUEST,
            "the request's body should be a query\n",
        );
    }
    // An instance serves one request, so it may just as well wait.
    match ask(query) {
        Err(error) => answer(
            StatusCode::BAD_GATEWAY,
            &format!("{POOL}: {}\n", error.kind()),
        ),
        Ok(reply) => match reply.rsplit_once('\n').unwrap_or(("", &reply)) {
            (rows, "ok") => answer(StatusCode::OK, &format!("{rows}\n")),
            (_, error) => answer(StatusCode::BAD_REQUEST, &format!("{error}\n")),
        },
    }
}

fn ask(query: &str) -> io::Result<String> {
    let mut pool = TcpStream::connect(POOL)?;
    pool.write_all(query.as_bytes())?;
    pool.shutdown(Shutdown::Write)?;
    let mut reply = String::new();
    pool.read_to_string(&mut reply)?;
    Ok(reply)
}

fn answer(status: StatusCode, text: &str) -> Result<Response<Body>, Error> {
    Ok(Response::builder()
        .status(status)
        .body(text.to_owned().into())?)
}
