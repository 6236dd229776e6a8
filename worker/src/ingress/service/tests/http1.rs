use super::*;

#[tokio::test]
async fn a_request_arrives_as_it_was_sent_and_comes_from_the_worker() {
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    let mut client = rig
        .send(
            "GET /x?q=1 HTTP/1.1\r\nHost: A.localhost:8000\r\nConnection: keep-alive, x-hop\r\n\
             X-Hop: 1\r\nX-Own: yes\r\n\r\n",
        )
        .await;
    let mut guest = accept(&mut listener).await;
    let request = head(&mut guest).await;
    let mut lines: Vec<_> = request.trim_end().split("\r\n").collect();
    lines[1..].sort_unstable();
    assert_eq!(
        lines,
        [
            "GET /x?q=1 HTTP/1.1",
            "host: A.localhost:8000",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: A.localhost:8000",
            "x-forwarded-proto: http",
            "x-own: yes",
        ]
    );
    assert_eq!(guest.peer_addr().ip(), crate::policy::HOST_ADDRESS);
    assert_ne!(guest.peer_addr().port(), 0);

    write(&mut guest, "HTTP/1.1 203 Mine\r\nX-Back: yes\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok").await;
    let response = head(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 203 Mine\r\n"), "{response}");
    assert!(
        response.contains("x-back: yes\r\n") && !response.contains("x-hop"),
        "{response}"
    );
    exactly(&mut client, "ok").await;
}

#[tokio::test]
async fn either_family_is_found() {
    for local in ["127.0.0.1:80", "0.0.0.0:80", "[::1]:80", "[::]:80"] {
        let rig = Rig::start(QUICK).await;
        let mut listener = listen(&rig.service, local);
        let _client = rig.send(GET).await;
        let guest = accept(&mut listener).await;
        let (peer, own) = (guest.peer_addr(), guest.local_addr());
        assert_eq!(peer.is_ipv4(), own.is_ipv4(), "{local}");
        assert!(!peer.ip().is_loopback(), "{local}: {peer}");
    }
}

#[tokio::test]
async fn connections_are_reused_and_closed_when_unused() {
    let limits = PortLimits {
        idle_timeout: Duration::from_millis(50),
        ..QUICK
    };
    let rig = Rig::start(limits).await;
    let mut listener = rig.listen();
    let mut client = rig.client().await;
    let mut guest = None;
    for _ in 0..3 {
        write(&mut client, "GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n").await;
        if guest.is_none() {
            guest = Some(accept(&mut listener).await);
        }
        let guest = guest.as_mut().unwrap();
        head(guest).await;
        write(guest, OK).await;
        head(&mut client).await;
        exactly(&mut client, "ok").await;
    }
    let end = rest(guest.as_mut().unwrap()).await.unwrap();
    assert_eq!(end, "", "a clean end");
}

#[tokio::test]
async fn no_more_connections_are_kept_than_the_limit() {
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    let mut pairs = Vec::new();
    for _ in 0..QUICK.idle + 1 {
        let client = rig.send(GET).await;
        pairs.push((client, accept(&mut listener).await));
    }
    let mut guests = Vec::new();
    for (mut client, mut guest) in pairs {
        head(&mut guest).await;
        write(&mut guest, OK).await;
        rest(&mut client).await.unwrap();
        guests.push(guest);
    }
    // This is the one that was unused for longest.
    assert_eq!(rest(&mut guests[0]).await.unwrap(), "");
    let open = 2 * QUICK.idle;
    drop(guests.remove(0));
    until(|| rig.network.counts().sockets == open + 1).await;
}

#[tokio::test]
async fn a_request_is_sent_again_only_if_that_can_do_no_harm() {
    for (request, repeated) in [
        (GET.to_owned(), true),
        (GET.replace("GET", "DELETE"), true),
        (GET.replace("GET", "POST"), false),
        (
            GET.replace("\r\n\r\n", "\r\nContent-Length: 2\r\n\r\nhi")
                .replace("GET", "PUT"),
            false,
        ),
    ] {
        let rig = Rig::start(QUICK).await;
        let mut listener = rig.listen();
        let first = tokio::spawn({
            let address = rig.address;
            async move {
                let mut client = TcpStream::connect(address).await.unwrap();
                write(&mut client, GET).await;
                rest(&mut client).await.unwrap()
            }
        });
        let mut guest = accept(&mut listener).await;
        head(&mut guest).await;
        write(&mut guest, OK).await;
        assert!(first.await.unwrap().ends_with("ok"));

        let mut client = rig.send(&request).await;
        head(&mut guest).await;
        drop(guest);
        if repeated {
            let mut guest = accept(&mut listener).await;
            head(&mut guest).await;
            write(&mut guest, OK).await;
            let answer = rest(&mut client).await.unwrap();
            assert!(answer.ends_with("ok"), "{request}: {answer}");
        } else {
            let answer = rest(&mut client).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 502 "), "{request}: {answer}");
            assert!(
                answer.contains("closed the connection before it answered"),
                "{answer}"
            );
            assert!(listener.try_accept().is_none(), "{request} was sent twice");
        }
    }
}

#[tokio::test]
async fn a_request_on_a_fresh_connection_is_not_sent_again() {
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    let mut client = rig.send(GET).await;
    let mut guest = accept(&mut listener).await;
    head(&mut guest).await;
    drop(guest);
    let answer = rest(&mut client).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(listener.try_accept().is_none());
}

#[tokio::test]
async fn the_answer_says_that_nothing_listens() {
    let rig = Rig::start(QUICK).await;
    let answer = rig.ask(GET).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let text = "port 80 of the service of workload default/shop: nothing listens there\n";
    assert!(answer.ends_with(text), "{answer}");
}

#[tokio::test]
async fn an_invalid_answer_is_reported_as_such() {
    for (bytes, wanted) in [
        ("what?\r\n\r\n", "did not answer in HTTP/1.1"),
        (
            "HTTP/1.1 200 OK\r\nContent-Le",
            "closed the connection before",
        ),
        ("", "closed the connection before"),
        (
            "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
            "did not answer in HTTP/1.1",
        ),
        (
            "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            "unasked",
        ),
    ] {
        let rig = Rig::start(QUICK).await;
        let mut listener = rig.listen();
        let mut client = rig.send(GET).await;
        let mut guest = accept(&mut listener).await;
        head(&mut guest).await;
        write(&mut guest, bytes).await;
        drop(guest);
        let answer = rest(&mut client).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 502 "), "{bytes:?}: {answer}");
        assert!(answer.contains(wanted), "{bytes:?}: {answer}");
    }
}

#[tokio::test]
async fn heads_pass_up_to_their_limits_whatever_follows_them() {
    let large = |bytes| format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(bytes));
    let many = |count| format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(count));
    for bytes in [large(65_000), many(199)] {
        for body in [String::new(), "b".repeat(100_000)] {
            let rig = Rig::start(QUICK).await;
            let mut listener = rig.listen();
            let mut client = rig.send(GET).await;
            let mut guest = accept(&mut listener).await;
            head(&mut guest).await;
            write(&mut guest, &format!("{bytes}{body}")).await;
            drop(guest);
            let answer = rest(&mut client).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{}", &answer[..200]);
            assert!(answer.ends_with("0\r\n\r\n"));
        }
    }
    let sized = format!("{}{}", large(65_600), "b".repeat(100_000));
    for (bytes, words) in [
        (
            large(1 << 20),
            "head is too large: at most 200 fields and 65536 bytes",
        ),
        (large(65_600), "at most 65536 bytes are passed on"),
        (sized, "at most 65536 bytes are passed on"),
        (
            many(201),
            "head is too large: at most 200 fields and 65536 bytes",
        ),
    ] {
        let rig = Rig::start(QUICK).await;
        let mut listener = rig.listen();
        let mut client = rig.send(GET).await;
        let mut guest = accept(&mut listener).await;
        head(&mut guest).await;
        // The connection may be cut while the guest writes.
        let _ = within(guest.write_all(bytes.as_bytes())).await;
        let answer = rest(&mut client).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert!(answer.contains(words), "{answer}");
    }
}

