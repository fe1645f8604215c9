//! TCP: opening sockets that listen and connections. What a connection then does is in `streams`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Unacknowledged data ends the connection after 64·T1, when no transaction waits for it any more; the kernel's
/// own patience is a quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_secs(32);

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
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED))
}
