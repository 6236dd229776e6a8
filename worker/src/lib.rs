//! A Warren worker: runs what the control plane assigns, serves its routes, reports what becomes of it.

pub mod agent;
mod dial;
mod disk_cache;
pub mod health;
pub mod ingress;
mod last_words;
pub mod lease;
pub mod logs;
pub mod net;
pub mod policy;
pub mod probe;
pub mod publish;
pub mod runtime;
pub mod sockets;
pub mod supervisor;
pub mod volumes;

pub use agent::{Config, OpenError, ServeError, Worker, default_compile_memory};
pub use ingress::server::MAX_CONNECTIONS;
pub use logs::DiskLimits;
pub use runtime::compile::{CompileLimits, CompileSettings, CompilerProgram, compile_if_asked};
pub use volumes::HostVolume;

/// Where the ingress listens when nothing else is asked for.
pub const DEFAULT_HTTP: &str = "127.0.0.1:8000";
/// Where health, and requests of other workers, are answered when nothing else is asked for.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7701";
/// Bytes that artifacts may take on disk, and that compiled code may, when nothing else is asked for.
pub const DEFAULT_CACHE_LIMIT: u64 = 4 << 30;

#[cfg(not(feature = "simulation"))]
use tokio::sync::watch;
#[cfg(feature = "simulation")]
use warren_model::watch;
