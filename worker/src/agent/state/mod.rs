//! Keeps what the worker last ran in its data directory.

mod files;
mod keeper;
mod saved;
mod store;
mod unsaved;

pub use self::{
    files::{Files, Work},
    keeper::{Keeper, Kept, Last},
    saved::{Restored, Saved},
};
