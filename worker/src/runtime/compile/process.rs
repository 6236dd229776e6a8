//! One run of the compiler, seen from the worker.

use std::{
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
    time::timeout,
};

use super::{CompileFailure, CompilerProgram, child::Order, failure::SAID};

/// The beginning of the name of a file that is being written. Such a file must not be used until it
/// is renamed.
const TEMPORARY: &str = ".compile-";
/// A compilation counts as hung once it has taken this many times its limit of CPU time by the
/// clock, because a busy machine may give it little CPU.
const PATIENCE: u32 = 20;
/// The most threads of one compiler. More of them do not make a component ready much sooner,
/// whatever the number of cores.
const THREADS: usize = 8;
/// The time that the kernel may take to end a process after SIGKILL.
const KILL: Duration = Duration::from_secs(10);

/// Runs the compiler on one component. The code is in a file of `directory` that is removed unless
/// it is kept.
///
/// Dropping the future ends the process.
pub(super) async fn run(
    program: &CompilerProgram,
    order: &Order,
    directory: &Path,
) -> Result<NamedTempFile, CompileFailure> {
    let not_run = |error: io::Error| CompileFailure::NotRun(error.to_string());
    let code = temporary(directory).map_err(not_run)?;
    let mut command = program.command(&order.arguments());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(code.as_file().try_clone().map_err(not_run)?)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(not_run)?;
    // The command held a copy of the file's descriptor.
    drop(command);
    // The process ends when this is closed.
    let _alive = child.stdin.take();
    let stderr = child.stderr.take();
    let wall = order.limits.timeout.saturating_mul(PATIENCE);
    let ended = timeout(wall, async {
        let (status, said) = tokio::join!(child.wait(), said(stderr));
        io::Result::<(ExitStatus, String)>::Ok((status?, said))
    });
    match ended.await {
        Ok(Ok((status, said))) => match CompileFailure::of(status, &said, &order.limits) {
            None => Ok(code),
            Some(failure) => Err(failure),
        },
        Ok(Err(error)) => Err(not_run(error)),
        Err(_) => {
            // Its place must not be given to another compilation before the process has ended.
            if timeout(KILL, child.kill()).await.is_err() {
                tracing::warn!("the compiler was killed but has not ended");
            }
            Err(CompileFailure::Slow(wall))
        }
    }
}

/// Creates the file that the code is written to until it is complete.
pub(super) fn temporary(directory: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempfile_in(directory)
}

/// Returns the beginning of what a process writes, and reads on to the end so that the process
/// never blocks on a full pipe.
async fn said(stderr: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stderr) = stderr else {
        return String::new();
    };
    let (mut said, mut buffer) = (Vec::new(), [0; 1 << 10]);
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        let room = SAID.saturating_sub(said.len());
        said.extend_from_slice(&buffer[..read.min(room)]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

// === impl CompilerProgram ===

impl CompilerProgram {
    /// Returns the command. It gets nothing of the worker's environment, which may hold secrets,
    /// and a process group of its own, which a terminal's Ctrl-C does not reach: only the worker
    /// decides when a compilation ends.
    fn command(&self, arguments: &[std::ffi::OsString]) -> Command {
        let mut command = match self {
            Self::Other { program, arguments } => {
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }
            Self::This | Self::InProcess => Command::new(this_program()),
        };
        command
            .args(arguments)
            .env_clear()
            .env("RAYON_NUM_THREADS", threads().to_string())
            .current_dir("/")
            .process_group(0);
        command
    }
}

/// Returns the number of threads that compile the functions of one component. Each takes memory
/// within the limit.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS))
}

/// Returns the file that this process runs, even if another file has replaced it under its name.
fn this_program() -> std::path::PathBuf {
    let running = Path::new("/proc/self/exe");
    match running.exists() {
        true => running.to_owned(),
        false => std::env::current_exe().unwrap_or_else(|_| running.to_owned()),
    }
}
