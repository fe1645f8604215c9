//! A node with a toy core in the exchange's place: it tells what it hears, and does what it is given to do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use strowger::engine::exchange::{Effects, Input};
use strowger::engine::node::{Berth, Node, Options};
use strowger::engine::precedence::{Does, Rank, Standing};
use strowger::engine::shard::{Core, Notices, Owners};
use strowger::sip::peer::Peer;
use strowger::sip::transaction::Outgoing;
use strowger::time::{Instant, Now};

/// Longer than anything here takes; reached only by a failure.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What a core was told.
#[derive(Debug, PartialEq)]
pub enum Seen {
    Message { shard: usize, from: Peer, bytes: Vec<u8>, age: Duration },
    Undeliverable { shard: usize, to: Peer },
    Due { shard: usize, at: Instant },
}

pub type Behaviour = Arc<dyn Fn(&Peer, &[u8], &mut Effects) + Send + Sync>;

/// Tells all it hears, and does what it is given to do for a message.
pub struct Toy {
    pub shard: usize,
    pub seen: Sender<Seen>,
    pub behaviour: Behaviour,
    pub deadline: Option<Instant>,
    /// Keeps what it hears to itself.
    pub silent: bool,
}

impl Core for Toy {
    type Notice = ();

    fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Effects) {
        let shard = self.shard;
        let seen = match input {
            Input::Received { from, bytes, age } => {
                (self.behaviour)(&from, bytes, out);
                if self.silent {
                    return;
                }
                Seen::Message { shard, from, bytes: bytes.to_vec(), age }
            }
            Input::Undeliverable { to, .. } => Seen::Undeliverable { shard, to },
            Input::Due => {
                self.deadline = None;
                Seen::Due { shard, at: now.mono }
            }
            Input::Backlog { .. }
            | Input::Published(_)
            | Input::Drain
            | Input::HangUp { .. }
            | Input::Audio { .. } => return,
        };
        let _test_over = self.seen.send(seen);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The Call-ID says whose it is, as `1-caller@0` or `1-leg@0`.
    fn standing<'m>(&self, message: &'m [u8]) -> Option<Standing<'m>> {
        let call_id = std::str::from_utf8(message).ok()?.lines().find_map(|l| l.strip_prefix("Call-ID: "))?;
        let (call, who) = call_id.split_once('-')?;
        let rank = match (message[0], who.starts_with("caller")) {
            (b'B' | b'C', true) => Rank::CallerLeaves,
            (b'B', false) => Rank::LegLeaves,
            _ => Rank::LegAnswers,
        };
        let does = Does { call: call.parse().ok()?, rank, rings: true };
        Some(Standing { call_id: call_id.as_bytes(), does: Some(does) })
    }

    fn report(&mut self, _: &mut Effects, _: &mut dyn Notices<()>) {}

    fn panicked(&mut self, _: Now, _: Option<(Peer, &[u8])>, _: &mut Effects) {}
}

/// The owner is the digit after the `@` of the Call-ID.
#[derive(Clone, Copy)]
pub struct ById;

impl Owners for ById {
    fn owner(&self, message: &[u8]) -> Option<usize> {
        let text = std::str::from_utf8(message).ok()?;
        let id = text.lines().find_map(|line| line.strip_prefix("Call-ID: "))?;
        id.split_once('@')?.1.parse().ok()
    }

    fn refuse(&self, message: &[u8], from: Peer, out: &mut Effects) {
        if message.starts_with(b"INVITE") {
            send(out, from, b"SIP/2.0 503 Service Unavailable\r\nRetry-After: 3\r\n\r\n");
        }
    }
}

pub struct World {
    pub node: Node<Toy>,
    pub seen: Receiver<Seen>,
}

impl World {
    pub fn new(
        options: Options,
        behaviour: impl Fn(&Peer, &[u8], &mut Effects) + Send + Sync + 'static,
    ) -> World {
        World::made(options, behaviour, || ())
    }

    /// `before`: what each shard has to do before it takes anything.
    pub fn made(
        options: Options,
        behaviour: impl Fn(&Peer, &[u8], &mut Effects) + Send + Sync + 'static,
        before: impl Fn() + Send + Sync + 'static,
    ) -> World {
        let (told, seen) = channel();
        let behaviour: Behaviour = Arc::new(behaviour);
        let make = move |berth: Berth| {
            before();
            Toy {
                shard: berth.shard,
                seen: told.clone(),
                behaviour: Arc::clone(&behaviour),
                deadline: None,
                silent: false,
            }
        };
        World { node: Node::start(options, ById, make, |_| Box::new(|()| {})).unwrap(), seen }
    }

    /// Sends every message back where it came from.
    pub fn echo(options: Options) -> World {
        World::new(options, |from, bytes, out| send(out, *from, bytes))
    }

    pub fn addr(&self, listener: usize) -> SocketAddr {
        self.node.listening()[listener].1
    }

    pub fn seen(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("the core hears of it")
    }

    /// Keeps a shard busy until the returned sender is dropped.
    pub fn block(&self, shard: usize) -> Sender<()> {
        let (busy_to, busy) = channel();
        let (go, wait) = channel::<()>();
        let shards = self.node.shards();
        self.node.back().spawn(async move {
            let block = move |_: &mut Toy, _: Now, _: &mut Effects| {
                busy_to.send(()).unwrap();
                let _dropped = wait.recv_timeout(PATIENCE);
            };
            shards.ask(shard, block).await
        });
        busy.recv_timeout(PATIENCE).expect("the shard takes the question");
        go
    }

    /// The next message and its shard, past the ends of connections.
    pub fn message(&self) -> (usize, Vec<u8>) {
        loop {
            if let Seen::Message { shard, bytes, .. } = self.seen() {
                return (shard, bytes);
            }
        }
    }

    /// Has the core of a shard send a message.
    pub fn send(&self, shard: usize, to: Peer, bytes: Vec<u8>) {
        let question = move |_: &mut Toy, _: Now, out: &mut Effects| send(out, to, &bytes);
        self.node.back().block_on(self.node.shards().ask(shard, question)).unwrap();
    }

    /// Sends long messages to a far end that takes the connection and reads nothing, until the core is told of it.
    pub fn sends_to_who_does_not_read<Unread>(&self, to: Peer, takes: impl FnOnce() -> Unread) {
        let long = vec![b'x'; 60_000];
        self.send(0, to, long.clone());
        let _unread = takes();
        let mut sent = 0;
        while self.seen.try_recv().is_err() {
            self.send(0, to, long.clone());
            sent += 1;
            assert!(sent < 2000, "120 MB and nobody complains");
        }
    }
}

pub fn send(out: &mut Effects, to: Peer, bytes: &[u8]) {
    let start = out.out.wire.len();
    out.out.wire.extend_from_slice(bytes);
    out.out.sends.push(Outgoing { to, range: start..out.out.wire.len(), patience: None });
}

pub fn message(method: &str, id: &str) -> Vec<u8> {
    let id = if id.contains('@') { id.to_owned() } else { format!("{id}@0") };
    format!("{method} sip:a@b SIP/2.0\r\nCall-ID: {id}\r\nContent-Length: 4\r\n\r\nbody").into_bytes()
}
