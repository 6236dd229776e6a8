//! What the worker last ran, kept in its data directory.

mod keeper;
mod saved;
mod store;

pub use self::{
    keeper::{Keeper, Kept, Last},
    saved::{Restored, Saved},
};
