//! A Warren worker: it runs the replicas that the control plane assigns to it, serves their routes
//! and reports their state.

pub mod agent;
pub mod artifacts;
mod backoff;
mod dial;
mod disk_cache;
pub mod health;
pub mod host;
pub mod http;
pub mod ingress;
mod last_words;
pub mod lease;
pub mod logs;
pub mod policy;
pub mod probe;
pub mod publish;
pub mod remote;
pub mod replica;
pub mod runtime;
pub mod sockets;
pub mod supervisor;
pub mod volumes;
mod worker;

pub use agent::default_compile_memory;
pub use http::listener::MAX_CONNECTIONS;
pub use logs::DiskLimits;
pub use runtime::compile::{CompileLimits, CompileSettings, CompilerProgram, compile_if_asked};
pub use volumes::HostVolume;
pub use worker::{Config, OpenError, ServeError, Worker};

/// The default address of the ingress.
pub const DEFAULT_HTTP: &str = "127.0.0.1:8000";
/// The default address for health checks and for requests from other workers.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7701";
/// The default limit for artifacts on disk, and for compiled code, in bytes each.
pub const DEFAULT_CACHE_LIMIT: u64 = 4 << 30;
