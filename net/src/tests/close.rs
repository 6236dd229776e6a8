use bytes::Bytes;

use super::*;

/// Returns what the peer of a connection sees after this end was closed in some way: the remaining
/// bytes, and both ends.
fn seen(peer: &mut (Reader, Writer)) -> (Bytes, ReadEnd, WriteEnd) {
    let bytes = peer.0.try_read(100).unwrap_or_default();
    let read = peer.0.try_read(100).expect_err("an end");
    assert!(peer.0.poll_ready(&mut once()).is_ready());
    assert!(peer.1.poll_ready(&mut once()).is_ready());
    let write = peer
        .1
        .try_write(Bytes::from_static(b"x"))
        .expect_err("an end");
    assert_eq!(peer.1.capacity(), Err(write));
    assert_eq!(peer.1.poll_end(&mut once()), Poll::Ready(write));
    (bytes, read, write)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    DropReaderFirst,
    DropWriterFirst,
    Scope(End),
}

#[test]
fn the_peer_sees_how_an_end_was_closed() {
    use {End::*, How::*, ReadEnd::*, WriteEnd::Closed as Gone, WriteEnd::Reset as Broken};
    // (how, bytes left unread, shut down before, what the peer reads last, how its writes end)
    let cases = [
        (DropReaderFirst, false, false, Eof, Gone),
        (DropWriterFirst, false, false, Eof, Gone),
        (DropReaderFirst, true, false, Reset, Broken),
        // The end of stream was sent before it was known that bytes would be left unread.
        (DropWriterFirst, true, false, Eof, Broken),
        (DropReaderFirst, true, true, Eof, Broken),
        (Scope(Closed), false, false, Eof, Gone),
        (Scope(Closed), true, false, Eof, Gone),
        (Scope(Closed), false, true, Eof, Gone),
        (Scope(Aborted), false, false, Reset, Broken),
        (Scope(Aborted), true, false, Reset, Broken),
        // A clean shutdown before the trap is not undone.
        (Scope(Aborted), false, true, Eof, Broken),
    ];
    for (how, unread, shutdown, read, write) in cases {
        for client_closes in [true, false] {
            let Pair {
                network,
                scopes,
                client,
                server,
            } = pair();
            let (scope, this, mut peer) = match client_closes {
                true => (scopes.0, client, server),
                false => (scopes.1, server, client),
            };
            this.1
                .try_write(Bytes::from_static(b"sent before"))
                .unwrap();
            if unread {
                peer.1.try_write(Bytes::from_static(b"unread")).unwrap();
            }
            if shutdown {
                this.1.shutdown();
            }
            let (flag, waker) = Flag::new();
            assert!(
                peer.1
                    .poll_end(&mut Context::from_waker(&waker))
                    .is_pending()
            );
            let mut kept = None;
            match how {
                DropReaderFirst => {
                    drop(this.0);
                    drop(this.1);
                }
                DropWriterFirst => {
                    drop(this.1);
                    drop(this.0);
                }
                Scope(end) => {
                    scope.end(end);
                    kept = Some(this);
                }
            }
            assert!(flag.take(), "the peer is woken");
            let expected = (Bytes::from_static(b"sent before"), read, write);
            let case = format!("{how:?}, unread {unread}, shut down {shutdown}");
            assert_eq!(seen(&mut peer), expected, "{case}");
            drop(peer);
            // The guest's handles may outlive its scope, but hold nothing.
            assert_empty(&network);
            drop(kept);
            assert_empty(&network);
        }
    }
}

#[test]
fn handles_of_an_ended_scope_fail_with_scope_ended() {
    for (end, read, write) in [
        (End::Closed, ReadEnd::Eof, WriteEnd::Shutdown),
        (End::Aborted, ReadEnd::Reset, WriteEnd::Reset),
    ] {
        let Pair {
            network,
            scopes,
            client: (cr, cw),
            server: _server,
        } = pair();
        let scope = scopes.0;
        let mut listener = listen(&scope, "127.0.0.1:81", 1);
        let bound = scope.bind(at("127.0.0.1:82")).unwrap();
        let source = scope.bind(at("127.0.0.1:83")).unwrap();
        let local = cw.capacity().map(|_| listener.local_addr());
        let (flag, waker) = Flag::new();
        let mut cx = Context::from_waker(&waker);
        assert!(listener.poll_accept(&mut cx).is_pending());
        assert!(cr.poll_ready(&mut cx).is_pending());
        assert!(!scope.is_ended());

        scope.end(end);
        scope.end(End::Closed);
        assert!(scope.is_ended());
        assert!(flag.take());
        assert_eq!(Ok(listener.local_addr()), local);
        assert_eq!(cr.try_read(1), Err(read));
        assert_eq!(cw.try_write(Bytes::from_static(b"x")), Err(write));
        let ended = Some(NetError::ScopeEnded);
        assert_eq!(listener.try_accept().unwrap().err(), ended);
        assert!(listener.poll_ready(&mut once()).is_ready());
        assert_eq!(bound.listen(1).err(), ended);
        assert_eq!(scope.connect(Some(source), at("127.0.0.1:80")).err(), ended);
        assert_eq!(scope.bind(at("127.0.0.1:0")).err(), ended);
        assert_eq!(scope.connect(None, at("127.0.0.1:80")).err(), ended);
        assert_eq!(
            scope.connect_as(at("10.0.0.1:1"), at("127.0.0.1:80")).err(),
            ended
        );
        listener.set_backlog(3);
        listener.set_buffer(3);
        cr.stop();
        cw.shutdown();
        drop((listener, cr, cw));
        assert_eq!(network.counts().ports, 0);
    }
}

