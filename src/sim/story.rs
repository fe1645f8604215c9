//! Calls told by hand: the words in which a rule's test is written. Virtual time, no faults but those that the
//! story names; phones do nothing of their own accord.
//!
//! What somebody does is under way when the word returns, and arrives before the next word is done, unless
//! that stands in [`Call::while_in_flight`].

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use super::booth::Word;
use super::core::Maker;
use super::layout;
use super::manner::{Act, Manner};
use super::message::Message;
use super::served::served;
use super::trace::Crossing;
use super::wire::{Fate, Way};
use super::world::{World, minutes};
use crate::time::Instant;

/// Alice to erin, one gateway behind the trunk `mobile`, callers behind the trunk `carrier`.
const AGENTS: usize = 5;
const GATEWAYS: usize = 2;
/// How long a phone may take to be rung.
const PATIENCE: Duration = Duration::from_secs(40);

/// The numbers of [`incoming`]: …0101 rings alice and bob, …0102 is forwarded, …0103 rings alice alone, …0104
/// rings alice and is forwarded, …0105 rings alice and then bob.
const NUMBERS: &str = r#"
[[number]]
did = "+12015550101"
ring = ["alice", "bob"]

[[number]]
did = "+12015550102"
forward_to = "+12015550199"

[[number]]
did = "+12015550103"
ring = ["alice"]

[[number]]
did = "+12015550104"
ring = ["alice"]
forward_to = "+12015550199"

[[number]]
did = "+12015550105"
ring = ["alice"]
overflow = [{ ring = ["bob"], timeout = 15 }]
"#;

/// A call to one of the usual numbers, served by the real core.
pub fn incoming(dialled: &str) -> Call {
    with(NUMBERS).incoming(dialled)
}

/// Other numbers, or other everything: see [`Setup::new`].
pub fn with(routing: &str) -> Setup {
    Setup::new(served(), routing)
}

/// The usual numbers, for what [`Setup`] can change.
pub fn usual() -> Setup {
    with(NUMBERS)
}

/// What a story begins with.
#[derive(Clone)]
pub struct Setup {
    maker: Rc<dyn Maker>,
    routing: String,
    manner: Manner,
    shards: usize,
    gateways: usize,
    lost: Option<usize>,
    unchecked: Option<&'static str>,
}

impl Setup {
    /// `routing`: `[[number]]` tables and whatever else an operator writes. Without a `[[trunk]]` of its own
    /// it stands beside the usual trunks and agents.
    pub fn new(maker: Rc<dyn Maker>, routing: &str) -> Setup {
        let routing = match routing.contains("[[trunk]]") {
            true => routing.to_owned(),
            false => format!("{}{routing}", usual_ends()),
        };
        let manner = Manner::default();
        Setup { maker, routing, manner, shards: 1, gateways: GATEWAYS, lost: None, unchecked: None }
    }

    /// Served by this core.
    pub fn made_by(self, maker: Rc<dyn Maker>) -> Setup {
        Setup { maker, ..self }
    }

    /// How the caller behaves.
    pub fn caller(mut self, manner: Manner) -> Setup {
        self.manner = manner;
        self
    }

    /// This checker looks away: the story breaks its premise.
    pub fn unchecked(mut self, name: &'static str) -> Setup {
        self.unchecked = Some(name);
        self
    }

    /// More keys for the first `[[number]]` of the file.
    pub fn with_number(mut self, keys: &str) -> Setup {
        self.routing = self.routing.replacen("[[number]]\n", &format!("[[number]]\n{keys}\n"), 1);
        self
    }

    pub fn shards(mut self, shards: usize) -> Setup {
        self.shards = shards;
        self
    }

    /// So many gateways are there, whichever trunk names them.
    pub fn gateways(mut self, gateways: usize) -> Setup {
        self.gateways = gateways;
        self
    }

    /// The carrier sends an INVITE to this number.
    pub fn incoming(self, dialled: &str) -> Call {
        let manner = self.manner.clone();
        self.before_any_call().dials(dialled, manner)
    }

    /// The world before anybody calls.
    pub fn before_any_call(self) -> Call {
        let mut world = World::new(7, self.shards, self.maker);
        world.settle(AGENTS, self.gateways, &self.routing);
        world.wire.lose_number(self.lost);
        if let Some(name) = self.unchecked {
            world.leaves_unchecked(name);
        }
        Call { world, call_id: String::new(), holds: false }
    }
}

