use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    let words = std::iter::once("warren").chain(line.split_whitespace());
    Cli::parse_from_words(words.map(OsString::from))
}

#[test]
fn the_definition_holds_together() {
    Cli::command().debug_assert();
    command().debug_assert();
}

#[test]
fn valid_command_lines_are_accepted() {
    for line in [
        "dev",
        "dev examples/counter --listen 127.0.0.1:0 --http 127.0.0.1:0 --data d --volume data=. --allow-host-loopback",
        "dev a.wasm -n shop",
        "dev --trusted-proxy 127.0.0.1 --publish-allow 127.0.0.1:6000-6999",
        "worker --trusted-proxy 10.0.0.0/8 --trusted-proxy 2001:db8::7 --publish-allow 0.0.0.0 --publish-allow [::1]:80",
        "control --listen 127.0.0.1:0 --data d --worker-timeout 1500ms --insecure",
        "worker --control http://a:7700,http://b:7700 --name w1 --label zone=a --label disk=ssd --memory 2GiB --volume data=/srv/data --volume certs=c:ro",
        "worker --listen 0.0.0.0:7701 --advertise http://10.0.0.1:7701 --insecure --data d --http [::1]:8000",
        "apply -f a.yaml -f b.yaml",
        "apply -f - --wait --timeout 90s -o json",
        "get workloads -A -o wide",
        "get replicas counter -n shop -o json",
        "get replica counter-abcdefghij",
        "get workers",
        "get artifacts -o yaml",
        "get wl counter -o manifest",
        "describe workload counter",
        "describe worker w1",
        "describe replica counter-x7",
        "describe artifact ab12",
        "get workloads -l zone=a,tier==front -w",
        "get replicas counter -w -o json",
        "get art sha256:ab12 -o name",
        "restart counter --wait --timeout 5s -o json",
        "history counter -o yaml",
        "history counter --revision 3",
        "rollback counter --to 2 --wait",
        "delete artifact sha256:12",
        "delete workload a b --wait",
        "scale counter 3 --wait",
        "logs counter -f --tail 10 --replica counter-abc --source service -t --raw",
        "events -A -w -o json",
        "events counter --since 10m",
        "push a.wasm",
        "inspect a.wasm -o yaml",
        "inspect a.wasm b.wasm c.wasm -f warren.yaml",
        "validate -f a.yaml",
        "health --service warren.v1.WorkloadService --server http://127.0.0.1:7701",
        "--server http://a:1 get workers",
        "backup monday.warren --force --server http://a:1",
        "backup -",
        "restore monday.warren --data d --force",
        "control --revision-history-limit 3 --accept-data-loss",
        "version",
        "completions bash",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn wrong_usage_is_refused() {
    for (line, part) in [
        ("", "Usage"),
        ("fly", "unrecognized subcommand"),
        ("rolback counter", "rollback"),
        ("apply", "--file"),
        ("apply -f a.yaml --timeout 5s", "--wait"),
        ("apply -f a.yaml --wait --timeout soon", "soon"),
        ("get", "<KIND>"),
        ("get workloads counter -l a=b", "cannot be used with"),
        ("get workloads -l a", "not KEY=VALUE"),
        ("get workloads -o table", "possible values"),
        (
            "rollback counter --to 0",
            "a whole number of at least 1, such as 3",
        ),
        ("get nodes", "workloads"),
        ("get workloads -A -n shop", "cannot be used with"),
        (
            "get workers --server localhost:7700",
            "http://localhost:7700",
        ),
        ("get workers --server https://a:7700", "TLS"),
        ("get workloads -n UPPER", "UPPER"),
        ("delete artifact sha256:XY", "64 lower-case"),
        (
            "scale counter -1",
            "a whole number from 0 to 1000, such as 3",
        ),
        (
            "scale counter many",
            "'many' for '<REPLICAS>': write a whole number from 0 to 1000",
        ),
        ("logs counter --tail all", "a whole number of at least 0"),
        ("logs counter --tail -1", "a whole number of at least 0"),
        (
            "history counter --revision x",
            "a whole number of at least 1",
        ),
        ("control --revision-history-limit 0", "from 1 to 1000"),
        (
            "worker --http 8000",
            "write an IP address and a port: 127.0.0.1:8000",
        ),
        ("dev --http :8000", "127.0.0.1:8000"),
        ("logs counter --raw -o json", "cannot be used with"),
        ("logs counter -t -o json", "cannot be used with"),
        ("worker --label zone", "KEY=VALUE"),
        (
            "worker --trusted-proxy lb.internal",
            "write an IP address or a network",
        ),
        ("worker --trusted-proxy 10.0.0.1/8", "write 10.0.0.0/8"),
        ("worker --publish-allow localhost:80", "write an IP address"),
        ("dev --publish-allow 127.0.0.1:90-80", "the lower one first"),
        ("worker --memory lots", "lots"),
        (
            "control --listen localhost",
            "write an IP address and a port",
        ),
        ("control --server http://a:1", "no effect"),
        ("dev --server http://a:1", "no effect"),
        ("worker -n shop", "no effect"),
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        let text = error.to_string();
        assert!(text.contains(part), "{line}: {text}");
    }
}

#[test]
fn arguments_without_effect_are_hidden() {
    for (name, useless) in WITHOUT_EFFECT {
        let help = parse(&format!("{name} --help"))
            .expect_err("help")
            .to_string();
        for argument in useless {
            assert!(!help.contains(&format!("--{argument} ")), "{name}: {help}");
        }
    }
    let help = parse("get --help").expect_err("help").to_string();
    assert!(
        help.contains("--server ") && help.contains("--namespace "),
        "{help}"
    );
}

#[test]
fn help_and_version_exit_with_0() {
    for line in ["--help", "--version", "help", "dev --help", "help get"] {
        let shown = parse(line).expect_err(line);
        assert_eq!(shown.exit_code(), 0, "{line}");
    }
}

#[test]
fn every_argument_is_explained() {
    fn check(command: &clap::Command, path: &str) {
        for argument in command.get_arguments() {
            let named = argument.get_id().as_str();
            assert!(argument.get_help().is_some(), "{path} {named}");
        }
        for below in command.get_subcommands() {
            assert!(below.get_about().is_some(), "{path} {}", below.get_name());
            check(below, &format!("{path} {}", below.get_name()));
        }
    }
    check(&Cli::command(), "warren");
}

#[test]
fn every_command_has_examples_that_are_valid() {
    fn words(command: &clap::Command, above: &str) -> Vec<String> {
        let below = command.get_subcommands().flat_map(|one| {
            let its = format!("{above} {}", one.get_name());
            let its = its.trim_start().to_owned();
            [vec![its.clone()], words(one, &its)].concat()
        });
        below.collect()
    }
    let all = words(&Cli::command(), "");
    for words in &all {
        assert!(!examples::of(words).is_empty(), "{words} has no example");
    }
    for (of, its) in examples::EXAMPLES {
        assert!(
            of.is_empty() || all.iter().any(|words| words == of),
            "there is no {of}"
        );
        for (line, _) in its {
            let line = line.split(" > ").next().unwrap_or_default();
            let rest = line.strip_prefix("warren ").expect(line);
            assert!(rest.starts_with(of), "{line} is not an example of {of}");
            if let Err(error) = parse(rest) {
                panic!("{line}: {error}");
            }
        }
        let help = parse(&format!("{of} --help"))
            .expect_err("help")
            .to_string();
        assert!(
            help.contains("Examples:") && help.contains(its[0].0),
            "{help}"
        );
    }
}
