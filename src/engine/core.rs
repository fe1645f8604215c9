//! The exchange as the shards' loop drives it.

use super::exchange::{Effects, Exchange, Input, Notice, Router};
use super::shard::{Core, Notices, Owners};
use crate::sip::peer::Peer;
use crate::sip::wire::Message;
use crate::time::{Instant, Now};

impl Core for Exchange {
    type Notice = Notice;

    fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Effects) {
        Exchange::handle(self, now, input, out);
    }

    fn next_deadline(&self) -> Option<Instant> {
        Exchange::next_deadline(self)
    }

    fn report(out: &mut Effects, to: &mut dyn Notices<Notice>) {
        out.notices.drain(..).for_each(|notice| to.take(notice));
    }

    fn panicked(&mut self, now: Now, out: &mut Effects) {
        Exchange::panicked(self, now, out);
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
