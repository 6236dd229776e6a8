//! Programs that tests use and a machine may lack.

use std::{
    env, fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A program of the PATH.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut candidates = env::split_paths(&path).map(|folder| folder.join(name));
    candidates.find(|candidate| {
        let metadata = fs::metadata(candidate);
        metadata.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

/// A Python that has these modules, of `tests/clients/requirements.txt`.
pub fn python_with(modules: &[&str]) -> Option<PathBuf> {
    let python = find("python3")?;
    let imports = format!("import {}", modules.join(", "));
    let has_them = Command::new(&python)
        .args(["-c", &imports])
        .stderr(Stdio::null())
        .status();
    has_them
        .is_ok_and(|status| status.success())
        .then_some(python)
}

/// A script of `tests/clients`.
pub fn client_script(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    folder.join(name)
}

/// Says that a test is left out because the machine lacks something, where everyone sees it. Where
/// tools are required (`WARREN_REQUIRE_TOOLS=1` or `CI=true`) it fails.
pub fn skip(lacks: &str) {
    let set = |name: &str, value: &str| env::var(name).is_ok_and(|is| is == value);
    let required = set("WARREN_REQUIRE_TOOLS", "1") || set("CI", "true");
    assert!(!required, "tools are required here, and {lacks}");
    // Past the test runner, which hides what a test that passes prints.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {lacks}");
}
