//! The list itself. Tests hold each default, bound and example against the reader and the checks of the spec.

use super::{
    Field,
    Kind::{Artifact, Boolean, Duration, Fields, List, Map, Number, Size, Text, Texts, Word},
    Presence::{Default, Optional, Required},
    Schema,
};

mod service;

pub(in crate::manifest) use service::*;

const HOST: Field = Field::new(
    "host",
    Text,
    Optional("counter.localhost"),
    "Host name without port, compared without case. None: any host, tried last",
);
const PATH: Field = Field::new(
    "path",
    Text,
    Default("/"),
    "Path prefix, which ends where a segment of the request's path ends",
);

const ENV: Field = Field::new("env", Map, Optional("{ LOG: info }"), "Environment");

const EGRESS: Field = Field::new(
    "egress",
    Texts,
    Optional("[ \"db.internal:5432\" ]"),
    "Destinations that it may reach: HOST:PORT, *.HOST:PORT or CIDR:PORT; PORT may be `*`. None: nothing outside the workload",
);

pub(in crate::manifest) static WORKLOAD: Schema = Schema {
    what: "a workload",
    fields: &[
        Field::new(
            "apiVersion",
            Word(&["warren/v1"]),
            Default("warren/v1"),
            "The version of this format",
        ),
        Field::new(
            "kind",
            Word(&["Workload"]),
            Default("Workload"),
            "What the document describes",
        ),
        Field::new(
            "name",
            Text,
            Required("counter"),
            "DNS label, unique in its namespace",
        ),
        Field::new(
            "namespace",
            Text,
            Default("default"),
            "DNS label; `--namespace` names another where the manifest names none",
        ),
        Field::new(
            "labels",
            Map,
            Optional("{ tier: front }"),
            "For selection with `-l`; keys and values as in Kubernetes",
        ),
        Field::new(
            "replicas",
            Number,
            Optional("1"),
            "How many replicas run at once. None: the present number stays, 1 for a new workload",
        )
        .within("0", "1000"),
        Field::group(
            "service",
            Fields(&SERVICE),
            "The long-running half, at most one: exports `wasi:cli/run`",
        ),
        Field::group(
            "components",
            List(&COMPONENT),
            "The stateless half, at most 64: a fresh instance for each invocation",
        ),
        Field::group(
            "volumes",
            List(&VOLUME),
            "Directories that the service may mount, at most 16",
        ),
        Field::group(
            "placement",
            Fields(&PLACEMENT),
            "Which workers may run a replica. None: any",
        ),
        Field::group(
            "update",
            Fields(&UPDATE),
            "How a new revision takes the place of the one before",
        ),
    ],
};

pub(in crate::manifest) static COMPONENT: Schema = Schema {
    what: "a component",
    fields: &[
        Field::new(
            "name",
            Text,
            Required("api"),
            "DNS label, unique in its workload; not `service`",
        ),
        Field::new(
            "component",
            Artifact,
            Required("./api.wasm"),
            "The program. A path is relative to the manifest, and pushed on apply",
        ),
        Field::group(
            "routes",
            List(&ROUTE),
            "HTTP routes; the component then exports `wasi:http`",
        ),
        ENV,
        EGRESS,
        Field::group(
            "limits",
            Fields(&COMPONENT_LIMITS),
            "Bounds of one invocation, and of all at once",
        ),
        Field::group(
            "reserve",
            Fields(&RESERVE),
            "What its instances are always granted together; placement counts it",
        ),
        Field::group(
            "reuse",
            Fields(&REUSE),
            "One instance serves many requests, for WASI 0.3 only. None: each request has a fresh one",
        ),
    ],
};

pub(in crate::manifest) static ROUTE: Schema = Schema {
    what: "a route",
    fields: &[HOST, PATH],
};

