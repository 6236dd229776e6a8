//! What the long-running commands share: the runtime, signals, addresses, directories.

use std::{
    env, fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use warren_model::private;

/// Returns a runtime for commands that query a server and end. One thread is enough.
pub fn client_runtime() -> anyhow::Result<Runtime> {
    built(Builder::new_current_thread())
}

/// Returns a runtime for a control plane, with as many threads as cores.
pub fn control_runtime() -> anyhow::Result<Runtime> {
    built(Builder::new_multi_thread())
}

/// Returns a runtime for processes that run guests.
pub fn guest_runtime() -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(warren_worker::runtime::threads());
    built(builder)
}

/// Runs the future to completion. Threads that are still computing then are abandoned.
pub fn finish<T>(runtime: Runtime, future: impl Future<Output = T>) -> T {
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}

fn built(mut builder: Builder) -> anyhow::Result<Runtime> {
    builder
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// Returns a token that the first SIGINT, SIGTERM or SIGHUP (a closed terminal) cancels; `again`
/// runs at the second signal. SIGHUP stays ignored if the process was started so, as by `nohup`.
pub fn on_signals(
    first: impl FnOnce() + Send + 'static,
    again: impl FnOnce() + Send + 'static,
) -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut hangup = match hangup_is_ignored() {
        true => None,
        false => Some(signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?),
    };
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                Some(_) = async { hangup.as_mut()?.recv().await } => {}
            }
        };
        next().await;
        first();
        token.cancel();
        next().await;
        again();
    });
    Ok(stop)
}

/// Reads the disposition from the kernel, because a signal listener of the runtime would override
/// it.
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The first bit is signal 1.
    ignored.is_some_and(|mask| mask & 1 << (SignalKind::hangup().as_raw_value() - 1) != 0)
}

/// Exits at the second signal. The code is the one that shells use for SIGINT.
pub fn exit_now() {
    std::process::exit(130);
}

/// Listens on an address. An error names the flag that chooses another one.
pub async fn listen(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let (ip, port) = (address.ip(), address.port());
        match error.kind() {
            io::ErrorKind::AddrInUse => anyhow!(
                "{address} is taken by another process: stop it, or choose another address with \
                 {flag} (port 0 takes any free port)"
            ),
            io::ErrorKind::AddrNotAvailable => anyhow!(
                "{ip} is not an address of this machine: choose one with {flag}, such as \
                 127.0.0.1:{port}"
            ),
            io::ErrorKind::PermissionDenied => anyhow!(
                "this user may not listen on port {port}: choose a port of at least 1024 with {flag}"
            ),
            _ => anyhow!(error).context(format!("cannot listen on {address} ({flag})")),
        }
    })
}

/// Creates the data directory if it is missing, for this user only, and checks that files can be
/// created in it. It does so before anything in it is opened, because an error would otherwise name
/// a file that the user does not know. Leaves no file behind.
pub fn prepare_data(data: &Path) -> anyhow::Result<()> {
    let name = data.display();
    let made = private::create_dir(data)
        .and_then(|()| tempfile::Builder::new().prefix(".probe-").tempfile_in(data));
    let Err(error) = made else { return Ok(()) };
    let cause = match error.kind() {
        io::ErrorKind::PermissionDenied => "this user may not write there".to_owned(),
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            "it is a file, or below one".to_owned()
        }
        io::ErrorKind::ReadOnlyFilesystem => "the filesystem is read-only".to_owned(),
        // A control plane can still serve from a full disk: the store reports what it cannot do.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => return Ok(()),
        _ => error.to_string(),
    };
    Err(anyhow!(
        "cannot use {name} as the data directory: {cause}; name another directory with --data"
    ))
}

/// Returns the address at which clients on this machine reach a listener.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

/// Returns the default directory for data of this kind: `$XDG_DATA_HOME/warren/KIND`.
pub fn data_dir(kind: &str) -> anyhow::Result<PathBuf> {
    let data = xdg("XDG_DATA_HOME", ".local/share").ok_or_else(|| {
        anyhow!("neither XDG_DATA_HOME nor HOME is set: name the data directory with --data")
    })?;
    Ok(data.join("warren").join(kind))
}

/// Returns the directory for files that can be recreated: `$XDG_CACHE_HOME/warren`, or `None` if
/// there is no such place.
pub fn cache_dir() -> Option<PathBuf> {
    xdg("XDG_CACHE_HOME", ".cache").map(|cache| cache.join("warren"))
}

/// <https://specifications.freedesktop.org/basedir-spec>: relative paths count as unset.
fn xdg(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_names_the_flag() -> anyhow::Result<()> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let taken = listen("--http", any).await?;
        let error = listen("--http", taken.local_addr()?)
            .await
            .expect_err("it is taken");
        assert!(error.to_string().contains("with --http"), "{error}");
        Ok(())
    }

    #[tokio::test]
    async fn an_address_of_another_machine_names_the_flag() {
        // Reserved for documentation (RFC 5737): no machine has it.
        let other = SocketAddr::from(([192, 0, 2, 1], 7700));
        let error = listen("--listen", other).await.expect_err("not ours");
        let words = "192.0.2.1 is not an address of this machine: choose one with --listen";
        assert!(error.to_string().contains(words), "{error}");
    }

    #[test]
    fn a_data_directory_must_accept_files() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let data = dir.path().join("a/b");
        prepare_data(&data)?;
        assert_eq!(fs::read_dir(&data)?.count(), 0, "something is left behind");
        let file = dir.path().join("file");
        fs::write(&file, "")?;
        for taken in [file.clone(), file.join("below")] {
            let error = prepare_data(&taken).expect_err("a file is not a directory");
            let words = "it is a file, or below one; name another directory with --data";
            assert!(error.to_string().contains(words), "{error}");
        }
        Ok(())
    }

    #[test]
    fn unspecified_addresses_are_reached_on_loopback() {
        for (listen, reach) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "127.0.0.1:80"),
            ("10.1.2.3:80", "10.1.2.3:80"),
        ] {
            let listen: SocketAddr = listen.parse().expect("an address");
            assert_eq!(reachable(listen).to_string(), reach);
        }
    }
}
