//! What we answer is legal: to a request that came, with its Vias, its From and its tags, one final response
//! and nothing provisional after it (RFC 3261 §8.2.6, §12.1.1, §17.2, RFC 3262).

use std::collections::BTreeMap;

use super::invites::LIFE;
use super::{Check, Verdict, breach};
use crate::sim::message::Message;
use crate::sim::trace::Crossing;
use crate::sim::wire::Way;
use crate::time::Instant;

#[derive(Default)]
pub struct AnswersLegal {
    /// Requests that came, by branch and method.
    asked: BTreeMap<(String, String), Asked>,
}

struct Asked {
    request: Message,
    last: Option<u16>,
    /// When the first final response left. What repeats the request 64·T1 later is another transaction.
    ended: Option<Instant>,
    /// The To tag of the final response.
    tag: Option<String>,
    /// RSeq of the last reliable response.
    rseq: u32,
}

impl Check for AnswersLegal {
    fn name(&self) -> &'static str {
        "answers_legal"
    }

    fn saw(&mut self, crossing: &Crossing) -> Verdict {
        let message = &crossing.message;
        let key = (message.branch().to_owned(), message.method().to_owned());
        match (crossing.way, message.is_request()) {
            (Way::In, true) => {
                let is_over = |asked: &Asked| asked.ended.is_some_and(|at| crossing.at.since(at) > LIFE);
                if self.asked.get(&key).is_none_or(is_over) {
                    let request = message.clone();
                    self.asked.insert(key, Asked { request, last: None, ended: None, tag: None, rseq: 0 });
                }
                Ok(())
            }
            (Way::Out, false) => match self.asked.get_mut(&key) {
                Some(asked) => {
                    if message.status() >= 200 {
                        asked.ended.get_or_insert(crossing.at);
                    }
                    answers(asked, message)
                }
                None => breach(message.call_id(), format!("{} answers what nobody asked", message.start)),
            },
            (Way::In, false) | (Way::Out, true) => Ok(()),
        }
    }
}

fn answers(asked: &mut Asked, response: &Message) -> Verdict {
    let (request, status) = (&asked.request, response.status());
    let wrong =
        |what: &str| breach(response.call_id(), format!("{} to {}: {what}", response.start, request.start));
    if request.method() == "ACK" {
        return wrong("an ACK is never answered");
    }
    let vias = |message: &Message| -> Vec<String> { message.all("Via").map(bare_via).collect() };
    if vias(request) != vias(response) {
        return wrong("the Vias are not the request's");
    }
    for name in ["From", "Call-ID", "CSeq"] {
        if request.get(name) != response.get(name) {
            return wrong(&format!("{name} is not the request's"));
        }
    }
    match (request.to_tag(), response.to_tag()) {
        (Some(ours), Some(theirs)) if ours != theirs => return wrong("another To tag than the dialog's"),
        (None, None) if status > 100 && request.get("To").is_some() => return wrong("no To tag"),
        (_, _) => (),
    }
    if asked.last.is_some_and(|last| last >= 200 && last != status) {
        return wrong(&format!("after a final {}", asked.last.unwrap_or_default()));
    }
    if asked.last == Some(status) && status >= 200 && asked.tag.as_deref() != response.to_tag() {
        return wrong("a second final response under another To tag");
    }
    let is_dialog_forming = request.method() == "INVITE" && matches!(status, 101..300);
    if is_dialog_forming && response.to_tag().is_some() && response.contact().is_none() {
        return wrong("no Contact");
    }
    if (status == 405 || (request.method() == "OPTIONS" && status == 200)) && response.get("Allow").is_none()
    {
        return wrong("no Allow");
    }
    if status == 420 && response.get("Unsupported").is_none() {
        return wrong("no Unsupported");
    }
    if response.lists("Require", "100rel") {
        let knows = request.lists("Supported", "100rel") || request.lists("Require", "100rel");
        let rseq = response.get("RSeq").and_then(|rseq| rseq.parse::<u32>().ok()).unwrap_or(0);
        if !knows || rseq == 0 || (asked.rseq != 0 && rseq != asked.rseq && rseq != asked.rseq + 1) {
            return wrong(&format!("reliable with RSeq {rseq} after {}", asked.rseq));
        }
        asked.rseq = rseq;
    } else if status > 100 && status < 200 && request.lists("Require", "100rel") {
        return wrong("unreliable, though 100rel is required (RFC 3262 §3)");
    }
    asked.last = Some(status);
    if status >= 200 {
        asked.tag = response.to_tag().map(str::to_owned);
    }
    Ok(())
}

/// A Via without what its receiver adds (RFC 3261 §18.2.1, RFC 3581).
fn bare_via(via: &str) -> String {
    let added = |one: &&str| {
        let name = one.split('=').next().unwrap_or_default().trim();
        !name.eq_ignore_ascii_case("rport") && !name.eq_ignore_ascii_case("received")
    };
    via.split(';').filter(added).collect::<Vec<_>>().join(";")
}
