#![allow(clippy::unwrap_used)]

use warren_model::name::Name;

use super::*;
use crate::runtime::compile::CompileSettings;

/// A cache and its directory.
struct Fixture {
    engine: Engine,
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self {
            engine: Engine::default(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn open(&self) -> CompileCache {
        let cache = self.dir.path().join("cache");
        let compiler = Arc::new(Compiler::new(CompileSettings::in_process()));
        let directory = CacheDirectory::open(&cache, u64::MAX).unwrap();
        CompileCache::new(&self.engine, Generation::P2, directory, compiler)
    }

    /// Loads a component as the next process would, and returns the file of its code.
    async fn load(&self, text: &str) -> PathBuf {
        let bytes = wat::parse_str(text).unwrap();
        let (digest, artifact) = (Digest::of(&bytes), self.dir.path().join("artifact"));
        fs::write(&artifact, &bytes).unwrap();
        let border = border(digest, &artifact).await.unwrap();
        let test = Name::parse("test").unwrap();
        let workload = WorkloadId {
            namespace: test.clone(),
            name: test,
        };
        let cache = self.open();
        let loaded = cache
            .load(digest, &artifact, border, &workload)
            .await
            .unwrap();
        assert!(loaded.get_export_index(None, "it").is_some(), "{text}");
        cache.path(digest)
    }
}

const ONE: &str = r#"(component (core module (export "it")))"#;
const OTHER: &str = r#"(component (core module (func) (func)) (core module (export "it") (func)))"#;

/// Returns the inode of a file. A rewritten file has another one, because files of code are never
/// changed in place.
fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[tokio::test]
async fn code_that_this_cache_wrote_is_not_compiled_again() {
    let fixture = Fixture::new();
    let code = fixture.load(ONE).await;
    let written = inode(&code);
    assert_eq!(fixture.load(ONE).await, code);
    assert_eq!(inode(&code), written);
}

#[tokio::test]
async fn other_code_is_compiled_again_and_never_loaded() {
    let fixture = Fixture::new();
    let (code, other) = (fixture.load(ONE).await, fixture.load(OTHER).await);
    let whole = fs::read(&code).unwrap();
    let bytes = wat::parse_str(OTHER).unwrap();
    let unsealed = fixture.engine.precompile_component(&bytes).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (what, put) in [
        ("a bit was flipped", flipped),
        ("it was cut short", whole[..whole.len() / 2].to_vec()),
        ("it is empty", Vec::new()),
        ("it is another component's", fs::read(&other).unwrap()),
        ("it is from an earlier version, without a seal", unsealed),
    ] {
        fs::write(&code, put).unwrap();
        let before = inode(&code);
        fixture.load(ONE).await;
        assert_ne!(inode(&code), before, "{what}");
        let seal = Seal::open(code.parent().unwrap()).unwrap();
        seal.open_file(&code).unwrap();
    }
}

#[tokio::test]
async fn without_its_key_nothing_is_loaded() {
    let fixture = Fixture::new();
    let code = fixture.load(ONE).await;
    let written = inode(&code);
    fs::remove_file(code.with_file_name(crate::disk_cache::KEY_FILE)).unwrap();
    fixture.load(ONE).await;
    assert_ne!(inode(&code), written);
}
