//! Tests of how bodies pass: as they arrive, as fast as they are read, and broken off.

use super::*;

const POST: &str = "POST / HTTP/1.1\r\nHost: a.localhost\r\n";

#[tokio::test]
async fn a_stream_of_events_passes_at_once() {
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    let mut client = rig.send(GET).await;
    let mut guest = accept(&mut listener).await;
    head(&mut guest).await;
    let begin = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    write(&mut guest, begin).await;
    let answer = head(&mut client).await;
    assert!(answer.contains("transfer-encoding: chunked"), "{answer}");
    for n in 0..3 {
        write(&mut guest, &format!("data: {n}\n\n")).await;
        exactly(&mut client, &format!("9\r\ndata: {n}\n\n\r\n")).await;
    }
    drop(guest);
    assert_eq!(rest(&mut client).await.unwrap(), "0\r\n\r\n");
}

#[tokio::test]
async fn both_directions_flow_at_once_with_trailers() {
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    let mut client = rig
        .send(&format!(
            "{POST}Transfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: x-up\r\n\r\n"
        ))
        .await;
    let mut guest = accept(&mut listener).await;
    let request = head(&mut guest).await;
    assert!(
        request.contains("transfer-encoding: chunked\r\n"),
        "{request}"
    );
    assert!(request.contains("te: trailers\r\n"), "{request}");
    write(
        &mut guest,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-down\r\n\r\n",
    )
    .await;
    head(&mut client).await;
    for _ in 0..3 {
        write(&mut client, "4\r\nping\r\n").await;
        exactly(&mut guest, "4\r\nping\r\n").await;
        write(&mut guest, "4\r\npong\r\n").await;
        exactly(&mut client, "4\r\npong\r\n").await;
    }
    write(&mut client, "0\r\nx-up: 1\r\n\r\n").await;
    exactly(&mut guest, "0\r\nx-up: 1\r\n\r\n").await;
    write(&mut guest, "0\r\nx-down: 2\r\n\r\n").await;
    exactly(&mut client, "0\r\nx-down: 2\r\n\r\n").await;
}

