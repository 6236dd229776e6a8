//! The interfaces that workers of this version provide, with their tracks and functions.
//!
//! Workers announce it, and links are decided by it. A test of the worker compares it with what the
//! linkers of both engines hold, so that it cannot drift from them.

use warren_proto::v1;

use super::InterfaceName;

/// One interface that guests may import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provided {
    /// `namespace:package/interface`, without a version.
    pub interface: &'static str,
    /// Imports of every version on it are answered: what a later one adds is absent from
    /// `functions` here.
    pub track: &'static str,
    /// The version on the track whose functions these are.
    pub version: &'static str,
    /// Its functions and resources, named as in a component's binary. Empty for an interface of
    /// types alone.
    pub functions: &'static [&'static str],
    /// Whether a guest that imports it must be bound to a backend first.
    pub needs_binding: bool,
}

/// Every interface that workers of this version provide. A guest of WASI 0.3 may import those of
/// 0.2 too.
pub fn provided() -> &'static [Provided] {
    PROVIDED
}

/// The provided interface that answers an import, whatever functions it names.
pub fn provides(import: &InterfaceName) -> Option<&'static Provided> {
    let track = import.track()?;
    PROVIDED
        .iter()
        .find(|one| one.track == track && one.is(import))
}

// === impl Provided ===

impl Provided {
    /// `namespace:package/interface@version`.
    pub fn versioned_name(&self) -> String {
        format!("{}@{}", self.interface, self.version)
    }

    /// As a worker announces it.
    pub fn to_proto(&self) -> v1::HostInterface {
        v1::HostInterface {
            name: self.versioned_name(),
            needs_binding: self.needs_binding,
        }
    }

    /// `namespace:package`.
    pub fn package(&self) -> &'static str {
        self.parts().0
    }

    fn parts(&self) -> (&'static str, &'static str) {
        self.interface
            .split_once('/')
            .unwrap_or((self.interface, ""))
    }

    fn is(&self, name: &InterfaceName) -> bool {
        let (package, interface) = self.parts();
        interface == name.interface
            && package
                .split_once(':')
                .is_some_and(|(ns, package)| ns == name.namespace && package == name.package)
    }
}

