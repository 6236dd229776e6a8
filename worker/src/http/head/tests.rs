#![allow(clippy::unwrap_used)]

use http::{Method, Request};

use super::*;

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = fields.iter().map(|(name, value)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    });
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, value);
    }
    headers
}

fn request(uri: &str, fields: &[(&'static str, &'static str)]) -> request::Parts {
    let mut head = Request::get(uri).body(()).unwrap().into_parts().0;
    head.headers = headers(fields);
    head
}

fn names(headers: &HeaderMap) -> Vec<String> {
    let mut names: Vec<_> = headers.keys().map(ToString::to_string).collect();
    names.sort();
    names
}

#[test]
fn fields_of_one_connection_stay_on_it() {
    let mut headers = headers(&[
        (
            "connection",
            "keep-alive, X-Mine , close, x-forwarded-for, host",
        ),
        ("connection", "TE"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "gzip;q=0.5, trailers"),
        ("transfer-encoding", "chunked"),
        ("content-length", "5"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABk"),
        ("x-mine", "1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("host", "a"),
        ("trailer", "x-sum"),
    ]);
    let asked = take_hop_by_hop(&mut headers);
    assert_eq!(names(&headers), ["host", "trailer", "x-forwarded-for"]);
    assert_eq!(
        asked,
        Asked {
            upgrade: None,
            trailers: true
        }
    );
}

#[test]
fn an_upgrade_needs_both_fields_and_one_to_http2_is_ignored() {
    for (connection, upgrade, wanted) in [
        ("Upgrade", "websocket", Some("websocket")),
        ("keep-alive, upgrade", "a, b", Some("a, b")),
        ("keep-alive", "websocket", None),
        ("upgrade, http2-settings", "h2c", None),
    ] {
        let mut headers = headers(&[("connection", connection), ("upgrade", upgrade)]);
        let asked = take_hop_by_hop(&mut headers);
        let asked = asked.upgrade.as_ref().map(|value| value.to_str().unwrap());
        assert_eq!(asked, wanted, "{connection}: {upgrade}");
        assert!(headers.is_empty(), "{headers:?}");
    }
}

#[test]
fn a_request_of_http1_is_for_the_server_itself() {
    let none = Asked::default();
    // (target, host field, requested authority, target and host as they are passed on)
    for (uri, field, authority, target, host) in [
        ("/a?b", Some("A:80"), "A:80", "/a?b", "A:80"),
        ("http://b:81/a?b", Some("A:80"), "b:81", "/a?b", "b:81"),
        ("http://b:81", None, "b:81", "/", "b:81"),
        ("/", None, "", "/", "localhost"),
    ] {
        let mut head = request(uri, &[]);
        if let Some(field) = field {
            head.headers
                .insert(header::HOST, HeaderValue::from_static(field));
        }
        let authority = authority.parse().ok();
        to_http1(&mut head, &none, authority.as_ref(), false);
        assert_eq!(head.uri.to_string(), target, "{uri}");
        assert_eq!(head.headers[header::HOST], host, "{uri}");
        assert_eq!(head.version, Version::HTTP_11);
        assert!(!head.headers.contains_key(header::CONNECTION));
    }
}

#[test]
fn fields_that_http2_splits_are_joined_for_http1() {
    let mut head = request("http://a/", &[("cookie", "a=1"), ("cookie", "b=2")]);
    head.version = Version::HTTP_2;
    let asked = Asked {
        upgrade: None,
        trailers: true,
    };
    to_http1(&mut head, &asked, Some(&Authority::from_static("a")), true);
    assert_eq!(head.headers[header::COOKIE], "a=1; b=2");
    assert_eq!(head.headers[header::TRANSFER_ENCODING], "chunked");
    assert_eq!(head.headers[header::TE], "trailers");
    assert_eq!(head.headers[header::CONNECTION], "te");
}

#[test]
fn a_request_of_http2_names_scheme_and_authority() {
    let mut head = request("/a?b", &[("host", "x"), ("expect", "100-continue")]);
    head.method = Method::POST;
    let authority = Authority::from_static("a.localhost:8000");
    to_http2(&mut head, &Asked::default(), Some(&authority));
    assert_eq!(head.uri.to_string(), "http://a.localhost:8000/a?b");
    assert_eq!(head.version, Version::HTTP_2);
    assert!(head.headers.is_empty(), "{:?}", head.headers);
    let mut head = request("/", &[]);
    to_http2(&mut head, &Asked::default(), None);
    assert_eq!(head.uri.to_string(), "http://localhost/");
}

#[test]
fn a_response_loses_the_fields_of_the_services_connection() {
    let mut response = Response::new(());
    *response.version_mut() = Version::HTTP_10;
    *response.headers_mut() = headers(&[
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("upgrade", "h2c"),
        ("content-length", "3"),
    ]);
    to_client(&mut response);
    assert_eq!(names(response.headers()), ["content-length"]);
    assert_eq!(response.version(), Version::HTTP_11);

    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers(&[("connection", "Upgrade"), ("upgrade", "websocket")]);
    to_client(&mut response);
    assert_eq!(response.headers()[header::UPGRADE], "websocket");
    assert_eq!(response.headers()[header::CONNECTION], "upgrade");
}

#[test]
fn grpc_is_known_by_its_content_type() {
    for (value, wanted) in [
        ("application/grpc", true),
        ("Application/gRPC+proto", true),
        ("application/grp", false),
        ("application/json", false),
    ] {
        assert_eq!(
            is_grpc(&headers(&[("content-type", value)])),
            wanted,
            "{value}"
        );
    }
    assert!(!is_grpc(&HeaderMap::new()));
}
