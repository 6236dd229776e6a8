//! Which kernel's network this worker is on: workers on one share its ports.

use std::{fs, io, os::unix::fs::MetadataExt as _};

use warren_model::digest::Digest;

/// This boot of the kernel.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The network namespace of this process.
const NAMESPACE: &str = "/proc/self/ns/net";

/// The same for processes in one network namespace of one running kernel, and for no others.
/// Containers of one machine have namespaces of their own, unless they share the host's. Empty
/// where it cannot be told: such a worker counts as a machine of its own.
pub fn network() -> String {
    read().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot tell which network this worker is on: it counts as a machine of its own");
        String::new()
    })
}

fn read() -> io::Result<String> {
    let boot = fs::read_to_string(BOOT_ID)?;
    let namespace = fs::metadata(NAMESPACE)?;
    Ok(identify(boot.trim(), namespace.dev(), namespace.ino()))
}

/// A hash: who reads it learns nothing of the machine.
fn identify(boot: &str, device: u64, inode: u64) -> String {
    let identity = format!("warren network {boot} {device} {inode}");
    Digest::of(identity.as_bytes()).hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_within_a_namespace_of_a_boot_and_nowhere_else() {
        assert_eq!(network(), network());
        assert_eq!(network().len(), 64);
        let one = identify("boot", 4, 4026531840);
        assert_eq!(one, identify("boot", 4, 4026531840));
        assert_ne!(one, identify("other", 4, 4026531840));
        assert_ne!(one, identify("boot", 4, 4026531841));
        assert!(!one.contains("boot"));
    }
}
