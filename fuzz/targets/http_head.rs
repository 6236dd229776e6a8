//! Heads of requests as an ingress sends them on: nothing about one connection reaches the next,
//! and what a worker says of a request is what the other reads.
#![no_main]

#[allow(dead_code)]
// Paths within are from this directory.
#[path = "../../worker/src/http"]
mod heads {
    mod forwarded;
    mod head;
    mod listener {
        mod client;
        pub use client::Client;
    }

    use http::{
        HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header, uri::Authority,
    };

    /// A request of `METHOD TARGET VERSION`, then fields, each in a line of its own.
    fn request(text: &[u8]) -> Option<Request<()>> {
        let mut lines = text.split(|byte| *byte == b'\n');
        let mut first = lines.next()?.split(|byte| *byte == b' ');
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(first.next()?).ok()?;
        *request.uri_mut() = Uri::try_from(first.next()?).ok()?;
        *request.version_mut() = match first.next()? {
            b"2" => Version::HTTP_2,
            b"0" => Version::HTTP_10,
            _ => Version::HTTP_11,
        };
        for line in lines {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            let value = HeaderValue::from_bytes(&line[colon + 1..]).ok()?;
            request.headers_mut().append(name, value);
        }
        Some(request)
    }

    const OF_A_CONNECTION: [&str; 6] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    ];

    fn has_none(headers: &HeaderMap) {
        for name in OF_A_CONNECTION {
            assert!(!headers.contains_key(name), "{name}");
        }
    }

    pub fn run(text: &[u8]) {
        let Some(mut request) = request(text) else {
            return;
        };
        let host = request.headers().get(header::HOST);
        let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let authority = request.uri().authority().cloned().or(host);
        let asked = head::take_hop_by_hop(request.headers_mut());
        has_none(request.headers());
        assert!(!request.headers().contains_key(header::TE));
        let (parts, ()) = request.into_parts();

        let mut http1 = parts.clone();
        head::to_http1(&mut http1, &asked, authority.as_ref(), false);
        assert_eq!(http1.version, Version::HTTP_11);
        assert!(http1.headers.get_all(header::HOST).iter().count() > 0 || authority.is_none());
        assert_eq!(
            http1.headers.contains_key(header::UPGRADE),
            asked.upgrade.is_some()
        );

        let mut http2 = parts;
        head::to_http2(&mut http2, &asked, authority.as_ref());
        assert!(http2.uri.authority().is_some() && http2.uri.scheme().is_some());
        assert!(!http2.headers.contains_key(header::HOST));
        has_none(&http2.headers);
    }
}

libfuzzer_sys::fuzz_target!(|text: &[u8]| heads::run(text));