/// An interface of WASI 0.2.
const fn p2(interface: &'static str, functions: &'static [&'static str]) -> Provided {
    Provided {
        interface,
        track: "0.2",
        version: "0.2.12",
        functions,
        needs_binding: false,
    }
}

/// An interface of WASI 0.3.
const fn p3(interface: &'static str, functions: &'static [&'static str]) -> Provided {
    Provided {
        interface,
        track: "0.3",
        version: "0.3.0",
        functions,
        needs_binding: false,
    }
}

/// An interface of a draft, which is compatible with no other version.
const fn draft(
    interface: &'static str,
    version: &'static str,
    functions: &'static [&'static str],
) -> Provided {
    Provided {
        interface,
        track: version,
        version,
        functions,
        needs_binding: false,
    }
}

#[rustfmt::skip]
const PROVIDED: &[Provided] = &[
    p2("wasi:cli/environment", &[
        "get-environment", "get-arguments", "initial-cwd",
    ]),
    p2("wasi:cli/exit", &["exit", "exit-with-code"]),
    p2("wasi:cli/stderr", &["get-stderr"]),
    p2("wasi:cli/stdin", &["get-stdin"]),
    p2("wasi:cli/stdout", &["get-stdout"]),
    p2("wasi:cli/terminal-input", &["terminal-input"]),
    p2("wasi:cli/terminal-output", &[
        "terminal-output",
    ]),
    p2("wasi:cli/terminal-stderr", &[
        "get-terminal-stderr",
    ]),
    p2("wasi:cli/terminal-stdin", &[
        "get-terminal-stdin",
    ]),
    p2("wasi:cli/terminal-stdout", &[
        "get-terminal-stdout",
    ]),
    p2("wasi:clocks/monotonic-clock", &[
        "now", "resolution", "subscribe-instant", "subscribe-duration",
    ]),
    p2("wasi:clocks/wall-clock", &[
        "now", "resolution",
    ]),
    p2("wasi:filesystem/preopens", &[
        "get-directories",
    ]),
    p2("wasi:filesystem/types", &[
        "descriptor", "[method]descriptor.read-via-stream", "[method]descriptor.write-via-stream",
        "[method]descriptor.append-via-stream", "[method]descriptor.advise",
        "[method]descriptor.sync-data", "[method]descriptor.get-flags",
        "[method]descriptor.get-type", "[method]descriptor.set-size",
        "[method]descriptor.set-times", "[method]descriptor.read", "[method]descriptor.write",
        "[method]descriptor.read-directory", "[method]descriptor.sync",
        "[method]descriptor.create-directory-at", "[method]descriptor.stat",
        "[method]descriptor.stat-at", "[method]descriptor.set-times-at",
        "[method]descriptor.link-at", "[method]descriptor.open-at",
        "[method]descriptor.readlink-at", "[method]descriptor.remove-directory-at",
        "[method]descriptor.rename-at", "[method]descriptor.symlink-at",
        "[method]descriptor.unlink-file-at", "[method]descriptor.is-same-object",
        "[method]descriptor.metadata-hash", "[method]descriptor.metadata-hash-at",
        "directory-entry-stream", "[method]directory-entry-stream.read-directory-entry",
        "filesystem-error-code",
    ]),
    p2("wasi:http/outgoing-handler", &["handle"]),
    p2("wasi:http/types", &[
        "fields", "[constructor]fields", "[static]fields.from-list", "[method]fields.get",
        "[method]fields.has", "[method]fields.set", "[method]fields.delete",
        "[method]fields.append", "[method]fields.entries", "[method]fields.clone",
        "incoming-request", "[method]incoming-request.method",
        "[method]incoming-request.path-with-query", "[method]incoming-request.scheme",
        "[method]incoming-request.authority", "[method]incoming-request.headers",
        "[method]incoming-request.consume", "outgoing-request", "[constructor]outgoing-request",
        "[method]outgoing-request.body", "[method]outgoing-request.method",
        "[method]outgoing-request.set-method", "[method]outgoing-request.path-with-query",
        "[method]outgoing-request.set-path-with-query", "[method]outgoing-request.scheme",
        "[method]outgoing-request.set-scheme", "[method]outgoing-request.authority",
        "[method]outgoing-request.set-authority", "[method]outgoing-request.headers",
        "request-options", "[constructor]request-options",
        "[method]request-options.connect-timeout", "[method]request-options.set-connect-timeout",
        "[method]request-options.first-byte-timeout",
        "[method]request-options.set-first-byte-timeout",
        "[method]request-options.between-bytes-timeout",
        "[method]request-options.set-between-bytes-timeout", "response-outparam",
        "[static]response-outparam.set", "incoming-response", "[method]incoming-response.status",
        "[method]incoming-response.headers", "[method]incoming-response.consume", "incoming-body",
        "[method]incoming-body.stream", "[static]incoming-body.finish", "future-trailers",
        "[method]future-trailers.subscribe", "[method]future-trailers.get", "outgoing-response",
        "[constructor]outgoing-response", "[method]outgoing-response.status-code",
        "[method]outgoing-response.set-status-code", "[method]outgoing-response.headers",
        "[method]outgoing-response.body", "outgoing-body", "[method]outgoing-body.write",
        "[static]outgoing-body.finish", "future-incoming-response",
        "[method]future-incoming-response.subscribe", "[method]future-incoming-response.get",
        "http-error-code",
    ]),
    p2("wasi:io/error", &[
        "error", "[method]error.to-debug-string",
    ]),
    p2("wasi:io/poll", &[
        "pollable", "[method]pollable.ready", "[method]pollable.block", "poll",
    ]),
    p2("wasi:io/streams", &[
        "input-stream", "[method]input-stream.read", "[method]input-stream.blocking-read",
        "[method]input-stream.skip", "[method]input-stream.blocking-skip",
        "[method]input-stream.subscribe", "output-stream", "[method]output-stream.check-write",
        "[method]output-stream.write", "[method]output-stream.blocking-write-and-flush",
        "[method]output-stream.flush", "[method]output-stream.blocking-flush",
        "[method]output-stream.subscribe", "[method]output-stream.write-zeroes",
        "[method]output-stream.blocking-write-zeroes-and-flush", "[method]output-stream.splice",
        "[method]output-stream.blocking-splice",
    ]),
    p2("wasi:random/insecure", &[
        "get-insecure-random-bytes", "get-insecure-random-u64",
    ]),
    p2("wasi:random/insecure-seed", &[
        "insecure-seed",
    ]),
    p2("wasi:random/random", &[
        "get-random-bytes", "get-random-u64",
    ]),
    p2("wasi:sockets/instance-network", &[
        "instance-network",
    ]),
    p2("wasi:sockets/ip-name-lookup", &[
        "resolve-address-stream", "[method]resolve-address-stream.resolve-next-address",
        "[method]resolve-address-stream.subscribe", "resolve-addresses",
    ]),
    p2("wasi:sockets/network", &["network"]),
    p2("wasi:sockets/tcp", &[
        "tcp-socket", "[method]tcp-socket.start-bind", "[method]tcp-socket.finish-bind",
        "[method]tcp-socket.start-connect", "[method]tcp-socket.finish-connect",
        "[method]tcp-socket.start-listen", "[method]tcp-socket.finish-listen",
        "[method]tcp-socket.accept", "[method]tcp-socket.local-address",
        "[method]tcp-socket.remote-address", "[method]tcp-socket.is-listening",
        "[method]tcp-socket.address-family", "[method]tcp-socket.set-listen-backlog-size",
        "[method]tcp-socket.keep-alive-enabled", "[method]tcp-socket.set-keep-alive-enabled",
        "[method]tcp-socket.keep-alive-idle-time", "[method]tcp-socket.set-keep-alive-idle-time",
        "[method]tcp-socket.keep-alive-interval", "[method]tcp-socket.set-keep-alive-interval",
        "[method]tcp-socket.keep-alive-count", "[method]tcp-socket.set-keep-alive-count",
        "[method]tcp-socket.hop-limit", "[method]tcp-socket.set-hop-limit",
        "[method]tcp-socket.receive-buffer-size", "[method]tcp-socket.set-receive-buffer-size",
        "[method]tcp-socket.send-buffer-size", "[method]tcp-socket.set-send-buffer-size",
        "[method]tcp-socket.subscribe", "[method]tcp-socket.shutdown",
    ]),
    p2("wasi:sockets/tcp-create-socket", &[
        "create-tcp-socket",
    ]),
    p2("wasi:sockets/udp", &[
        "udp-socket", "[method]udp-socket.start-bind", "[method]udp-socket.finish-bind",
        "[method]udp-socket.stream", "[method]udp-socket.local-address",
        "[method]udp-socket.remote-address", "[method]udp-socket.address-family",
        "[method]udp-socket.unicast-hop-limit", "[method]udp-socket.set-unicast-hop-limit",
        "[method]udp-socket.receive-buffer-size", "[method]udp-socket.set-receive-buffer-size",
        "[method]udp-socket.send-buffer-size", "[method]udp-socket.set-send-buffer-size",
        "[method]udp-socket.subscribe", "incoming-datagram-stream",
        "[method]incoming-datagram-stream.receive", "[method]incoming-datagram-stream.subscribe",
        "outgoing-datagram-stream", "[method]outgoing-datagram-stream.check-send",
        "[method]outgoing-datagram-stream.send", "[method]outgoing-datagram-stream.subscribe",
    ]),
    p2("wasi:sockets/udp-create-socket", &[
        "create-udp-socket",
    ]),
    p3("wasi:cli/environment", &[
        "get-environment", "get-arguments", "get-initial-cwd",
    ]),
    p3("wasi:cli/exit", &["exit", "exit-with-code"]),
    p3("wasi:cli/stderr", &["write-via-stream"]),
    p3("wasi:cli/stdin", &["read-via-stream"]),
    p3("wasi:cli/stdout", &["write-via-stream"]),
    p3("wasi:cli/terminal-input", &["terminal-input"]),
    p3("wasi:cli/terminal-output", &[
        "terminal-output",
    ]),
    p3("wasi:cli/terminal-stderr", &[
        "get-terminal-stderr",
    ]),
    p3("wasi:cli/terminal-stdin", &[
        "get-terminal-stdin",
    ]),
    p3("wasi:cli/terminal-stdout", &[
        "get-terminal-stdout",
    ]),
    p3("wasi:cli/types", &[]),
    p3("wasi:clocks/monotonic-clock", &[
        "now", "get-resolution", "wait-until", "wait-for",
    ]),
    p3("wasi:clocks/system-clock", &[
        "now", "get-resolution",
    ]),
    p3("wasi:clocks/types", &[]),
    p3("wasi:filesystem/preopens", &[
        "get-directories",
    ]),
    p3("wasi:filesystem/types", &[
        "descriptor", "[method]descriptor.read-via-stream", "[method]descriptor.write-via-stream",
        "[method]descriptor.append-via-stream", "[method]descriptor.advise",
        "[method]descriptor.sync-data", "[method]descriptor.get-flags",
        "[method]descriptor.get-type", "[method]descriptor.set-size",
        "[method]descriptor.set-times", "[method]descriptor.read-directory",
        "[method]descriptor.sync", "[method]descriptor.create-directory-at",
        "[method]descriptor.stat", "[method]descriptor.stat-at", "[method]descriptor.set-times-at",
        "[method]descriptor.link-at", "[method]descriptor.open-at",
        "[method]descriptor.readlink-at", "[method]descriptor.remove-directory-at",
        "[method]descriptor.rename-at", "[method]descriptor.symlink-at",
        "[method]descriptor.unlink-file-at", "[method]descriptor.is-same-object",
        "[method]descriptor.metadata-hash", "[method]descriptor.metadata-hash-at",
    ]),
    p3("wasi:http/client", &["send"]),
    p3("wasi:http/types", &[
        "fields", "[constructor]fields", "[static]fields.from-list", "[method]fields.get",
        "[method]fields.has", "[method]fields.set", "[method]fields.delete",
        "[method]fields.get-and-delete", "[method]fields.append", "[method]fields.copy-all",
        "[method]fields.clone", "request", "[static]request.new", "[method]request.get-method",
        "[method]request.set-method", "[method]request.get-path-with-query",
        "[method]request.set-path-with-query", "[method]request.get-scheme",
        "[method]request.set-scheme", "[method]request.get-authority",
        "[method]request.set-authority", "[method]request.get-options",
        "[method]request.get-headers", "[static]request.consume-body", "request-options",
        "[constructor]request-options", "[method]request-options.get-connect-timeout",
        "[method]request-options.set-connect-timeout",
        "[method]request-options.get-first-byte-timeout",
        "[method]request-options.set-first-byte-timeout",
        "[method]request-options.get-between-bytes-timeout",
        "[method]request-options.set-between-bytes-timeout", "[method]request-options.clone",
        "response", "[static]response.new", "[method]response.get-status-code",
        "[method]response.set-status-code", "[method]response.get-headers",
        "[static]response.consume-body",
    ]),
    p3("wasi:random/insecure", &[
        "get-insecure-random-bytes", "get-insecure-random-u64",
    ]),
    p3("wasi:random/insecure-seed", &[
        "get-insecure-seed",
    ]),
    p3("wasi:random/random", &[
        "get-random-bytes", "get-random-u64",
    ]),
    p3("wasi:sockets/ip-name-lookup", &[
        "resolve-addresses",
    ]),
    p3("wasi:sockets/types", &[
        "tcp-socket", "[static]tcp-socket.create", "[method]tcp-socket.bind",
        "[method]tcp-socket.connect", "[method]tcp-socket.listen", "[method]tcp-socket.send",
        "[method]tcp-socket.receive", "[method]tcp-socket.get-local-address",
        "[method]tcp-socket.get-remote-address", "[method]tcp-socket.get-is-listening",
        "[method]tcp-socket.get-address-family", "[method]tcp-socket.set-listen-backlog-size",
        "[method]tcp-socket.get-keep-alive-enabled", "[method]tcp-socket.set-keep-alive-enabled",
        "[method]tcp-socket.get-keep-alive-idle-time",
        "[method]tcp-socket.set-keep-alive-idle-time",
        "[method]tcp-socket.get-keep-alive-interval", "[method]tcp-socket.set-keep-alive-interval",
        "[method]tcp-socket.get-keep-alive-count", "[method]tcp-socket.set-keep-alive-count",
        "[method]tcp-socket.get-hop-limit", "[method]tcp-socket.set-hop-limit",
        "[method]tcp-socket.get-receive-buffer-size", "[method]tcp-socket.set-receive-buffer-size",
        "[method]tcp-socket.get-send-buffer-size", "[method]tcp-socket.set-send-buffer-size",
        "udp-socket", "[static]udp-socket.create", "[method]udp-socket.bind",
        "[method]udp-socket.connect", "[method]udp-socket.disconnect", "[method]udp-socket.send",
        "[method]udp-socket.receive", "[method]udp-socket.get-local-address",
        "[method]udp-socket.get-remote-address", "[method]udp-socket.get-address-family",
        "[method]udp-socket.get-unicast-hop-limit", "[method]udp-socket.set-unicast-hop-limit",
        "[method]udp-socket.get-receive-buffer-size", "[method]udp-socket.set-receive-buffer-size",
        "[method]udp-socket.get-send-buffer-size", "[method]udp-socket.set-send-buffer-size",
    ]),
    draft("wasi:config/store", "0.2.0-draft-2024-09-27", &["get", "get-all"]),
    draft("wasi:config/store", "0.2.0-rc.1", &["get", "get-all"]),
    draft("wasi:logging/logging", "0.1.0-draft", &["log"]),
];
