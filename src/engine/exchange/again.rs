//! A request within a dialog that a carrier challenges goes out once more (RFC 3261 §22.2).

use super::challenged::{Answers, Shown};
use super::slot::{Owner, Slot};
use super::{Effects, Exchange};
use crate::call::event::{Fork, LegId};
use crate::sip::build::Writer;
use crate::sip::dialog::Dialog;
use crate::sip::header::{Method, Name};
use crate::sip::transaction;
use crate::sip::wire::Message;
use crate::time::Now;

/// Which of a side's dialogs a request of ours went by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    /// The one that it has.
    Standing,
    /// The one that our BYE ends.
    Left,
    /// One that its answer has not made yet, or has by now.
    Early(Fork),
}

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
        let (key, leg, within) = match owner {
            Owner::Passed(key, leg)
            | Owner::Offered(key, leg)
            | Owner::Refresh(key, leg)
            | Owner::Keyed(key, leg, _)
            | Owner::KeepAlive(key, leg) => (key, leg, Within::Standing),
            Owner::Leaving(key, leg) => (key, leg, Within::Left),
            Owner::Pracked(key, leg, fork) => (key, leg, Within::Early(fork)),
            // NOTIFY goes to agents alone.
            Owner::Caller(_)
            | Owner::Refused(_)
            | Owner::Asked(..)
            | Owner::Leg(..)
            | Owner::Notified(..)
            | Owner::Withdrawn(..)
            | Owner::Ask(_)
            | Owner::Nobody => return false,
        };
        let cnonce = self.names.stateless_tag(response.via().branch.unwrap_or_default());
        let Ok(request) = Message::parse(asked) else { return false };
        let method = request.method();
        let Some(slot) = self.slots.get_mut(key) else { return false };
        let Some(login) = slot.login(leg) else { return false };
        login.resumes(&request);
        if !login.is_asked(response) {
            return false;
        }
        let given: Answers = login.answers(method, request.uri_raw(), cnonce);
        let Some(dialog) = slot.dialog_within(leg, within) else { return false };
        let Ok((transaction, branch)) = self.transactions.reserve(owner) else { return false };
        let (peer, cseq) = (dialog.peer(), dialog.next_seq());
        let host = self.settings.host_of(&*self.desk, peer);
        self.scratch.clear();
        let mut w = Writer::request(&mut self.scratch, method.token(), request.uri_raw());
        for field in request.fields() {
            if field.name == Name::Via {
                w.via(peer.transport, &host, branch.as_ref());
            } else if field.name == Name::CSeq {
                w.cseq(cseq, method.token());
            } else if !matches!(
                field.name,
                Name::ContentLength | Name::Authorization | Name::ProxyAuthorization
            ) {
                w.field(&field);
            }
        }
        given.iter().for_each(|given| given.write(&mut w));
        let range = w.body(&[], request.body());
        if let Some(side) = slot.side(leg) {
            if method == Method::Invite {
                side.invite_seq = cseq;
            }
            if let Some((refresh, _)) = &mut side.refresh
                && *refresh == id
            {
                *refresh = transaction;
            }
        }
        self.transactions.send(now.mono, transaction, method, &self.scratch[range], peer, &mut out.out);
        if let Some(asked) = slot.asked.iter_mut().find(|asked| asked.passed == Some(id)) {
            asked.passed = Some(transaction);
        }
        if method == Method::Invite
            && let Some(login) = slot.login(leg)
        {
            login.shown = Some(Shown { cseq, given });
        }
        slot.sent(now.mono, leg, method);
        true
    }
}

impl Slot {
    fn dialog_within(&mut self, leg: LegId, within: Within) -> Option<&mut Dialog> {
        match within {
            Within::Standing => self.side(leg)?.dialog.as_deref_mut(),
            Within::Left => self.side(leg)?.left.as_deref_mut(),
            Within::Early(fork) => {
                let called = self.called(leg)?;
                let seen = called.forks.iter_mut().find(|seen| seen.fork == fork);
                let early = seen.and_then(|seen| seen.early.as_deref_mut());
                let standing = called.side.dialog.as_deref_mut().filter(|_| called.side.fork == fork);
                early.or(standing)
            }
        }
    }
}
