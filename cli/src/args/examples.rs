//! What the long help of each command shows it by. A test parses every line.

/// The words of a command, and what they are good for.
pub type Example = (&'static str, &'static str);

/// Of the command with these words.
pub fn of(command: &str) -> &'static [Example] {
    let found = EXAMPLES.iter().find(|(words, _)| *words == command);
    found.map_or(&[], |(_, examples)| examples)
}

/// As the end of a help text.
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
                "deploy a directory's warren.yaml, and again after each change",
            ),
            (
                "warren dev service.wasm api.wasm",
                "deploy bare components as one workload: no manifest needed",
            ),
        ],
    ),
    (
        "control",
        &[(
            "warren control --data /var/lib/warren/control",
            "keep what is stored in a directory of your own",
        )],
    ),
    (
        "worker",
        &[
            (
                "warren worker --name a --http 127.0.0.1:8000",
                "answer HTTP for every route",
            ),
            (
                "warren worker --control http://10.0.0.1:7700 --label zone=a",
                "join another machine's control plane, with a label for placement",
            ),
        ],
    ),
    (
        "apply",
        &[
            (
                "warren apply -f warren.yaml --wait",
                "create or update, and return when it is ready or say why not",
            ),
            ("warren apply -f -", "read manifests from stdin"),
        ],
    ),
    (
        "get",
        &[
            ("warren get workloads -A", "those of every namespace"),
            (
                "warren get replicas counter -o wide",
                "a workload's replicas, with their endpoints and last exits",
            ),
            (
                "warren get workloads -l tier=front -w",
                "those with a label, and what becomes of them",
            ),
            (
                "warren get workloads counter -o manifest",
                "what `warren apply` would take",
            ),
            ("warren get workers -o json", "data for programs"),
        ],
    ),
    (
        "describe",
        &[
            (
                "warren describe workload counter",
                "what should run, what does, and why not",
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
            "what should run, what does, and why not",
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
            "what it offers and what it runs",
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
                "return when its replicas have stopped",
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
            "it has stopped, and does not come back",
        )],
    ),
    (
        "delete workload",
        &[(
            "warren delete workload counter cache --wait",
            "return when their replicas have stopped",
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
                "return when all three are ready",
            ),
            (
                "warren scale counter 0",
                "stop every replica, and keep the workload",
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
            (
                "warren history counter",
                "which revisions there are, and what each changed",
            ),
            (
                "warren history counter --revision 2",
                "what that revision ran, as a manifest",
            ),
        ],
    ),
    (
        "rollback",
        &[
            (
                "warren rollback counter --wait",
                "back to what ran before the last change",
            ),
            (
                "warren rollback counter --to 2",
                "back to a revision of your choice",
            ),
        ],
    ),
    (
        "cordon",
        &[(
            "warren cordon w1",
            "it keeps what it runs, and takes no more",
        )],
    ),
    ("uncordon", &[("warren uncordon w1", "end its maintenance")]),
    (
        "drain",
        &[(
            "warren drain w1 --wait --timeout 10m",
            "return when nothing runs there any more, or say what holds it up",
        )],
    ),
    (
        "logs",
        &[
            (
                "warren logs counter -f --tail 20",
                "the last 20 lines of each replica, then what is written",
            ),
            (
                "warren logs counter --previous --source service",
                "what the service wrote before it last ended",
            ),
        ],
    ),
    (
        "events",
        &[
            (
                "warren events counter",
                "what happened to a workload and its replicas",
            ),
            ("warren events -A -w", "everything as it happens"),
        ],
    ),
    (
        "push",
        &[(
            "warren push api.wasm",
            "store it and print its digest, for a manifest's `component`",
        )],
    ),
    (
        "inspect",
        &[
            ("warren inspect api.wasm", "what it is, imports and exports"),
            (
                "warren inspect api.wasm cart.wasm",
                "whether the other exports what it imports",
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
            "tell all problems, with line and column",
        )],
    ),
    (
        "backup",
        &[
            (
                "warren backup monday.warren",
                "everything but what workloads keep themselves, in one file",
            ),
            (
                "warren backup /mnt/vault/latest.warren --force",
                "in place of the last one, once the new one is whole",
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
                "in place of a store that is damaged, which is kept beside it",
            ),
        ],
    ),
    (
        "health",
        &[
            ("warren health", "of the control plane"),
            (
                "warren health --server http://127.0.0.1:7701",
                "of a worker, by its --listen address",
            ),
        ],
    ),
    (
        "version",
        &[("warren version -o json", "with what the server can do")],
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
                "a whole cluster in one process",
            ),
            ("warren apply -f warren.yaml --wait", "run it on a cluster"),
            ("warren describe workload counter", "see how it is"),
        ],
    ),
];
