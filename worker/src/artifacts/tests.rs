#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use tonic::transport::Endpoint;

use super::*;
use crate::{agent::testing::Control, remote::Remote};

struct Fixture {
    control: Control,
    dir: tempfile::TempDir,
    source: watch::Sender<Option<Channel>>,
}

impl Fixture {
    async fn start() -> Self {
        let control = Control::start().await;
        let endpoint = Endpoint::from_shared(control.url.clone()).unwrap();
        let channel = Remote::connect_lazy(&endpoint);
        let source = watch::Sender::new(Some(channel));
        Self {
            control,
            dir: tempfile::tempdir().unwrap(),
            source,
        }
    }

    fn open(&self) -> Artifacts {
        Artifacts::open(self.dir.path().to_owned(), 0, self.source.subscribe()).unwrap()
    }

    fn answer(&self, chunks: Vec<Result<Bytes, Status>>) {
        self.control.script.pulls.lock().push_back(Ok(chunks));
    }

    fn refuse(&self, status: Status) {
        self.control.script.pulls.lock().push_back(Err(status));
    }

    fn pulled(&self) -> u32 {
        *self.control.script.pulled.lock()
    }

    fn files(&self) -> usize {
        fs::read_dir(self.dir.path()).unwrap().count()
    }
}

fn chunks(bytes: &'static [u8]) -> Vec<Result<Bytes, Status>> {
    bytes
        .chunks(4)
        .map(|chunk| Ok(Bytes::from_static(chunk)))
        .collect()
}

#[tokio::test]
async fn an_artifact_is_pulled_once_for_all_and_kept() {
    let fixture = Fixture::start().await;
    fixture.answer(chunks(b"a component"));
    let digest = Digest::of(b"a component");
    let artifacts = fixture.open();
    let paths = futures::future::join_all((0..20).map(|_| artifacts.ensure(digest))).await;
    for path in paths {
        assert_eq!(fs::read(path.unwrap()).unwrap(), b"a component");
    }
    // The next process finds it, too.
    fixture.open().ensure(digest).await.unwrap();
    assert_eq!((fixture.pulled(), fixture.files()), (1, 1));
}

#[tokio::test]
async fn other_bytes_are_refused_and_leave_nothing() {
    let fixture = Fixture::start().await;
    for _ in 0..TRIES_AT_CORRUPT {
        fixture.answer(chunks(b"something else"));
    }
    let refused = fixture
        .open()
        .ensure(Digest::of(b"a component"))
        .await
        .unwrap_err();
    assert!(matches!(refused, ArtifactError::Corrupt(_)), "{refused}");
    assert_eq!((fixture.pulled(), fixture.files()), (TRIES_AT_CORRUPT, 0));
}

#[tokio::test]
async fn a_pull_that_breaks_off_is_tried_again() {
    let fixture = Fixture::start().await;
    fixture.refuse(Status::unavailable("starting"));
    let mut broken = chunks(b"a component");
    broken.truncate(1);
    fixture.answer(broken.clone());
    broken.push(Err(Status::unavailable("going down")));
    fixture.answer(broken);
    fixture.answer(chunks(b"a component"));
    fixture
        .open()
        .ensure(Digest::of(b"a component"))
        .await
        .unwrap();
    assert_eq!((fixture.pulled(), fixture.files()), (4, 1));
}

#[tokio::test]
async fn a_missing_artifact_is_an_error() {
    let fixture = Fixture::start().await;
    let missing = fixture
        .open()
        .ensure(Digest::of(b"a component"))
        .await
        .unwrap_err();
    assert!(matches!(missing, ArtifactError::NotFound(_)), "{missing}");
    assert_eq!(fixture.pulled(), 1);
}

#[tokio::test]
async fn damage_on_disk_is_found_and_repaired() {
    let fixture = Fixture::start().await;
    let digest = Digest::of(b"a component");
    fs::write(
        fixture.dir.path().join(format!("{}.wasm", digest.hex())),
        b"a compomemt",
    )
    .unwrap();
    fixture.answer(chunks(b"a component"));
    let path = fixture.open().ensure(digest).await.unwrap();
    assert_eq!(fs::read(path).unwrap(), b"a component");
}

