//! Identifies the kernel network that this worker is on. Workers on the same network share its
//! ports.

use std::{fs, io, os::unix::fs::MetadataExt as _};

use warren_model::digest::Digest;

/// The file with the id of this boot of the kernel.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The file of this process's network namespace.
const NAMESPACE: &str = "/proc/self/ns/net";

/// Returns an id that is the same for all processes in one network namespace of one running kernel,
/// and different for others. Containers on one machine have namespaces of their own unless they
/// share the host's. Returns an empty string if the network is unknown; such a worker counts as a
/// machine of its own.
pub fn network() -> String {
    read().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot determine the network of this worker, which therefore counts as a machine of its own");
        String::new()
    })
}

fn read() -> io::Result<String> {
    let boot = fs::read_to_string(BOOT_ID)?;
    let namespace = fs::metadata(NAMESPACE)?;
    Ok(identify(boot.trim(), namespace.dev(), namespace.ino()))
}

/// Returns a hash, which reveals nothing about the machine.
fn identify(boot: &str, device: u64, inode: u64) -> String {
    let identity = format!("warren network {boot} {device} {inode}");
    Digest::of(identity.as_bytes()).hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_same_only_within_one_namespace_of_one_boot() {
        assert_eq!(network(), network());
        assert_eq!(network().len(), 64);
        let one = identify("boot", 4, 4026531840);
        assert_eq!(one, identify("boot", 4, 4026531840));
        assert_ne!(one, identify("other", 4, 4026531840));
        assert_ne!(one, identify("boot", 4, 4026531841));
        assert!(!one.contains("boot"));
    }
}
