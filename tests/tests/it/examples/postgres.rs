//! A PostgreSQL of the test's own: Debian's, in a temporary directory, on a free port of 127.0.0.1.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use rustix::process::geteuid;
use tempfile::TempDir;
use tokio::process::Command;
use warren_tests::{Lab, Process, eventually, within};

pub struct Postgres {
    pub port: u16,
    bin: PathBuf,
    process: Process,
    /// Last, so that it outlives what writes into it.
    _dir: TempDir,
}

const SUPERUSER: &str = "postgres";
const PASSWORD: &str = "only for this test";

/// The directory of `initdb` and `postgres`, which Debian keeps off the PATH.
pub fn server_binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let debian = versions.flatten().map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = debian.chain(std::env::split_paths(&path));
    folders.find(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file())
}

/// Whom to run it as: it refuses root.
fn user() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let line = users.lines().find_map(|line| line.strip_prefix(name))?;
        let mut fields = line.strip_prefix(':')?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(ids("postgres").or_else(|| ids("nobody")).unwrap())
}

/// A program of it, as its own user.
fn program(bin: &Path, name: &str) -> Command {
    let mut command = Command::new(bin.join(name));
    command.kill_on_drop(true).current_dir("/");
    if let Some((user, group)) = user() {
        command.uid(user).gid(group);
    }
    command
}

// === impl Postgres ===

impl Postgres {
    /// With passwords as PostgreSQL asks for them today (SCRAM).
    pub async fn start(lab: &Lab, bin: PathBuf) -> Self {
        // Not in the lab, which is closed to other users.
        let dir = tempfile::Builder::new()
            .prefix("warren-postgres-")
            .tempdir()
            .unwrap();
        let password = dir.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        if let Some((user, group)) = user() {
            for path in [dir.path(), &password] {
                chown(path, Some(user), Some(group)).unwrap();
            }
        }
        let data = dir.path().join("data");
        let mut initdb = program(&bin, "initdb");
        initdb.args([
            "--auth=scram-sha-256",
            "--no-sync",
            "--username",
            SUPERUSER,
            "--pwfile",
        ]);
        initdb.arg(&password).arg("--pgdata").arg(&data);
        let made = within("initdb", initdb.output()).await.unwrap();
        assert!(made.status.success(), "{made:?}");

        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut postgres = program(&bin, "postgres");
        postgres
            .arg("-D")
            .arg(&data)
            .arg("-p")
            .arg(port.to_string());
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
        ] {
            postgres.args(["-c", setting]);
        }
        let process = lab.start("postgres", postgres);
        let postgres = Self {
            port,
            bin,
            process,
            _dir: dir,
        };
        eventually("PostgreSQL is ready", async || {
            let said = postgres.process.stderr();
            let ready = said.contains("database system is ready to accept connections");
            if ready { Ok(()) } else { Err(said) }
        })
        .await;
        postgres
    }

    /// What a command prints that somebody types who may do anything in this PostgreSQL.
    pub async fn shell(&self, command: &str) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash");
        shell
            .args(["-c", command])
            .env("PATH", format!("{}:{path}", self.bin.display()))
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", SUPERUSER)
            .env("PGPASSWORD", PASSWORD)
            .env("PGDATABASE", "template1")
            .kill_on_drop(true);
        let output = within(command, shell.output()).await.unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    /// The only value that a query has, asked from another database than the one that is looked at.
    pub async fn value(&self, query: &str) -> String {
        self.shell(&format!("psql --tuples-only --no-align -c \"{query}\""))
            .await
    }

    pub async fn stop(mut self) {
        let status = self.process.interrupt().await;
        assert!(status.success(), "{status}");
    }
}
