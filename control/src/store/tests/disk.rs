//! The directory of a [`SledStore`].

use std::fs;

use super::*;

#[tokio::test]
async fn a_directory_in_use_is_refused_with_advice() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path());
    let error = SledStore::open(directory.path(), OnLoss::Refuse)
        .err()
        .unwrap();
    assert!(matches!(error, StoreError::InUse(_)) && !error.is_transient());
    let message = error.to_string();
    for part in [
        directory.path().to_str().unwrap(),
        &format!("process {}", std::process::id()),
        "another data directory",
    ] {
        assert!(message.contains(part), "{message}");
    }

    // The holder is not disturbed, and closing it releases the directory at once.
    put(&first, "a", "1").await;
    first.close().await;
    let second = open(directory.path());
    assert_eq!(value(&second, "a").await.as_deref(), Some("1"));
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    for (stored, readable) in [("3", true), ("x", false)] {
        let db = open_database(directory.path());
        db.insert("m/schema", stored).unwrap();
        drop(db);
        let error = SledStore::open(directory.path(), OnLoss::Refuse)
            .err()
            .unwrap();
        match error {
            StoreError::SchemaTooNew {
                found: 3,
                supported: 2,
                ..
            } => assert!(readable),
            StoreError::Damaged(_) => assert!(!readable),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = SledStore::open(&file.join("store"), OnLoss::Refuse)
        .err()
        .unwrap();
    assert!(
        error.to_string().contains(file.to_str().unwrap()),
        "{error}"
    );
}
