#![allow(clippy::unwrap_used)]

//! Tests with compilers that are scripts and receive what a real compiler receives.

use std::{fs, os::unix::fs::MetadataExt as _, sync::Arc};

use tempfile::TempDir;
use tokio::time::timeout;
use warren_model::name::Name;

use super::*;
use crate::runtime::{
    compiled::{CacheDirectory, CompileCache, CompileError, border},
    engine,
};

/// Far longer than anything here takes, but short enough to end a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory, and a compiler whose runs are counted in it.
struct Stage {
    dir: TempDir,
    engine: Engine,
}

impl Stage {
    fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            engine: engine::on_demand(Generation::P2).unwrap(),
        }
    }

    /// Returns settings whose compiler is this script. `$dir` is the stage's directory. Each run
    /// adds its process id as a line of the file `runs` in it.
    fn settings(&self, script: &str, limits: CompileLimits) -> CompileSettings {
        let dir = self.dir.path().display();
        let script = format!("dir='{dir}'; echo $$ >> \"$dir/runs\"; {script}");
        CompileSettings {
            program: CompilerProgram::Other {
                program: "/bin/sh".into(),
                arguments: vec!["-c".into(), script.into()],
            },
            limits,
            concurrency: DEFAULT_CONCURRENCY,
        }
    }

    fn compiler(&self, script: &str) -> Compiler {
        let limits = CompileLimits {
            memory: 1 << 30,
            timeout: PATIENCE,
        };
        Compiler::new(self.settings(script, limits))
    }

    fn runs(&self) -> Vec<String> {
        let runs = fs::read_to_string(self.dir.path().join("runs")).unwrap_or_default();
        runs.lines().map(str::to_owned).collect()
    }

    async fn compile(&self, compiler: &Compiler) -> Result<String, CompileFailure> {
        let artifact = self.dir.path().join("artifact");
        let name = Name::parse("test").unwrap();
        let job = Job {
            digest: Digest::of(b"artifact"),
            artifact: &artifact,
            engine: &self.engine,
            generation: Generation::P2,
            directory: self.dir.path(),
            workload: &WorkloadId {
                namespace: name.clone(),
                name,
            },
        };
        let code = timeout(PATIENCE, compiler.compile(&job)).await.unwrap()?;
        Ok(fs::read_to_string(code.path()).unwrap())
    }

    /// Waits until a run has begun, and returns its process id.
    async fn run(&self) -> String {
        until(|| self.runs().pop()).await
    }

    /// Returns the number of files of unfinished code in the directory.
    fn left(&self) -> usize {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with(".compile-"))
            .count()
    }
}

