//! What compiles guests written in Rust: rustup's target, or the toolchain that `examples/build`
//! fetches where that target cannot be had.

use std::{env, path::PathBuf, process::Command};

use crate::tools::find;

pub const TARGET: &str = "wasm32-wasip2";

/// Whether one of both is there.
pub fn can_be_built() -> bool {
    has_target() || fetched().is_some()
}

fn has_target() -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let output = rustc.output().map(|output| output.stdout);
    let folder = output.ok().and_then(|path| String::from_utf8(path).ok());
    folder.is_some_and(|folder| PathBuf::from(folder.trim()).is_dir())
}

/// The folder of the toolchain that `examples/build` has fetched.
fn fetched() -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?;
    let folder = cache.join("warren/guest-toolchain");
    folder.join("complete").exists().then_some(folder)
}

/// Stands for `cargo` in a session: `cargo run --release` is the program under test, which it would
/// build, and guests are compiled as `examples/build` does.
pub fn cargo() -> String {
    let cargo = find("cargo").unwrap_or_else(|| "/bin/false".into());
    let toolchain = match fetched() {
        Some(folder) if !has_target() => format!(
            "tools=$(rustc --print target-libdir)/../bin\n\
             export RUSTC='{}/bin/rustc' PATH=\"$tools/gcc-ld:$PATH\"\n\
             export CARGO_TARGET_WASM32_WASIP2_LINKER=\"$tools/wasm-component-ld\"\n",
            folder.display()
        ),
        _ => String::new(),
    };
    format!(
        "#!/bin/sh\n\
         if [ \"$1 $2 $3\" = 'run --release --' ]; then shift 3; exec warren \"$@\"; fi\n\
         {toolchain}exec '{}' \"$@\"\n",
        cargo.display()
    )
}
