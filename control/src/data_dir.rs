//! What a control plane's data directory holds. All of it is for its owner alone: the state, and the components.

use std::{io, path::Path};

use rustix::fs::Mode;
use warren_model::private;

pub(crate) const STORE: &str = "store";
pub(crate) const ARTIFACTS: &str = "artifacts";
/// Where a restore makes the new files.
pub(crate) const STAGING: &str = ".restore";
/// Begins the name of a store that a restore put aside.
pub(crate) const REPLACED: &str = "store.replaced-";

/// Makes the directory where it is missing, and takes from others what they may do with it.
pub(crate) fn open(data: &Path) -> io::Result<()> {
    private::open_data_dir(data, |name| {
        [STORE, ARTIFACTS].contains(&name) || name.starts_with(REPLACED) || name.starts_with('.')
    })
}

/// Makes every file that this process creates from now on readable by its owner alone, whatever library creates it.
///
/// For a process that is a control plane and nothing else: what guests write is for others where their owner says so.
pub fn keep_new_files_private() {
    rustix::process::umask(Mode::from_raw_mode(0o077));
}