/// The trunks and agents of a story.
fn usual_ends() -> String {
    let mut text = format!(
        "[[trunk]]\nname = \"carrier\"\nfrom = [\"{}/32\"]\ntrusted_identity = true\noptions_interval = 0\n\n\
         [[trunk]]\nname = \"mobile\"\ngateways = [{{ uri = \"sip:{}\" }}, {{ uri = \"sip:{}\", priority = 20 }}]\n\
         outbound = true\noptions_interval = 0\n\n",
        layout::CARRIER.ip(),
        layout::gateway_addr(0),
        layout::gateway_addr(1),
    );
    for index in 0..AGENTS {
        let (name, addr) = (layout::agent_name(index), layout::agent_addr(index));
        text += &format!("[[agent]]\nname = \"{name}\"\ncontact = \"sip:{name}@{addr}\"\n\n");
    }
    text
}

/// A call under way, with everybody in it: `caller`, agents by their names, `gateway1`.
pub struct Call {
    pub world: World,
    pub call_id: String,
    /// Words do not wait for what is under way.
    holds: bool,
}

impl Call {
    /// Somebody calls; the story goes on with this call.
    pub fn dials(mut self, dialled: &str, manner: Manner) -> Call {
        self.call_id = self.world.dials(dialled, manner);
        self
    }

    /// These are rung, and say so.
    ///
    /// # Panics
    /// When one of them is not rung in 40 s.
    pub fn ringing<const N: usize>(mut self, names: [&str; N]) -> Call {
        for name in names {
            self.awaits(name);
            self.does(name, Act::Rings);
        }
        self.settle();
        self
    }

    /// This one is rung; it says nothing yet.
    ///
    /// # Panics
    /// When it is not rung in 40 s.
    pub fn awaits(&mut self, name: &str) -> &mut Call {
        let until = self.world.now + PATIENCE;
        while self.leg_of(name).is_none() && self.world.step(until) {}
        assert!(self.leg_of(name).is_some(), "{name} is not rung\n{}", self.picture(true));
        self
    }

    /// Somebody does something of their own accord.
    pub fn does(&mut self, name: &str, act: Act) -> &mut Call {
        self.settle();
        let host = self.host(name);
        if let Some(call_id) = self.call_id_of(name) {
            self.world.acts(host, &call_id, &act);
        }
        self
    }

    pub fn rings(&mut self, name: &str) -> &mut Call {
        self.does(name, Act::Rings)
    }

    pub fn answers(&mut self, name: &str) -> &mut Call {
        self.does(name, Act::Answers)
    }

    pub fn sends_busy(&mut self, name: &str) -> &mut Call {
        self.does(name, Act::Refuses(486))
    }

    pub fn declines(&mut self, name: &str) -> &mut Call {
        self.does(name, Act::Refuses(603))
    }

    pub fn refuses(&mut self, name: &str, code: u16) -> &mut Call {
        self.does(name, Act::Refuses(code))
    }

    pub fn redirects(&mut self, name: &str, uri: &str) -> &mut Call {
        self.does(name, Act::Redirects(uri.to_owned()))
    }

    pub fn caller_cancels(&mut self) -> &mut Call {
        self.does("caller", Act::Cancels)
    }

    pub fn hangs_up(&mut self, name: &str) -> &mut Call {
        self.does(name, Act::HangsUp)
    }

    /// Somebody sends a request within the dialog, early or confirmed, changed as the story wants it.
    pub fn asks(&mut self, name: &str, method: &str, dress: fn(Message) -> Message) -> &mut Call {
        self.settle();
        let host = self.host(name);
        if let Some(call_id) = self.call_id_of(name) {
            self.world.asks(host, &call_id, method, dress);
        }
        self
    }

    /// How a phone is to take a CANCEL, answer session timers and so on; from its next INVITE's arrival.
    pub fn behaves(&mut self, name: &str, manner: Manner) -> &mut Call {
        self.settle();
        let host = self.host(name);
        if let Some(call_id) = self.leg_of(name)
            && let Some(party) = self.world.hosts[host].parties.get_mut(&call_id)
        {
            party.manner = manner;
        }
        self
    }

    /// Who hears us presses a key, as the ports of its INVITE say who that is.
    pub fn presses(&mut self, name: &str, key: char) -> &mut Call {
        if let Some(port) = self.port_of(name) {
            self.world.hears(port, Word::Presses(key));
        }
        self.settle();
        self
    }

