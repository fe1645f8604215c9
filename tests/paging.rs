//! The list of calls in progress is read page by page, and a page costs a page.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use strowger::call::story::{CallPlace, LiveCall};
use strowger::config;
use strowger::engine::desk::{Place, SharedDesk};
use strowger::engine::exchange::{Effects, Exchange, Input, LineTokens, Listener, Router, Settings};
use strowger::number::Country;
use strowger::routing::Table;
use strowger::sip::peer::{ListenerId, Peer, Transport};
use strowger::time::{Instant, Now, Wall};

/// Calls that ring at once, and the items of a page.
const CALLS: usize = 3_000;
const PAGE: usize = 70;

#[test]
fn a_page_copies_a_pages_worth_and_the_pages_are_the_list() {
    let mut shard = Shard::new();
    (0..CALLS).for_each(|number| shard.rings(number));
    let mut all: Vec<CallPlace> = shard.exchange.live_calls().map(|call| call.place()).collect();
    assert_eq!(all.len(), CALLS);
    all.sort();
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = shard.exchange.live_page(after.as_ref(), PAGE);
        assert!(page.len() <= PAGE && page.capacity() <= CALLS / 10, "{} copied", page.capacity());
        listed.extend(page.iter().map(LiveCall::place));
        match page.last() {
            Some(last) => after = Some(last.place()),
            None => break,
        }
    }
    assert_eq!(listed, all, "in the order in which they began, each once");
    assert_eq!(shard.exchange.live_page(None, 1)[0].place(), all[0]);
}

#[test]
fn a_page_goes_on_where_the_last_one_ended_whoever_came_or_went() {
    let mut shard = Shard::new();
    (0..300).for_each(|number| shard.rings(number));
    let first = shard.exchange.live_page(None, 100);
    // The last of the page is hung up, as is one that is still to come; others begin in their places.
    let still_to_come = shard.exchange.live_page(Some(&first[99].place()), 100)[50].id.clone();
    for id in [&first[99].id, &still_to_come] {
        shard.handle(Input::HangUp { call: id });
    }
    (300..310).for_each(|number| shard.rings(number));
    let rest = shard.exchange.live_page(Some(&first[99].place()), 1_000);
    let ids: BTreeSet<&str> = rest.iter().map(|call| &*call.id).collect();
    assert_eq!(rest.len(), 200 - 1 + 10);
    assert!(!ids.contains(&*still_to_come) && first.iter().all(|call| !ids.contains(&*call.id)));
    assert!(rest.is_sorted_by_key(LiveCall::place));
}

/// One exchange with a trunk and a phone that never answers.
struct Shard {
    exchange: Exchange,
    now: Now,
}

impl Shard {
    fn new() -> Shard {
        let routing = "[[trunk]]\nname = \"carrier\"\nfrom = [\"127.0.1.1/32\"]\n\
                       [[agent]]\nname = \"alice\"\ncontact = \"sip:alice@127.0.2.1\"\nmax_calls = 10000\n\
                       [[number]]\ndid = \"+12015550101\"\nring = [\"alice\"]\n";
        let config = config::parse(routing, &|_| None).unwrap().config;
        let addr = "127.0.0.1:5060".parse().unwrap();
        let settings = Settings {
            node: "edge-1".into(),
            country: Country::parse("US").unwrap(),
            listeners: vec![Listener { transport: Transport::Udp, addr, advertise: None }],
            answer_strangers: true,
            shard: 0,
            router: Router::new(1, [7; 16]),
            seed: [7; 16],
            realm: "strowger".into(),
            nonces: strowger::sip::digest::Nonces::new([1; 64]),
            lines: LineTokens::new([1; 64]),
        };
        let desk = Arc::new(SharedDesk::new(10_000, vec![Place { bound: addr, advertise: None }]));
        let now = Now { mono: Instant::from_micros(1_000_000), wall: Wall(1_793_534_400_000) };
        Shard { exchange: Exchange::new(settings, Arc::new(Table::new(&config, 1, None)), desk), now }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.exchange.handle(self.now, input, &mut Effects::default());
    }

    /// Three calls begin in each millisecond.
    fn rings(&mut self, number: usize) {
        if number.is_multiple_of(3) {
            self.now.mono = self.now.mono + Duration::from_millis(1);
            self.now.wall.0 += 1;
        }
        let invite = format!(
            "INVITE sip:+12015550101@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.1.1;branch=z9hG4bK-{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+14155550001@127.0.1.1>;tag={number}\r\nTo: <sip:+12015550101@127.0.0.1>\r\n\
             Call-ID: {number}@carrier\r\nCSeq: 1 INVITE\r\nContact: <sip:127.0.1.1>\r\nContent-Length: 0\r\n\r\n"
        );
        let from = Peer::at("127.0.1.1:5060".parse().unwrap(), Transport::Udp, ListenerId(0));
        self.handle(Input::Received { from, bytes: invite.as_bytes(), age: Duration::ZERO });
    }
}
