//! Directories and files that only their owner can read, because Warren stores data that users
//! entrusted to it.

use std::{
    fs::{self, DirBuilder, Metadata, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// The permissions of the owner for a directory, and for a file.
const DIRECTORY: u32 = 0o700;
pub const FILE: u32 = 0o600;

/// The permission bits of the group and of others.
const OTHERS: u32 = 0o077;

/// Creates a directory and its parents if they are missing. An existing directory is left
/// unchanged.
pub fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY)
        .create(path)
}

/// Creates a directory if it is missing, and revokes the permissions of other users for it and for
/// everything in it, which an earlier version may have granted.
///
/// Symbolic links in it are not followed, and entries of other users are left unchanged.
pub fn open_dir(path: &Path) -> io::Result<()> {
    create_dir(path)?;
    restrict_tree(path)
}

/// Restricts a directory or a file, and its contents, as [`open_dir`] does. `path` itself may be a
/// symbolic link.
pub fn restrict_tree(path: &Path) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    restrict(&path, &fs::symlink_metadata(&path)?)?;
    let mut left = vec![path];
    while let Some(path) = left.pop() {
        match restrict_entries(&path, &mut left) {
            // It was removed in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            restricted => restricted?,
        }
    }
    Ok(())
}

/// Restricts the contents of a directory; its subdirectories are added to `left`.
fn restrict_entries(path: &Path, left: &mut Vec<PathBuf>) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        match restrict(&path, &metadata) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            restricted => restricted?,
        }
        if metadata.is_dir() {
            left.push(path);
        }
    }
    Ok(())
}

/// Creates a data directory if it is missing. An existing one is restricted unless it contains
/// anything but these entries: then it serves another purpose as well, and only the entries of
/// Warren are restricted to their owner.
pub fn open_data_dir(path: &Path, is_own: impl Fn(&str) -> bool) -> io::Result<()> {
    create_dir(path)?;
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !is_own(&name) && name != "lost+found" {
            return Ok(());
        }
    }
    // The directory itself, where its name is a link to it.
    restrict(path, &fs::metadata(path)?)
}

fn restrict(path: &Path, metadata: &Metadata) -> io::Result<()> {
    let mode = metadata.permissions().mode();
    if metadata.is_symlink() || mode & OTHERS == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(mode & 0o7700)) {
        // It belongs to another user, who decides about it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        restricted => restricted,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn open_to_all(path: &Path) {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_made_and_what_was_there_is_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::write(&outside, "").unwrap();
        let data = dir.path().join("a/b");
        open_dir(&data).unwrap();
        assert_eq!((mode(&data), mode(data.parent().unwrap())), (0o700, 0o700));

        let (inner, file) = (data.join("inner"), data.join("inner/file"));
        fs::create_dir(&inner).unwrap();
        fs::write(&file, "").unwrap();
        symlink(&outside, inner.join("link")).unwrap();
        for path in [&data, &inner, &file, &outside] {
            open_to_all(path);
        }
        open_dir(&data).unwrap();
        assert_eq!((mode(&data), mode(&inner)), (0o700, 0o700));
        assert_eq!(mode(&file), FILE);
        assert_eq!(mode(&outside), 0o644, "a link was followed");
    }

    #[test]
    fn a_directory_that_is_not_warrens_alone_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir_all(data.join("store")).unwrap();
        open_to_all(&data);
        fs::write(data.join("somebody-elses"), "").unwrap();
        let is_own = |name: &str| name == "store";
        open_data_dir(&data, is_own).unwrap();
        assert_eq!(mode(&data), 0o755);
        fs::remove_file(data.join("somebody-elses")).unwrap();
        open_data_dir(&data, is_own).unwrap();
        assert_eq!(mode(&data), 0o700);
    }
}