    /// Something is heard of somebody.
    pub fn is_heard(&mut self, name: &str, word: Word) -> &mut Call {
        let port = self.port_of(name);
        assert!(port.is_some(), "{name} was told of no port of ours: nothing of it is heard");
        port.into_iter().for_each(|port| self.world.hears(port, word));
        self.settle();
        self
    }

    /// Our port to which somebody's audio comes.
    pub fn port_of(&mut self, name: &str) -> Option<u16> {
        let label = if name == "caller" { "200" } else { "INVITE" };
        let told = self.messages(&format!("us → {name}"), label).pop()?;
        let text = String::from_utf8_lossy(&told.body).into_owned();
        text.split("m=audio ").nth(1)?.split(' ').next()?.parse().ok()
    }

    /// What happens before the message of the last word arrives.
    pub fn while_in_flight(&mut self, what: impl FnOnce(&mut Call)) -> &mut Call {
        let before = std::mem::replace(&mut self.holds, true);
        what(self);
        self.holds = before;
        self
    }

    /// So much time passes.
    pub fn after(&mut self, time: Duration) -> &mut Call {
        self.settle();
        self.world.run(time);
        self
    }

    /// The next datagram on that way, as `"bob → us"`, is lost.
    pub fn loses_next(&mut self, way: &str) -> &mut Call {
        self.fate(way, Fate::Lost)
    }

    /// The next message of that label, as ladders show it, is lost on that way.
    pub fn loses_next_of(&mut self, way: &str, label: &str) -> &mut Call {
        self.fate_of(way, label, Fate::Lost)
    }

    pub fn delays_next_of(&mut self, way: &str, label: &str, by: Duration) -> &mut Call {
        self.fate_of(way, label, Fate::Late(by))
    }

    fn fate_of(&mut self, way: &str, label: &str, fate: Fate) -> &mut Call {
        self.settle();
        let (way, name) = self.way(way);
        let end = self.world.hosts[self.host(name)].stack.addr.ip();
        self.world.wire.next_labelled(way, end, label, fate);
        self
    }

    /// For so long nothing passes to or from that end.
    pub fn is_cut_off(&mut self, name: &str, lasting: Duration) -> &mut Call {
        self.settle();
        let end = self.world.hosts[self.host(name)].stack.addr.ip();
        self.world.wire.cut(end, self.world.now + lasting);
        self
    }

    pub fn repeats_next(&mut self, way: &str) -> &mut Call {
        self.fate(way, Fate::Twice)
    }

    pub fn delays_next(&mut self, way: &str, by: Duration) -> &mut Call {
        self.fate(way, Fate::Late(by))
    }

    fn fate(&mut self, way: &str, fate: Fate) -> &mut Call {
        self.settle();
        let (way, name) = self.way(way);
        let end = self.world.hosts[self.host(name)].stack.addr.ip();
        self.world.wire.next_one(way, end, fate);
        self
    }

    /// Another configuration is published, beside the same trunks and agents.
    pub fn publishes(&mut self, routing: &str) -> &mut Call {
        self.settle();
        self.world.publish(Some(&format!("{}{routing}", usual_ends())));
        self
    }

    /// Everything under way arrives, and what follows from it at once.
    pub fn settle(&mut self) {
        while let Some(at) = self.world.in_flight_until().filter(|_| !self.holds) {
            if !self.world.step(at) {
                break;
            }
        }
    }

    /// The picture of the call so far.
    ///
    /// # Panics
    /// When a checker found a broken sentence.
    pub fn ladder(&mut self) -> String {
        self.settle();
        self.assert_sound();
        self.picture(false)
    }

    fn picture(&self, exact: bool) -> String {
        self.world.ladder_of(&self.call_id, exact)
    }

    /// The final response that the caller got.
    pub fn caller_is_told(&mut self) -> Option<u16> {
        self.settle();
        self.world.hosts[0].outcome(&self.call_id)
    }

    /// The record of this call, once it is written.
    pub fn record(&mut self) -> Option<Value> {
        self.settle();
        let is_ours = |record: &&Value| record["legs"][0]["sip_call_id"] == self.call_id.as_str();
        self.world.records.iter().find(is_ours).cloned()
    }

