//! Requests of ours outside any dialog: each waits for its answer as its errand, which says what is asked and what
//! follows from an answer.

use super::errand::{AskKey, Errand};
use super::invite::is_sips;
use super::names::CallIdText;
use super::slot::Owner;
use super::{Effects, Exchange, write_contact};
use crate::engine::trunks::Failure;
use crate::sip::build::Writer;
use crate::sip::header::{Method, Name};
use crate::sip::peer::{Peer, Transport};
use crate::sip::transaction;
use crate::sip::uri::Scheme;
use crate::sip::wire::Message;
use crate::time::Now;

/// A request that is about to be sent.
pub(super) struct Question<'a> {
    pub method: Method,
    pub uri: &'a [u8],
    pub to: Peer,
    /// None: it is of nobody's but ours.
    pub account: Option<Account<'a>>,
}

/// Whose address is registered, and as what.
pub(super) struct Account<'a> {
    /// The user part of its address, the host being the far end's.
    pub user: &'a [u8],
    /// In our Contact.
    pub token: &'a [u8],
    pub call_id: &'a CallIdText,
    pub cseq: u32,
}

impl Account<'_> {
    /// From, To, Call-ID, CSeq and Contact, as secure as the Request-URI (RFC 3261 §8.1.1.8).
    fn write(
        &self,
        w: &mut Writer<'_>,
        (method, uri): (Method, &[u8]),
        over: Transport,
        host: &[u8],
        tag: &[u8],
    ) {
        let Account { user, token, call_id, cseq } = *self;
        let scheme: &[u8] = if is_sips(uri) { b"<sips:" } else { b"<sip:" };
        let at = host_part(uri);
        w.header_parts(Name::From, &[scheme, user, b"@", at, b">;tag=", tag]);
        w.header_parts(Name::To, &[scheme, user, b"@", at, b">"]);
        w.header(Name::CallId, call_id);
        w.cseq(cseq, method.token());
        let over: &[&[u8]] = match over {
            Transport::Udp => &[],
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                &[b";transport=", over.uri_token().as_bytes()]
            }
        };
        let over = over.concat();
        w.header_parts(Name::Contact, &[scheme, user, b"@", host, &over, b";line=", token, b">"]);
    }
}

impl Exchange {
    pub(super) fn asks_due(&mut self, now: Now, out: &mut Effects) {
        while let Some(key) = self.asks.pop_due(now.mono) {
            match self.asks.get_mut(key).map(|ask| &ask.errand) {
                Some(Errand::Gateway(_)) => self.probe_due(now, key, out),
                Some(Errand::Round(walk)) => {
                    let walk = *walk;
                    self.round_due(now, key, walk, out);
                }
                Some(Errand::Phone(_)) => self.phone_is_silent(key),
                Some(Errand::Enroll(_)) => self.enroll_due(now, key, out),
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
        let Question { method, uri, to, account } = question;
        let (method, uri, to) = (*method, *uri, *to);
        let host = self.settings.host_of(&*self.desk, to);
        let tag = self.names.stateless_tag(branch.as_ref());
        // It names this shard: the answer comes back here.
        let call_id = account.as_ref().map_or_else(|| self.names.call_id(), |account| *account.call_id);
        self.scratch.clear();
        let mut w = Writer::request(&mut self.scratch, method.token(), uri);
        w.via(to.transport, &host, branch.as_ref());
        w.number(Name::MaxForwards, 70);
        match account {
            None => {
                w.header_parts(Name::From, &[b"<sip:", &host, b">;tag=", &tag]);
                w.header_parts(Name::To, &[b"<", uri, b">"]);
                w.header(Name::CallId, &call_id);
                w.cseq(1, method.token());
                let scheme = if is_sips(uri) { Scheme::Sips } else { Scheme::Sip };
                write_contact(&mut w, scheme, to.transport, &host);
            }
            Some(account) => account.write(&mut w, (method, uri), to.transport, &host, &tag),
        }
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
            Errand::Enroll(_) => self.enroll_answered(now, key, response, out),
            Errand::Round(_) => {}
        }
    }

    /// What came of it instead of an answer.
    pub(super) fn ask_unheard(
        &mut self,
        now: Now,
        key: AskKey,
        id: transaction::Id,
        why: Failure,
        out: &mut Effects,
    ) {
        let Some(ask) = self.asks.get_mut(key) else { return };
        if ask.open.take_if(|(open, _)| *open == id).is_none() {
            return;
        }
        match ask.errand {
            Errand::Gateway(_) => self.probe_missed(now, key, why, out),
            Errand::Phone(_) => self.phone_is_silent(key),
            Errand::Enroll(_) => self.enroll_failed(now, key, why, None, out),
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

/// A URI's host and port, without user and parameters.
fn host_part(uri: &[u8]) -> &[u8] {
    let from = memchr::memchr(b'@', uri).or_else(|| memchr::memchr(b':', uri)).map_or(0, |at| at + 1);
    let rest = &uri[from..];
    &rest[..rest.iter().position(|byte| matches!(byte, b';' | b'?')).unwrap_or(rest.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r01_c_a_secure_registrar_gets_a_secure_address() {
        let call_id = [b'c'; crate::engine::exchange::names::CALL_ID_LEN];
        for (uri, scheme) in [("sips:192.0.2.1", "<sips:house@"), ("sip:192.0.2.1", "<sip:house@")] {
            let account = Account { user: b"house", token: b"t", call_id: &call_id, cseq: 1 };
            let mut wire = Vec::new();
            let mut w = Writer::request(&mut wire, "REGISTER", uri.as_bytes());
            account.write(&mut w, (Method::Register, uri.as_bytes()), Transport::Tls, b"192.0.2.9", b"f");
            w.end();
            let text = String::from_utf8_lossy(&wire);
            for name in ["From", "To", "Contact"] {
                assert!(text.contains(&format!("{name}: {scheme}")), "{name} of {text}");
            }
        }
    }
}
