//! Backups: the complete state of a control plane in one file, taken while it runs and restored
//! while it is stopped.

mod format;
mod restore;
mod take;
#[cfg(test)]
mod tests;

pub use format::{Body, Decoder, FormatError, Header};
pub(crate) use restore::is_unfinished;
pub use restore::{RestoreError, Restored, restore};
pub(crate) use take::Backup;