#[tokio::test]
async fn incomplete_files_of_a_killed_process_are_removed() {
    let fixture = Fixture::start().await;
    fs::write(fixture.dir.path().join(".pull-x"), b"half").unwrap();
    fixture.open();
    assert_eq!(fixture.files(), 0);
}

#[tokio::test]
async fn another_takes_over_from_one_that_gives_up() {
    let fixture = Fixture::start().await;
    let digest = Digest::of(b"a component");
    let artifacts = Arc::new(fixture.open());
    // Without a control plane the first one waits and holds the turn.
    let away = fixture.source.send_replace(None);
    let ask = || {
        let artifacts = artifacts.clone();
        tokio::spawn(async move { artifacts.ensure(digest).await })
    };
    let (first, second) = (ask(), ask());
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    fixture.answer(chunks(b"a component"));
    fixture.source.send_replace(away);
    second.await.unwrap().unwrap();
    assert_eq!(fixture.pulled(), 1);
}

#[tokio::test]
async fn a_collected_artifact_is_pulled_again() {
    let fixture = Fixture::start().await;
    let artifacts = fixture.open();
    let digest = Digest::of(b"a component");
    for pulled in 1..=2 {
        fixture.answer(chunks(b"a component"));
        let path = artifacts.ensure(digest).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"a component");
        assert_eq!(fixture.pulled(), pulled);
        // The file was just used.
        artifacts.collect(|_| false).unwrap();
        let file = File::open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        artifacts.collect(|held| held == digest).unwrap();
        assert!(path.exists());
        artifacts.collect(|_| false).unwrap();
        assert!(!path.exists());
    }
}

/// If this is set, files cannot become larger than [`SMALL`].
const LIMITED: &str = "WARREN_TEST_FILES_ARE_LIMITED";
/// The limit in the unit of `ulimit`, and in bytes.
const SMALL: (&str, usize) = ("8", 4096);
static LARGE: [u8; 3 * SMALL.1 / 2] = [7; 3 * SMALL.1 / 2];

#[tokio::test]
async fn an_artifact_that_the_disk_did_not_take_is_pulled_again() {
    if std::env::var_os(LIMITED).is_none() {
        // A limit applies to a whole process, so this test runs itself once more in a process of
        // its own. Because the signal is ignored there, the write fails with an error.
        let script = "trap '' XFSZ; ulimit -S -f \"$1\"; shift; exec \"$@\"";
        let name = std::thread::current().name().unwrap().to_owned();
        let child = tokio::process::Command::new("sh")
            .args(["-c", script, "sh", SMALL.0])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", &name, "--nocapture", "--test-threads", "1"])
            .env(LIMITED, "yes")
            .output();
        let output = child.await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{output:?}"
        );
        return;
    }
    let fixture = Fixture::start().await;
    let digest = Digest::of(&LARGE);
    let whole = || vec![Ok(Bytes::from_static(&LARGE))];
    let artifacts = fixture.open();
    fixture.answer(whole());
    let full = artifacts.ensure(digest).await.unwrap_err();
    assert!(matches!(full, ArtifactError::Io { .. }), "{full}");
    assert_eq!(fixture.files(), 0);

    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    fixture.answer(whole());
    let path = artifacts.ensure(digest).await.unwrap();
    assert_eq!(
        (fs::read(path).unwrap(), fixture.pulled()),
        (LARGE.to_vec(), 2)
    );
}

#[tokio::test]
async fn an_artifact_that_was_truncated_later_is_pulled_again() {
    let fixture = Fixture::start().await;
    let digest = Digest::of(b"a component");
    let artifacts = fixture.open();
    fixture.answer(chunks(b"a component"));
    let path = artifacts.ensure(digest).await.unwrap();
    fs::write(&path, b"").unwrap();
    fixture.answer(chunks(b"a component"));
    let path = artifacts.ensure(digest).await.unwrap();
    assert_eq!(fs::read(path).unwrap(), b"a component");
    artifacts.ensure(digest).await.unwrap();
    assert_eq!(fixture.pulled(), 2);
}
