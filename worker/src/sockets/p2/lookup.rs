//! `wasi:sockets/ip-name-lookup` 0.2: name resolution under the guest's policy.

use std::{future::Future, net::IpAddr, pin::Pin, sync::Arc, task::Poll, vec};

use wasmtime::component::Resource;
use wasmtime_wasi::{
    async_trait,
    p2::{
        DynPollable, Pollable, SocketResult,
        bindings::sockets::{
            ip_name_lookup::{self, ResolveAddressStream},
            network::{ErrorCode, IpAddress, Network},
        },
        subscribe,
    },
};

use crate::policy::ResolveError;

use super::{SocketsView, streams::once};

type Resolving = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, ResolveError>> + Send>>;

/// A lookup that is running or done. Dropping it cancels the lookup.
enum Lookup {
    Running(Resolving),
    Done(vec::IntoIter<IpAddr>),
    Failed(ErrorCode),
}

impl Lookup {
    fn finish(&mut self, result: Result<Vec<IpAddr>, ResolveError>) {
        *self = match result {
            Ok(addresses) => Self::Done(addresses.into_iter()),
            Err(error) => {
                tracing::debug!(%error, "name resolution failed");
                Self::Failed(error_code(&error))
            }
        };
    }
}

#[async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        if let Self::Running(resolving) = self {
            let result = resolving.await;
            self.finish(result);
        }
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

/// Converts between handle types. The guest's resource type is only a typed number.
fn own(stream: &Resource<ResolveAddressStream>) -> Resource<Lookup> {
    Resource::new_borrow(stream.rep())
}

impl ip_name_lookup::Host for SocketsView<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> SocketResult<Resource<ResolveAddressStream>> {
        self.check_token(&network)?;
        let policy = Arc::clone(&self.network.policy);
        let mut lookup = Lookup::Running(Box::pin(async move { policy.resolve(&name).await }));
        if let Lookup::Running(resolving) = &mut lookup
            && let Poll::Ready(result) = resolving.as_mut().poll(&mut once())
        {
            lookup.finish(result);
        }
        if let Lookup::Failed(code) = lookup {
            return Err(code.into());
        }
        let lookup = self.table.push(lookup)?;
        Ok(Resource::new_own(lookup.rep()))
    }
}

impl ip_name_lookup::HostResolveAddressStream for SocketsView<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> SocketResult<Option<IpAddress>> {
        let lookup = self.table.get_mut(&own(&stream))?;
        if let Lookup::Running(resolving) = lookup
            && let Poll::Ready(result) = resolving.as_mut().poll(&mut once())
        {
            lookup.finish(result);
        }
        match lookup {
            Lookup::Running(_) => Err(ErrorCode::WouldBlock.into()),
            Lookup::Done(addresses) => Ok(addresses.next().map(IpAddress::from)),
            Lookup::Failed(code) => Err((*code).into()),
        }
    }

    fn subscribe(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, own(&stream))
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        self.table
            .delete(Resource::<Lookup>::new_own(stream.rep()))?;
        Ok(())
    }
}