#[tokio::test]
async fn an_announced_body_waits_until_the_service_wants_it() {
    let expect = format!("{POST}Content-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    let mut client = rig.send(&expect).await;
    let mut guest = accept(&mut listener).await;
    let request = head(&mut guest).await;
    assert!(request.contains("expect: 100-continue"), "{request}");
    write(&mut guest, "HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(head(&mut client).await, "HTTP/1.1 100 Continue\r\n\r\n");
    write(&mut client, "body").await;
    exactly(&mut guest, "body").await;
    write(&mut guest, OK).await;
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));

    // The service refuses at once, so the client gets no 100 Continue.
    let mut client = rig.send(&expect).await;
    head(&mut guest).await;
    write(
        &mut guest,
        "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let answer = head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 417 "), "{answer}");
    // It is not known what a client that was refused sends next.
    let error = rest(&mut guest).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_service_that_does_not_support_expectations_gets_the_body_anyway() {
    let limits = PortLimits {
        continue_timeout: Duration::from_millis(20),
        ..QUICK
    };
    let rig = Rig::start(limits).await;
    let mut listener = rig.listen();
    let mut client = rig
        .send(&format!(
            "{POST}Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        ))
        .await;
    let mut guest = accept(&mut listener).await;
    head(&mut guest).await;
    assert_eq!(head(&mut client).await, "HTTP/1.1 100 Continue\r\n\r\n");
    write(&mut client, "body").await;
    exactly(&mut guest, "body").await;
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_has_ended() {
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    let mut client = rig
        .send(&format!("{POST}Content-Length: 1000\r\n\r\nbegun"))
        .await;
    let mut guest = accept(&mut listener).await;
    head(&mut guest).await;
    write(
        &mut guest,
        "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig",
    )
    .await;
    let answer = head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    exactly(&mut client, "big").await;
    // The connection is not used for the next request.
    let _second = rig.send(GET).await;
    let mut second = accept(&mut listener).await;
    head(&mut second).await;
}

#[tokio::test]
async fn a_client_is_read_no_faster_than_the_service_reads() {
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    // This is more than all the buffers of the kernel hold.
    let total = 64 << 20;
    let mut client = rig
        .send(&format!("{POST}Content-Length: {total}\r\n\r\n"))
        .await;
    let sends = tokio::spawn(async move {
        let sent = client.write_all(&vec![0; total]).await;
        (client, sent)
    });
    let mut guest = accept(&mut listener).await;
    let full = NetLimits::default().buffer;
    until(|| rig.network.counts().buffered == full).await;
    assert!(!sends.is_finished());
    head(&mut guest).await;
    let mut body = guest.take(total as u64);
    let received = within(tokio::io::copy(&mut body, &mut tokio::io::sink())).await;
    assert_eq!(received.unwrap(), total as u64);
    let (mut client, sent) = sends.await.unwrap();
    sent.unwrap();
    write(&mut body.into_inner(), OK).await;
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_service_writes_no_faster_than_the_client_reads() {
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    let mut client = rig.send(GET).await;
    let mut guest = accept(&mut listener).await;
    head(&mut guest).await;
    let total = 64_u64 << 20;
    let writes = tokio::spawn(async move {
        let begin = format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n");
        guest.write_all(begin.as_bytes()).await.unwrap();
        tokio::io::copy(&mut tokio::io::repeat(7).take(total), &mut guest)
            .await
            .unwrap();
    });
    let full = NetLimits::default().buffer;
    until(|| rig.network.counts().buffered == full).await;
    assert!(!writes.is_finished());
    head(&mut client).await;
    let received = within(tokio::io::copy(&mut client, &mut tokio::io::sink())).await;
    assert_eq!(received.unwrap(), total);
    writes.await.unwrap();
}

#[tokio::test]
async fn a_client_that_disconnects_ends_its_request() {
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    // It disconnects before the answer, during it, and during the request.
    let before = rig.send(GET).await;
    let mut guest = accept(&mut listener).await;
    head(&mut guest).await;
    // A mere end of stream would mean a client that has sent everything and waits.
    before.set_zero_linger().unwrap();
    drop(before);
    let error = rest(&mut guest).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    drop(guest);

    let mut during = rig.send(GET).await;
    let mut guest = accept(&mut listener).await;
    head(&mut guest).await;
    write(&mut guest, "HTTP/1.1 200 OK\r\n\r\nand so on").await;
    head(&mut during).await;
    during.set_zero_linger().unwrap();
    drop(during);
    let error = rest(&mut guest).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    drop(guest);

    let sending = rig
        .send(&format!("{POST}Content-Length: 1000\r\n\r\nbegun"))
        .await;
    let mut guest = accept(&mut listener).await;
    head(&mut guest).await;
    exactly(&mut guest, "begun").await;
    drop(sending);
    let error = rest(&mut guest).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    drop(guest);
    rig.is_quiet().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_mistaken_for_a_complete_one() {
    for begin in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let rig = Rig::start(QUICK).await;
        let mut listener = rig.listen();
        let mut client = rig.send(GET).await;
        let mut guest = accept(&mut listener).await;
        head(&mut guest).await;
        write(&mut guest, begin).await;
        head(&mut client).await;
        drop(guest);
        let answer = rest(&mut client).await.unwrap();
        assert!(
            answer.contains("half") && !answer.contains("0\r\n\r\n"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_request_that_is_sent_slowly_does_not_time_out() {
    let limits = PortLimits {
        head_timeout: Duration::from_secs(2),
        ..QUICK
    };
    let rig = Rig::start(limits).await;
    let mut listener = rig.listen();
    let mut client = rig.send(&format!("{POST}Content-Length: 4\r\n\r\n")).await;
    let mut guest = accept(&mut listener).await;
    head(&mut guest).await;
    let began = tokio::time::Instant::now();
    for _ in 0..4 {
        // This test is about time: more than a quarter of the limit passes, four times.
        tokio::time::sleep(limits.head_timeout * 3 / 10).await;
        write(&mut client, "x").await;
        exactly(&mut guest, "x").await;
    }
    assert!(began.elapsed() > limits.head_timeout);
    write(&mut guest, OK).await;
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));
}
