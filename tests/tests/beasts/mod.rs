//! The beasts of the zoo as workloads that any user may apply.

use std::fmt::Write as _;

use warren_tests::{Lab, guest};

mod bomb;

/// Branches of the bomb: about as large as a control plane lets a function be.
const BRANCHES: usize = 38_000;

pub struct Beast {
    /// Of its workload; its host is `NAME.localhost`.
    pub name: String,
    pub manifest: String,
    /// What is asked of it again and again, and how often at once.
    pub asked: Vec<(&'static str, usize)>,
}

/// Arguments of the hostile service.
const SERVICES: [&str; 13] = [
    "nest /scratch",
    "spin",
    "alloc",
    "overflow",
    "logs",
    "line",
    "sockets",
    "exit 3",
    "panic",
    "drop",
    "silent",
    "idle",
    "trap-on-connect",
];

/// What is asked of the hostile HTTP component, and how often at once.
const REQUESTS: [(&str, &str, usize); 10] = [
    ("heading", "/fields", 7),
    ("buffering", "/bodies", 7),
    ("spinning", "/spin", 4),
    ("calling", "/wit/spin", 4),
    ("trapping", "/wit/trap-plain", 4),
    ("growing", "/alloc", 8),
    ("recursing", "/overflow", 4),
    ("shouting", "/logs", 4),
    ("opening", "/sockets", 4),
    ("panicking", "/panic", 8),
];

/// Every one, under a name of its own.
pub fn all(lab: &Lab, replicas: u32) -> Vec<Beast> {
    let services = SERVICES.iter().map(|how| {
        let name = how.replace(" /", "-").replace(' ', "-");
        service(&name, how, replicas)
    });
    let handlers = REQUESTS
        .iter()
        .map(|(name, path, at_once)| handler(name, path, *at_once, replicas));
    let compiled = [compiled(lab, replicas)];
    services.chain(handlers).chain(compiled).collect()
}

/// One that is never run, for what it takes to compile it.
fn compiled(lab: &Lab, replicas: u32) -> Beast {
    let bytes = wat::parse_str(bomb::bomb(BRANCHES, 0)).expect("the component is well-formed");
    let component = lab.write("bomb.wasm", bytes);
    Beast {
        name: "bomb".to_owned(),
        manifest: format!(
            "name: bomb\nreplicas: {replicas}\nservice: {{ component: {component} }}\n"
        ),
        asked: Vec::new(),
    }
}

/// A service that falls over, or goes on for ever, and is started again as fast as may be.
pub fn service(name: &str, how: &str, replicas: u32) -> Beast {
    let words: Vec<String> = how.split(' ').map(|word| format!("{word:?}")).collect();
    let component = guest("hostile");
    let mut manifest = format!("name: {name}\nreplicas: {replicas}\nservice:\n");
    writeln!(
        manifest,
        "  component: {component}\n  args: [ {} ]\n  \
           restart: {{ initialBackoff: 1ms, maxBackoff: 1ms, maxRestarts: 4000000000 }}\n  \
           volumes: [ {{ name: scratch, mountPath: /scratch }} ]\n\
         volumes: [ {{ name: scratch, emptyDir: {{ sizeLimit: 64MiB }} }} ]",
        words.join(", ")
    )
    .expect("a string takes everything");
    Beast {
        name: name.to_owned(),
        manifest,
        asked: Vec::new(),
    }
}

fn handler(name: &str, path: &'static str, at_once: usize, replicas: u32) -> Beast {
    let (http, types) = (guest("hostile-http"), guest("types"));
    Beast {
        name: name.to_owned(),
        manifest: format!(
            "name: {name}\nreplicas: {replicas}\ncomponents:\n\
             - name: front\n  component: {http}\n  limits: {{ timeout: 5s }}\n  \
               routes: [ {{ host: {name}.localhost, path: / }} ]\n\
             - name: kitchen\n  component: {types}\n  limits: {{ timeout: 3s }}\n"
        ),
        asked: vec![(path, at_once)],
    }
}
