//! Everything that a control plane knows, as one file: taken while it runs, brought back while it does not.

mod format;
mod restore;
mod take;
#[cfg(test)]
mod tests;

pub use format::{Body, Decoder, FormatError, Header};
pub(crate) use restore::is_unfinished;
pub use restore::{RestoreError, Restored, restore};
pub(crate) use take::Backup;
