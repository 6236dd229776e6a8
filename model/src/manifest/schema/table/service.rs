//! The fields of the service.

use super::{
    super::{
        Field,
        Kind::{Artifact, Boolean, Duration, Fields, List, Number, Size, Text, Texts, Word},
        Presence::{Default, Optional, Required},
        Schema,
    },
    EGRESS, ENV, HOST, PATH, RESERVE,
};

pub(in crate::manifest) static SERVICE: Schema = Schema {
    what: "the service",
    fields: &[
        Field::new(
            "component",
            Artifact,
            Required("./cache.wasm"),
            "The program. A path is relative to the manifest, and pushed on apply",
        ),
        Field::new(
            "args",
            Texts,
            Optional("[ --verbose ]"),
            "Arguments after the program's name, which is the workload's `name`",
        ),
        ENV,
        Field::group(
            "restart",
            Fields(&RESTART),
            "When and how fast it is started again",
        ),
        Field::group(
            "readiness",
            Fields(&READINESS),
            "Says when it can take work. None: once it listens on every port of `publish` and `routes`; with none of those, once a listener on a port other than 0 has been open for 500ms, or it has run for 1s",
        ),
        Field::group(
            "liveness",
            Fields(&LIVENESS),
            "Says when it must be started again. None: never",
        ),
        Field::group(
            "publish",
            List(&PUBLISH),
            "Ports that the worker offers on its machine's network",
        ),
        Field::group(
            "routes",
            List(&SERVICE_ROUTE),
            "HTTP straight to a port of the service, upgrades included",
        ),
        EGRESS,
        Field::group(
            "limits",
            Fields(&SERVICE_LIMITS),
            "Bounds of one replica's service",
        ),
        Field::group(
            "reserve",
            Fields(&RESERVE),
            "What one replica's service is always granted; placement counts it",
        ),
        Field::group(
            "volumes",
            List(&MOUNT),
            "Which of the workload's volumes it sees, and where",
        ),
        Field::new(
            "stopGrace",
            Duration,
            Default("10s"),
            "How long it may take to return after it was asked to stop",
        )
        .within("0s", "1h"),
        Field::new(
            "exclusive",
            Boolean,
            Default("false"),
            "Never two replicas at once, not even for a moment; `replicas` is then at most 1. Its environment has `WARREN_FENCE`",
        ),
    ],
};

pub(in crate::manifest) static RESTART: Schema = Schema {
    what: "the restart policy",
    fields: &[
        Field::new(
            "policy",
            Word(&["always", "on-failure", "never"]),
            Default("always"),
            "Which ends are followed by a restart; `on-failure` is every end but exit code 0",
        ),
        Field::new(
            "initialBackoff",
            Duration,
            Default("100ms"),
            "The wait before the first restart; it doubles with each one after. After a run of less than a second it is 100ms at least",
        )
        .within("1ms", "1h"),
        Field::new(
            "maxBackoff",
            Duration,
            Default("30s"),
            "The longest wait, not less than `initialBackoff`. After thirty runs of less than a second in a row it is 1s at least",
        )
        .within("1ms", "1h"),
        Field::new(
            "resetAfter",
            Duration,
            Default("1m"),
            "Healthy running for this long brings the wait back to `initialBackoff`",
        )
        .within("0s", "1d"),
        Field::new(
            "maxRestarts",
            Number,
            Default("10"),
            "More restarts than this within `window`, and the replica is FAILED",
        )
        .within("0", "4294967295"),
        Field::new(
            "window",
            Duration,
            Default("5m"),
            "The time that `maxRestarts` counts in",
        )
        .within("1s", "1d"),
        Field::new(
            "onFailed",
            Word(&["replace", "keep"]),
            Optional("keep"),
            "Whether another replica takes the place of one that is FAILED after its service has run. None: `keep` with policy `never`, else `replace`",
        ),
        Field::new(
            "onLost",
            Word(&["replace", "keep"]),
            Optional("keep"),
            "Whether another replica takes the place of one that is LOST. None: `keep` with policy `never`, else `replace`",
        ),
    ],
};

pub(in crate::manifest) static READINESS: Schema = Schema {
    what: "the readiness probe",
    fields: &[
        TCP_PROBE,
        HTTP_PROBE,
        GRPC_PROBE,
        Field::new("interval", Duration, Default("1s"), INTERVAL).within("10ms", "1h"),
        TIMEOUT,
        FAILURES,
        Field::new("successThreshold", Number, Default("1"), SUCCESSES).within("1", "1000"),
        START_PERIOD,
    ],
};

