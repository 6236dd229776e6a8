//! `wasi:http/client`, and what `request.new` says of it.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use wasip3::{
    http::{
        client,
        types::{ErrorCode, Fields, Method, Request, Response, Scheme},
    },
    sockets::types::{IpAddressFamily, IpSocketAddress},
    wit_bindgen::FutureReader,
    wit_future,
};

use crate::{
    check::{equal, holds},
    tcp::{Connection, Listener, listener},
};

/// Of `request.new`: "The returned future resolves to result of transmission of this request."
const TRANSMISSION: &str = "the future of a request tells how its transmission went";
const EMPTY: &str = "no path and query represents an empty path and an empty query";

type Sent = FutureReader<Result<(), ErrorCode>>;

pub async fn run() {
    let mut server = listener(IpAddressFamily::Ipv4);
    let IpSocketAddress::Ipv4(address) = server.address() else {
        panic!("an address of IPv4");
    };
    let here = format!("127.0.0.1:{}", address.port);
    transmissions(&mut server, &here).await;
    empty_paths(&mut server, &here).await;
}

async fn transmissions(server: &mut Listener, here: &str) {
    let (request, sent) = get(&Scheme::Http, here, Some("/"));
    let (response, _) = exchange(request, server).await;
    equal(TRANSMISSION, response.get_status_code(), 204);
    holds(TRANSMISSION, sent.await.is_ok());

    // Nobody listens there, `egress` does not name it, and nobody speaks it.
    let refused = |error: &ErrorCode| matches!(error, ErrorCode::ConnectionRefused);
    never_sent(get(&Scheme::Http, "127.0.0.1:47", Some("/")), refused).await;
    let denied = |error: &ErrorCode| matches!(error, ErrorCode::HttpRequestDenied);
    never_sent(get(&Scheme::Http, "192.0.2.1:80", Some("/")), denied).await;
    let protocol = |error: &ErrorCode| matches!(error, ErrorCode::HttpProtocolError);
    let gopher = Scheme::Other("gopher".to_owned());
    never_sent(get(&gopher, here, Some("/")), protocol).await;

    // The server has the request and says nothing when the call is cancelled.
    let (request, sent) = get(&Scheme::Http, here, Some("/"));
    let mut call = Box::pin(client::send(request));
    let mut seen = pin!(receive(server));
    let _held = poll_fn(|cx| {
        assert!(call.as_mut().poll(cx).is_pending(), "nobody has answered");
        seen.as_mut().poll(cx)
    })
    .await;
    drop(call);
    let given_up = sent.await;
    holds(
        TRANSMISSION,
        matches!(given_up, Err(ErrorCode::InternalError(Some(why))) if why.contains("given up")),
    );
}

async fn empty_paths(server: &mut Listener, here: &str) {
    for relative in ["a/b", "..", "*"] {
        let (request, _sent) = get(&Scheme::Http, here, None);
        holds(
            "a path begins with a slash",
            request.set_path_with_query(Some(relative)).is_err(),
        );
    }
    // Each as RFC 9112, sections 3.2.1 and 3.2.4, has it on the wire.
    for (method, path, line) in [
        (Method::Get, None, "GET / HTTP/1.1"),
        (Method::Get, Some(""), "GET / HTTP/1.1"),
        (Method::Get, Some("?a=b"), "GET /?a=b HTTP/1.1"),
        (Method::Delete, None, "DELETE / HTTP/1.1"),
        (Method::Options, None, "OPTIONS * HTTP/1.1"),
        (Method::Options, Some("/"), "OPTIONS / HTTP/1.1"),
    ] {
        let (request, _sent) = get(&Scheme::Http, here, path);
        request.set_method(&method).expect("a method");
        if path.is_none() {
            equal(EMPTY, request.get_path_with_query(), None);
        }
        let (_, seen) = exchange(request, server).await;
        equal(EMPTY, seen.lines().next(), Some(line));
    }
}

/// The call fails so, and so does the transmission.
async fn never_sent((request, sent): (Request, Sent), expected: fn(&ErrorCode) -> bool) {
    let called = client::send(request).await;
    holds(
        "send fails with the cause",
        called.is_err_and(|error| expected(&error)),
    );
    let sent = sent.await;
    holds(TRANSMISSION, sent.is_err_and(|error| expected(&error)));
}

fn get(scheme: &Scheme, authority: &str, path: Option<&str>) -> (Request, Sent) {
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, sent) = Request::new(Fields::new(), None, trailers, None);
    request.set_scheme(Some(scheme)).expect("a scheme");
    request.set_authority(Some(authority)).expect("a host");
    request.set_path_with_query(path).expect("a path");
    (request, sent)
}

/// Sends the request to the server, which answers 204. With the head that the server saw.
async fn exchange(request: Request, server: &mut Listener) -> (Response, String) {
    let mut call = Box::pin(client::send(request));
    let answer = async {
        let (mut connection, head) = receive(server).await;
        let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
        connection.write(answer).await;
        // Closing earlier would cut off what the client still sends.
        while !connection.read(1 << 10).await.is_empty() {}
        head
    };
    let mut answer = pin!(answer);
    let (mut response, mut head) = (None, None);
    poll_fn(|cx| {
        if response.is_none()
            && let Poll::Ready(result) = call.as_mut().poll(cx)
        {
            response = Some(result.expect("an answer"));
        }
        if head.is_none()
            && let Poll::Ready(seen) = answer.as_mut().poll(cx)
        {
            head = Some(seen);
        }
        match response.is_some() && head.is_some() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    (response.expect("answered"), head.expect("seen"))
}

/// The next connection, and the head of a request that came by it.
async fn receive(server: &mut Listener) -> (Connection, String) {
    let mut connection = Connection::new(server.next().await);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let more = connection.read(4 << 10).await;
        assert!(!more.is_empty(), "the head is cut off");
        head.extend(more);
    }
    (
        connection,
        String::from_utf8(head).expect("a head in ASCII"),
    )
}