async fn until<T>(mut there: impl FnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            match there() {
                Some(it) => return it,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    timeout(PATIENCE, waiting).await.unwrap()
}

/// Waits until a process is gone or is a zombie.
async fn gone(pid: &str) {
    let stat = format!("/proc/{pid}/stat");
    until(|| match fs::read_to_string(&stat) {
        Ok(stat) => stat.contains(") Z ").then_some(()),
        Err(_) => Some(()),
    })
    .await;
}

#[tokio::test]
async fn a_compiler_gets_its_order_and_nothing_of_the_worker() {
    let stage = Stage::new();
    let secret = fs::File::create(stage.dir.path().join("secret")).unwrap();
    let script = "echo \"$0 $1 $3 $4 $5\"; pwd; env; ls -l /proc/$$/fd; cat /proc/$$/stat";
    let said = stage.compile(&stage.compiler(script)).await.unwrap();
    let mut lines = said.lines();
    let order = format!(
        "__compile p2 1073741824 60 {}/artifact",
        stage.dir.path().display()
    );
    assert_eq!((lines.next(), lines.next()), (Some(&*order), Some("/")));
    assert!(!said.contains("CARGO") && !said.contains("HOME"), "{said}");
    assert!(!said.contains("/secret"), "{said}");
    drop(secret);
    // A terminal's Ctrl-C goes to a process group; the compiler has one of its own.
    let pid = stage.run().await;
    let stat = said.lines().last().unwrap();
    assert!(stat.starts_with(&format!("{pid} ")), "{stat}");
    let group = stat.rsplit(") ").next().unwrap().split(' ').nth(2);
    assert_eq!(group, Some(&*pid), "{stat}");
}

#[tokio::test]
async fn an_invalid_component_is_not_tried_again_but_one_that_met_a_mishap_is() {
    for (script, words, runs) in [
        (
            "echo no such instruction >&2; exit 3",
            "accept it: no such instruction",
            1,
        ),
        ("kill -XCPU $$", "--compile-timeout", 1),
        ("exit 4", "--compile-memory", 1),
        ("kill -KILL $$", "tried again", 2),
        ("exit 5", "tried again", 2),
    ] {
        let stage = Stage::new();
        let compiler = stage.compiler(script);
        for _ in 0..2 {
            let failure = stage.compile(&compiler).await.unwrap_err();
            assert!(failure.to_string().contains(words), "{script}: {failure}");
        }
        assert_eq!(stage.runs().len(), runs, "{script}");
        assert_eq!(stage.left(), 0, "{script}");
    }
}

#[tokio::test]
async fn what_a_compiler_says_is_bounded_and_read_to_its_end() {
    let stage = Stage::new();
    let script = "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 3";
    let failure = stage.compile(&stage.compiler(script)).await.unwrap_err();
    let CompileFailure::Invalid(said) = failure else {
        panic!("{failure}");
    };
    assert_eq!(said, "x".repeat(failure::SAID));
}

#[tokio::test]
async fn a_compilation_that_hangs_is_ended() {
    let stage = Stage::new();
    let limits = CompileLimits {
        memory: 1 << 30,
        timeout: Duration::from_millis(50),
    };
    let compiler = Compiler::new(stage.settings("exec sleep 1000", limits));
    let failure = stage.compile(&compiler).await.unwrap_err();
    assert_eq!(failure, CompileFailure::Slow(Duration::from_secs(1)));
    gone(&stage.run().await).await;
    // Its place is free again, so it is tried again.
    stage.compile(&compiler).await.unwrap_err();
    assert_eq!(stage.runs().len(), 2);
}

#[tokio::test]
async fn a_compilation_that_nobody_waits_for_is_ended() {
    let stage = Stage::new();
    let compiler = stage.compiler("exec sleep 1000");
    let pid = {
        let compiling = stage.compile(&compiler);
        tokio::select! {
            ended = compiling => panic!("it ended: {ended:?}"),
            pid = stage.run() => pid,
        }
    };
    gone(&pid).await;
    assert_eq!(stage.left(), 0);
}

#[tokio::test]
async fn what_is_remembered_is_bounded() {
    let mut failed = Failed::default();
    let digest = |number: usize| Digest::of(&number.to_le_bytes());
    for number in 0..=FAILURES {
        failed.remember(digest(number), CompileFailure::Memory(1));
        failed.remember(digest(number), CompileFailure::Memory(2));
    }
    assert_eq!(
        (failed.reasons.len(), failed.order.len()),
        (FAILURES, FAILURES)
    );
    assert!(!failed.reasons.contains_key(&digest(0)));
    assert_eq!(failed.reasons[&digest(1)], CompileFailure::Memory(2));
}

/// Returns a cache whose compiler waits for the file `go`, then outputs code that was made before.
fn cache(stage: &Stage, component: &str) -> (Arc<CompileCache>, Digest, PathBuf) {
    let bytes = wat::parse_str(component).unwrap();
    let artifact = stage.dir.path().join("artifact");
    fs::write(&artifact, &bytes).unwrap();
    let code = stage.engine.precompile_component(&bytes).unwrap();
    fs::write(stage.dir.path().join("code"), code).unwrap();
    let script = "until [ -e \"$dir/go\" ]; do sleep 0.02; done; cat \"$dir/code\"";
    let compiler = Arc::new(stage.compiler(script));
    let directory = CacheDirectory::open(&stage.dir.path().join("cache"), u64::MAX).unwrap();
    let cache = CompileCache::new(&stage.engine, Generation::P2, directory, compiler);
    (Arc::new(cache), Digest::of(&bytes), artifact)
}

#[tokio::test]
async fn a_component_is_compiled_once_for_all_waiters_even_if_the_first_gives_up() {
    let stage = Stage::new();
    let (cache, digest, artifact) = cache(&stage, "(component)");
    let known = border(digest, &artifact).await.unwrap();
    let load = |name: &str| {
        let (cache, artifact, known) = (Arc::clone(&cache), artifact.clone(), known.clone());
        let name = Name::parse(name).unwrap();
        tokio::spawn(async move {
            let workload = WorkloadId {
                namespace: name.clone(),
                name,
            };
            let loaded = cache.load(digest, &artifact, known, &workload).await;
            loaded.map(drop)
        })
    };
    let first = load("first");
    let pid = stage.run().await;
    let second = load("second");
    // The first caller holds its compilation twice. Until the second caller waits for the same
    // compilation, ending the first would make the second begin its own.
    until(|| (cache.waiting(digest) == 3).then_some(())).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    fs::write(stage.dir.path().join("go"), "").unwrap();
    timeout(PATIENCE, second).await.unwrap().unwrap().unwrap();
    assert_eq!(stage.runs(), [pid]);
    // Code that is on disk starts no process.
    timeout(PATIENCE, load("third"))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(stage.runs().len(), 1);
    let code = fs::read_dir(stage.dir.path().join("cache")).unwrap();
    let code = code.map(|entry| entry.unwrap());
    let is_code = |name: &Path| name.extension().is_some_and(|ending| ending == "cwasm");
    let code: Vec<_> = code.filter(|entry| is_code(&entry.path())).collect();
    assert_eq!(code.len(), 1, "{code:?}");
    assert_eq!(code[0].metadata().unwrap().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn code_that_does_not_load_is_an_error_and_not_a_crash() {
    let stage = Stage::new();
    let (cache, digest, artifact) = cache(&stage, "(component)");
    fs::write(stage.dir.path().join("code"), "not code").unwrap();
    fs::write(stage.dir.path().join("go"), "").unwrap();
    let name = Name::parse("test").unwrap();
    let workload = WorkloadId {
        namespace: name.clone(),
        name,
    };
    let border = border(digest, &artifact).await.unwrap();
    let loaded = cache.load(digest, &artifact, border, &workload).await;
    let error = loaded.map(drop).unwrap_err();
    assert!(matches!(error, CompileError::Load(..)), "{error}");
    assert!(
        !error.to_string().contains("gone"),
        "it should say why: {error}"
    );
}
