//! Host names as DNS and HTTP take them: labels joined by dots, compared without case.

/// Returns the lower-case name without a trailing dot, or the reason why it is not a host name.
/// Labels may contain `_`, as names inside networks do.
pub(crate) fn normalise(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if !name.is_ascii() {
        return Err("write it in its ASCII form (xn--...)".to_owned());
    }
    if name.is_empty() || name.len() > 253 {
        return Err("host names have 1 to 253 characters".to_owned());
    }
    match name.split('.').find(|label| !is_label(label)) {
        None => Ok(name),
        Some("") => Err("it has an empty label".to_owned()),
        Some(label) => Err(format!(
            "its label `{label}` should be 1 to 63 of a-z, 0-9, '-' and '_', without '-' first or last"
        )),
    }
}

/// Returns whether the name always means the workload itself (RFC 6761).
pub(crate) fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}
