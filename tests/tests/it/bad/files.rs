//! Files that are not of the expected kind.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use warren_tests::example;

use super::Standing;
use crate::lab;

fn fifo(path: &Path) -> String {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn files_that_are_not_manifests_are_refused_without_a_server() {
    let lab = lab();
    let directory = lab.path("directory");
    fs::create_dir(&directory).unwrap();
    let giant = fs::File::create(lab.path("giant.yaml")).unwrap();
    // Longer than memory, if anybody read it whole.
    giant.set_len(64 << 30).unwrap();
    let deep = format!("name: {}\n", "[".repeat(1 << 20));
    for (file, words) in [
        (
            lab.path("missing.yaml").display().to_string(),
            &["missing.yaml: No such file"][..],
        ),
        (
            directory.display().to_string(),
            &["directory/warren.yaml", "create warren.yaml there"],
        ),
        (
            lab.write("empty.yaml", ""),
            &["empty.yaml:1:1: it holds no workload"],
        ),
        (
            lab.write("latin.yaml", b"name: a\nlabels: { a: \xe9t\xe9 }\n"),
            &["latin.yaml: it is not UTF-8 text (line 2)"],
        ),
        (
            lab.path("giant.yaml").display().to_string(),
            &["giant.yaml: a manifest may have at most 4MiB"],
        ),
        (
            lab.write("deep.yaml", deep),
            &["deep.yaml:1:", "not valid YAML"],
        ),
        (
            "/dev/zero".to_owned(),
            &["/dev/zero: a manifest may have at most 4MiB"],
        ),
    ] {
        for command in ["apply", "validate"] {
            let answer = lab.warren(&[command, "-f", &file]).await;
            answer.refused(1, words);
        }
    }
}

#[tokio::test]
async fn components_that_are_not_files_are_refused_with_their_place() {
    let mut standing = Standing::start().await;
    let lab = &standing.cluster.lab;
    let directory = lab.path("directory");
    fs::create_dir(&directory).unwrap();
    let large = lab.path("large.wasm");
    fs::File::create(&large)
        .unwrap()
        .set_len((256 << 20) + 1)
        .unwrap();
    let cases = [
        (
            lab.path("missing.wasm").display().to_string(),
            "No such file",
        ),
        (directory.display().to_string(), "it is a directory"),
        (fifo(&lab.path("pipe.wasm")), "it is a pipe or a device"),
        (lab.write("empty.wasm", ""), "it is empty"),
        (large.display().to_string(), "an artifact at most 256MiB"),
    ];
    for (file, words) in &cases {
        let manifest = format!("name: bad\nservice:\n  component: {file}\n");
        let words = ["applied.yaml:3:14: ", file, words];
        standing.refused(&manifest, &words).await;
        let push = standing.cluster.warren(&["push", file]).await;
        push.refused(1, &words[1..]);
    }
    let artifacts = ["get", "artifacts", "-o", "json"];
    let artifacts = standing.cluster.warren(&artifacts).await.json();
    assert_eq!(artifacts.as_array().map(Vec::len), Some(2), "{artifacts:#}");
}

#[tokio::test]
async fn files_that_the_user_may_not_read_are_reported() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can become a user without rights");
        return;
    }
    // Below the system's temporary directory: the lab's own way down is closed to others.
    let open = tempfile::tempdir().unwrap();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = open.path().join("warren");
    fs::copy(env!("CARGO_BIN_EXE_warren-under-test"), &program).unwrap();
    let secret = open.path().join("secret.yaml");
    let component = open.path().join("secret.wasm");
    fs::write(&secret, "name: a\nservice: { component: secret.wasm }\n").unwrap();
    fs::copy(example("cache"), &component).unwrap();
    let readable = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let closed = open.path().join("closed");
    fs::create_dir(&closed).unwrap();
    readable(&closed, 0o700);
    readable(&component, 0o600);
    let ask = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(&program);
        command.args(arguments).current_dir(open.path()).env_clear();
        // Nobody in particular.
        command.uid(65534).gid(65534).kill_on_drop(true);
        let output = warren_tests::within("its end", command.output())
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };

    readable(&secret, 0o600);
    let told = ask(&["validate", "-f", "secret.yaml"]).await;
    assert!(
        told.contains("cannot read secret.yaml: Permission denied"),
        "{told}"
    );
    readable(&secret, 0o644);
    let told = ask(&["validate", "-f", "secret.yaml"]).await;
    let words = "secret.yaml:2:23: secret.wasm: Permission denied";
    assert!(told.contains(words), "{told}");

    let data = closed.join("data").display().to_string();
    let any = "127.0.0.1:0";
    for process in [
        &["control", "--listen", any, "--data", &data][..],
        &["worker", "--listen", any, "--http", any, "--data", &data],
    ] {
        let told = ask(process).await;
        let words =
            format!("cannot use {data} as the data directory: this user may not write there");
        assert!(told.contains(&words) && told.contains("--data"), "{told}");
    }
    let told = ask(&["control", "--listen", any]).await;
    assert!(
        told.contains("name the data directory with --data"),
        "{told}"
    );
    let told = ask(&["control", "--listen", "127.0.0.1:1", "--data", &data]).await;
    assert!(
        told.contains("data directory") || told.contains("may not listen"),
        "{told}"
    );
}
