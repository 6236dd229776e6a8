//! A DNS server for one test, on a UDP port of 127.0.0.1, with answers that the test can change.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use hickory_resolver::{
    Name,
    proto::{
        op::{Message, MessageType, Query, ResponseCode},
        rr::{RData, Record, RecordType},
    },
};
use parking_lot::Mutex;
use tokio::{net::UdpSocket, task::JoinHandle};

#[derive(Default)]
pub struct Zone {
    /// Name, address, TTL in seconds.
    pub answers: Vec<(&'static str, IpAddr, u32)>,
    /// Names for which the server returns a failure.
    pub broken: Vec<&'static str>,
    /// Every name that was queried.
    pub asked: Vec<String>,
}

pub struct Dns {
    pub address: SocketAddr,
    pub zone: Arc<Mutex<Zone>>,
    task: JoinHandle<()>,
}

impl Dns {
    pub async fn start(answers: &[(&'static str, &str, u32)]) -> Self {
        let answers = answers
            .iter()
            .map(|(name, ip, ttl)| (*name, ip.parse().unwrap(), *ttl));
        let zone = Zone {
            answers: answers.collect(),
            ..Zone::default()
        };
        let zone = Arc::new(Mutex::new(zone));
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(serve(socket, Arc::clone(&zone)));
        Self {
            address,
            zone,
            task,
        }
    }

    pub fn asked(&self) -> usize {
        self.zone.lock().asked.len()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 1_500];
    loop {
        let (len, peer) = socket.recv_from(&mut buffer).await.unwrap();
        let request = Message::from_vec(&buffer[..len]).unwrap();
        let mut response = Message::new();
        response
            .set_id(request.id())
            .set_message_type(MessageType::Response);
        response
            .set_recursion_desired(true)
            .set_recursion_available(true);
        for query in request.queries() {
            response.add_query(query.clone());
            answer(&mut zone.lock(), query, &mut response);
        }
        socket
            .send_to(&response.to_vec().unwrap(), peer)
            .await
            .unwrap();
    }
}

fn answer(zone: &mut Zone, query: &Query, response: &mut Message) {
    let asked = query.name().to_ascii();
    let asked = asked.trim_end_matches('.');
    zone.asked.push(asked.to_owned());
    if zone.broken.contains(&asked) {
        response.set_response_code(ResponseCode::ServFail);
        return;
    }
    let mut exists = false;
    for (_, ip, ttl) in zone.answers.iter().filter(|(name, ..)| *name == asked) {
        exists = true;
        let (kind, data) = match ip {
            IpAddr::V4(ip) => (RecordType::A, RData::A((*ip).into())),
            IpAddr::V6(ip) => (RecordType::AAAA, RData::AAAA((*ip).into())),
        };
        if query.query_type() == kind {
            let name = Name::from_ascii(query.name().to_ascii()).unwrap();
            response.add_answer(Record::from_rdata(name, *ttl, data));
        }
    }
    if !exists {
        response.set_response_code(ResponseCode::NXDomain);
    }
}
