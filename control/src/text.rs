//! Texts of a bounded length.

/// The bytes of a message that is kept, or sent to a client. A gRPC status travels in headers, of
/// which clients take 8 to 16 KiB, and its message does so twice.
pub const MAX_MESSAGE: usize = 1536;

/// Truncates a text to at most `bytes` bytes, at a character boundary.
pub fn cut(text: &mut String, bytes: usize) {
    const ELLIPSIS: &str = "...";
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes - ELLIPSIS.len()));
        text.push_str(ELLIPSIS);
    }
}

/// Returns the `Display` text of a value, cut to [`MAX_MESSAGE`].
pub fn message(what: &impl std::fmt::Display) -> String {
    let mut message = what.to_string();
    cut(&mut message, MAX_MESSAGE);
    message
}
