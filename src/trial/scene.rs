//! Who takes part in a trial: found in the configuration, before anything is bound or sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::number::{self, E164};
use crate::routing::{Called, Contact, Plan, Table, Trunk, Who};
use crate::sip::peer::Transport;

/// Why there is nothing to try. A trial never leaves the machine.
#[derive(Debug, thiserror::Error)]
pub enum NoScene {
    #[error("\"{0}\" is no number; write it like +12015550101")]
    NoNumber(String),
    #[error(
        "no [[listen]] can be reached from this machine alone; a trial needs one on 127.0.0.1, [::1], 0.0.0.0 or [::], by UDP or TCP"
    )]
    NoListener,
    #[error("no trunk takes calls from this machine; write from = [\"127.0.0.1/32\"] into one")]
    NoTrunk,
    #[error("{whom} is at {at}, not on this machine: a trial would ring it; write {remedy}")]
    Elsewhere { whom: String, at: String, remedy: &'static str },
}

/// The remedy for a contact, and for a gateway.
const CONTACT: &str = "contact = \"sip:alice@127.0.0.1:5090\"";
const GATEWAY: &str = "gateways = [{ uri = \"sip:127.0.0.1:5080\" }]";

/// A phone that the call may ring.
#[derive(Clone, Debug)]
pub(super) struct Party {
    /// Its column in the ladder, from 1; a number has one for all gateways.
    pub column: u16,
    pub name: Arc<str>,
    /// The user part of the Request-URI that reaches it.
    pub user: String,
    pub transport: Transport,
    pub addr: SocketAddr,
}

/// Everything that is known before the call.
pub(super) struct Scene {
    pub did: E164,
    pub trunk: Arc<Trunk>,
    /// Where the carrier sends from; port 0 is any.
    pub source: SocketAddr,
    /// Where the node takes calls.
    pub node: (Transport, SocketAddr),
    /// None: the node will refuse the number.
    pub plan: Option<Plan>,
    /// In the order in which they ring.
    pub parties: Vec<Party>,
}

impl Scene {
    pub fn find(table: &Table, did: &str, listening: &[(Transport, SocketAddr)]) -> Result<Scene, NoScene> {
        let did = read_number(table, did)?;
        let (node, trunk, source) = carrier(table, listening)?;
        let plan = table.plan_for(&trunk, did, 0).ok();
        let parties = match &plan {
            Some(plan) => parties(table, plan)?,
            None => Vec::new(),
        };
        Ok(Scene { did, trunk, source, node, plan, parties })
    }

    /// Columns of the ladder beside the caller's.
    pub fn columns(&self) -> Vec<(u16, Arc<str>)> {
        let mut columns: Vec<(u16, Arc<str>)> = Vec::new();
        for party in &self.parties {
            if columns.iter().all(|(column, _)| *column != party.column) {
                columns.push((party.column, Arc::clone(&party.name)));
            }
        }
        columns
    }

    /// What a column is called.
    pub fn name(&self, column: u16) -> String {
        let named = self.parties.iter().find(|party| party.column == column);
        named.map_or_else(|| "caller".to_owned(), |party| party.name.to_string())
    }

    /// Whom a request at one of our ends is for.
    pub fn party(&self, at: SocketAddr, user: &str) -> Option<&Party> {
        let mut here = self.parties.iter().filter(|party| party.addr == at);
        here.clone().find(|party| party.user == user).or_else(|| here.next())
    }

    /// The number as the carrier writes it, so that the trunk's `strip`, `prefix` and format lead back to it.
    pub fn dialled(&self) -> String {
        let plain = self.trunk.write_number(self.did);
        let digits = self.did.digits();
        let put_before = self.trunk.prefix.trim_start_matches('+');
        let stripped = digits.strip_prefix(put_before).map(|rest| {
            let taken = "0".repeat(usize::from(self.trunk.strip));
            format!("{taken}{rest}")
        });
        let leads_back = |text: &String| self.trunk.read_dialled(text) == Some(self.did);
        [Some(plain.clone()), stripped].into_iter().flatten().find(leads_back).unwrap_or(plain)
    }
}

