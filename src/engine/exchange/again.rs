//! A request within a dialog that a carrier challenges goes out once more (RFC 3261 §22.2).

use super::challenged::{self, MAX_CHALLENGES, Shown, answered, asks_as_proxy, best};
use super::slot::Owner;
use super::story::What;
use super::{Effects, Exchange, SlotKey};
use crate::call::event::LegId;
use crate::call::story::Way;
use crate::routing::Auth;
use crate::sip::build::Writer;
use crate::sip::digest::Credentials;
use crate::sip::header::{Method, Name};
use crate::sip::transaction;
use crate::sip::wire::Message;
use crate::time::Now;

impl Exchange {
    /// A request within a dialog that a carrier answered with 401 or 407 goes out once more, with credentials, as the
    /// next of its dialog. `asked` is the request. False: it failed for good.
    pub(super) fn asks_again(
        &mut self,
        now: Now,
        (id, owner): (transaction::Id, Owner),
        asked: &[u8],
        response: &Message<'_>,
        out: &mut Effects,
    ) -> bool {
        let (Owner::Passed(key, leg)
        | Owner::Refresh(key, leg)
        | Owner::KeepAlive(key, leg)
        | Owner::Leaving(key, leg)) = owner
        else {
            return false;
        };
        let Some(auth) = self.auth_behind(key, leg) else { return false };
        let Some((text, method, proxy)) = self.credentials_for(asked, response, &auth) else { return false };
        let Ok(request) = Message::parse(asked) else { return false };
        let Ok((transaction, branch)) = self.transactions.reserve(owner) else { return false };
        let Some(slot) = self.slots.get_mut(key) else { return false };
        let Some(side) = slot.side(leg) else { return false };
        let dialog = if matches!(owner, Owner::Leaving(..)) { &mut side.left } else { &mut side.dialog };
        let Some(dialog) = dialog.as_deref_mut() else { return false };
        let (peer, cseq) = (dialog.peer(), dialog.next_seq());
        let host = self.settings.host_of(&*self.desk, peer);
        let given = challenged::names(proxy).1;
        self.scratch.clear();
        let mut w = Writer::request(&mut self.scratch, method.token(), request.uri_raw());
        for field in request.fields() {
            if field.name == Name::Via {
                w.via(peer.transport, &host, branch.as_ref());
            } else if field.name == Name::CSeq {
                w.cseq(cseq, method.token());
            } else if field.name != Name::ContentLength && field.name != given {
                w.field(&field);
            }
        }
        w.header(given, &text);
        let range = w.body(&[], request.body());
        if method == Method::Invite {
            side.invite_seq = cseq;
        }
        if let Some((refresh, _)) = &mut side.refresh
            && *refresh == id
        {
            *refresh = transaction;
        }
        self.transactions.send(now.mono, transaction, method, &self.scratch[range], peer, &mut out.out);
        if let Some(asked) = slot.asked.iter_mut().find(|asked| asked.passed == Some(id)) {
            asked.passed = Some(transaction);
        }
        if let Some(special) = slot.called(leg).and_then(|called| called.special.as_deref_mut())
            && method == Method::Invite
        {
            special.shown = Some(Shown { cseq, proxy, text: text.into() });
        }
        slot.pins += 1;
        slot.story.say(now.mono, Way::Out, leg, What::Request(method));
        true
    }

    /// How we answer the carrier that a side's dialog goes through; the call itself may be over.
    fn auth_behind(&self, key: SlotKey, leg: LegId) -> Option<Auth> {
        let slot = self.slots.get(key)?;
        match leg.index().checked_sub(1) {
            None => self.table.trunk_of(slot.caller.peer.addr)?.auth.clone(),
            Some(at) => slot.legs.get(at)?.special.as_deref()?.auth.clone(),
        }
    }

    /// Credentials for a request that was asked for them: the first time, and again where only the nonce was too old.
    fn credentials_for(
        &mut self,
        asked: &[u8],
        response: &Message<'_>,
        auth: &Auth,
    ) -> Option<(Vec<u8>, Method, bool)> {
        let proxy = asks_as_proxy(response)?;
        let (challenge, _) = best(response, proxy)?;
        let request = Message::parse(asked).ok()?;
        // How often this request was asked already: the first letter of our cnonce.
        let before = match request.get(challenged::names(proxy).1) {
            None => 0,
            Some(given) => tries_of(given).filter(|before| challenge.stale && *before < MAX_CHALLENGES)?,
        };
        let mut cnonce = self.names.stateless_tag(response.via().branch.unwrap_or_default());
        cnonce[0] = b'1' + before;
        let method = request.method();
        let text = answered(&challenge, auth, method, request.uri_raw(), &cnonce)?;
        Some((text, method, proxy))
    }
}

/// How many challenges the credentials of ours stand for. `None`: they say nothing of it (no `qop`).
fn tries_of(given: &[u8]) -> Option<u8> {
    let given = Credentials::parse(given)?;
    let first = given.cnonce()?.first()?;
    first.checked_sub(b'0').filter(|count| (1..=MAX_CHALLENGES).contains(count))
}
