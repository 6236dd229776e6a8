//! Compiles the contract without `protoc`: protox is a compiler in Rust.

use std::{env, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=warren");
    let mut files: Vec<PathBuf> = fs::read_dir("warren/v1")?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.sort();

    let mut compiler = protox::Compiler::new(["."])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&files)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Encoded by the compiler, which keeps options that `prost_types` does not know.
    let encoded = compiler.encode_file_descriptor_set();
    fs::write(out.join("warren.v1.bin"), encoded)?;

    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .build_transport(false)
        .codec_path("crate::codec::BoundedCodec")
        .bytes(".warren.v1.PushRequest")
        .bytes(".warren.v1.PullResponse")
        .bytes(".warren.v1.BackupResponse")
        .btree_map(".warren.v1")
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    Ok(())
}
