//! Guests that call each other too deep or too often, or call a function that traps.

use std::fmt::Write as _;

use warren_tests::get;

use super::{HOST, Zoo, component, made_service, text};

/// How deep calls may go; docs/concepts.md says so.
const DEPTH: usize = 16;

/// A service that calls so many components, each the next.
fn chain(zoo: &Zoo, length: usize) -> String {
    let mut manifest = made_service(zoo, &text::chain_service(length));
    manifest.push_str("components:\n");
    for number in 1..=length {
        let next = (number < length).then_some(number + 1);
        let link = text::link(number, next);
        let file = text::component(zoo, &format!("link{number}"), &link);
        writeln!(manifest, "- {{ name: link{number}, component: {file} }}").unwrap();
    }
    manifest
}

#[tokio::test]
async fn as_deep_as_it_may_be() {
    let zoo = Zoo::open().await;
    zoo.admit(&chain(&zoo, DEPTH)).await;
    let exit = zoo.last_exit("EXITED", &[]).await;
    assert_eq!(exit["code"], 0, "{exit:#}");
    zoo.close().await;
}

#[tokio::test]
async fn deeper() {
    let zoo = Zoo::open().await;
    zoo.admit(&chain(&zoo, DEPTH + 1)).await;
    let last = format!("`link{}`", DEPTH + 1);
    let words = ["calls are nested more than 16 deep", &last];
    zoo.last_exit("TRAPPED", &words).await;
    zoo.close().await;
}

/// Far more at once than the callee takes, each of them until its time is over.
#[tokio::test]
async fn too_many_at_once() {
    const CALLS: usize = 200;
    let zoo = Zoo::open().await;
    let limits = "  limits: { timeout: 1s, concurrency: 4 }\n";
    zoo.cluster.apply(&component("", limits)).await;
    let http = zoo.cluster.http();
    let calls: Vec<_> = (0..CALLS)
        .map(|_| tokio::spawn(get(http, HOST, "/wit/spin")))
        .collect();
    zoo.goes_on().await;
    let mut late = 0;
    for call in calls {
        let reply = call.await.unwrap();
        let text = String::from_utf8_lossy(&reply.body);
        assert_eq!(reply.status, 502, "{text}");
        assert!(text.contains("component `kitchen`"), "{text}");
        late += usize::from(text.contains("it did not answer within 1s"));
    }
    assert!(late >= 4, "{late} calls ran until their time was over");
    assert!(late < CALLS, "all calls ran, with a limit of 4");
    assert_eq!(zoo.ask("/wit/ok").await.text(), "6\n");
    zoo.close().await;
}

#[tokio::test]
async fn what_traps() {
    let zoo = Zoo::open().await;
    zoo.cluster.apply(&component("", "")).await;
    // Its type is a result: the caller goes on with the error.
    let reply = zoo.ask("/wit/trap-result").await;
    assert_eq!(reply.status, 502, "{reply:?}");
    let error = String::from_utf8_lossy(&reply.body);
    let function = "component `kitchen`, function `warren:kitchen/values#trap-result`";
    assert!(error.starts_with(function), "{error}");
    // It is not: the caller's request fails, and its owner reads why.
    let reply = zoo.ask("/wit/trap-plain").await;
    assert_eq!(reply.status, 500, "{reply:?}");
    let function = "component `kitchen`, function `warren:kitchen/values#trap-plain`";
    zoo.log_has(function).await;
    zoo.log_has("trap-plain was called").await;
    assert_eq!(zoo.ask("/wit/ok").await.text(), "6\n");
    zoo.goes_on().await;
    zoo.close().await;
}

/// The same from a service, which has nobody to answer for it.
#[tokio::test]
async fn what_traps_its_service() {
    let zoo = Zoo::open().await;
    let (caller, types) = (
        warren_tests::guest("types-caller"),
        warren_tests::guest("types"),
    );
    zoo.admit(&format!(
        "name: beast\nreplicas: 1\nservice:\n  component: {caller}\n  env: {{ CALL: trap-plain }}\n{}\
         components:\n- {{ name: kitchen, component: {types} }}\n",
        super::ENDS_ONCE
    ))
    .await;
    let words = ["`kitchen`", "warren:kitchen/values#trap-plain", "trapped"];
    zoo.last_exit("TRAPPED", &words).await;
    zoo.close().await;
}
