//! The process dies at any point of a write: what was acknowledged is there, what is there is a
//! state that was once written, and nothing is taken for damage.

use super::{stage::*, *};
use crate::store::Op;

on_every_disk!(a_crash_anywhere_loses_nothing_that_was_acknowledged);

type Contents = std::collections::BTreeMap<String, String>;

/// Commits that leave every kind of trace, each with the state after it.
fn commits() -> Vec<(Vec<Write>, Durability)> {
    use Durability::{Flushed, Relaxed};
    vec![
        (vec![Write::put("a", "1"), Write::put("b", "1")], Flushed),
        (vec![Write::put("a", "2")], Relaxed),
        (vec![Write::put("c", "2"), Write::delete("b")], Relaxed),
        (vec![], Flushed),
        (vec![Write::put("a", "3"), Write::put("d", "3")], Flushed),
        (vec![Write::delete("a")], Relaxed),
        (vec![Write::put("a", "4")], Flushed),
    ]
}

fn states() -> Vec<Contents> {
    let mut state = Contents::new();
    let mut states = vec![state.clone()];
    for (writes, _) in commits() {
        for Write { key, op, .. } in writes {
            match op {
                Op::Put(value) => {
                    let value = String::from_utf8(value.to_vec()).unwrap();
                    state.insert(key, value);
                }
                _ => drop(state.remove(&key)),
            }
        }
        states.push(state.clone());
    }
    states
}

async fn contents(store: &SimStore) -> Contents {
    let entries = store.list("").await.unwrap().entries;
    entries
        .into_iter()
        .map(|(key, held)| (key, String::from_utf8(held.value.to_vec()).unwrap()))
        .collect()
}

/// Opens and commits, until all is done or it stops. Returns how many commits, from the first, are
/// safe by then.
async fn run(place: &dyn Place, controls: &Arc<Controls>) -> usize {
    let mut acknowledged = 0;
    let store = tokio::select! {
        biased;
        () = controls.stop() => return acknowledged,
        opened = place.open(controls) => opened.unwrap(),
    };
    let work = async {
        for (at, (writes, durability)) in commits().into_iter().enumerate() {
            store.commit(writes, durability).await.unwrap();
            if durability == Durability::Flushed {
                acknowledged = at + 1;
            }
        }
    };
    tokio::select! {
        biased;
        () = controls.stop() => store.crash(),
        () = work => {}
    }
    acknowledged
}

async fn a_crash_anywhere_loses_nothing_that_was_acknowledged(first: &dyn Place) {
    let states = states();
    let empty = || first.after_kill().remove(0);
    let mut point = 0;
    loop {
        let place = empty();
        let controls = Controls::stopping_at(point);
        let acknowledged = run(&*place, &controls).await;
        let stopped = controls.is_stopped();
        for left in place.after_kill() {
            // It dies once more while it is opened, at any point of that.
            for again in 0.. {
                let opening = left.after_kill().remove(0);
                let controls = Controls::stopping_at(again);
                let opened = tokio::select! {
                    biased;
                    () = controls.stop() => None,
                    opened = opening.open(&controls) => Some(opened),
                };
                for left in opening.after_kill() {
                    let store = match left.open(&Controls::new()).await {
                        Ok(store) => store,
                        Err(error) => panic!("stopped at {point}, then {again}: {error}"),
                    };
                    let found = contents(&store).await;
                    assert!(
                        states[acknowledged..].contains(&found),
                        "stopped at {point}, then {again}: {found:?} after {acknowledged} commits"
                    );
                }
                if let Some(opened) = opened {
                    opened.unwrap().close().await;
                    break;
                }
            }
        }
        if !stopped {
            break;
        }
        point += 1;
    }
    // Seven commits, three of which are flushed on their own, and the opening.
    assert!(point > 30, "only {point} points were tried");
}
