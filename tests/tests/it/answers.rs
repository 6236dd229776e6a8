//! Every wrong answer, from a component of either version and from a service, by the worker that
//! has the replica and by another one, over HTTP/1.1 and HTTP/2: a client sees the same each time,
//! and never a part for the whole.

mod client;
mod load;

use std::net::SocketAddr;

use warren_tests::{Cluster, eventually, guest};

use crate::lab;
use client::{Protocol, Request, Seen, ask};

/// What a client is to see.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// An answer that came to its end, with this in its body.
    Whole(u16, &'static str),
    /// The head of an answer, and a body that breaks off.
    Broken(u16),
    /// Nothing: the client has given its request up.
    Nothing,
}

use Expected::{Broken, Nothing, Whole};

/// How one case is asked for, what a component is to make of it, and what a service.
type Case = (&'static str, fn() -> Request, Expected, Expected);

const SIZE: usize = 3_000_000;

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    vec![
        ("right answer", || Request::get("/ok"), Whole(200, "ok"), Whole(200, "ok")),
        ("early answer", || Request::post("/early", SIZE / 4), Whole(200, "early"), Whole(200, "early")),
        ("refused body", || Request::post("/read", SIZE), Whole(413, "larger"), Whole(413, "larger")),
        ("short body", || Request::get("/short"), Broken(200), Broken(200)),
        // hyper reads no more of a service than its head announced.
        ("long body", || Request::get("/long"), Broken(200), Whole(200, "ok")),
        ("1xx", || Request::get("/informational"), Whole(502, "103"), Whole(200, "hinted")),
        ("trap before head", || Request::get("/trap"), Whole(500, "failed"), Whole(502, "closed")),
        ("trap in body", || Request::get("/trap-in-body"), Broken(200), Broken(200)),
        ("no answer", || Request::get("/none"), Whole(500, "component `web`"), Whole(502, "closed")),
        ("error code", || Request::get("/error"), Whole(500, "answered with an error"), Whole(502, "HTTP/1.1")),
        ("cut request", || Request::post("/read", 100).cut(), Whole(400, "ended"), Whole(400, "ended")),
        ("half-close", || Request::get("/wait").half_close(), Whole(200, "waited"), Whole(200, "waited")),
        ("half-close after a body", || Request::post("/read", 9).half_close(), Whole(200, "9 bytes"), Whole(200, "9 bytes")),
        ("huge head", || Request::get("/huge"), Whole(502, "65536"), Whole(502, "65536")),
        ("many fields", || Request::get("/many"), Whole(502, "200"), Whole(502, "200")),
        ("huge request", || Request::get("/ok").fields(1, 100_000), Whole(431, "65536"), Whole(431, "65536")),
        ("request of many fields", || Request::get("/ok").fields(250, 1), Whole(431, "200"), Whole(431, "200")),
        ("large request", || Request::get("/ok").fields(190, 250), Whole(200, "ok"), Whole(200, "ok")),
        ("huge request with a body", || Request::post("/ok", SIZE).fields(1, 100_000), Whole(431, "65536"), Whole(431, "65536")),
        ("answer to HEAD", || Request::head("/length"), Whole(200, ""), Whole(200, "")),
    ]
}

/// A workload, and the workers' addresses: first that of the one that has its replica, then that of
/// the one that has none.
struct Place {
    host: String,
    is_service: bool,
    workers: [SocketAddr; 2],
}

async fn places(cluster: &Cluster) -> Vec<Place> {
    let mut places = Vec::new();
    for name in ["answers-p2", "answers-p3", "answers-service"] {
        let is_service = name == "answers-service";
        let routes = format!("routes: [ {{ host: {name}.localhost, path: /");
        let what = match is_service {
            true => format!(
                "service:\n  {routes}, port: 8080 }} ]\n  limits: {{ requestBody: 1MiB }}\n  \
                 restart: {{ initialBackoff: 10ms, maxBackoff: 10ms, maxRestarts: 1000 }}\n  "
            ),
            false => format!(
                "components:\n- name: web\n  {routes} }} ]\n  limits: {{ requestBody: 1MiB }}\n  "
            ),
        };
        let component = guest(name);
        let manifest = format!("name: {name}\nreplicas: 1\n{what}component: {component}\n");
        cluster.apply(&manifest).await;
        let worker = cluster.replica(name).await["worker"].clone();
        let here = cluster
            .workers
            .iter()
            .position(|it| worker == it.name.as_str());
        let here = here.unwrap();
        places.push(Place {
            host: format!("{name}.localhost"),
            is_service,
            workers: [here, 1 - here].map(|at| cluster.workers[at].http),
        });
    }
    places
}

/// Returns once the worker's answers are those of a replica that is well.
async fn well(worker: SocketAddr, host: &str) {
    eventually("the replica answers", async || {
        match ask(Protocol::Http1, worker, host, &Request::get("/ok")).await {
            Seen {
                status: Some(200),
                whole: true,
                ..
            } => Ok(()),
            seen => Err(seen),
        }
    })
    .await;
}

fn is(seen: &Seen, expected: Expected) -> bool {
    match expected {
        Whole(status, text) => {
            seen.status == Some(status) && seen.whole && seen.body.contains(text)
        }
        Broken(status) => seen.status == Some(status) && !seen.whole,
        Nothing => seen.status.is_none(),
    }
}

#[tokio::test]
async fn one_answer_wherever_it_comes_from() {
    let cluster = Cluster::start(lab(), 2).await;
    let mut wrong = Vec::new();
    for place in places(&cluster).await {
        for (name, request, component, service) in cases() {
            for (worker, whose) in place.workers.into_iter().zip(["its own", "another"]) {
                for protocol in [Protocol::Http1, Protocol::Http2] {
                    let request = request();
                    let expected = match place.is_service {
                        // A client of HTTP/2 that cuts its request resets the stream of the answer,
                        // too.
                        _ if request.is_cut() && protocol == Protocol::Http2 => Nothing,
                        true => service,
                        false => component,
                    };
                    // A service that trapped is started again.
                    well(worker, &place.host).await;
                    let seen = ask(protocol, worker, &place.host, &request).await;
                    if !is(&seen, expected) {
                        let host = &place.host;
                        wrong.push(format!(
                            "{name} of {host} through {whose} worker, {protocol:?}: {seen:?}, not {expected:?}"
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
