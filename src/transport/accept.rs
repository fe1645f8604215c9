//! Connections that others open to us.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use super::guests::NoRoom;
use super::streams::Streams;
use super::tcp::tune_theirs;
use crate::sip::peer::{ListenerId, Transport};

/// The pause after the kernel refused to accept (no file descriptor left): trying at once would spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections for ever. `refused` hears of each for which there was no room.
pub async fn accept(
    listener: TcpListener,
    (transport, id): (Transport, ListenerId),
    streams: Streams,
    mut refused: impl FnMut(SocketAddr, NoRoom),
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                if tune_theirs(&stream).is_ok()
                    && let Err(no_room) = streams.adopt(transport, id, from, stream)
                {
                    refused(from, no_room);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "accepting a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
