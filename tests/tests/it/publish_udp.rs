//! UDP ports of a service on the worker's machine.

use std::net::SocketAddr;

use tokio::net::UdpSocket;
use warren_tests::{Cluster, eventually, guest, own_loopback, within};

use crate::cluster;

/// A server that echoes datagrams on its port 53, published where the test says.
fn manifest(publish: &str) -> String {
    let web = guest("web");
    format!(
        "name: echo\nreplicas: 1\nservice:\n  component: {web}\n  args: [ \"8080\", \"53\" ]\n  \
         restart: {{ initialBackoff: 10ms }}\n  \
         routes: [ {{ host: echo.localhost, port: 8080 }} ]\n  publish:\n{publish}"
    )
}

async fn client(server: SocketAddr) -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(server).await.unwrap();
    client
}

/// What comes back for a datagram.
async fn ask(client: &UdpSocket, question: &[u8]) -> Vec<u8> {
    client.send(question).await.unwrap();
    let mut answer = vec![0; 65_536];
    let length = within("an answer", client.recv(&mut answer)).await.unwrap();
    answer.truncate(length);
    answer
}

/// The address of a published UDP port, in whatever place among the endpoints.
async fn published(cluster: &Cluster) -> SocketAddr {
    let replica = cluster.replica("echo").await;
    let endpoints = replica["endpoints"].as_array().unwrap();
    let udp = endpoints.iter().find(|one| one["protocol"] == "UDP");
    let udp = udp.unwrap_or_else(|| panic!("no UDP in {replica:#}"));
    assert_eq!(udp["guestPort"], 53);
    udp["address"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn datagrams_reach_the_service_and_its_answers_the_client() {
    let cluster = cluster(1).await;
    cluster
        .apply(&manifest(
            "  - { port: 53, listen: \"127.0.0.1:0\", protocol: udp }\n",
        ))
        .await;
    let address = published(&cluster).await;
    assert_ne!(address.port(), 0);
    // The socket is connected: it hears the published address alone.
    let (one, other) = (client(address).await, client(address).await);
    for client in [&one, &other, &one] {
        let seen = client.local_addr().unwrap();
        let expected = format!("{seen} hello");
        assert_eq!(ask(client, b"hello").await, expected.as_bytes());
    }
    let large = ask(&one, &[b'x'; 60_000]).await;
    assert!(large.len() > 60_000 && large.ends_with(b"xxx"));

    let wide = cluster
        .warren(&["get", "replicas", "-o", "wide"])
        .await
        .ok();
    assert!(wide.contains(&format!("{address}->53/udp")), "{wide}");
    let workloads = cluster
        .warren(&["get", "workloads", "-o", "wide"])
        .await
        .ok();
    assert!(workloads.contains("127.0.0.1:0->53/udp"), "{workloads}");
    let describe = cluster.warren(&["describe", "workload", "echo"]).await.ok();
    assert!(describe.contains(&format!("udp {address}")), "{describe}");
    let manifest = cluster
        .warren(&["get", "workloads", "echo", "-o", "manifest"])
        .await
        .ok();
    assert!(manifest.contains("protocol: udp"), "{manifest}");
}

#[tokio::test]
async fn the_port_is_held_through_a_restart_of_the_service() {
    let cluster = cluster(1).await;
    cluster
        .apply(&manifest(
            "  - { port: 53, listen: \"127.0.0.1:0\", protocol: udp }\n",
        ))
        .await;
    let address = published(&cluster).await;
    let client = client(address).await;
    let expected = format!("{} again", client.local_addr().unwrap());
    for restarts in 1..=2 {
        assert_eq!(ask(&client, b"again").await, expected.as_bytes());
        // The service ends in the midst of its answer.
        let _ = cluster.get("echo.localhost", "/exit").await;
        eventually("it runs again", async || {
            let replica = cluster.replica("echo").await;
            let is_back = replica["restarts"] == restarts && replica["ready"] == true;
            if is_back { Ok(()) } else { Err(replica) }
        })
        .await;
        assert_eq!(published(&cluster).await, address);
    }
    assert_eq!(ask(&client, b"again").await, expected.as_bytes());
}

#[tokio::test]
async fn tcp_and_udp_have_ports_of_their_own_and_each_has_one_holder() {
    let cluster = cluster(1).await;
    // Where nobody else connects from: what is free of UDP is free of TCP as well.
    let holder = UdpSocket::bind((own_loopback(), 0)).await.unwrap();
    let taken = holder.local_addr().unwrap();
    let both = format!(
        "  - {{ port: 8080, listen: \"{taken}\", protocol: tcp }}\n  - {{ port: 53, listen: \"{taken}\", protocol: udp }}\n"
    );
    let answer = cluster.try_apply(&manifest(&both)).await;
    let place = format!("{taken}/udp");
    answer.refused(1, &["echo", "FAILED", "PortUnavailable", &place]);
    // Once the port is free the next try has it, and the same of TCP.
    drop(holder);
    eventually("a replica has the ports", async || {
        let replicas = cluster.replicas("echo").await;
        match replicas.iter().any(|replica| replica["ready"] == true) {
            true => Ok(()),
            false => Err(replicas),
        }
    })
    .await;
    let (udp, expected) = (client(taken).await, b" both");
    assert!(ask(&udp, b"both").await.ends_with(expected));
    let reply = warren_tests::get(taken, "echo.localhost", "/").await;
    assert_eq!(reply.status, 200);

    // Another workload is told who has it.
    let second = manifest(&both).replace("name: echo", "name: other");
    let second = second.replace("echo.localhost", "other.localhost");
    let file = cluster.lab.write("second.yaml", second);
    let apply = ["apply", "-f", &file, "--wait", "--timeout", "3s"];
    let answer = cluster.warren(&apply).await;
    answer.refused(1, &["workload/other", &taken.to_string(), "default/echo"]);
}
