//! What we ask is legal: CSeq rises, targets are the far end's, every final answer to an INVITE gets its ACK
//! at once, CANCEL waits for the first 1xx and never follows a final, BYE belongs to an answered dialog, and
//! nothing follows a BYE (RFC 3261 §8.1, §9.1, §12.2, §13.2.2.4, §14.1, §15).

use std::collections::{BTreeMap, BTreeSet};

use super::invites::{Invite, Invites, LIFE};
use super::{Check, Verdict, breach};
use crate::sim::core::Census;
use crate::sim::message::Message;
use crate::sim::trace::Crossing;
use crate::sim::wire::Way;
use crate::time::Instant;

/// Call-ID, our tag, their tag.
type Dialog = (String, String, String);

#[derive(Default)]
pub struct DialogsLegal {
    invites: Invites,
    /// Every request of ours, by branch and method, for its repetitions.
    sent: BTreeMap<(String, String), Message>,
    /// The last CSeq that we used, by dialog; early ones under an empty far tag.
    counts: BTreeMap<Dialog, u32>,
    dialogs: BTreeMap<Dialog, State>,
    /// Contacts that the far end has shown, by Call-ID.
    targets: BTreeMap<String, BTreeSet<String>>,
    /// ACKs that are owed within this turn: INVITE branch and far tag.
    owed: BTreeSet<(String, String)>,
}

/// An answered dialog.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Our 2xx waits for its ACK since then.
    Unacknowledged(Instant),
    Up,
    /// A BYE went either way.
    Over,
}

impl Check for DialogsLegal {
    fn name(&self) -> &'static str {
        "dialogs_legal"
    }

    fn saw(&mut self, crossing: &Crossing) -> Verdict {
        let message = &crossing.message;
        let verdict = match (crossing.way, message.is_request()) {
            (Way::Out, true) => self.asks(crossing.at, message),
            (Way::Out, false) => {
                self.answers(crossing.at, message);
                Ok(())
            }
            (Way::In, true) => {
                self.is_asked(message);
                Ok(())
            }
            // With a Via behind ours it was meant for somebody else (RFC 3261 §8.1.3.3).
            (Way::In, false) if message.get("Via").is_some_and(|via| via.contains(',')) => Ok(()),
            (Way::In, false) => {
                self.is_answered(crossing.at, message);
                Ok(())
            }
        };
        self.invites.note(crossing);
        verdict
    }

    fn turn_over(&mut self, _now: Instant, _census: Census) -> Verdict {
        match self.owed.pop_first() {
            Some((branch, tag)) => {
                let call_id = self.invites.get(&branch).map_or("", |invite| invite.request.call_id());
                breach(call_id, format!("no ACK for the final response under tag {tag:?}"))
            }
            None => Ok(()),
        }
    }

    fn at_end(&mut self, _now: Instant) -> Verdict {
        for invite in self.invites.values() {
            let unacknowledged = |tag: &&String| !invite.acknowledged.contains(*tag);
            if let Some(tag) = invite.answered.keys().find(unacknowledged) {
                return breach(
                    invite.request.call_id(),
                    format!("the 2xx under tag {tag} never got its ACK"),
                );
            }
        }
        Ok(())
    }
}

impl DialogsLegal {
    fn asks(&mut self, now: Instant, message: &Message) -> Verdict {
        let method = message.method();
        let call_id = message.call_id();
        let wrong = |what: &str| breach(call_id, format!("{}: {what}", message.start));
        let key = (message.branch().to_owned(), method.to_owned());
        for name in ["Via", "Max-Forwards", "From", "To", "Call-ID", "CSeq"] {
            if message.get(name).is_none() {
                return wrong(&format!("no {name}"));
            }
        }
        if !message.branch().starts_with("z9hG4bK")
            || message.cseq().1 != method
            || message.from_tag().is_none()
        {
            return wrong("branch, CSeq or From tag is not legal");
        }
        match self.sent.get(&key) {
            Some(before) if method != "ACK" && before == message => return Ok(()),
            Some(_) if method != "ACK" => return wrong("repeated, but not as it was"),
            Some(_) | None => (),
        }
        self.sent.insert(key, message.clone());
        match method {
            "CANCEL" => self.cancels(message),
            "ACK" => self.acknowledges(message),
            _ => self.requests(now, message),
        }
    }

