//! Requests of ours outside any dialog: each waits for its answer as its errand, which says what is asked and what
//! follows from an answer.

use super::errand::{AskKey, Errand};
use super::slot::Owner;
use super::{Effects, Exchange, write_contact};
use crate::sip::build::Writer;
use crate::sip::header::{Method, Name};
use crate::sip::peer::Peer;
use crate::sip::transaction;
use crate::sip::wire::Message;
use crate::time::Now;

/// What came of a request instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unheard {
    /// Nothing in 64·T1 (Timer F).
    TimedOut,
    Undeliverable,
}

/// A request that is about to be sent.
pub(super) struct Question<'a> {
    pub method: Method,
    pub uri: &'a [u8],
    pub to: Peer,
}

impl Exchange {
    pub(super) fn asks_due(&mut self, now: Now, out: &mut Effects) {
        while let Some(key) = self.asks.pop_due(now.mono) {
            match self.asks.get_mut(key).map(|ask| &ask.errand) {
                Some(Errand::Gateway(_)) => self.probe_due(now, key, out),
                Some(Errand::Round(from)) => {
                    let from = *from;
                    self.round_due(now, key, from, out);
                }
                Some(Errand::Phone(_)) => self.phone_is_silent(key),
                None => {}
            }
        }
    }

    /// Sends an errand's request, which is open from then on. False: there is no room for it.
    pub(super) fn ask(
        &mut self,
        now: Now,
        key: AskKey,
        question: &Question<'_>,
        more: impl FnOnce(&mut Writer<'_>),
        out: &mut Effects,
    ) -> bool {
        let Ok((transaction, branch)) = self.transactions.reserve(Owner::Ask(key)) else { return false };
        let Question { method, uri, to } = *question;
        let host = self.settings.host_of(&*self.desk, to);
        let tag = self.names.stateless_tag(branch.as_ref());
        // It names this shard: the answer comes back here.
        let call_id = self.names.call_id();
        self.scratch.clear();
        let mut w = Writer::request(&mut self.scratch, method.token(), uri);
        w.via(to.transport, &host, branch.as_ref());
        w.number(Name::MaxForwards, 70);
        w.header_parts(Name::From, &[b"<sip:", &host, b">;tag=", &tag]);
        w.header_parts(Name::To, &[b"<", uri, b">"]);
        w.header(Name::CallId, &call_id);
        w.cseq(1, method.token());
        write_contact(&mut w, to.transport, &host);
        more(&mut w);
        let range = w.end();
        if let Some(ask) = self.asks.get_mut(key) {
            ask.open = Some((transaction, now.mono));
        }
        self.transactions.send(now.mono, transaction, method, &self.scratch[range], to, &mut out.out);
        true
    }

    /// A final answer to a request outside any dialog.
    pub(super) fn ask_answered(
        &mut self,
        now: Now,
        key: AskKey,
        id: transaction::Id,
        response: &Message<'_>,
        out: &mut Effects,
    ) {
        let Some(ask) = self.asks.get_mut(key) else { return };
        let Some((_, left)) = ask.open.take_if(|(open, _)| *open == id) else { return };
        match &ask.errand {
            Errand::Gateway(_) => self.probe_answered(now, key, left, response.status(), out),
            Errand::Phone(silence) => {
                silence.ends();
                self.asks.close(key);
            }
            Errand::Round(_) => {}
        }
    }

    pub(super) fn ask_unheard(
        &mut self,
        now: Now,
        key: AskKey,
        id: transaction::Id,
        why: Unheard,
        out: &mut Effects,
    ) {
        let Some(ask) = self.asks.get_mut(key) else { return };
        if ask.open.take_if(|(open, _)| *open == id).is_none() {
            return;
        }
        match ask.errand {
            Errand::Gateway(_) => self.probe_unheard(now, key, why, out),
            Errand::Phone(_) => self.phone_is_silent(key),
            Errand::Round(_) => {}
        }
    }

    /// Gives an errand up, and what it has asked.
    pub(super) fn give_up_asking(&mut self, key: AskKey) {
        if let Some((open, _)) = self.asks.close(key).and_then(|ask| ask.open) {
            self.transactions.abandon(open);
        }
    }
}