pub(in crate::manifest) static LIVENESS: Schema = Schema {
    what: "the liveness probe",
    fields: &[
        TCP_PROBE,
        HTTP_PROBE,
        GRPC_PROBE,
        Field::new("interval", Duration, Default("10s"), INTERVAL).within("10ms", "1h"),
        TIMEOUT,
        FAILURES,
        Field::new("successThreshold", Number, Default("1"), SUCCESSES).within("1", "1"),
        START_PERIOD,
    ],
};

const INTERVAL: &str = "From the end of one question to the next";
const SUCCESSES: &str = "So many successes in a row count";

const TCP_PROBE: Field = Field::group(
    "tcp",
    Fields(&TCP),
    "Whether a port takes a connection. A probe has one of `tcp`, `http` and `grpc`",
);
const HTTP_PROBE: Field = Field::group(
    "http",
    Fields(&HTTP),
    "Whether a GET is answered with a status from 200 to 399",
);
const GRPC_PROBE: Field = Field::group(
    "grpc",
    Fields(&GRPC),
    "Whether `grpc.health.v1.Health/Check` answers SERVING",
);
const TIMEOUT: Field = Field::new(
    "timeout",
    Duration,
    Default("1s"),
    "An answer that takes longer is a failure",
)
.within("1ms", "1h");
const FAILURES: Field = Field::new(
    "failureThreshold",
    Number,
    Default("3"),
    "So many failures in a row count",
)
.within("1", "1000");
const START_PERIOD: Field = Field::new(
    "startPeriod",
    Duration,
    Default("0s"),
    "Failures within this time from the start do not count, until the first success",
)
.within("0s", "1h");

pub(in crate::manifest) static TCP: Schema = Schema {
    what: "a TCP probe",
    fields: &[SERVICE_PORT],
};

pub(in crate::manifest) static HTTP: Schema = Schema {
    what: "an HTTP probe",
    fields: &[
        SERVICE_PORT,
        Field::new(
            "path",
            Text,
            Default("/"),
            "What is asked for; may have a query",
        ),
    ],
};

pub(in crate::manifest) static GRPC: Schema = Schema {
    what: "a gRPC probe",
    fields: &[
        SERVICE_PORT,
        Field::new(
            "service",
            Text,
            Optional("example.v1.Greeter"),
            "Which service is asked about. None: the whole server",
        ),
    ],
};

const SERVICE_PORT: Field =
    Field::new("port", Number, Required("8080"), "A port of the service").within("1", "65535");

pub(in crate::manifest) static PUBLISH: Schema = Schema {
    what: "a published port",
    fields: &[
        SERVICE_PORT,
        Field::new(
            "listen",
            Text,
            Required("127.0.0.1:6379"),
            "The worker's address, IP:PORT; with port 0 the worker chooses one, shown as an endpoint",
        ),
        Field::new(
            "protocol",
            Word(&["tcp", "udp"]),
            Default("tcp"),
            "The transport; a port number may be published by both",
        ),
    ],
};

pub(in crate::manifest) static SERVICE_ROUTE: Schema = Schema {
    what: "a route of the service",
    fields: &[
        HOST,
        PATH,
        SERVICE_PORT,
        Field::new(
            "protocol",
            Word(&["http1", "h2c"]),
            Default("http1"),
            "How the worker speaks to the service; `http1` takes gRPC too, `h2c` no upgrades",
        ),
    ],
};

pub(in crate::manifest) static SERVICE_LIMITS: Schema = Schema {
    what: "the service's limits",
    fields: &[
        Field::new("memory", Size, Default("64MiB"), "Linear memory and tables")
            .within("64KiB", "4GiB"),
        Field::new(
            "cpuWeight",
            Number,
            Default("100"),
            "Its share of the processor beside others that want it too",
        )
        .within("1", "10000"),
        Field::new(
            "requestBody",
            Size,
            Optional("1MiB"),
            "The largest body of a request that its routes take; a larger one is answered 413",
        )
        .within("1B", "1TiB"),
        Field::new(
            "responseBody",
            Size,
            Optional("64MiB"),
            "The largest body of a response that its routes give; a larger one breaks off",
        )
        .within("1B", "1TiB"),
    ],
};

pub(in crate::manifest) static MOUNT: Schema = Schema {
    what: "a mount",
    fields: &[
        Field::new(
            "name",
            Text,
            Required("data"),
            "One of the workload's volumes",
        ),
        Field::new(
            "mountPath",
            Text,
            Required("/data"),
            "Where the service sees it: absolute, each once",
        ),
        Field::new(
            "readOnly",
            Boolean,
            Default("false"),
            "The service cannot write to it",
        ),
    ],
};