/// A number as an operator writes it.
pub(super) fn read_number(table: &Table, text: &str) -> Result<E164, NoScene> {
    number::read(text, &table.country()).ok_or_else(|| NoScene::NoNumber(text.chars().take(40).collect()))
}

type Carrier = ((Transport, SocketAddr), Arc<Trunk>, SocketAddr);

/// The first listener that a trunk can call from this machine: UDP rather than TCP.
fn carrier(table: &Table, listening: &[(Transport, SocketAddr)]) -> Result<Carrier, NoScene> {
    let mut reachable: Vec<(Transport, SocketAddr)> = listening
        .iter()
        .filter(|(transport, _)| matches!(transport, Transport::Udp | Transport::Tcp))
        .filter_map(|(transport, addr)| Some((*transport, loopback(*addr)?)))
        .collect();
    reachable.sort_by_key(|(transport, _)| *transport);
    if reachable.is_empty() {
        return Err(NoScene::NoListener);
    }
    reachable
        .iter()
        .flat_map(|node| table.trunks().iter().map(move |trunk| (node, trunk)))
        .find_map(|(node, trunk)| Some((*node, Arc::clone(trunk), source(table, trunk, node.1.ip())?)))
        .ok_or(NoScene::NoTrunk)
}

/// Where to send from this machine to reach what is bound to `addr`.
fn loopback(addr: SocketAddr) -> Option<SocketAddr> {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    ip.is_loopback().then(|| SocketAddr::new(ip, addr.port()))
}

/// An address of this machine whose calls the table counts as the trunk's.
fn source(table: &Table, trunk: &Arc<Trunk>, node: IpAddr) -> Option<SocketAddr> {
    let usual: IpAddr = if node.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    trunk.from.iter().find_map(|net| {
        let port = net.port.unwrap_or(0);
        [usual, net.addr]
            .into_iter()
            .filter(|ip| ip.is_loopback() && ip.is_ipv4() == node.is_ipv4())
            .map(|ip| SocketAddr::new(ip, port))
            .filter(|addr| net.holds(*addr))
            .find(|addr| table.trunk_of(*addr).is_some_and(|found| Arc::ptr_eq(found, trunk)))
    })
}

/// Everybody whom the plan may ring; the first who is not on this machine ends the trial before it begins.
fn parties(table: &Table, plan: &Plan) -> Result<Vec<Party>, NoScene> {
    let mut parties: Vec<Party> = Vec::new();
    for target in plan.steps.iter().flat_map(|step| &step.targets) {
        let column = 1 + parties.last().map_or(0, |last| last.column);
        match &target.who {
            Who::Agent(agent) => {
                let Some(contact) = &agent.contact else { continue };
                if parties.iter().any(|party| party.name == agent.name) {
                    continue;
                }
                parties.push(phone(&agent.name, contact, column)?);
            }
            Who::Number { number, trunk } => {
                let name: Arc<str> = number.to_string().into();
                if parties.iter().any(|party| party.name == name) {
                    continue;
                }
                // Among trunks of equal rank each call draws its own, and one that fails is followed by the next.
                let others = table.trunks().iter().filter(|other| other.outbound && other.name != trunk.name);
                for trunk in std::iter::once(trunk).chain(others) {
                    let gateways = gateways(&name, number, trunk, column)?;
                    let is_new = |party: &Party, known: &[Party]| {
                        !known.iter().any(|other| other.column == column && other.addr == party.addr)
                    };
                    for party in gateways {
                        if is_new(&party, &parties) {
                            parties.push(party);
                        }
                    }
                }
            }
            Who::Unreachable(_) => {}
        }
    }
    Ok(parties)
}

fn phone(name: &Arc<str>, contact: &Contact, column: u16) -> Result<Party, NoScene> {
    let addr = contact.addr.filter(|addr| addr.ip().is_loopback());
    let addr = addr.ok_or_else(|| NoScene::Elsewhere {
        whom: format!("the phone of {name}"),
        at: contact.uri.to_string(),
        remedy: CONTACT,
    })?;
    let user = super::message::user_of(&contact.uri).to_owned();
    Ok(Party { column, name: Arc::clone(name), user, transport: contact.transport, addr })
}

