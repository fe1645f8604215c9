//! A DNS server that a test runs.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// What is asked for: a name with its dot, and a kind of record.
pub type Question = (String, RecordType);

/// What is said to it, each record with its TTL in seconds.
pub type Records = HashMap<Question, Vec<(u32, RData)>>;

/// A DNS server of one zone, which does not answer to names below `silent.test`.
pub struct Zone {
    pub addr: SocketAddr,
    records: Arc<Mutex<Records>>,
    /// How often what was asked for.
    asked: Arc<Mutex<HashMap<Question, usize>>>,
    dead: Arc<AtomicBool>,
}

impl Zone {
    pub fn new() -> Zone {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let zone = Zone { addr, records: Arc::default(), asked: Arc::default(), dead: Arc::default() };
        let (records, asked) = (Arc::clone(&zone.records), Arc::clone(&zone.asked));
        let dead = Arc::clone(&zone.dead);
        // It ends with the process: nothing comes to it when the test is over.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let Ok(query) = Message::from_vec(&buffer[..length]) else { continue };
                let question = query.queries[0].clone();
                let key = (question.name().to_ascii().to_lowercase(), question.query_type());
                *asked.lock().unwrap().entry(key.clone()).or_default() += 1;
                let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
                reply.metadata.recursion_available = true;
                reply.add_query(question.clone());
                if key.0.ends_with(".silent.test.") || dead.load(Ordering::Relaxed) {
                    continue;
                }
                let known = records.lock().unwrap();
                match known.get(&key) {
                    Some(records) => {
                        for (ttl, data) in records {
                            reply.add_answer(Record::from_rdata(question.name().clone(), *ttl, data.clone()));
                        }
                    }
                    None => reply.metadata.response_code = ResponseCode::NXDomain,
                }
                socket.send_to(&reply.to_vec().unwrap(), from).unwrap();
            }
        });
        zone
    }

    /// It answers to nobody.
    pub fn dies(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    pub fn comes_back(&self) {
        self.dead.store(false, Ordering::Relaxed);
    }

    pub fn says(&self, name: &str, kind: RecordType, records: Vec<(u32, RData)>) {
        self.records.lock().unwrap().insert((format!("{name}."), kind), records);
    }

    pub fn has_address(&self, name: &str, ttl: u32, addr: Ipv4Addr) {
        self.says(name, RecordType::A, vec![(ttl, RData::A(A(addr)))]);
    }

    pub fn has_servers(&self, name: &str, servers: &[(u16, u16, &str)]) {
        let record = |(priority, port, target): &(u16, u16, &str)| {
            let target = Name::from_ascii(format!("{target}.")).unwrap();
            (60, RData::SRV(SRV::new(*priority, 1, *port, target)))
        };
        self.says(name, RecordType::SRV, servers.iter().map(record).collect());
    }

    pub fn was_asked(&self, name: &str, kind: RecordType) -> usize {
        self.asked.lock().unwrap().get(&(format!("{name}."), kind)).copied().unwrap_or(0)
    }
}
