//! The text of a manifest, read from a file, a directory, a pipe or stdin.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use warren_model::quantity::{format_bytes, format_duration};

/// A manifest as it was given.
#[derive(Debug)]
pub struct Text {
    /// Its name in errors.
    pub source: String,
    /// The directory that its paths are relative to; empty for the current directory.
    pub base: PathBuf,
    pub text: String,
}

/// The name of the manifest in a directory.
pub const MANIFEST: &str = "warren.yaml";

const STDIN: &str = "-";

/// Enough for thousands of workloads. A larger file is not a manifest.
const MOST_BYTES: u64 = 4 << 20;

/// The time limit for opening a named pipe, because it may never get a writer.
const PIPE_TIMEOUT: Duration = Duration::from_secs(30);

/// Returns whether the path means stdin.
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == STDIN
}

/// Returns the path of the manifest, which for a directory is the [`MANIFEST`] in it.
pub fn manifest_path(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join(MANIFEST)
    } else {
        path.to_path_buf()
    }
}

/// Reads a manifest, or says why it cannot be read.
pub fn read(path: &Path) -> Result<Text, String> {
    if is_stdin(path) {
        let text = bounded(io::stdin().lock())
            .map_err(|why| format!("cannot read a manifest from stdin: {why}"))?;
        return Ok(Text {
            source: "<stdin>".to_owned(),
            base: PathBuf::new(),
            text,
        });
    }
    let file = manifest_path(path);
    let source = file.display().to_string();
    let text = open(&file, PIPE_TIMEOUT)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if path.is_dir() => {
                format!("the directory has none: name a manifest, or create {MANIFEST} there")
            }
            _ => error.to_string(),
        })
        .and_then(bounded)
        .map_err(|why| format!("cannot read {source}: {why}"))?;
    Ok(Text {
        source,
        base: file.parent().map(Path::to_path_buf).unwrap_or_default(),
        text,
    })
}

/// Opens a file. Opening a pipe waits for its writer, so another thread does it; that thread is
/// abandoned if no writer comes.
fn open(path: &Path, timeout: Duration) -> io::Result<File> {
    if !is_pipe(path) {
        return File::open(path);
    }
    let (opened, file) = mpsc::channel();
    let path = path.to_path_buf();
    thread::spawn(move || opened.send(File::open(path)));
    file.recv_timeout(timeout).unwrap_or_else(|_| {
        let timeout = format_duration(timeout);
        Err(io::Error::other(format!(
            "it is a pipe that got no data within {timeout}"
        )))
    })
}

fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

fn bounded(reader: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    reader
        .take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MOST_BYTES {
        let most = format_bytes(MOST_BYTES);
        return Err(format!("a manifest may have at most {most}: split it"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid]
            .split(|byte| *byte == b'\n')
            .count();
        format!("it is not UTF-8 text (line {line}): save it as UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_about_encoding_has_the_line() {
        let error = bounded(&b"name: a\nlabels: { a: \xff }\n"[..]).expect_err("no UTF-8");
        assert!(error.contains("not UTF-8 text (line 2)"), "{error}");
        assert_eq!(bounded(&b"name: a\n"[..]), Ok("name: a\n".to_owned()));
    }

    #[test]
    fn a_pipe_without_a_writer_is_given_up() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status()?;
        assert!(made.success(), "{made}");
        let error = open(&pipe, Duration::from_millis(20)).expect_err("nobody writes");
        assert!(error.to_string().contains("within 20ms"), "{error}");
        // Releases the waiting thread.
        drop(File::options().write(true).open(&pipe)?);
        Ok(())
    }

    #[test]
    fn an_endless_file_is_not_read_completely() {
        let error = bounded(io::repeat(b'#')).expect_err("too long");
        assert!(error.contains("at most 4MiB"), "{error}");
    }
}
