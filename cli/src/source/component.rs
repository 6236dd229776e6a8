//! Reads the files of components.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use warren_model::{
    component::{self, ComponentInfo, InspectError, Interrupt, Limits},
    digest::Digest,
    quantity::format_bytes,
};

use crate::output;

/// The largest artifact that a server of this version accepts.
pub const MOST_BYTES: u64 = 256 << 20;

/// Reads a component, or says why a server would not accept it.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    // Checked before the file is opened, because opening a pipe waits for its writer.
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if metadata.is_dir() {
        return Err("it is a directory: name the component's .wasm file".to_owned());
    }
    if !metadata.is_file() {
        return Err(
            "it is a pipe or a device: a component has to be a file, because it is read more than once".to_owned(),
        );
    }
    let too_large = |is: String| {
        let most = format_bytes(most);
        Err(format!(
            "it has {is}, and an artifact at most {most}: remove the debug information"
        ))
    };
    if metadata.len() > most {
        return too_large(output::bytes(metadata.len()));
    }
    let mut bytes = Vec::new();
    // The file may grow while it is read.
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(|error: io::Error| error.to_string())?;
    if bytes.len() as u64 > most {
        return too_large("more".to_owned());
    }
    Ok(bytes)
}

/// Why a file cannot be used as a component.
#[derive(Debug)]
pub enum FileError {
    Read(String),
    Inspect(InspectError),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(why) => f.write_str(why),
            Self::Inspect(why) => why.fmt(f),
        }
    }
}

/// Inspects the file of a component.
pub fn inspect(path: &Path, limits: &Limits) -> Result<(Digest, ComponentInfo), FileError> {
    let bytes = read(path, MOST_BYTES).map_err(FileError::Read)?;
    let info = component::inspect_within(&bytes, limits, &Interrupt::never())
        .map_err(FileError::Inspect)?;
    Ok((Digest::of(&bytes), info))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_a_file_is_refused_at_once() {
        for (path, part) in [
            ("/", "it is a directory"),
            ("/dev/zero", "a pipe or a device"),
            ("nowhere.wasm", "No such file"),
        ] {
            let error = read(Path::new(path), MOST_BYTES).expect_err(path);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_refused_with_the_limit() -> anyhow::Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), [0; 1025])?;
        let error = read(file.path(), 1024).expect_err("too large");
        assert!(error.contains("at most 1KiB"), "{error}");
        assert_eq!(read(file.path(), 1025).map(|bytes| bytes.len()), Ok(1025));
        Ok(())
    }
}