pub(in crate::manifest) static COMPONENT_LIMITS: Schema = Schema {
    what: "the component's limits",
    fields: &[
        Field::new(
            "memory",
            Size,
            Default("32MiB"),
            "Linear memory and tables of one instance",
        )
        .within("64KiB", "4GiB"),
        Field::new(
            "timeout",
            Duration,
            Default("30s"),
            "The longest that one invocation may take",
        )
        .within("1ms", "1h"),
        Field::new(
            "concurrency",
            Number,
            Default("256"),
            "Invocations at once in one replica; as many again wait for a place",
        )
        .within("1", "1000"),
        Field::new(
            "requestBody",
            Size,
            Optional("1MiB"),
            "The largest body of an HTTP request; a larger one is answered 413",
        )
        .within("1B", "1TiB"),
        Field::new(
            "responseBody",
            Size,
            Optional("64MiB"),
            "The largest body of an HTTP response; a larger one breaks off",
        )
        .within("1B", "1TiB"),
    ],
};

pub(in crate::manifest) static RESERVE: Schema = Schema {
    what: "the reserve",
    fields: &[Field::new(
        "memory",
        Size,
        Optional("16MiB"),
        "Linear memory and tables, at most `limits.memory`. None: a quarter of `limits.memory`",
    )
    .within("16KiB", "4GiB")],
};

pub(in crate::manifest) static REUSE: Schema = Schema {
    what: "the reuse of instances",
    fields: &[
        Field::new(
            "requests",
            Number,
            Default("128"),
            "Requests that one instance serves in all, then it is dropped",
        )
        .within("1", "1000000"),
        Field::new(
            "concurrency",
            Number,
            Default("16"),
            "Requests that one instance serves at once",
        )
        .within("1", "1000"),
    ],
};

pub(in crate::manifest) static VOLUME: Schema = Schema {
    what: "a volume",
    fields: &[
        Field::new(
            "name",
            Text,
            Required("data"),
            "DNS label, unique in its workload",
        ),
        Field::group(
            "emptyDir",
            Fields(&EMPTY_DIR),
            "Made with the replica, empty, and removed with it. A volume has one of `emptyDir` and `host`",
        ),
        Field::new(
            "host",
            Text,
            Optional("data"),
            "The name of a directory that the worker offers with `--volume`",
        ),
    ],
};

pub(in crate::manifest) static EMPTY_DIR: Schema = Schema {
    what: "an empty directory",
    fields: &[
        Field::new(
            "sizeLimit",
            Size,
            Default("1GiB"),
            "What its files take on the disk at most, in blocks of 4 KiB; beyond, a write fails as `insufficient-space`",
        )
        .within("4KiB", "16TiB"),
        Field::new(
            "inodes",
            Number,
            Default("100000"),
            "Names of files, directories and links in it at most; beyond, making one fails as `quota`",
        )
        .within("1", "10000000"),
    ],
};

pub(in crate::manifest) static PLACEMENT: Schema = Schema {
    what: "the placement",
    fields: &[
        Field::new(
            "labels",
            Map,
            Optional("{ zone: a }"),
            "Labels that a worker must have, all of them",
        ),
        Field::new(
            "spread",
            Text,
            Optional("zone"),
            "A label of workers over whose values replicas are spread. None: over workers only",
        ),
    ],
};

pub(in crate::manifest) static UPDATE: Schema = Schema {
    what: "the update policy",
    fields: &[
        Field::new(
            "maxSurge",
            Number,
            Default("1"),
            "Replicas beyond `replicas` at once",
        )
        .within("0", "1000"),
        Field::new(
            "maxUnavailable",
            Number,
            Default("0"),
            "Replicas that may be missing at once; not 0 together with `maxSurge`",
        )
        .within("0", "1000"),
        Field::new(
            "minReady",
            Duration,
            Default("1s"),
            "A replica counts for a rollout, a drain and `--wait` only after it has been ready for this long without a break. Requests reach it as soon as it is ready",
        )
        .within("0s", "1h"),
        Field::new(
            "progressDeadline",
            Duration,
            Default("2m"),
            "A rollout without progress for so long stalls: it takes no further step, and what still serves stays",
        )
        .within("1s", "1d"),
        Field::new(
            "rollbackOnFailure",
            Boolean,
            Default("true"),
            "A rollout that stalls goes back to the last revision that was rolled out whole",
        ),
    ],
};
