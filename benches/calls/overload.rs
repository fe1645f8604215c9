//! More calls than the machine can carry: what is too much is refused, memory stays bounded, and right after it
//! everything is as before.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::Args;

use crate::load::{Load, Offer, Outcome, Ports};
use crate::process::free_ports;
use crate::search::THRESHOLD;
use crate::server::{Kind, Server};
use crate::usage;

/// How long the server has to be itself again.
const RECOVERY: Duration = Duration::from_secs(5);

/// Calls per second that must all go through, before and after.
const ORDINARY: u32 = 200;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Offers too much and looks at what comes of it.
#[derive(Args)]
pub struct Overload {
    /// Calls per second
    #[arg(long, default_value_t = 20_000)]
    rate: u32,
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// MiB that the server may take
    #[arg(long, default_value_t = 1_024)]
    memory: u64,
}

impl Overload {
    pub fn run(&self) -> Result<(), String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let [server, caller, far] = free_ports(host)?;
        let ports = Ports { server, caller, far };
        let server = Server::start(Kind::Strowger, ports, folder.path())?;
        let before = offer(ports, ORDINARY, 3)?;
        crate::note(&format!("before: {} of {} calls failed", before.failed(), ORDINARY * 3));
        let (told, over) = mpsc::channel();
        let watch = thread::spawn({
            let id = server.id();
            move || highest_memory(id, &over)
        });
        let outcome = offer(ports, self.rate, self.seconds)?;
        told.send(()).ok();
        let highest = watch.join().map_err(|_| "nobody watched the memory".to_owned())? / 1_024;
        thread::sleep(RECOVERY);
        let after = offer(ports, ORDINARY, 5)?;
        crate::note(&format!(
            "{} calls offered in {} s: {} completed, {} refused, {} without an answer in {THRESHOLD:?}; at most {highest} MiB; \
             then of {} calls at {ORDINARY}/s {} were late, {} refused, {} stuck",
            self.rate * self.seconds,
            self.seconds,
            outcome.completed,
            outcome.refused,
            outcome.late,
            ORDINARY * 5,
            after.late,
            after.refused,
            after.stuck
        ));
        let wrong = [
            (before.failed() > 0, "calls failed before it"),
            (outcome.refused == 0, "nothing was refused: more --rate is wanted"),
            (highest > self.memory, "it took too much memory"),
            (after.failed() > 0, "it is not itself again"),
        ];
        wrong.iter().find(|(is, _)| *is).map_or(Ok(()), |(_, words)| Err((*words).to_owned()))
    }
}

fn offer(ports: Ports, rate: u32, seconds: u32) -> Result<Outcome, String> {
    let offer = Offer { rate, calls: rate * seconds, hold: Duration::ZERO, patience: THRESHOLD };
    Load::new(ports).and_then(|load| load.offer(offer)).map_err(|e| e.to_string())
}

/// KiB, until it is over; every tenth look is told.
fn highest_memory(id: u32, over: &mpsc::Receiver<()>) -> u64 {
    let mut highest = 0;
    let mut looks = 0;
    while over.recv_timeout(LOOK).is_err_and(|e| e == mpsc::RecvTimeoutError::Timeout) {
        let memory = usage::memory(id).unwrap_or(0);
        highest = highest.max(memory);
        looks += 1;
        if looks % 10 == 0 {
            crate::note(&format!("  {} MiB", memory / 1_024));
        }
    }
    highest
}
