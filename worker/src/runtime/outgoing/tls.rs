//! TLS for connections to the outside, with rustls.

use std::sync::{Arc, LazyLock};

use rustls::{ClientConfig, RootCertStore};

use super::failure::ConnectError;

/// The name of HTTP/2 in ALPN (RFC 7301, RFC 9113).
pub(super) const H2: &[u8] = b"h2";
const HTTP_11: &[u8] = b"http/1.1";

/// Returns a configuration that trusts Mozilla's root certificates. All guests share what it
/// remembers of servers to resume sessions.
pub(super) fn public() -> Arc<ClientConfig> {
    static PUBLIC: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
        trusting(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.into(),
        })
    });
    Arc::clone(&PUBLIC)
}

pub(super) fn trusting(roots: RootCertStore) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![H2.to_vec(), HTTP_11.to_vec()];
    Arc::new(config)
}

/// Returns what went wrong in a handshake.
pub(super) fn failure(error: &std::io::Error) -> ConnectError {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            ConnectError::Certificate
        }
        Some(rustls::Error::AlertReceived(alert)) => ConnectError::Alert {
            id: (*alert).into(),
            name: format!("{alert:?}"),
        },
        _ => ConnectError::Tls,
    }
}
