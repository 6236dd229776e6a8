//! What control plane and worker keep is for their owner alone, also where an earlier version left
//! it to others.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use warren_tests::{Worker, eventually};

use crate::{cluster, counter::manifest};

/// The directory and all that is in it.
fn tree(path: &Path) -> Vec<PathBuf> {
    let metadata = fs::symlink_metadata(path).unwrap();
    if metadata.is_symlink() {
        return Vec::new();
    }
    let mut found = vec![path.to_owned()];
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            found.extend(tree(&entry.unwrap().path()));
        }
    }
    found
}

/// What others than the owner may do something with.
fn open_to_others(path: &Path) -> Vec<PathBuf> {
    let is_open = |path: &PathBuf| {
        // Some files come and go.
        let metadata = fs::symlink_metadata(path);
        metadata.is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
    };
    tree(path).into_iter().filter(is_open).collect()
}

/// As a version left it that knew nothing of this.
fn open_up(path: &Path) {
    for path in tree(path) {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
}

#[tokio::test]
async fn data_is_private_to_its_owner_and_permissions_are_repaired() {
    let mut cluster = cluster(1).await;
    cluster.apply(&manifest("counter")).await;
    let control = cluster.lab.path("control");
    let worker = cluster.lab.path("w1");
    let backup = cluster.lab.path("backup.warren");
    let file = backup.display().to_string();
    cluster.warren(&["backup", &file]).await.ok();
    for path in [&control, &worker, &backup] {
        assert_eq!(open_to_others(path), Vec::<PathBuf>::new());
    }

    cluster.workers[0].stop().await;
    cluster.control.process.terminate().await;
    for path in [&control, &worker] {
        open_up(path);
    }
    cluster.control.start_again(&cluster.lab).await;
    let url = cluster.control.url.clone();
    cluster.workers[0] = Worker::start(&cluster.lab, &url, "w1", &[]).await;
    eventually("no file is accessible to other users", async || {
        let open: Vec<_> = [&control, &worker]
            .into_iter()
            .flat_map(|path| open_to_others(path))
            .collect();
        if open.is_empty() { Ok(()) } else { Err(open) }
    })
    .await;
    cluster.apply(&manifest("again")).await;

    // A restore makes what it writes so as well.
    cluster.control.process.terminate().await;
    let data = control.display().to_string();
    let restore = ["restore", &file, "--force", "--data", &data];
    cluster.warren(&restore).await.ok();
    assert_eq!(open_to_others(&control), Vec::<PathBuf>::new());
}
