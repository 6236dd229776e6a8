//! Interfaces that workers provide to guests beyond the packages of WASI that wasmtime implements.
//!
//! Each interface is one file and implements [`HostInterface`] for the state that it keeps for a
//! guest. To add one, write its WIT into `wit/`, list it in the model's table of what workers
//! provide, and name it here in [`HostStates`] and [`add_to_linker`]. A test compares the table
//! with what the linkers hold.

mod config;
mod logging;

use std::{collections::BTreeMap, sync::Arc};

use wasmtime::component::Linker;

use crate::logs::ReplicaLog;

use self::{config::Config, logging::Logging};

/// A package of host interfaces. The implementing type is its state.
///
/// The state is made once for each guest of a replica and is cloned for each instance. State that
/// all instances share, such as a connection, is therefore behind an [`Arc`].
trait HostInterface: Clone + Send + 'static {
    /// The package, without a version. `warren_model::component::provided` lists its interfaces
    /// and whether a guest must be bound to a backend to import them.
    const PACKAGE: &'static str;

    /// Adds the interfaces of the package, for guests of both generations of WASI.
    fn add_to_linker<T: HasHost>(linker: &mut Linker<T>) -> wasmtime::Result<()>;

    /// Makes the state of a guest. Called for each guest, including those that do not import the
    /// package. An error is the reason why the guest cannot run.
    fn bind(guest: &GuestContext<'_>) -> Result<Self, String>;
}

/// A store's data that has the host interfaces, as it has those of WASI by `WasiView`.
pub trait HasHost: Send + 'static {
    fn host(&mut self) -> &mut HostStates;
}

/// The properties of a guest to which host interfaces bind.
pub struct GuestContext<'a> {
    /// "service" or the component's name, which marks its lines in the log.
    pub source: &'a Arc<str>,
    pub log: &'a ReplicaLog,
    pub config: &'a BTreeMap<String, String>,
}

/// The states of all host interfaces for one guest.
#[derive(Clone)]
pub struct HostStates {
    config: Config,
    logging: Logging,
}

/// A guest cannot be bound to a host interface.
#[derive(Debug, thiserror::Error)]
#[error("cannot bind `{package}`: {reason}")]
pub struct BindError {
    package: &'static str,
    reason: String,
}

/// Adds every host interface. None of them shadows an interface of WASI.
pub fn add_to_linker<T: HasHost>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    Config::add_to_linker(linker)?;
    Logging::add_to_linker(linker)
}

impl HostStates {
    pub fn bind(guest: &GuestContext<'_>) -> Result<Self, BindError> {
        Ok(Self {
            config: bind(guest)?,
            logging: bind(guest)?,
        })
    }
}

fn bind<I: HostInterface>(guest: &GuestContext<'_>) -> Result<I, BindError> {
    I::bind(guest).map_err(|reason| BindError {
        package: I::PACKAGE,
        reason,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::logs::{LogHub, LogLimits};

    /// A package that no guest can be bound to.
    #[derive(Clone, Debug)]
    struct Refusing;

    impl HostInterface for Refusing {
        const PACKAGE: &'static str = "a:b";

        fn add_to_linker<T: HasHost>(_: &mut Linker<T>) -> wasmtime::Result<()> {
            Ok(())
        }

        fn bind(guest: &GuestContext<'_>) -> Result<Self, String> {
            Err(format!("`{}` names no backend", guest.source))
        }
    }

    #[test]
    fn a_guest_that_cannot_be_bound_is_refused_with_the_package_and_the_reason() {
        let log = LogHub::new(LogLimits::default()).open("replica");
        let guest = GuestContext {
            source: &"api".into(),
            log: &log,
            config: &BTreeMap::new(),
        };
        let refused = bind::<Refusing>(&guest).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cannot bind `a:b`: `api` names no backend"
        );
    }
}
