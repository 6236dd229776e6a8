//! The limits of the bodies of requests and responses, in bytes.

use super::*;

const LIMIT: usize = 10_000;

const REQUESTS: BodyLimits = BodyLimits {
    request: Some(LIMIT as u64),
    response: None,
};

const RESPONSES: BodyLimits = BodyLimits {
    request: None,
    response: Some(LIMIT as u64),
};

const ALL: [&str; 4] = [
    "p2.localhost",
    "p3.localhost",
    "web.localhost",
    "web2.localhost",
];

#[tokio::test(flavor = "multi_thread")]
async fn requests_up_to_their_limit_pass_and_larger_ones_are_refused() {
    let site = Site::start(|_| {}, REQUESTS).await;
    for (host, version) in ALL.into_iter().flat_map(|host| VERSIONS.map(|v| (host, v))) {
        let url = format!("{host}/echo");
        let fits = site
            .begin(version, Method::POST, &url, Some(LIMIT as u64))
            .await;
        fits.send(vec![b'x'; LIMIT]);
        let (status, body) = fits.answer().await.unwrap();
        assert_eq!(status, 200, "{url} {version:?}");
        assert_eq!(body.len(), LIMIT, "{url} {version:?}");

        // The request announces its length, so nothing of the body needs to arrive.
        let mut declared = site
            .begin(version, Method::POST, &url, Some(LIMIT as u64 + 1))
            .await;
        assert_eq!(declared.head().await.status(), 413, "{url} {version:?}");

        // A guest that reads the whole body before it answers.
        let url = match host {
            "p3.localhost" => continue,
            "p2.localhost" => format!("{host}/read"),
            _ => format!("{host}/count"),
        };
        let mut streamed = site.begin(version, Method::POST, &url, None).await;
        streamed.send(vec![b'x'; LIMIT]);
        streamed.send("y");
        assert_eq!(streamed.head().await.status(), 413, "{url} {version:?}");
    }
    for (host, version) in ALL.into_iter().flat_map(|host| VERSIONS.map(|v| (host, v))) {
        // An answer that has begun cannot be replaced, so it breaks off.
        let url = format!("{host}/echo");
        let mut begun = site.begin(version, Method::POST, &url, None).await;
        begun.send("x");
        let response = begun.head().await;
        assert_eq!(response.status(), 200, "{url} {version:?}");
        begun.send(vec![b'x'; LIMIT]);
        begun.body = None;
        let body = timeout(PATIENCE, response.into_body().collect())
            .await
            .unwrap();
        assert!(body.is_err(), "{url} {version:?}");
    }
    assert_eq!(site.get("p2.localhost/").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_larger_than_their_limit_break_off_and_are_logged() {
    let site = Site::start(|_| {}, RESPONSES).await;
    for (host, version) in ALL.into_iter().flat_map(|host| VERSIONS.map(|v| (host, v))) {
        let told = site.bench.lines().await.len();
        let path = match host {
            "p2.localhost" => ["big/10000", "big/10001"],
            "p3.localhost" => ["bytes?10000", "bytes?10001"],
            _ => ["echo", "echo"],
        };
        let method = match host {
            "p2.localhost" | "p3.localhost" => Method::GET,
            _ => Method::POST,
        };
        for (path, size) in path.into_iter().zip([LIMIT, LIMIT + 1]) {
            let url = format!("{host}/{path}");
            let exchange = site.begin(version, method.clone(), &url, None).await;
            if method == Method::POST {
                // The guest echoes, so the answer begins before it exceeds the limit.
                exchange.send(vec![b'x'; size - 1]);
                exchange.send("x");
            }
            let answer = exchange.answer().await;
            if size > LIMIT {
                assert_eq!(answer, None, "{url} {version:?}");
            } else {
                let (status, body) = answer.unwrap();
                assert_eq!(
                    (status.as_u16(), body.len()),
                    (200, LIMIT),
                    "{url} {version:?}"
                );
            }
        }
        let words = "body is larger than its limit of 10000 bytes";
        site.bench.saw_after(told, words).await;
    }
    // An answer that announces its length does not begin.
    let (status, _) = site.get("p2.localhost/length/10001").await;
    assert_eq!(status, 500);
    let (status, body) = site.get("p2.localhost/length/10000").await;
    assert_eq!((status, body.len()), (StatusCode::OK, 10_000));
    let head = site
        .begin(
            Version::HTTP_11,
            Method::HEAD,
            "p2.localhost/length/10001",
            None,
        )
        .await;
    assert_eq!(head.answer().await.unwrap().0, 200, "it has no body");
}
