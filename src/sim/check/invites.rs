//! Our INVITEs and how long each may still be answered: what arrives later is a stray.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::sim::message::Message;
use crate::sim::trace::Crossing;
use crate::sim::wire::Way;
use crate::time::Instant;

/// 64·T1.
pub const LIFE: Duration = Duration::from_secs(32);

#[derive(Default)]
pub struct Invites {
    /// By branch.
    all: BTreeMap<String, Invite>,
}

pub struct Invite {
    pub request: Message,
    pub at: Instant,
    /// A provisional response came while we waited for one.
    pub is_tried: bool,
    pub cancelled: Option<Instant>,
    /// When its first final response came, and its status.
    pub ended: Option<(Instant, u16)>,
    /// Far tags of 2xx that we have acknowledged.
    pub acknowledged: BTreeSet<String>,
    /// Far tags of 2xx that came, and whether they carried an offer.
    pub answered: BTreeMap<String, bool>,
}

impl Invite {
    /// Whether we have stopped waiting: no 1xx by Timer B, or no final within 64·T1 of the CANCEL, or the
    /// transaction's time after its final (timers D and M) is over.
    pub fn is_forgotten(&self, now: Instant) -> bool {
        // At the very moment a message still comes before the timer.
        let since = |at: Instant| now.since(at) > LIFE;
        match (self.ended, self.cancelled) {
            (Some((at, _)), _) | (None, Some(at)) => since(at),
            (None, None) => !self.is_tried && since(self.at),
        }
    }
}

impl Invites {
    /// Notes what a message says of an INVITE of ours. Final responses are the checker's to note.
    pub fn note(&mut self, crossing: &Crossing) {
        let message = &crossing.message;
        let branch = message.branch();
        match (crossing.way, message.is_request(), message.method()) {
            (Way::Out, true, "INVITE") => {
                self.all.entry(branch.to_owned()).or_insert_with(|| Invite {
                    request: message.clone(),
                    at: crossing.at,
                    is_tried: false,
                    cancelled: None,
                    ended: None,
                    acknowledged: BTreeSet::new(),
                    answered: BTreeMap::new(),
                });
            }
            (Way::Out, true, "CANCEL") => {
                if let Some(invite) = self.all.get_mut(branch) {
                    invite.cancelled.get_or_insert(crossing.at);
                }
            }
            (Way::In, false, "INVITE") if message.status() < 200 => {
                let waiting = self.all.get_mut(branch).filter(|invite| !invite.is_forgotten(crossing.at));
                if let Some(invite) = waiting {
                    invite.is_tried = true;
                }
            }
            (_, _, _) => (),
        }
    }

    pub fn get(&self, branch: &str) -> Option<&Invite> {
        self.all.get(branch)
    }

    pub fn get_mut(&mut self, branch: &str) -> Option<&mut Invite> {
        self.all.get_mut(branch)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&String, &mut Invite)> {
        self.all.iter_mut()
    }

    pub fn values(&self) -> impl Iterator<Item = &Invite> {
        self.all.values()
    }
}
