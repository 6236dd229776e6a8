//! The reasons why bytes are refused as a component.

use super::limits::Limit;

/// The bytes are not a component that Warren can run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    #[error("it is not WebAssembly: {0}")]
    NotWasm(String),
    #[error(
        "it is a core WebAssembly module, not a component: build it for the target wasm32-wasip2, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    #[error("it is not a valid component: {message} (at byte {offset:#x})")]
    Invalid { offset: usize, message: String },
    #[error(
        "its imports and exports are longer than 1 MiB written out: make its interfaces smaller"
    )]
    TooLarge,
    #[error("it has more than {0} imports and exports: make fewer interfaces of them")]
    TooWide(usize),
    #[error(
        "function {function} of core module {module} {is} (at byte {offset:#x}), and the limit `{limit}` is {}: {}, or \
         have an operator raise it with `--artifact-limit {limit}=VALUE`",
        limit.write(*most),
        limit.advice()
    )]
    Function {
        /// Its index in the module, imported functions counted.
        function: u64,
        /// Which core module, in the order of the bytes, from 0.
        module: u64,
        offset: usize,
        is: String,
        limit: Limit,
        most: u64,
    },
    #[error(
        "it exceeds the limit `{limit}` of {} (at byte {offset:#x}), which counts {}: {}, or have an operator raise it \
         with `--artifact-limit {limit}=VALUE`",
        limit.write(*most),
        limit.counts(),
        limit.advice()
    )]
    TooMuch {
        limit: Limit,
        most: u64,
        offset: usize,
    },
    #[error("its inspection was interrupted")]
    Interrupted,
}

impl InspectError {
    /// Whether other [`Limits`](super::Limits) would have accepted what was refused, at least so
    /// far.
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::Function { .. } | Self::TooMuch { .. })
    }
}

impl From<wasmparser::BinaryReaderError> for InspectError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Invalid {
            offset: error.offset(),
            message: error.message().to_owned(),
        }
    }
}

/// Describes what the bytes look like, which is enough to see that the wrong file was given.
pub(super) fn describe(bytes: &[u8]) -> String {
    let magic = [
        (
            &b"\x7fELF"[..],
            "it is a native ELF file, such as an executable or compiled .cwasm code",
        ),
        (b"\x1f\x8b", "it is compressed with gzip"),
        (b"PK\x03\x04", "it is a ZIP archive"),
        (b"#!", "it is a script"),
        (
            b"(component",
            "it is WebAssembly text: assemble it with `wasm-tools parse`",
        ),
        (
            b"(module",
            "it is WebAssembly text: assemble it with `wasm-tools parse`",
        ),
    ];
    let known = magic.iter().find(|(start, _)| bytes.starts_with(start));
    if let Some((_, what)) = known {
        return (*what).to_owned();
    }
    let start = &bytes[..bytes.len().min(16)];
    // A character that the cut divides does not make it binary.
    let text = start.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let is_text = text.len() + 3 >= start.len()
        && !text.contains(|c: char| c.is_control() && !c.is_whitespace());
    match start {
        [] => "it is empty".to_owned(),
        _ if is_text && !text.is_empty() => format!("it begins with the text {text:?}"),
        _ => format!("it begins with the bytes {}", hex::encode(start)),
    }
}
