//! Random transactions, reopenings and watches against a map.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Commit {
        writes: Vec<(u8, Action)>,
        relaxed: bool,
    },
    List(u8),
    Reopen,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Put(u8),
    Create(u8),
    /// Over the revision that the model knows, or a wrong one.
    Replace(u8, bool),
    Delete,
    CheckExists,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => any::<u8>().prop_map(Action::Put),
        2 => any::<u8>().prop_map(Action::Create),
        3 => (any::<u8>(), prop::bool::weighted(0.8)).prop_map(|(value, right)| Action::Replace(value, right)),
        2 => Just(Action::Delete),
        1 => Just(Action::CheckExists),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (vec((0..12_u8, action()), 0..5), any::<bool>())
            .prop_map(|(writes, relaxed)| Step::Commit { writes, relaxed }),
        3 => (0..12_u8).prop_map(Step::List),
        1 => Just(Step::Reopen),
    ]
}

fn key(number: u8) -> String {
    format!("{}/{number}", number % 3)
}

type Model = BTreeMap<String, (u8, Revision)>;

/// The same transaction for the store, and what the model says of it.
fn transaction(model: &Model, writes: &[(u8, Action)]) -> (Vec<Write>, Result<Model, ()>) {
    let mut after = model.clone();
    let mut holds = true;
    let mut keys = std::collections::BTreeSet::new();
    let mut transaction = Vec::new();
    for &(number, action) in writes {
        let key = key(number);
        holds &= keys.insert(key.clone());
        let now = model.get(&key).map(|(_, revision)| *revision);
        let put = |value: u8| Write::put(key.clone(), vec![value]);
        let (write, result) = match action {
            Action::Put(value) => (put(value), Some(value)),
            Action::Create(value) => {
                holds &= now.is_none();
                (put(value).when(Precondition::Absent), Some(value))
            }
            Action::Replace(value, right) => {
                holds &= right && now.is_some();
                let revision = if right { now.unwrap_or(1) } else { 1 };
                (
                    put(value).when(Precondition::Revision(revision)),
                    Some(value),
                )
            }
            Action::Delete => (Write::delete(key.clone()), None),
            Action::CheckExists => {
                holds &= now.is_some();
                transaction.push(Write::check(key, Precondition::Exists));
                continue;
            }
        };
        transaction.push(write);
        match result {
            // The revision is known once it is committed.
            Some(value) => after.insert(key, (value, 0)),
            None => after.remove(&key),
        };
    }
    (transaction, if holds { Ok(after) } else { Err(()) })
}

async fn run(backend: &dyn Backend, steps: Vec<Step>) {
    let mut store = backend.open().await;
    let mut model = Model::new();
    // The changes that a watch reports from here on, and the state where it began.
    let mut watched = model.clone();
    let mut start = store.list("").await.unwrap().revision;
    for step in steps {
        match step {
            Step::Commit { writes, relaxed } => {
                let (writes, expected) = transaction(&model, &writes);
                let durability = if relaxed {
                    Durability::Relaxed
                } else {
                    Durability::Flushed
                };
                match (store.commit(writes, durability).await, expected) {
                    (Ok(revision), Ok(mut after)) => {
                        for entry in after.values_mut().filter(|(_, written)| *written == 0) {
                            entry.1 = revision;
                        }
                        model = after;
                    }
                    (Err(_), Err(())) => {}
                    (found, expected) => panic!("{found:?} where the model has {expected:?}"),
                }
            }
            Step::List(number) => {
                let prefix = format!("{}/", number % 3);
                let expected: Model = model
                    .iter()
                    .filter(|(key, _)| key.starts_with(&prefix))
                    .map(|(key, entry)| (key.clone(), *entry))
                    .collect();
                assert_eq!(snapshot(&*store, &prefix).await, expected);
            }
            Step::Reopen => {
                replay(&*store, start, &mut watched).await;
                assert_eq!(watched, model);
                drop(store);
                store = backend.open().await;
                start = store.list("").await.unwrap().revision;
            }
        }
    }
    assert_eq!(snapshot(&*store, "").await, model);
    replay(&*store, start, &mut watched).await;
    assert_eq!(watched, model);
}

async fn snapshot(store: &dyn Store, prefix: &str) -> Model {
    let entries = store.list(prefix).await.unwrap().entries;
    entries
        .into_iter()
        .map(|(key, versioned)| (key, (versioned.value[0], versioned.revision)))
        .collect()
}

/// Updates `state` from `start` to the current revision with the changes that a watch reports.
async fn replay(store: &dyn Store, start: Revision, state: &mut Model) {
    let mut watch = store.watch("", start).unwrap();
    let end = store.list("").await.unwrap().revision;
    let mut revision = start;
    while revision < end {
        let change = next(&mut watch).await;
        assert!(change.revision >= revision);
        match change.value {
            Some(value) => state.insert(change.key, (value[0], change.revision)),
            None => state.remove(&change.key),
        };
        if change.last {
            revision = change.revision;
        }
    }
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_simulated_store_does_what_a_map_does(steps in vec(step(), 0..80)) {
        block_on(run(&SimBackend::new(), steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn sled_does_what_a_map_does(steps in vec(step(), 0..60)) {
        block_on(run(&SledBackend::new(), steps));
    }
}
