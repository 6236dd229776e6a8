//! The counter example: an HTTP component beside its service.

use warren_tests::{Cluster, example};

use crate::cluster;

/// What the counter answers: `3 (component instance 4f1c2a9e, service instance 91bc03d7)`.
#[derive(Debug)]
pub struct Count {
    pub number: u32,
    pub component: String,
    pub service: String,
}

/// A manifest of the counter under another name.
pub fn manifest(name: &str) -> String {
    let (cache, counter) = (example("cache"), example("counter"));
    format!(
        "name: {name}\n\
         replicas: 1\n\
         service: {{ component: {cache} }}\n\
         components:\n\
         - {{ name: api, component: {counter}, routes: [ {{ host: {name}.localhost, path: / }} ] }}\n"
    )
}

/// Asks the counter of this name through a worker.
pub async fn count(worker: std::net::SocketAddr, name: &str) -> Count {
    let host = format!("{name}.localhost");
    let text = warren_tests::get(worker, &host, "/").await.text();
    Count::parse(&text).unwrap_or_else(|| panic!("not a count: {text}"))
}

impl Count {
    fn parse(text: &str) -> Option<Self> {
        let (number, rest) = text.trim_end().split_once(" (component instance ")?;
        let (component, rest) = rest.split_once(", service instance ")?;
        Some(Self {
            number: number.parse().ok()?,
            component: component.to_owned(),
            service: rest.strip_suffix(')')?.to_owned(),
        })
    }
}

#[tokio::test]
async fn counts_in_one_service_with_a_new_component_each_time() {
    let cluster: Cluster = cluster(1).await;
    cluster.apply(&manifest("counter")).await;
    let mut counts = Vec::new();
    for _ in 0..5 {
        counts.push(count(cluster.http(), "counter").await);
    }
    let numbers: Vec<u32> = counts.iter().map(|count| count.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    let mut components: Vec<&str> = counts.iter().map(|c| c.component.as_str()).collect();
    components.sort_unstable();
    components.dedup();
    assert_eq!(
        components.len(),
        5,
        "an instance was used twice: {counts:?}"
    );
    assert!(
        counts
            .iter()
            .all(|count| count.service == counts[0].service),
        "another service answered: {counts:?}"
    );
}
