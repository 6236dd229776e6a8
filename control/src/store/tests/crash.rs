//! `kill -9` at any moment: what was acknowledged is there.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use super::*;

const DIRECTORY: &str = "WARREN_TEST_CRASH_DIRECTORY";
/// How often it is killed; more find more.
const LIVES: &str = "WARREN_KILLS";

/// Not a test of its own: the process that gets killed. Prints what was acknowledged.
#[test]
#[ignore = "the child process of `acknowledged_writes_survive_kill_9`"]
fn child() {
    let Some(directory) = env::var_os(DIRECTORY) else {
        return;
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store: Arc<dyn Store> = Arc::new(open(Path::new(&directory)));
        let life = store.list("meta").await.unwrap().entries.len();
        put(&*store, &format!("meta/{life}"), "x").await;
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let store = store.clone();
                tokio::spawn(async move {
                    for n in 0_u32.. {
                        // Written together, so they must be found together.
                        let value = format!("{life}.{n}");
                        let writes = vec![
                            Write::put(format!("a/{task}"), value.clone()),
                            Write::put(format!("b/{task}"), value.clone()),
                            Write::put(format!("all/{life}/{task}/{n}"), vec![7; 500]),
                        ];
                        // This is not acknowledged as durable; it is written before what is.
                        let passing = vec![Write::put(format!("passing/{task}"), value)];
                        store.commit(passing, Durability::Relaxed).await.unwrap();
                        store.commit(writes, Durability::Flushed).await.unwrap();
                        let mut stdout = std::io::stdout().lock();
                        writeln!(stdout, "acknowledged {task} {life} {n}").unwrap();
                        stdout.flush().unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[tokio::test]
async fn acknowledged_writes_survive_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let lives: usize = env::var(LIVES).map_or(6, |lives| lives.parse().unwrap());
    for life in 0..lives {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                &test_name(module_path!(), "child"),
                "--ignored",
                "--nocapture",
            ])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged: BTreeMap<u32, u32> = BTreeMap::new();
        let mut lines = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            // The last one may be cut.
            let line = line.unwrap();
            let words: Vec<&str> = line.split_whitespace().collect();
            if let ["acknowledged", task, _, n] = words[..]
                && let (Ok(task), Ok(n)) = (task.parse(), n.parse())
            {
                acknowledged.insert(task, n);
                lines += 1;
                if lines == 50 * (life % 10 + 1) {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert_eq!(acknowledged.len(), 8, "every task got on before the kill");

        let store = open(directory.path());
        for (task, n) in acknowledged {
            let a = value(&store, &format!("a/{task}")).await.unwrap();
            assert_eq!(value(&store, &format!("b/{task}")).await.as_ref(), Some(&a));
            let (found_life, found) = a.split_once('.').unwrap();
            assert_eq!(found_life, life.to_string());
            let found: u32 = found.parse().unwrap();
            assert!(found >= n, "{n} was acknowledged and {found} is there");
            for n in 0..=found {
                assert!(
                    store
                        .get(&format!("all/{life}/{task}/{n}"))
                        .await
                        .unwrap()
                        .is_some()
                );
            }
        }
    }
}