#[test]
fn a_scope_that_never_had_a_socket_ends_without_the_lock_of_its_network() {
    let network = network();
    let scope = network.scope();
    // Taking the lock a second time would never return.
    network.update(|_, _| scope.end(End::Aborted));
    assert!(scope.is_ended());
    assert_eq!(scope.socket().err(), Some(NetError::ScopeEnded));
    scope.end(End::Closed);
    assert_eq!(network.counts(), Counts::default());
}

#[test]
fn a_closed_listener_resets_what_it_had_not_accepted() {
    for end in [None, Some(End::Closed), Some(End::Aborted)] {
        let network = network();
        let (service, guest) = (network.scope(), network.scope());
        let listener = listen(&service, "127.0.0.1:80", 1);
        let (reader, writer) = connected(&guest, at("127.0.0.1:80")).split();
        assert_eq!(
            writer.try_write(Bytes::from_static(b"hello")),
            Ok(5),
            "before it is accepted"
        );
        let mut waiting = guest.connect(None, at("127.0.0.1:80")).unwrap();
        match end {
            None => drop(listener),
            Some(end) => service.end(end),
        }
        assert_eq!(reader.try_read(1), Err(ReadEnd::Reset));
        assert_eq!(
            writer.try_write(Bytes::from_static(b"x")),
            Err(WriteEnd::Reset)
        );
        let waited = poll(&mut waiting);
        assert!(matches!(
            waited,
            Poll::Ready(Err(NetError::ConnectionRefused))
        ));
        assert!(
            matches!(poll(&mut waiting), Poll::Ready(Err(NetError::ScopeEnded))),
            "again"
        );
        drop((reader, writer));
        assert_eq!(network.counts().ports, 0, "the listener's port is free");
        drop(waiting);
        assert_empty(&network);
    }
}

#[test]
fn a_client_may_have_closed_before_it_is_accepted() {
    // A trap resets; a close, or a connect that was dropped, is an end of stream.
    for (end, read) in [(None, ReadEnd::Eof), (Some(End::Aborted), ReadEnd::Reset)] {
        let network = network();
        let (service, guest) = (network.scope(), network.scope());
        let mut listener = listen(&service, "127.0.0.1:80", 2);
        let connecting = guest.connect(None, at("127.0.0.1:80")).unwrap();
        let (_reader, writer) = connected(&guest, at("127.0.0.1:80")).split();
        writer.try_write(Bytes::from_static(b"hello")).unwrap();
        match end {
            None => drop((connecting, _reader, writer)),
            Some(end) => guest.end(end),
        }
        assert_eq!(network.counts().ports, 1, "the clients' ports are free");
        let first = listener.try_accept().unwrap().unwrap().split();
        assert_eq!(first.0.try_read(9), Err(read));
        let second = listener.try_accept().unwrap().unwrap().split();
        assert_eq!(second.0.try_read(9), Ok(Bytes::from_static(b"hello")));
        assert_eq!(second.0.try_read(9), Err(read));
        assert!(listener.try_accept().is_none());
    }
}

#[test]
fn a_scope_that_ends_leaves_no_connection_waiting() {
    let network = network();
    let (service, guest) = (network.scope(), network.scope());
    let mut listener = listen(&service, "127.0.0.1:80", 1);
    let _first = connected(&service, at("127.0.0.1:80"));
    let mut waiting = guest.connect(None, at("127.0.0.1:80")).unwrap();
    assert_eq!(network.counts().waiting, 1);
    guest.end(End::Aborted);
    assert_eq!(network.counts().waiting, 0);
    assert!(matches!(
        poll(&mut waiting),
        Poll::Ready(Err(NetError::ScopeEnded))
    ));
    assert!(listener.try_accept().unwrap().is_ok());
    assert!(listener.try_accept().is_none());
}

#[test]
fn addresses_are_known_after_both_sides_closed() {
    let network = network();
    let scope = network.scope();
    let mut listener = listen(&scope, "0.0.0.0:80", 1);
    let client = connected(&scope, at("127.0.0.3:80"));
    let server = listener.try_accept().unwrap().unwrap();
    let addresses = (client.local_addr(), client.peer_addr());
    scope.end(End::Closed);
    assert_eq!((client.local_addr(), client.peer_addr()), addresses);
    assert_eq!((server.peer_addr(), server.local_addr()), addresses);
}

#[test]
fn a_socket_outlives_the_handle_of_its_scope() {
    let network = network();
    let listener = listen(&network.scope(), "127.0.0.1:80", 1);
    assert!(network.is_listening(80));
    drop(listener);
    assert_empty(&network);
}
