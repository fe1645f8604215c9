//! What crossed the server's edge, and how that is drawn: one column an end, one line a message.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::message::Message;
use super::wire::Way;
use crate::time::Instant;

/// One message at the server's edge: as it came in, or as it was sent, whatever the wire does to it then.
#[derive(Clone, Debug)]
pub struct Crossing {
    pub at: Instant,
    pub way: Way,
    pub peer: SocketAddr,
    pub message: Message,
}

impl Crossing {
    pub fn label(&self) -> String {
        label(&self.message)
    }

    /// The first leg's Call-ID: the message's own or, on a leg of ours, what its INVITE's X-CID said.
    pub fn is_of(&self, call_ids: &[String]) -> bool {
        call_ids.iter().any(|call_id| call_id == self.message.call_id())
    }
}

/// How a message is named in ladders: `INVITE`, `180`, `200 (BYE)`.
pub fn label(message: &Message) -> String {
    match (message.is_request(), message.method()) {
        (true, method) => method.to_owned(),
        (false, "INVITE") => message.status().to_string(),
        (false, method) => format!("{} ({method})", message.status()),
    }
}

/// All crossings of a world, in order.
#[derive(Debug, Default)]
pub struct Trace {
    pub crossings: Vec<Crossing>,
}

impl Trace {
    /// The Call-IDs of a call: the caller's, and those of every leg that names it in X-CID.
    pub fn family(&self, call_id: &str) -> Vec<String> {
        let named = |message: &Message| message.get("X-CID").map(str::to_owned);
        let first = self
            .crossings
            .iter()
            .find(|crossing| crossing.message.call_id() == call_id && named(&crossing.message).is_some())
            .and_then(|crossing| named(&crossing.message))
            .unwrap_or_else(|| call_id.to_owned());
        let mut family = vec![first.clone()];
        for crossing in &self.crossings {
            let own = crossing.message.call_id();
            if crossing.message.get("X-CID") == Some(&first) && !family.iter().any(|known| known == own) {
                family.push(own.to_owned());
            }
        }
        family
    }

    /// The picture of one call. `name` gives an address its column's head; the ends stand in the order in
    /// which they first appear, the first one to the left of the server. `exact` adds times.
    pub fn ladder(&self, call_ids: &[String], name: &dyn Fn(IpAddr) -> String, exact: bool) -> String {
        let of_call: Vec<&Crossing> =
            self.crossings.iter().filter(|crossing| crossing.is_of(call_ids)).collect();
        let mut columns: Vec<IpAddr> = Vec::new();
        for crossing in &of_call {
            if !columns.contains(&crossing.peer.ip()) {
                columns.push(crossing.peer.ip());
            }
        }
        let mut picture = String::new();
        let heads: Vec<String> = columns.iter().map(|ip| name(*ip)).collect();
        if exact {
            picture.push_str("            ");
        }
        if let Some((first, others)) = heads.split_first() {
            let _ = write!(picture, "{first:<WIDTH$}{:<WIDTH$}", "us");
            for head in others {
                let _ = write!(picture, "{head:<WIDTH$}");
            }
        }
        let mut lines = vec![picture.trim_end().to_owned()];
        for crossing in of_call {
            let column = columns.iter().position(|ip| *ip == crossing.peer.ip()).unwrap_or(0);
            let mut line = String::new();
            if exact {
                let _ = write!(line, "{:>10.3}  ", crossing.at.as_micros() as f64 / 1e6);
            }
            line += &rung(crossing, column, columns.len());
            lines.push(line.trim_end().to_owned());
        }
        lines.join("\n")
    }
}

/// A column's width.
const WIDTH: usize = 16;

/// One line of the picture.
fn rung(crossing: &Crossing, column: usize, columns: usize) -> String {
    // Places of the vertical lines: the caller, us, then the others.
    let place = |column: usize| if column == 0 { 2 } else { 2 + WIDTH * (column + 1) };
    let us = 2 + WIDTH;
    let end = place(column);
    let (left, right) = (us.min(end), us.max(end));
    let to_the_right = (crossing.way == Way::Out) == (end > us);
    let mut cells: Vec<char> = vec![' '; place(columns.saturating_sub(1)).max(us) + 1];
    for column in 0..columns {
        cells[place(column)] = '│';
    }
    cells[us] = '│';
    for cell in &mut cells[left + 1..right] {
        *cell = '─';
    }
    match to_the_right {
        true => {
            cells[left] = '├';
            cells[right - 1] = '▶';
        }
        false => {
            cells[right] = '┤';
            cells[left + 1] = '◀';
        }
    }
    let label: Vec<char> = format!(" {} ", crossing.label()).chars().collect();
    // Between the server and the nearest column of that side, so that no label hides another line.
    let (from, room) = match column {
        0 => (left, right - left),
        _ => (right - WIDTH, WIDTH),
    };
    let start = from + room.saturating_sub(label.len()).div_ceil(2);
    for (offset, letter) in label.into_iter().enumerate() {
        if let Some(cell) = cells.get_mut(start + offset) {
            *cell = letter;
        }
    }
    let mut line: String = cells.into_iter().collect();
    if let Some(reason) = crossing.message.get("Reason").filter(|_| crossing.way == Way::Out) {
        let _ = write!(line, "  {reason}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ladder_has_a_column_for_each_end() {
        let message = |start: &str, cseq: &str| Message {
            start: start.to_owned(),
            fields: vec![("Call-ID".to_owned(), "c".to_owned()), ("CSeq".to_owned(), cseq.to_owned())],
            body: Vec::new(),
        };
        let crossing = |way, last: u8, message| Crossing {
            at: Instant::ZERO,
            way,
            peer: SocketAddr::from(([127, 0, 0, last], 5060)),
            message,
        };
        let trace = Trace {
            crossings: vec![
                crossing(Way::In, 1, message("INVITE sip:a@b SIP/2.0", "1 INVITE")),
                crossing(Way::Out, 2, message("INVITE sip:a@b SIP/2.0", "1 INVITE")),
                crossing(Way::Out, 3, message("INVITE sip:a@b SIP/2.0", "1 INVITE")),
                crossing(Way::In, 3, message("SIP/2.0 200 OK", "1 INVITE")),
                crossing(Way::Out, 1, message("SIP/2.0 200 OK", "1 INVITE")),
            ],
        };
        let name = |ip: IpAddr| format!("host{}", ip.to_string().chars().last().unwrap_or('?'));
        insta::assert_snapshot!(trace.ladder(&["c".to_owned()], &name, false), @"
        host1           us              host2           host3
          ├─── INVITE ───▶│               │               │
          │               ├─── INVITE ───▶│               │
          │               ├─────────────────── INVITE ───▶│
          │               │◀──────────────────── 200 ─────┤
          │◀──── 200 ─────┤               │               │
        ");
    }
}
