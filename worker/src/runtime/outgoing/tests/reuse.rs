//! Tests of which connections are reused, by which guest and for how long.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use warren_net::{Counts, Stream};

use super::*;

#[tokio::test]
async fn requests_to_the_service_share_a_connection() {
    let rig = Rig::new(&[]);
    let server = rig.serve(80);
    for _ in 0..5 {
        let told = text(&rig.client, "http://localhost/a?b").await;
        assert!(told.starts_with("HTTP/1.1 /a?b "), "{told}");
        assert!(told.contains(" host=localhost"), "{told}");
    }
    assert_eq!(server.connections(), 1);
    // Every name of the service works, but each authority has its own connection.
    for host in ["127.0.0.1", "api.localhost", "127.0.0.1:80"] {
        text(&rig.client, &format!("http://{host}/")).await;
    }
    assert!(server.connections() > 1);
}

#[tokio::test]
async fn grpc_and_what_the_manifest_says_speak_http2() {
    let rig = Rig::new(&[]);
    let (plain, routed) = (rig.serve(80), rig.serve(2222));
    for content_type in [
        "application/grpc",
        "application/grpc+proto",
        "Application/gRPC",
    ] {
        let request = with_type(get("http://localhost/s/m"), content_type);
        let (told, _) = ask(&rig.client, request).await.unwrap();
        assert!(told.starts_with("HTTP/2.0 http://localhost/s/m "), "{told}");
        assert!(
            told.contains(" te=trailers") && !told.contains(" host="),
            "{told}"
        );
    }
    let other = with_type(get("http://localhost/"), "application/json");
    let (told, _) = ask(&rig.client, other).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 / "), "{told}");
    assert_eq!(plain.connections(), 2, "one for each version");

    let told = text(&rig.client, "http://127.0.0.1:2222/").await;
    assert!(told.starts_with("HTTP/2.0 "), "{told}");
    assert_eq!(routed.connections(), 1);
}

