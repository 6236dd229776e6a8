//! Tests of connections that switch to another protocol than HTTP.

use super::*;

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a.localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: raw\r\n\r\n";
const AGREE: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n";

/// Returns a client and a service that agreed on a protocol, each of which has sent a few bytes.
async fn upgraded(rig: &Rig, listener: &mut Listener) -> (TcpStream, Stream) {
    let mut client = rig.send(ASK).await;
    let mut guest = accept(listener).await;
    let request = head(&mut guest).await;
    assert!(request.contains("upgrade: raw\r\n"), "{request}");
    assert!(request.contains("connection: upgrade\r\n"), "{request}");
    write(&mut guest, &format!("{AGREE}hello ")).await;
    let answer = head(&mut client).await;
    assert!(
        answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
        "{answer}"
    );
    assert!(answer.contains("upgrade: raw\r\n"), "{answer}");
    exactly(&mut client, "hello ").await;
    (client, guest)
}

#[tokio::test]
async fn bytes_pass_both_ways_until_both_have_ended() {
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    let (mut client, mut guest) = upgraded(&rig, &mut listener).await;
    write(&mut client, "up").await;
    exactly(&mut guest, "up").await;
    write(&mut guest, "down").await;
    exactly(&mut client, "down").await;

    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut guest).await.unwrap(), "");
    write(&mut guest, "last").await;
    drop(guest);
    assert_eq!(rest(&mut client).await.unwrap(), "last");
    rig.is_quiet().await;

    let (mut client, mut guest) = upgraded(&rig, &mut listener).await;
    guest.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await.unwrap(), "");
    write(&mut client, "late").await;
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut guest).await.unwrap(), "late");
}

#[tokio::test]
async fn bytes_that_the_client_sent_too_early_are_not_lost() {
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    let mut client = rig.send(&format!("{ASK}early")).await;
    let mut guest = accept(&mut listener).await;
    head(&mut guest).await;
    write(&mut guest, AGREE).await;
    head(&mut client).await;
    exactly(&mut guest, "early").await;
}

#[tokio::test]
async fn a_reset_on_one_side_is_a_reset_on_the_other() {
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    let (client, mut guest) = upgraded(&rig, &mut listener).await;
    client.set_zero_linger().unwrap();
    drop(client);
    let error = rest(&mut guest).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    drop(guest);

    let (mut client, _guest) = upgraded(&rig, &mut listener).await;
    rig.service.end(warren_net::End::Aborted);
    let error = rest(&mut client).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    rig.is_quiet().await;
}

#[tokio::test]
async fn a_service_may_refuse() {
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    let mut client = rig.send(ASK).await;
    let mut guest = accept(&mut listener).await;
    head(&mut guest).await;
    write(
        &mut guest,
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: other\r\nContent-Length: 2\r\n\r\nno",
    )
    .await;
    let answer = head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    exactly(&mut client, "no").await;
    // Both connections continue with HTTP.
    write(&mut client, GET).await;
    head(&mut guest).await;
    write(&mut guest, OK).await;
    assert!(rest(&mut client).await.unwrap().ends_with("ok"));
}

#[tokio::test]
async fn an_upgraded_connection_holds_its_place_and_the_drain() {
    let limits = PortLimits {
        requests: 1,
        ..QUICK
    };
    let rig = Rig::start(limits).await;
    let mut listener = rig.listen();
    let (client, mut guest) = upgraded(&rig, &mut listener).await;
    let answer = rig.ask(GET).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");

    let drained = tokio::spawn({
        let port = Arc::clone(&rig.port);
        async move { port.drain().await }
    });
    rig.draining.cancel();
    write(&mut guest, "still").await;
    assert!(!drained.is_finished() && !rig.serving.is_finished());
    drop((client, guest));
    within(drained).await.unwrap();
    within(rig.serving).await.unwrap();
}

#[tokio::test]
async fn a_route_of_http2_has_no_upgrades_and_says_so() {
    let rig = Rig::start(QUICK).await;
    let _listener = rig.listen();
    let ask = ASK.replace("a.localhost", "b.localhost");
    let mut client = rig.send(&ask).await;
    let answer = head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");
}
