//! The floor: a process that moves a call's datagrams without looking at them.
//!
//! What comes from the caller's port goes to the far end, all else to the caller. It waits in `poll`, then
//! takes batches until its socket is empty: what any server on this kernel has to do at least.

use std::io;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::SockaddrIn;

use crate::batch::{BATCH, Inbox, Sender, local, socket};

/// Runs until it is ended.
pub fn run(port: u16, caller: u16, far: u16) -> io::Result<()> {
    let socket = socket(port)?;
    let (caller, far) = (SockaddrIn::from(local(caller)), SockaddrIn::from(local(far)));
    let (mut inbox, mut sender) = (Inbox::new(), Sender::new());
    let mut datagrams: Vec<(&[u8], SockaddrIn)>;
    loop {
        poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
        while inbox.receive(&socket)? > 0 {
            datagrams = Vec::with_capacity(BATCH);
            datagrams.extend(
                inbox.messages().map(|(bytes, from)| (bytes, if from == caller { far } else { caller })),
            );
            sender.send(&socket, &datagrams)?;
            if datagrams.len() < BATCH {
                break;
            }
        }
    }
}
