//! TCP: listening, accepting and opening connections. What a connection then does is in `streams`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::guests::NoRoom;
use super::streams::Streams;
use crate::sip::peer::{ListenerId, Transport};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// The pause after the kernel refused to accept (no file descriptor left): trying at once would spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Unacknowledged data ends the connection after 64·T1, when no transaction waits for it any more; the kernel's
/// own patience is a quarter of an hour.
const UNACKNOWLEDGED: Duration = super::streams::UNANSWERED;

/// Opens a listening socket. `shared`: several shards listen on the same address (`SO_REUSEPORT`).
pub fn bind(addr: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts connections for ever. `refused` hears of each for which there was no room.
pub async fn accept(
    listener: TcpListener,
    id: ListenerId,
    streams: Streams,
    mut refused: impl FnMut(SocketAddr, NoRoom),
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                if tune(&stream).is_ok()
                    && let Err(no_room) = streams.adopt(Transport::Tcp, id, from, stream)
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

/// Opens a connection, from the address of `source` if given (its port is the kernel's choice).
pub(super) async fn connect(to: SocketAddr, source: Option<SocketAddr>) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) =
        source.filter(|source| source.is_ipv4() == to.is_ipv4() && !source.ip().is_unspecified())
    {
        socket.bind(SocketAddr::new(source.ip(), 0))?;
    }
    let stream = socket.connect(to).await?;
    tune(&stream)?;
    Ok(stream)
}

/// A message goes out at once, and a far end that vanished is noticed.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED))
}