#[tokio::test]
async fn bytes_after_an_answer_are_discarded() {
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    let mut client = rig.send(GET).await;
    let mut guest = accept(&mut listener).await;
    head(&mut guest).await;
    write(
        &mut guest,
        &format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
    )
    .await;
    let answer = rest(&mut client).await.unwrap();
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");

    let mut client = rig.send(GET).await;
    let mut guest = accept(&mut listener).await;
    head(&mut guest).await;
    write(&mut guest, OK).await;
    let answer = rest(&mut client).await.unwrap();
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[tokio::test]
async fn a_service_that_does_not_answer_costs_its_client_a_504() {
    let limits = PortLimits {
        head_timeout: Duration::from_millis(50),
        ..QUICK
    };
    let rig = Rig::start(limits).await;
    let mut listener = rig.listen();
    let mut client = rig.send(GET).await;
    let mut guest = accept(&mut listener).await;
    head(&mut guest).await;
    let answer = rest(&mut client).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(
        answer.contains("did not begin to answer within 50ms"),
        "{answer}"
    );
    let error = rest(&mut guest).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn more_requests_than_the_limit_are_turned_away() {
    let limits = PortLimits {
        requests: 1,
        ..QUICK
    };
    let rig = Rig::start(limits).await;
    let mut listener = rig.listen();
    let mut client = rig.send(GET).await;
    let mut guest = accept(&mut listener).await;
    let answer = rig.ask(GET).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    head(&mut guest).await;
    write(&mut guest, OK).await;
    assert!(rest(&mut client).await.unwrap().ends_with("ok"));
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    let mut client = rig.client().await;
    let mut guest = None;
    for (method, response, wanted) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            "content-length: 5",
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", "204"),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
            "etag: x",
        ),
        (
            "GET",
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "200",
        ),
    ] {
        write(
            &mut client,
            &format!("{method} / HTTP/1.1\r\nHost: a.localhost\r\n\r\n"),
        )
        .await;
        if guest.is_none() {
            guest = Some(accept(&mut listener).await);
        }
        let guest = guest.as_mut().unwrap();
        assert!(head(guest).await.starts_with(method));
        write(guest, response).await;
        let answer = head(&mut client).await;
        assert!(answer.contains(wanted), "{response}: {answer}");
    }
}