    /// The record of this call.
    ///
    /// # Panics
    /// When there is none yet.
    pub fn cdr(&mut self) -> Value {
        let picture = self.picture(true);
        let record = self.record();
        assert!(record.is_some(), "no record yet\n{picture}");
        record.unwrap_or_default()
    }

    /// The messages of a kind (`INVITE`, `180`, `200 (BYE)`) that crossed on a way (`us → alice`), in order,
    /// repetitions included.
    pub fn messages(&mut self, way: &str, label: &str) -> Vec<Message> {
        self.settle();
        self.crossings(way, label).into_iter().map(|crossing| crossing.message.clone()).collect()
    }

    /// When they crossed.
    pub fn times(&mut self, way: &str, label: &str) -> Vec<Instant> {
        self.settle();
        self.crossings(way, label).into_iter().map(|crossing| crossing.at).collect()
    }

    fn crossings(&self, way: &str, label: &str) -> Vec<&Crossing> {
        let (way, name) = self.way(way);
        let end: IpAddr = self.world.hosts[self.host(name)].stack.addr.ip();
        let family = self.world.trace.family(&self.call_id);
        let wanted = |crossing: &&Crossing| {
            crossing.is_of(&family)
                && crossing.way == way
                && crossing.peer.ip() == end
                && crossing.label() == label
        };
        self.world.trace.crossings.iter().filter(wanted).collect()
    }

    /// The call ends one way or another, and nothing is left behind. Every story ends so.
    ///
    /// # Panics
    /// When a sentence is broken or something is left.
    pub fn comes_to_rest(&mut self) {
        self.world.heal();
        self.world.run_until_quiet(minutes(30));
        self.world.must_be_empty();
        self.assert_sound();
    }

    fn assert_sound(&self) {
        if let Err(broken) = self.world.verdict() {
            panic!("{broken}");
        }
    }

    fn host(&self, name: &str) -> usize {
        let found = self.world.hosts.iter().position(|host| host.name == name);
        assert!(found.is_some(), "nobody here is called {name}");
        found.unwrap_or_default()
    }

    /// The Call-ID of what this end is in: its own call, or the last leg to it.
    fn call_id_of(&self, name: &str) -> Option<String> {
        if name == "caller" { Some(self.call_id.clone()) } else { self.leg_of(name) }
    }

    /// The Call-ID of the last leg to this end.
    fn leg_of(&self, name: &str) -> Option<String> {
        let end = self.world.hosts[self.host(name)].stack.addr.ip();
        let invited = self.world.trace.crossings.iter().rev().find(|crossing| {
            let message = &crossing.message;
            crossing.way == Way::Out
                && crossing.peer.ip() == end
                && message.method() == "INVITE"
                && message.get("X-CID") == Some(&self.call_id)
        })?;
        let call_id = invited.message.call_id();
        let host = &self.world.hosts[self.host(name)];
        host.parties.contains_key(call_id).then(|| call_id.to_owned())
    }

    /// Reads `"us → bob"` and `"bob → us"`.
    fn way<'w>(&self, way: &'w str) -> (Way, &'w str) {
        match way.split_once(" → ") {
            Some(("us", name)) => (Way::Out, name),
            Some((name, "us")) => (Way::In, name),
            Some(_) | None => panic!("a way is written \"bob → us\" or \"us → bob\", not {way:?}"),
        }
    }
}

/// Tells the story once for every order of the steps.
pub fn every_order_of<S: Clone, const N: usize>(steps: [S; N], mut story: impl FnMut(&[S])) {
    let mut order = steps.to_vec();
    permute(&mut order, 0, &mut story);
}

fn permute<S: Clone>(order: &mut Vec<S>, from: usize, story: &mut impl FnMut(&[S])) {
    if from + 1 >= order.len() {
        return story(order);
    }
    for next in from..order.len() {
        order.swap(from, next);
        permute(order, from + 1, story);
        order.swap(from, next);
    }
}

/// Tells the story as it is, then once for each of its datagrams with that one lost; every time nothing may be
/// left behind. Says how many there were.
///
/// # Panics
/// As [`Call::comes_to_rest`].
pub fn each_message_lost_in_turn(setup: &Setup, story: impl Fn(Setup) -> Call) -> usize {
    let mut whole = story(setup.clone());
    whole.comes_to_rest();
    let count = whole.world.wire.carried();
    for number in 0..count {
        story(Setup { lost: Some(number), ..setup.clone() }).comes_to_rest();
    }
    count
}