fn gateways(name: &Arc<str>, number: &Called, trunk: &Trunk, column: u16) -> Result<Vec<Party>, NoScene> {
    let gateway = |gateway: &crate::routing::Gateway| {
        let addr = gateway.addr.filter(|addr| addr.ip().is_loopback());
        let addr = addr.ok_or_else(|| NoScene::Elsewhere {
            whom: format!("a gateway of trunk {}", trunk.name),
            at: gateway.uri.to_string(),
            remedy: GATEWAY,
        })?;
        let user = number.with_text(trunk, str::to_owned);
        Ok(Party { column, name: Arc::clone(name), user, transport: gateway.transport, addr })
    };
    trunk.gateways.iter().map(gateway).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
[node]
name = "edge-1"
[[trunk]]
name = "far"
from = ["192.0.2.0/24"]
[[trunk]]
name = "near"
from = ["127.0.0.9:5099", "127.0.0.2/32", "::1/128"]
strip = 3
prefix = "1"
gateways = [{ uri = "sip:127.0.0.1:5080" }, { uri = "sip:[::1]:5081;transport=tcp" }]
outbound = true
[[agent]]
name = "alice"
contact = "sip:al@127.0.0.1:5090"
[[agent]]
name = "bob"
contact = "sip:bob@192.0.2.9"
[[number]]
did = "+12015550101"
ring = ["alice"]
forward_to = "+12015550199"
overflow = [{ ring = ["alice"], timeout = 15 }]
[[number]]
did = "+12015550102"
ring = ["bob"]
"#;

    fn scene(did: &str, listening: &[(Transport, &str)]) -> Result<Scene, NoScene> {
        let table = Table::from_toml(CONFIG).unwrap();
        let listening: Vec<_> =
            listening.iter().map(|(transport, addr)| (*transport, addr.parse().unwrap())).collect();
        Scene::find(&table, did, &listening)
    }

    #[test]
    fn everybody_whom_the_call_may_ring_has_a_column() {
        let scene =
            scene("(201) 555-0101", &[(Transport::Tcp, "127.0.0.1:1"), (Transport::Udp, "0.0.0.0:5060")]);
        let scene = scene.unwrap();
        assert_eq!((scene.node.0, scene.node.1.to_string()), (Transport::Udp, "127.0.0.1:5060".to_owned()));
        assert_eq!((&*scene.trunk.name, scene.source.to_string()), ("near", "127.0.0.9:5099".to_owned()));
        assert_eq!(scene.dialled(), "0002015550101");
        let columns: Vec<String> =
            scene.columns().iter().map(|(column, name)| format!("{column} {name}")).collect();
        let mut names: Vec<&str> = columns.iter().map(|text| &text[2..]).collect();
        names.sort_unstable();
        assert_eq!(names, ["+12015550199", "alice"]);
        let alice = scene.party("127.0.0.1:5090".parse().unwrap(), "al").unwrap();
        assert_eq!(&*alice.name, "alice");
        let gateway = scene.party("[::1]:5081".parse().unwrap(), "?").unwrap();
        assert_eq!((&*gateway.name, gateway.transport), ("+12015550199", Transport::Tcp));
    }

    #[test]
    fn a_node_on_ipv6_is_called_from_there() {
        let scene = scene("+12015550101", &[(Transport::Tcp, "[::]:5060")]).unwrap();
        assert_eq!(
            (scene.node.1.to_string(), scene.source.to_string()),
            ("[::1]:5060".into(), "[::1]:0".into())
        );
    }

    #[test]
    fn what_cannot_be_tried_says_why() {
        let said = |did, addr| scene(did, &[(Transport::Udp, addr)]).err().map(|no| no.to_string());
        let bob = "the phone of bob is at sip:bob@192.0.2.9, not on this machine: a trial would ring it; \
            write contact = \"sip:alice@127.0.0.1:5090\"";
        assert_eq!(said("+12015550102", "127.0.0.1:5060").as_deref(), Some(bob));
        assert!(said("+12015550101", "192.0.2.1:5060").unwrap().contains("[[listen]]"));
        assert!(said("x", "127.0.0.1:5060").unwrap().contains("no number"));
        let unknown = scene("+12015550177", &[(Transport::Udp, "127.0.0.1:5060")]).unwrap();
        assert!(unknown.plan.is_none() && unknown.parties.is_empty());
    }
}