#[tokio::test]
async fn draining_waits_for_answers_and_closes_what_is_idle() {
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    let mut idle = rig.send(GET).await;
    let mut idle_guest = accept(&mut listener).await;
    head(&mut idle_guest).await;
    let mut client = rig.send(GET).await;
    let mut guest = accept(&mut listener).await;
    head(&mut guest).await;
    write(&mut idle_guest, OK).await;
    rest(&mut idle).await.unwrap();

    let drained = tokio::spawn({
        let port = Arc::clone(&rig.port);
        async move { port.drain().await }
    });
    write(&mut guest, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nla").await;
    head(&mut client).await;
    exactly(&mut client, "la").await;
    assert!(!drained.is_finished());
    write(&mut guest, "st").await;
    exactly(&mut client, "st").await;
    within(drained).await.unwrap();
    assert_eq!(rest(&mut idle_guest).await.unwrap(), "");
    assert_eq!(rest(&mut guest).await.unwrap(), "");
    let answer = rig.ask(GET).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[tokio::test]
async fn a_service_that_starts_again_gets_new_connections() {
    let rig = Rig::start(QUICK).await;
    for _ in 0..3 {
        let life = rig.network.scope();
        let mut listener = listen(&life, "127.0.0.1:80");
        let mut client = rig.send(GET).await;
        let mut guest = accept(&mut listener).await;
        head(&mut guest).await;
        write(&mut guest, OK).await;
        assert!(rest(&mut client).await.unwrap().ends_with("ok"));
        life.end(warren_net::End::Aborted);
        rig.is_quiet().await;
    }
}