#[tokio::test]
async fn many_requests_of_http2_take_one_connection_at_once() {
    let rig = Rig::new(&[]);
    let server = rig.serve(2222);
    let client = &rig.client;
    let asking = (0..50).map(async |n| text(client, &format!("http://localhost:2222/{n}")).await);
    let told = futures::future::join_all(asking).await;
    assert!(told.iter().all(|told| told.starts_with("HTTP/2.0 ")));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn bodies_and_trailers_pass_both_ways_by_both_versions() {
    let rig = Rig::new(&[]);
    let (_one, _two) = (rig.serve(80), rig.serve(2222));
    for port in [80, 2222] {
        let request = upload(&format!("http://localhost:{port}/"));
        let (told, trailers) = ask(&rig.client, request).await.unwrap();
        assert!(told.ends_with(" one two"), "{told}");
        assert_eq!(trailers.unwrap()["x-sum"], "7", "{port}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_sent_is_not_an_error_for_its_writer() {
    let rig = Rig::new(&[]);
    let _server = rig.serve(80);
    let (to, from) = frames::<Infallible>();
    let body = from.map_err(|never| match never {}).boxed_unsync();
    let request = Request::get("http://localhost/").body(body).unwrap();
    let (told, _) = ask(&rig.client, request).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 / "), "{told}");
    // The guest finishes its empty body late, and then writes more than fits anywhere.
    for _ in 0..100 {
        let nothing = Ok(Frame::data(Bytes::new()));
        within(to.send(nothing)).await.unwrap();
    }
    drop(rig.client);
    within(to.closed()).await;
}

#[tokio::test]
async fn guests_share_no_connection() {
    let rig = Rig::new(&[]);
    let server = rig.serve(80);
    let renewed = rig.client.renewed();
    let ways = ways(&rig.network, &[], Resolver::system());
    let other = Client::new(ways, Limits::default(), tls::public());
    for client in [&rig.client, &renewed, &other, &rig.client, &renewed, &other] {
        text(client, "http://localhost/").await;
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn connections_end_with_their_client() {
    let rig = Rig::new(&[]);
    let mut listener = rig.listen("127.0.0.1:80");
    let sending = tokio::spawn({
        let client = Arc::clone(&rig.client);
        async move {
            client
                .send(get("http://localhost/"), timeouts())
                .await
                .map(drop)
        }
    });
    let mut stream = within(listener.accept()).await.unwrap();
    let mut head = [0; 16];
    within(stream.read_exact(&mut head)).await.unwrap();
    // The guest ends during its request, and its client with the workload.
    sending.abort();
    let _ = sending.await;
    drop(rig.client);
    // This is a reset, or the end if hyper had time to send it.
    let _ = within(stream.read_to_end(&mut Vec::new())).await;
    drop((stream, listener));
    until(|| rig.network.counts() == Counts::default()).await;
}

/// Reads the head of one request.
async fn read_head(stream: &mut Stream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Answers one request.
async fn answer_one(stream: &mut Stream) {
    read_head(stream).await;
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    stream.write_all(answer).await.unwrap();
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_is_not_an_error_if_the_request_may_be_repeated() {
    for (method, repeated) in [
        (Method::GET, true),
        (Method::HEAD, true),
        (Method::PUT, true),
        (Method::POST, false),
    ] {
        let rig = Rig::new(&[]);
        let mut listener = rig.listen("127.0.0.1:80");
        let server = tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap();
            answer_one(&mut stream).await;
            // It takes the next request and closes, like a server whose timeout for idle
            // connections has just passed.
            read_head(&mut stream).await;
            drop(stream);
            answer_one(&mut listener.accept().await.unwrap()).await;
        });
        assert_eq!(text(&rig.client, "http://localhost/").await, "ok");
        let mut request = get("http://localhost/again");
        *request.method_mut() = method.clone();
        let answer = within(rig.client.send(request, timeouts())).await;
        match repeated {
            true => {
                assert_eq!(answer.unwrap().status(), StatusCode::OK, "{method}");
                within(server).await.unwrap();
            }
            false => assert!(
                matches!(answer, Err(Error::ConnectionTerminated)),
                "{method}: {:?}",
                answer.map(|_| ())
            ),
        }
    }
}

#[tokio::test]
async fn a_new_connection_that_breaks_is_not_tried_again() {
    let rig = Rig::new(&[]);
    let mut listener = rig.listen("127.0.0.1:80");
    let server = tokio::spawn(async move {
        read_head(&mut listener.accept().await.unwrap()).await;
        listener
    });
    let answer = within(rig.client.send(get("http://localhost/"), timeouts())).await;
    assert!(matches!(answer, Err(Error::ConnectionTerminated)));
    let mut listener = within(server).await.unwrap();
    assert!(listener.try_accept().is_none());
}

#[tokio::test]
async fn a_service_that_starts_again_is_reached_again() {
    let rig = Rig::new(&[]);
    for _ in 0..3 {
        let scope = rig.network.scope();
        let bound = scope.bind("127.0.0.1:80".parse().unwrap()).unwrap();
        let server = Server::start(streams(bound.listen(16).unwrap()));
        for _ in 0..3 {
            text(&rig.client, "http://localhost/").await;
        }
        assert_eq!(server.connections(), 1);
        scope.end(warren_net::End::Aborted);
        let answer = rig.client.send(get("http://localhost/"), timeouts());
        assert!(within(answer).await.is_err());
    }
}

#[tokio::test]
async fn idle_connections_make_room_and_busy_ones_are_waited_for() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let rig = Rig::with(&[], Resolver::system(), limits);
    let servers: Vec<_> = (1..=4).map(|port| rig.serve(port)).collect();
    // These are more authorities than connections, one after the other.
    for round in 0..2 {
        for port in 1..=4 {
            text(&rig.client, &format!("http://localhost:{port}/{round}")).await;
        }
    }
    assert!(servers.iter().all(|server| server.connections() <= 2));

    let before = servers[0].connections();
    let slow = (0..2).map(|_| {
        let client = Arc::clone(&rig.client);
        AbortOnDropHandle::new(tokio::spawn(async move {
            client
                .send(get("http://localhost:1/slow"), timeouts())
                .await
                .map(drop)
        }))
    });
    let slow: Vec<_> = slow.collect();
    until(|| servers[0].connections() == before + 2).await;
    let short = Timeouts {
        connect: Duration::from_millis(50),
        ..timeouts()
    };
    let third = within(rig.client.send(get("http://localhost:2/"), short)).await;
    assert!(
        matches!(third, Err(Error::ConnectionLimitReached)),
        "{:?}",
        third.map(drop)
    );
    drop(slow);
    text(&rig.client, "http://localhost:2/").await;
}
