//! The pages for users are true: what they tell a reader to type is typed, and what they list is
//! compared.

mod pages;
mod reading;
mod reference;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().unwrap()
}
