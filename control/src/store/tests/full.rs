//! A full disk, as sled meets it: the limit on the size of a file stands in for it.

use std::{
    env,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

const DIRECTORY: &str = "WARREN_TEST_FULL_DIRECTORY";

/// Not a test of its own: the limit would hold for all tests of a process.
#[test]
#[ignore = "the child process of `the_store_goes_on_once_a_full_disk_has_room`"]
fn child() {
    let Some(directory) = env::var_os(DIRECTORY) else {
        return;
    };
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(fill(Path::new(&directory)));
}

async fn fill(directory: &Path) {
    let store = open(directory);
    let mut acknowledged = 0_u32;
    let error = loop {
        match write(&store, acknowledged).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(acknowledged > 10, "{error}");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    // Reads go on. So do writes, where the database finds a place for one more when it is opened
    // again.
    for _ in 0..20 {
        acknowledged += u32::from(write(&store, acknowledged).await.is_ok());
        assert!(store.get("k/0").await.unwrap().is_some());
    }

    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(
        Resource::Fsize,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = write(&store, acknowledged).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::task::yield_now().await;
    }
    drop(store);
    let store = open(directory);
    let found = store.list("k/").await.unwrap().entries.len();
    assert_eq!(found, usize::try_from(acknowledged).unwrap() + 1);
}

async fn write(store: &dyn Store, n: u32) -> Result<Revision, StoreError> {
    let writes = vec![Write::put(format!("k/{n}"), vec![7; 20_000])];
    store.commit(writes, Durability::Flushed).await
}

/// Not a test of its own, either.
#[test]
#[ignore = "the child process of `a_disk_that_is_full_when_the_store_is_opened_is_no_damage`"]
fn opening() {
    let Some(directory) = env::var_os(DIRECTORY) else {
        return;
    };
    let directory = Path::new(&directory);
    let limit = |bytes| {
        let maximum = getrlimit(Resource::Fsize).maximum;
        let current = bytes;
        setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
    };
    let mut refused = 0;
    for kib in (0..64).step_by(4).chain((64..1024).step_by(64)) {
        let fresh = directory.join(kib.to_string());
        limit(Some(kib << 10));
        let opened = SledStore::open(&fresh, OnLoss::Refuse).map(drop);
        limit(getrlimit(Resource::Fsize).maximum);
        if let Err(error) = opened {
            assert!(
                matches!(error, StoreError::Unavailable(_)),
                "{kib}: {error}"
            );
            refused += 1;
            // The half-made files are no obstacle once there is room.
            SledStore::open(&fresh, OnLoss::Refuse).map(drop).unwrap();
        }
    }
    assert!(refused > 0);
}

#[test]
fn a_disk_that_is_full_when_the_store_is_opened_is_no_damage() {
    run("opening");
}

#[test]
fn the_store_goes_on_once_a_full_disk_has_room() {
    run("child");
}

fn run(child: &str) {
    let directory = tempfile::tempdir().unwrap();
    // Ignored, the signal becomes an error of the write.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -S -f 4096; exec \"$@\"", "sh"])
        .arg(env::current_exe().unwrap())
        .args([
            "--exact",
            &test_name(module_path!(), child),
            "--ignored",
            "--nocapture",
        ])
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}"
    );
}
