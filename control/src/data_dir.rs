//! The layout of a control plane's data directory. All of it, the state and the components, is
//! readable by its owner alone.

use std::{io, path::Path};

use rustix::fs::Mode;
use warren_model::private;

pub(crate) const STORE: &str = "store";
pub(crate) const ARTIFACTS: &str = "artifacts";
/// The directory in which a restore stages new files.
pub(crate) const STAGING: &str = ".restore";
/// The prefix of the name of a store that a restore set aside.
pub(crate) const REPLACED: &str = "store.replaced-";

/// Creates the directory if it is missing, and revokes the permissions of other users.
pub(crate) fn open(data: &Path) -> io::Result<()> {
    private::open_data_dir(data, |name| {
        [STORE, ARTIFACTS].contains(&name) || name.starts_with(REPLACED) || name.starts_with('.')
    })
}

/// Makes every file that this process creates from now on readable by its owner alone, whichever
/// library creates it.
///
/// Only for a process that is nothing but a control plane: files that guests write are shared with
/// other users if their owner says so.
pub fn keep_new_files_private() {
    rustix::process::umask(Mode::from_raw_mode(0o077));
}
