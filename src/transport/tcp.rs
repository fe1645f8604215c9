//! TCP: opening sockets that listen and connections. What a connection then does is in `streams`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Unacknowledged data ends a connection that we opened after 64·T1, when no transaction waits for it any more, and the
/// next message opens another; the kernel's own patience is a quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_secs(32);

/// Nobody but its far end can open one of those anew that were opened to us. So an outage of a minute and more costs no
/// phone its registration and no call its connection; the kernel asks a far end that has been silent for this long
/// whether it is there, …
const SILENT: Duration = Duration::from_secs(60);
/// … asks again after this, …
const AGAIN: Duration = Duration::from_secs(20);
/// … and ends the connection when nothing has come for so long, as it does with unacknowledged data: when four have had
/// no answer.
const GONE: Duration = Duration::from_secs(60 + 4 * 20);

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

/// A message goes out at once, and a far end that vanished is noticed. Of a connection that we opened.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED))
}

/// The same of a connection that was opened to us, though nobody sends anything.
pub(super) fn tune_theirs(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENT).with_interval(AGAIN))?;
    // To Linux this is the patience of keep-alives as well, in the place of a number of them.
    socket.set_tcp_user_timeout(Some(GONE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_far_end_that_is_silent_is_asked_whether_it_is_there_as_long_as_an_outage_may_last() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let ours = connect(listener.local_addr().unwrap(), None).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        tune_theirs(&theirs).unwrap();
        let (ours, theirs) = (SockRef::from(&ours), SockRef::from(&theirs));
        assert!(theirs.keepalive().unwrap() && !ours.keepalive().unwrap());
        let asked = (theirs.tcp_keepalive_time().unwrap(), theirs.tcp_keepalive_interval().unwrap());
        let patience = theirs.tcp_user_timeout().unwrap().unwrap();
        assert_eq!(asked, (SILENT, AGAIN));
        assert_eq!(patience, SILENT + 4 * AGAIN, "what Linux goes by, whatever their number");
        assert_eq!(ours.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED));
    }
}
