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

/// Begins the name of a file that is being written: it is of use once it is whole.
const TEMPORARY: &str = ".compile-";
/// The clock may go so much further than the compiler's own time, of which a busy machine gives it
/// little. Then it is hung.
const PATIENCE: u32 = 20;
/// More do not make a component ready much sooner, on however many cores.
const THREADS: usize = 8;
/// What the kernel may take to end a process that it was told to kill.
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
    // Its command held a copy of the file's descriptor.
    drop(command);
    // The process ends with it.
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
            // Its place is not given to another before it is gone.
            if timeout(KILL, child.kill()).await.is_err() {
                tracing::warn!("the compiler does not end though it was killed");
            }
            Err(CompileFailure::Slow(wall))
        }
    }
}

/// Where code is written before it is whole.
pub(super) fn temporary(directory: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempfile_in(directory)
}

/// The beginning of what a process says, read to its end so that it never waits for a reader.
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
    /// Nothing of the worker's environment, which may hold secrets; a process group of its own,
    /// which a terminal's Ctrl-C does not reach: the worker decides when a compilation ends.
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

/// Threads that compile functions of one component. Each takes memory, within the limit.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS))
}

/// The file that this process runs, though another has taken its place under its name since.
fn this_program() -> std::path::PathBuf {
    let running = Path::new("/proc/self/exe");
    match running.exists() {
        true => running.to_owned(),
        false => std::env::current_exe().unwrap_or_else(|_| running.to_owned()),
    }
}
