//! A damaged store is noticed, whatever the database makes of it.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{stage::*, *};
use crate::store::Versioned;

/// Which byte of which file is flipped, for the process that opens it then.
const DIRECTORY: &str = "WARREN_TEST_DAMAGE_DIRECTORY";
/// Flips of each of the two directories; more find more.
const FLIPS: &str = "WARREN_FLIPS";

type Found = BTreeMap<String, Versioned>;

async fn contents(store: &dyn Store) -> Found {
    let entries = store.list("").await.unwrap().entries;
    entries.into_iter().collect()
}

/// A store with a past: values of all sizes, replaced, deleted, written together and alone.
async fn fill(store: &dyn Store, life: u32) {
    for n in 0..60_u32 {
        let size = usize::try_from(n * n * 7 % 3000).unwrap();
        let mut writes = vec![
            Write::put(format!("k/{}", n % 17), vec![7; size]),
            Write::put(format!("all/{life}/{n}"), n.to_string()),
        ];
        if n % 5 == 4 {
            writes.push(Write::delete(format!("all/{life}/{}", n - 2)));
        }
        let durability = match n % 3 {
            0 => Durability::Relaxed,
            _ => Durability::Flushed,
        };
        store.commit(writes, durability).await.unwrap();
    }
    store.commit(vec![], Durability::Flushed).await.unwrap();
}

/// Every file below a directory that holds the store's contents.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_name() != Some("LOCK".as_ref())
            && fs::metadata(&path).unwrap().len() > 0
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Not a test of its own: a process that opens what is damaged, so that whatever becomes of that is
/// seen from outside.
#[test]
#[ignore = "the child process of `no_flipped_byte_brings_back_an_earlier_state`"]
fn child() {
    let Some(directory) = env::var_os(DIRECTORY) else {
        return;
    };
    let directory = Path::new(&directory);
    let expected = fs::read_to_string(directory.join("expected")).unwrap();
    let store = match SledStore::open(&directory.join("store"), OnLoss::Refuse) {
        Ok(store) => store,
        Err(StoreError::Damaged(what)) => {
            assert!(what.contains(directory.to_str().unwrap()), "{what}");
            writeln!(io::stdout(), "refused: {what}").unwrap();
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let found = runtime.block_on(contents(&store));
    assert_eq!(format!("{found:?}"), expected, "another state");
    writeln!(io::stdout(), "opened: whole").unwrap();
}

#[tokio::test]
async fn no_flipped_byte_brings_back_an_earlier_state() {
    let flips: u64 = env::var(FLIPS).map_or(40, |flips| flips.parse().unwrap());
    let lab = tempfile::tempdir().unwrap();
    let closed = lab.path().join("closed");
    for life in 0..3 {
        fill(&open(&closed), life).await;
    }
    // One that was not closed in order: copied while it is open.
    let killed = lab.path().join("killed");
    let store = open(&closed);
    fill(&store, 3).await;
    copy_all(&closed, &killed).unwrap();
    let expected = contents(&store).await;
    drop(store);

    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % u64::try_from(below).unwrap()).unwrap()
    };
    let mut told = BTreeMap::<String, u32>::new();
    for source in [&closed, &killed] {
        for flip in 0..flips {
            let damaged = tempfile::tempdir_in(lab.path()).unwrap();
            let store = damaged.path().join("store");
            copy_all(source, &store).unwrap();
            fs::write(damaged.path().join("expected"), format!("{expected:?}")).unwrap();
            let files = files(&store);
            // Mostly the log, where mostly what is written.
            let path = match flip % 4 {
                0 => &files[next(files.len())],
                _ => files.iter().find(|path| path.ends_with("db")).unwrap(),
            };
            let mut bytes = fs::read(path).unwrap();
            let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
            let at = match flip % 8 {
                1 => next(bytes.len()),
                _ => written[next(written.len())],
            };
            bytes[at] ^= 1 << next(8);
            fs::write(path, bytes).unwrap();

            let path = path.strip_prefix(damaged.path()).unwrap();
            let output = tokio::task::spawn_blocking({
                let directory = damaged.path().to_owned();
                move || {
                    Command::new(env::current_exe().unwrap())
                        .args(["--exact", &test_name(module_path!(), "child")])
                        .args(["--ignored", "--nocapture"])
                        .env(DIRECTORY, directory)
                        .stdin(Stdio::null())
                        .output()
                        .unwrap()
                }
            });
            let output = tokio::time::timeout(std::time::Duration::from_secs(60), output);
            let output = output.await.expect("it comes to an end").unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && said.contains("1 passed"),
                "byte {at} of {}: {said}",
                path.display()
            );
            let kind = said
                .lines()
                .find(|line| line.starts_with("refused") || line.starts_with("opened"));
            // The text between the directory's name and the first digit.
            let kind = kind
                .unwrap_or_default()
                .replace(store.to_str().unwrap(), "DIR");
            *told.entry(kind.chars().take(60).collect()).or_default() += 1;
        }
    }
    assert!(
        told.keys().any(|kind| kind.starts_with("opened")),
        "{told:?}"
    );
    assert!(
        told.keys()
            .any(|kind| kind.contains("it holds the state of")),
        "no flip made sled go back: {told:?}"
    );
}