    fn cancels(&mut self, message: &Message) -> Verdict {
        let wrong = |what: &str| breach(message.call_id(), format!("{}: {what}", message.start));
        let Some(invite) = self.invites.get(message.branch()) else {
            return wrong("cancels no INVITE of ours");
        };
        let same = |name: &str| invite.request.get(name) == message.get(name);
        if !same("From") || !same("To") || !same("Call-ID") || invite.request.uri() != message.uri() {
            return wrong("is not built from its INVITE (RFC 3261 §9.1)");
        }
        if invite.request.cseq().0 != message.cseq().0 || message.all("Via").count() != 1 {
            return wrong("CSeq or Via is not its INVITE's");
        }
        if !invite.is_tried {
            return wrong("before the first 1xx");
        }
        if let Some((_, status)) = invite.ended {
            return wrong(&format!("after the final {status}"));
        }
        Ok(())
    }

    fn acknowledges(&mut self, message: &Message) -> Verdict {
        let wrong = |what: &str| breach(message.call_id(), format!("{}: {what}", message.start));
        let tag = message.to_tag().unwrap_or_default().to_owned();
        let own = message.from_tag().unwrap_or_default();
        if let Some(invite) = self.invites.get(message.branch()) {
            self.owed.remove(&(message.branch().to_owned(), tag));
            return match invite.ended {
                Some((_, 300..)) => Ok(()),
                Some(_) | None => wrong("shares the branch of an INVITE that has not failed"),
            };
        }
        let of = self.invites.iter_mut().find(|(_, invite)| {
            invite.request.call_id() == message.call_id()
                && invite.request.cseq().0 == message.cseq().0
                && invite.request.from_tag() == Some(own)
        });
        let Some((branch, invite)) = of else { return wrong("acknowledges no INVITE of ours") };
        let Some(offered) = invite.answered.get(&tag) else {
            return wrong(&format!("acknowledges a 2xx that never came, of tag {tag}"));
        };
        if *offered && invite.request.sdp().is_none() && message.sdp().is_none() {
            return wrong("the 2xx offered, and its ACK does not answer (RFC 3261 §13.2.2.4)");
        }
        invite.acknowledged.insert(tag.clone());
        self.owed.remove(&(branch.clone(), tag));
        Ok(())
    }

    fn requests(&mut self, now: Instant, message: &Message) -> Verdict {
        let method = message.method();
        let wrong = |what: &str| breach(message.call_id(), format!("{}: {what}", message.start));
        let dialog = ours(message);
        let (cseq, _) = message.cseq();
        // The INVITE that began the dialog counts for it, whatever its far tag was then.
        let begun = (dialog.0.clone(), dialog.1.clone(), String::new());
        let last = self.counts.get(&dialog).or_else(|| self.counts.get(&begun)).copied();
        if last.is_some_and(|last| cseq <= last) {
            return wrong(&format!("CSeq {cseq} after {}", last.unwrap_or_default()));
        }
        self.counts.insert(dialog.clone(), cseq);
        if method == "INVITE" {
            if message.contact().is_none() {
                return wrong("no Contact");
            }
            if self.invites.values().any(|other| is_open(other, &dialog, now)) {
                return wrong("while another INVITE of ours is open (RFC 3261 §14.1)");
            }
        }
        if dialog.2.is_empty() {
            return match method {
                "INVITE" | "OPTIONS" | "REGISTER" => Ok(()),
                _ => wrong("outside any dialog"),
            };
        }
        let shown = self.targets.get(message.call_id());
        let is_named = match shown {
            Some(shown) => shown.contains(message.uri()),
            // It named none: there is only where we called it.
            None => message.get("To").is_some_and(|to| to.contains(message.uri())),
        };
        if !is_named {
            return wrong(&format!("is not addressed to a Contact of the far end ({shown:?})"));
        }
        match (method, self.dialogs.get(&dialog).copied()) {
            ("PRACK" | "UPDATE", None) => Ok(()),
            (_, None) => wrong("in a dialog that is not answered"),
            // The first one was asked for a password (RFC 3261 §22.2).
            ("BYE", Some(State::Over)) if message.get("Proxy-Authorization").is_some() => Ok(()),
            // The subscription outlives the call (RFC 5057 §4.2).
            ("NOTIFY", Some(State::Over)) => Ok(()),
            (_, Some(State::Over)) => wrong("after a BYE"),
            ("BYE", Some(State::Unacknowledged(since))) if now.since(since) < LIFE => {
                wrong("before the ACK of our 2xx (RFC 3261 §15)")
            }
            ("BYE", Some(_)) => {
                self.dialogs.insert(dialog, State::Over);
                Ok(())
            }
            (_, Some(_)) => Ok(()),
        }
    }

