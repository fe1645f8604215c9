//! The exchange as the shards' loop drives it, with what it counts.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::clock::Clock;
use super::exchange::{Effects, Exchange, Input, Load, Mark, Notice, Router};
use super::precedence::Standing;
use super::shard::{Core, Notices, Owners};
use crate::call::cdr::{Cdr, Direction, Outcome};
use crate::sip::peer::Peer;
use crate::sip::transaction::Traffic;
use crate::sip::wire::Message;
use crate::time::{Instant, Now};
use crate::transport::shed::{Droppable, Share};

/// A shard's exchange and its meters.
pub struct Metered {
    pub exchange: Exchange,
    meters: Meters,
    clock: Clock,
    /// When the turn began, once it took something in.
    turn: Option<Instant>,
}

impl Metered {
    pub fn new(exchange: Exchange, clock: Clock) -> Self {
        Metered { exchange, meters: Meters::new(), clock, turn: None }
    }
}

impl Core for Metered {
    type Notice = Notice;

    fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Effects) {
        self.turn.get_or_insert(now.mono);
        self.exchange.handle(now, input, out);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.exchange.next_deadline()
    }

    fn shed(&mut self, now: Instant, droppable: Droppable) -> Share {
        self.exchange.shed(now, droppable)
    }

    fn standing<'m>(&self, message: &'m [u8]) -> Option<Standing<'m>> {
        self.exchange.standing(message)
    }

    fn report(&mut self, out: &mut Effects, to: &mut dyn Notices<Notice>) {
        let began = self.turn.take();
        for notice in out.notices.drain(..) {
            match &notice {
                Notice::Ended(cdr) => {
                    self.meters.ended(cdr);
                    if let Some(marks) = &mut out.marks {
                        marks.push(Mark::Over { call: cdr.id.clone() });
                    }
                }
                Notice::Answered(entry) => {
                    let waited = entry.answered.0.saturating_sub(entry.started.0);
                    self.meters.answer.record(waited as f64 / 1e3);
                }
                Notice::SetUp { waited } => {
                    let worked =
                        began.map(|began| self.clock.read().now.mono.since(began)).unwrap_or_default();
                    self.meters.setup.record((*waited + worked).as_secs_f64());
                    continue;
                }
                Notice::Said(_) => {}
            }
            to.take(notice);
        }
        self.meters.publish(&mut self.exchange);
    }

    fn panicked(&mut self, now: Now, message: Option<(Peer, &[u8])>, out: &mut Effects) {
        self.exchange.panicked(now, message, out);
    }
}

impl Owners for Router {
    fn owner(&self, message: &[u8]) -> Option<usize> {
        self.owner_of_message(message).map(usize::from)
    }

    fn refuse(&self, message: &[u8], from: Peer, out: &mut Effects) {
        if let Ok(request) = Message::parse(message) {
            self.refuse_overloaded(&request, from, out);
        }
    }
}

/// One shard's share of the node's metrics. A turn costs a comparison where nothing changed.
struct Meters {
    load: Load,
    traffic: Traffic,
    calls: Gauge,
    legs: Gauge,
    transactions: Gauge,
    /// Pairs of ports that audio of calls has, and how many there were when this was last said.
    ports: Gauge,
    pairs: usize,
    repeats_out: Counter,
    repeats_in: Counter,
    setup: Histogram,
    answer: Histogram,
    /// The kinds of ends that were met, the usual one first: at most one for each direction and outcome.
    ended: Vec<(Direction, Outcome, Counter)>,
}

impl Meters {
    fn new() -> Self {
        Meters {
            load: Load::default(),
            traffic: Traffic::default(),
            calls: gauge!("strowger_calls_active"),
            legs: gauge!("strowger_legs_active"),
            transactions: gauge!("strowger_transactions_active"),
            ports: gauge!("strowger_rtp_ports_active"),
            pairs: 0,
            repeats_out: counter!("strowger_sip_retransmissions_total", "dir" => "out"),
            repeats_in: counter!("strowger_sip_retransmissions_total", "dir" => "in"),
            setup: histogram!("strowger_setup_seconds"),
            answer: histogram!("strowger_answer_seconds"),
            ended: vec![end(Direction::Inbound, Outcome::Answered)],
        }
    }

    fn ended(&mut self, cdr: &Cdr) {
        let met = self.ended.iter().position(|(of, with, _)| (*of, *with) == (cdr.direction, cdr.outcome));
        let at = met.unwrap_or_else(|| {
            self.ended.push(end(cdr.direction, cdr.outcome));
            self.ended.len() - 1
        });
        self.ended[at].2.increment(1);
    }

    fn publish(&mut self, exchange: &mut Exchange) {
        let change = |gauge: &Gauge, now: usize, then: usize| {
            if now != then {
                gauge.increment(now as f64 - then as f64);
            }
        };
        let pairs = exchange.ports();
        change(&self.ports, pairs, std::mem::replace(&mut self.pairs, pairs));
        let load = exchange.load();
        if load != self.load {
            change(&self.calls, load.calls, self.load.calls);
            change(&self.legs, load.legs, self.load.legs);
            change(&self.transactions, load.transactions, self.load.transactions);
            self.load = load;
        }
        let traffic = exchange.traffic();
        if traffic != self.traffic {
            self.repeats_out.increment(traffic.repeats_out - self.traffic.repeats_out);
            self.repeats_in.increment(traffic.repeats_in - self.traffic.repeats_in);
            self.traffic = traffic;
        }
        for (queue, count) in exchange.full().drain() {
            counter!("strowger_queue_full_total", "queue" => queue).increment(count);
        }
        for (reason, count) in exchange.rejected().drain() {
            counter!("strowger_rejected_total", "reason" => reason).increment(count);
        }
    }
}

fn end(direction: Direction, outcome: Outcome) -> (Direction, Outcome, Counter) {
    let (of, with) = (direction.label(), outcome.label());
    (direction, outcome, counter!("strowger_calls_total", "direction" => of, "outcome" => with))
}
