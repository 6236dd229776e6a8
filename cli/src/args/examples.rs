//! The examples in the long help of each command. A test parses every line.

/// A command line, and what it is for.
pub type Example = (&'static str, &'static str);

/// Returns the examples of the command with these words.
pub fn of(command: &str) -> &'static [Example] {
    let found = EXAMPLES.iter().find(|(words, _)| *words == command);
    found.map_or(&[], |(_, examples)| examples)
}

/// Formats examples for the end of a help text.
pub fn text(examples: &[Example]) -> String {
    let lines = examples
        .iter()
        .map(|(line, good_for)| format!("  # {good_for}\n  {line}\n"));
    format!("Examples:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

pub const EXAMPLES: [(&str, &[Example]); 32] = [
    (
        "dev",
        &[
            (
                "warren dev examples/counter",
                "deploy a directory's warren.yaml, and redeploy it after each change",
            ),
            (
                "warren dev service.wasm api.wasm",
                "deploy components as one workload, without a manifest",
            ),
        ],
    ),
    (
        "control",
        &[(
            "warren control --data /var/lib/warren/control",
            "store the state in a directory of your choice",
        )],
    ),
    (
        "worker",
        &[
            (
                "warren worker --name a --http 127.0.0.1:8000",
                "serve the routes on this address",
            ),
            (
                "warren worker --control http://10.0.0.1:7700 --label zone=a",
                "join a control plane on another machine, with a label for placement",
            ),
        ],
    ),
    (
        "apply",
        &[
            (
                "warren apply -f warren.yaml --wait",
                "create or update, then wait until it is ready or say why it is not",
            ),
            ("warren apply -f -", "read manifests from stdin"),
        ],
    ),
    (
        "get",
        &[
            ("warren get workloads -A", "the workloads of all namespaces"),
            (
                "warren get replicas counter -o wide",
                "the replicas of a workload, with their endpoints and last exits",
            ),
            (
                "warren get workloads -l tier=front -w",
                "the workloads with a label, and their changes",
            ),
            (
                "warren get workloads counter -o manifest",
                "the manifest, as `warren apply` accepts it",
            ),
            ("warren get workers -o json", "data for programs"),
        ],
    ),
    (
        "describe",
        &[
            (
                "warren describe workload counter",
                "what should run, what runs, and why the rest does not",
            ),
            (
                "warren describe replica counter-x7",
                "the beginning of an id is enough",
            ),
        ],
    ),
    (
        "describe workload",
        &[(
            "warren describe workload counter -n shop",
            "what should run, what runs, and why the rest does not",
        )],
    ),
    (
        "describe replica",
        &[(
            "warren describe replica counter-x7",
            "the beginning of an id is enough",
        )],
    ),
    (
        "describe worker",
        &[(
            "warren describe worker w1",
            "its capacity, and the replicas that it runs",
        )],
    ),
    (
        "describe artifact",
        &[(
            "warren describe artifact sha256:4f1c2a9e",
            "the beginning of a digest is enough",
        )],
    ),
    (
        "delete",
        &[
            (
                "warren delete workload counter --wait",
                "wait until its replicas have stopped",
            ),
            (
                "warren delete artifact sha256:4f1c2a9e",
                "the beginning of a digest is enough",
            ),
        ],
    ),
    (
        "delete worker",
        &[(
            "warren delete worker w3",
            "a worker that has stopped and will not come back",
        )],
    ),
    (
        "delete workload",
        &[(
            "warren delete workload counter cache --wait",
            "wait until their replicas have stopped",
        )],
    ),
    (
        "delete artifact",
        &[(
            "warren delete artifact sha256:4f1c2a9e",
            "the beginning of a digest is enough",
        )],
    ),
    (
        "scale",
        &[
            (
                "warren scale counter 3 --wait",
                "wait until all three are ready",
            ),
            (
                "warren scale counter 0",
                "stop every replica but keep the workload",
            ),
        ],
    ),
    (
        "restart",
        &[(
            "warren restart counter --wait",
            "replace every replica, as an update does",
        )],
    ),
    (
        "history",
        &[
            ("warren history counter", "the revisions and their changes"),
            (
                "warren history counter --revision 2",
                "the manifest of one revision",
            ),
        ],
    ),
    (
        "rollback",
        &[
            ("warren rollback counter --wait", "undo the last change"),
            (
                "warren rollback counter --to 2",
                "roll back to a revision of your choice",
            ),
        ],
    ),
    (
        "cordon",
        &[(
            "warren cordon w1",
            "the worker keeps its replicas and gets no new ones",
        )],
    ),
    (
        "uncordon",
        &[("warren uncordon w1", "end the maintenance of a worker")],
    ),
    (
        "drain",
        &[(
            "warren drain w1 --wait --timeout 10m",
            "wait until no replica is left, or say what is in the way",
        )],
    ),
    (
        "logs",
        &[
            (
                "warren logs counter -f --tail 20",
                "the last 20 lines of each replica, then new lines",
            ),
            (
                "warren logs counter --previous --source service",
                "what the service wrote before its last end",
            ),
        ],
    ),
    (
        "events",
        &[
            (
                "warren events counter",
                "the events of a workload and its replicas",
            ),
            ("warren events -A -w", "all events as they happen"),
        ],
    ),
    (
        "push",
        &[(
            "warren push api.wasm",
            "store it and print the digest, to be used as `component` in a manifest",
        )],
    ),
    (
        "inspect",
        &[
            (
                "warren inspect api.wasm",
                "how it may be used, its imports and exports",
            ),
            (
                "warren inspect api.wasm cart.wasm",
                "whether the second component exports what the first imports",
            ),
            (
                "warren inspect api.wasm -f warren.yaml",
                "what would link to it in a workload",
            ),
        ],
    ),
    (
        "validate",
        &[(
            "warren validate -f warren.yaml",
            "report all problems with line and column",
        )],
    ),
    (
        "backup",
        &[
            (
                "warren backup monday.warren",
                "the whole state except the volumes of workloads, in one file",
            ),
            (
                "warren backup /mnt/vault/latest.warren --force",
                "replace the previous backup once the new one is complete",
            ),
        ],
    ),
    (
        "restore",
        &[
            (
                "warren restore monday.warren --data /var/lib/warren/control",
                "on a new machine; then start `warren control` there",
            ),
            (
                "warren restore monday.warren --force",
                "replace a damaged store, which is kept next to the new one",
            ),
        ],
    ),
    (
        "health",
        &[
            ("warren health", "the control plane"),
            (
                "warren health --server http://127.0.0.1:7701",
                "a worker, at its --listen address",
            ),
        ],
    ),
    (
        "version",
        &[("warren version -o json", "with the features of the server")],
    ),
    (
        "completions",
        &[
            (
                "warren completions bash > ~/.local/share/bash-completion/completions/warren",
                "for bash",
            ),
            (
                "warren completions zsh > ~/.zfunc/_warren",
                "for zsh, with ~/.zfunc in its fpath",
            ),
            (
                "warren completions fish > ~/.config/fish/completions/warren.fish",
                "for fish",
            ),
        ],
    ),
    (
        "",
        &[
            (
                "warren dev examples/counter",
                "run a whole cluster in one process",
            ),
            ("warren apply -f warren.yaml --wait", "deploy to a cluster"),
            (
                "warren describe workload counter",
                "see the state of a workload",
            ),
        ],
    ),
];