#[tokio::test]
async fn what_is_left_can_be_accepted() {
    let lab = tempfile::tempdir().unwrap();
    let store = lab.path().join("store");
    let old = lab.path().join("old");
    let opened = open(&store);
    put(&opened, "a", "kept").await;
    copy_all(&store, &old).unwrap();
    let lost = put(&opened, "b", "lost").await;
    drop(opened);
    fs::remove_dir_all(store.join("sled")).unwrap();
    copy_all(&old.join("sled"), &store.join("sled")).unwrap();

    for _ in 0..2 {
        let error = SledStore::open(&store, OnLoss::Refuse).err().unwrap();
        assert!(matches!(error, StoreError::Damaged(_)) && !error.is_transient());
        let message = error.to_string();
        for part in [store.to_str().unwrap(), "it holds the state of", "missing"] {
            assert!(message.contains(part), "{message}");
        }
    }
    let accepted = SledStore::open(&store, OnLoss::Accept).unwrap();
    assert!(accepted.lost().unwrap().contains("missing"));
    assert_eq!(value(&accepted, "a").await.as_deref(), Some("kept"));
    assert_eq!(value(&accepted, "b").await, None);
    // No watch of the state that was lost goes on as if this were it.
    assert!(accepted.watch("", lost).is_err());
    assert!(accepted.list("").await.unwrap().revision > lost + (1 << 30));
    drop(accepted);
    // Once accepted it is whole again, and there is nothing to accept.
    assert_eq!(contents(&open(&store)).await.len(), 1);
    let whole = SledStore::open(&store, OnLoss::Accept).unwrap();
    assert_eq!(whole.lost(), None);
}

#[tokio::test]
async fn files_that_are_gone_are_missed() {
    for gone in ["SEAL", "sled/db", "sled"] {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        put(&store, "a", "1").await;
        drop(store);
        let path = directory.path().join(gone);
        match path.is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
        let error = SledStore::open(directory.path(), OnLoss::Refuse)
            .err()
            .unwrap();
        assert!(matches!(error, StoreError::Damaged(_)), "{gone}: {error}");
        SledStore::open(directory.path(), OnLoss::Accept).unwrap();
    }
}

/// What sled does with a flipped byte, on the disk that has none.
#[tokio::test]
async fn an_earlier_state_of_any_disk_is_refused() {
    let disk = SimDisk::default();
    let store = disk.open(&Controls::new()).await.unwrap();
    put(&store, "a", "1").await;
    let earlier = disk.after_crash(0);
    put(&store, "a", "2").await;
    let damaged = earlier.under_seal_of(&disk);
    let error = damaged.open(&Controls::new()).await.err().unwrap();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
    let accepted = SimStore::open(damaged, OnLoss::Accept).await.unwrap();
    assert!(accepted.lost().is_some());
    assert_eq!(value(&accepted, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_store_of_the_first_schema_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let db = open_database(directory.path());
    db.insert("m/schema", "1").unwrap();
    db.insert("m/revision", "7").unwrap();
    let mut stored = 7_u64.to_be_bytes().to_vec();
    stored.extend_from_slice(b"value");
    db.insert("ka", stored).unwrap();
    drop(db);
    for _ in 0..2 {
        let store = open(directory.path());
        assert_eq!(value(&store, "a").await.as_deref(), Some("value"));
    }
    let db = open_database(directory.path());
    assert_eq!(db.get("m/schema").unwrap().unwrap(), b"2");
}