    fn answers(&mut self, now: Instant, message: &Message) {
        if message.method() == "INVITE" && (200..300).contains(&message.status()) {
            let dialog = theirs(message);
            self.dialogs.entry(dialog).or_insert(State::Unacknowledged(now));
        }
    }

    fn is_asked(&mut self, message: &Message) {
        let dialog = theirs(message);
        self.shows(message);
        match (message.method(), self.dialogs.get_mut(&dialog)) {
            ("BYE", Some(state)) => *state = State::Over,
            ("ACK", Some(state @ State::Unacknowledged(_))) => *state = State::Up,
            (_, _) => (),
        }
    }

    fn is_answered(&mut self, now: Instant, message: &Message) {
        let status = message.status();
        let dialog = ours(message);
        self.shows(message);
        let Some(invite) = self.invites.get_mut(message.branch()).filter(|_| message.method() == "INVITE")
        else {
            return;
        };
        if status < 200 || invite.is_forgotten(now) {
            return;
        }
        let tag = message.to_tag().unwrap_or_default().to_owned();
        let owed = (message.branch().to_owned(), tag.clone());
        match (status, invite.ended) {
            // One that failed is over: a 2xx after it is a far end's mistake.
            (200..300, Some((_, 300..))) => return,
            (200..300, _) => {
                let first = invite.answered.insert(tag.clone(), message.sdp().is_some()).is_none();
                let state = self.dialogs.entry(dialog).or_insert(State::Up);
                let waits_for_answer = invite.request.sdp().is_none() && *state != State::Over;
                if !first && invite.acknowledged.contains(&tag) || first && !waits_for_answer {
                    self.owed.insert(owed);
                }
            }
            (_, Some((_, 200..300))) => return,
            (_, _) => drop(self.owed.insert(owed)),
        }
        invite.ended.get_or_insert((now, status));
    }

    /// Remembers a Contact that the far end has shown.
    fn shows(&mut self, message: &Message) {
        if let Some(contact) = message.contact() {
            let shown = self.targets.entry(message.call_id().to_owned()).or_default();
            // Its headers are for nobody to ask by (RFC 3261 §19.1.1).
            let host = contact.find('@').unwrap_or(0);
            let end = contact[host..].find('?').map_or(contact.len(), |at| host + at);
            shown.insert(contact[..end].to_owned());
        }
    }
}

/// Whether an INVITE of this dialog still waits for its final response.
fn is_open(invite: &Invite, dialog: &Dialog, now: Instant) -> bool {
    ours(&invite.request) == *dialog && invite.ended.is_none() && !invite.is_forgotten(now)
}

/// The dialog of a request of ours, or of the response to it.
fn ours(message: &Message) -> Dialog {
    dialog(message.call_id(), message.from_tag(), message.to_tag())
}

/// The dialog of a request that came, or of our response to it.
fn theirs(message: &Message) -> Dialog {
    dialog(message.call_id(), message.to_tag(), message.from_tag())
}

fn dialog(call_id: &str, own: Option<&str>, far: Option<&str>) -> Dialog {
    (call_id.to_owned(), own.unwrap_or_default().to_owned(), far.unwrap_or_default().to_owned())
}
