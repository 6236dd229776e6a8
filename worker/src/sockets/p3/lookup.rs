//! `wasi:sockets/ip-name-lookup` 0.3: name resolution under the guest's policy.

use std::sync::Arc;

use wasmtime::component::Accessor;
use wasmtime_wasi::p3::bindings::sockets::{
    ip_name_lookup::{ErrorCode, Host, HostWithStore},
    types::IpAddress,
};

use crate::{
    policy::ResolveError,
    sockets::{HasSockets, Sockets, SocketsView},
};

impl Host for SocketsView<'_> {}

impl<T: HasSockets> HostWithStore<T> for Sockets {
    async fn resolve_addresses(
        store: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<IpAddress>, ErrorCode>> {
        let policy = store.with(|mut store| Arc::clone(&store.get().network.policy));
        Ok(match policy.resolve(&name).await {
            Ok(addresses) => Ok(addresses.into_iter().map(IpAddress::from).collect()),
            Err(error) => {
                tracing::debug!(%error, "name resolution failed");
                Err(error_code(&error))
            }
        })
    }
}

fn error_code(error: &ResolveError) -> ErrorCode {
    match error {
        ResolveError::Denied(_) => ErrorCode::PermanentResolverFailure,
        ResolveError::InvalidName => ErrorCode::InvalidArgument,
        ResolveError::NotFound => ErrorCode::NameUnresolvable,
        ResolveError::TimedOut | ResolveError::Temporary(_) => ErrorCode::TemporaryResolverFailure,
    }
}
