//! The directory of a [`SledStore`].

use std::fs;

use super::*;

#[tokio::test]
async fn a_directory_in_use_is_refused_with_advice() {
    let directory = tempfile::tempdir().unwrap();
    let first = SledStore::open(directory.path()).unwrap();
    let error = SledStore::open(directory.path()).err().unwrap();
    assert!(matches!(error, StoreError::InUse(_)) && !error.is_transient());
    let message = error.to_string();
    for part in [
        directory.path().to_str().unwrap(),
        &format!("process {}", std::process::id()),
        "another data directory",
    ] {
        assert!(message.contains(part), "{message}");
    }

    // The one that has it is not disturbed, and closing lets go of it at once.
    put(&first, "a", "1").await;
    first.close().await;
    let second = SledStore::open(directory.path()).unwrap();
    assert_eq!(value(&second, "a").await.as_deref(), Some("1"));
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(SledStore::open(directory.path()).unwrap());
    for (stored, readable) in [("2", true), ("x", false)] {
        let db = ::sled::open(directory.path().join("sled")).unwrap();
        db.insert("m/schema", stored).unwrap();
        drop(db);
        let error = SledStore::open(directory.path()).err().unwrap();
        match error {
            StoreError::SchemaTooNew {
                found: 2,
                supported: 1,
                ..
            } => assert!(readable),
            StoreError::Corrupt(_) => assert!(!readable),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = SledStore::open(&file.join("store")).err().unwrap();
    assert!(
        error.to_string().contains(file.to_str().unwrap()),
        "{error}"
    );
}
