//! Tests of requests beyond the workload: TLS, and names whose addresses change.

use std::net::IpAddr;

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::TcpListenerStream;

use super::*;
use crate::policy::tests::dns::Dns;

/// The name of this machine's loopback address, which is also in the certificate.
const HOST: &str = "host.warren.internal";

/// Starts a server on the machine with a certificate for [`HOST`], and returns the roots to trust
/// for it.
async fn secure(alpn: &[&[u8]]) -> (Server, SocketAddr, RootCertStore) {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let certificates = vec![made.cert.der().clone()];
    let mut config = config
        .with_single_cert(certificates, PrivateKeyDer::from(key))
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let secured = TcpListenerStream::new(listener).filter_map(move |stream| {
        let acceptor = acceptor.clone();
        // A client that does not trust it disconnects.
        async move { acceptor.accept(stream.unwrap()).await.ok() }
    });
    let server = Server::start(secured);
    (server, address, roots)
}

fn trusting(roots: RootCertStore) -> Arc<Client> {
    let network = Network::new(NetLimits::default());
    let egress = format!("{HOST}:*");
    let ways = ways(&network, &[&egress], Resolver::system());
    Client::new(ways, Limits::default(), tls::trusting(roots))
}

#[tokio::test]
async fn servers_choose_the_version_by_alpn_and_connections_are_kept() {
    for (alpn, version) in [
        (&[b"h2".as_slice(), b"http/1.1"][..], "HTTP/2.0"),
        (&[b"http/1.1"], "HTTP/1.1"),
        (&[], "HTTP/1.1"),
    ] {
        let (server, address, roots) = secure(alpn).await;
        let client = trusting(roots);
        let url = format!("https://{HOST}:{}/", address.port());
        for _ in 0..4 {
            let told = text(&client, &url).await;
            assert!(told.starts_with(version), "{alpn:?}: {told}");
        }
        let (told, trailers) = ask(&client, upload(&url)).await.unwrap();
        assert!(told.ends_with(" one two"), "{told}");
        assert_eq!(trailers.unwrap()["x-sum"], "7");
        assert_eq!(server.connections(), 1, "{alpn:?}");
    }
}

#[tokio::test]
async fn a_handshake_that_fails_says_how() {
    let (_server, address, _) = secure(&[]).await;
    let url = format!("https://{HOST}:{}/", address.port());
    // No authority that is trusted publicly has signed it.
    let unknown = trusting(RootCertStore::empty());
    let told = ask(&unknown, get(&url)).await.unwrap_err();
    assert!(matches!(told, Error::TlsCertificateError), "{told:?}");

    // The server supports none of the protocols that the client offers.
    let (_server, address, roots) = secure(&[b"smtp"]).await;
    let url = format!("https://{HOST}:{}/", address.port());
    let told = ask(&trusting(roots), get(&url)).await.unwrap_err();
    assert!(matches!(told, Error::TlsAlertReceived { .. }), "{told:?}");

    // This server does not speak TLS at all.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{HOST}:{}/", listener.local_addr().unwrap().port());
    let _plain = Server::start(TcpListenerStream::new(listener).map(Result::unwrap));
    let told = ask(&trusting(RootCertStore::empty()), get(&url)).await;
    assert!(matches!(told, Err(Error::TlsProtocolError)), "{told:?}");
}

/// The owner of a name changes its address after the first lookup: open connections stay, and new
/// ones are decided again.
#[tokio::test]
async fn a_name_that_moves_takes_no_open_connection_along_and_gains_nothing() {
    const NAME: &str = "moving.example";
    let dns = Dns::start(&[(NAME, "127.0.0.1", 0)]).await;
    let move_to = |address: &str| {
        let ip: IpAddr = address.parse().unwrap();
        dns.zone.lock().answers = vec![(NAME, ip, 0)];
    };
    let rig = Rig::with(
        &["moving.example:80"],
        Resolver::servers([dns.address]),
        Limits::default(),
    );
    let first = rig.serve(80);
    let second = Server::start(streams(rig.listen("127.0.0.2:80")));
    let url = format!("http://{NAME}/");
    text(&rig.client, &url).await;

    for elsewhere in ["127.0.0.2", "169.254.169.254"] {
        move_to(elsewhere);
        let asked = dns.asked();
        text(&rig.client, &url).await;
        assert_eq!(dns.asked(), asked, "an open connection needs no lookup");
    }
    assert_eq!((first.connections(), second.connections()), (1, 0));

    // Another guest of the same workload, or this one without its connections, has to look the name
    // up.
    let renewed = rig.client.renewed();
    let told = ask(&renewed, get(&url)).await.unwrap_err();
    assert!(matches!(told, Error::DestinationIpProhibited), "{told:?}");
    move_to("127.0.0.2");
    text(&renewed, &url).await;
    assert_eq!((first.connections(), second.connections()), (1, 1));
}
