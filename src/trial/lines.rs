//! The sockets of a trial: what carrier and phones hear, and the way back.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::codec::FramedRead;

use crate::sip::peer::Transport;
use crate::transport::frame::{Frame, Framer};

/// Messages that wait for the trial; whoever sends more waits, or is not heard.
const WAITING: usize = 256;
/// Connections that the phones take in all.
const STREAMS: usize = 64;
/// The longest datagram.
const DATAGRAM: usize = 65_535;

/// A message that came.
pub(super) struct Heard {
    pub transport: Transport,
    /// Which of our addresses it came to.
    pub at: SocketAddr,
    pub source: SocketAddr,
    pub bytes: Bytes,
    /// The way back.
    pub route: Route,
}

/// A way to the node.
#[derive(Clone)]
pub(super) enum Route {
    Datagrams { socket: Arc<UdpSocket>, to: SocketAddr },
    Stream(mpsc::Sender<Bytes>),
}

impl Route {
    /// Sends, or does not: a message that is lost is sent again, or missed by whoever waits for it.
    pub async fn send(&self, bytes: Bytes) {
        match self {
            Route::Datagrams { socket, to } => drop(socket.send_to(&bytes, to).await),
            Route::Stream(out) => drop(out.send(bytes).await),
        }
    }
}

/// All sockets. They are closed when it is dropped.
pub(super) struct Lines {
    hear: mpsc::Sender<Heard>,
    heard: mpsc::Receiver<Heard>,
    datagrams: Vec<(SocketAddr, Arc<UdpSocket>)>,
    streams: Arc<tokio::sync::Semaphore>,
    tasks: JoinSet<()>,
}

impl Lines {
    pub fn new() -> Lines {
        let (hear, heard) = mpsc::channel(WAITING);
        let streams = Arc::new(tokio::sync::Semaphore::new(STREAMS));
        Lines { hear, heard, datagrams: Vec::new(), streams, tasks: JoinSet::new() }
    }

    /// The next message. Never None: we hold a sender ourselves.
    pub async fn heard(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }

    /// Opens an address, or finds it open already. Where it is bound, with its real port.
    pub async fn open(&mut self, transport: Transport, addr: SocketAddr) -> io::Result<SocketAddr> {
        match transport {
            Transport::Udp => self.open_datagrams(addr).await?.local_addr(),
            Transport::Tcp => {
                let listener = TcpListener::bind(addr).await?;
                let at = listener.local_addr()?;
                self.tasks.spawn(accept(listener, at, self.hear.clone(), Arc::clone(&self.streams)));
                Ok(at)
            }
            Transport::Tls | Transport::Ws | Transport::Wss => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "a trial speaks UDP and TCP"))
            }
        }
    }

    async fn open_datagrams(&mut self, addr: SocketAddr) -> io::Result<Arc<UdpSocket>> {
        if let Some((_, open)) = self.datagrams.iter().find(|(at, _)| *at == addr) {
            return Ok(Arc::clone(open));
        }
        let socket = Arc::new(UdpSocket::bind(addr).await?);
        let at = socket.local_addr()?;
        self.datagrams.push((at, Arc::clone(&socket)));
        self.tasks.spawn(listen(Arc::clone(&socket), at, self.hear.clone()));
        Ok(socket)
    }

    /// A way from `source` to the node, and the address that it begins at.
    pub async fn reach(
        &mut self,
        transport: Transport,
        source: SocketAddr,
        node: SocketAddr,
    ) -> io::Result<(Route, SocketAddr)> {
        if transport == Transport::Udp {
            let socket = self.open_datagrams(source).await?;
            let at = socket.local_addr()?;
            return Ok((Route::Datagrams { socket, to: node }, at));
        }
        let socket = if node.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(source)?;
        let stream = socket.connect(node).await?;
        let at = stream.local_addr()?;
        let (out, rest) = mpsc::channel(WAITING);
        self.tasks.spawn(converse(stream, at, node, (out.clone(), rest), self.hear.clone()));
        Ok((Route::Stream(out), at))
    }
}

async fn listen(socket: Arc<UdpSocket>, at: SocketAddr, hear: mpsc::Sender<Heard>) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        // An error is an earlier datagram's that nobody took.
        let Ok((length, source)) = socket.recv_from(&mut buffer).await else { continue };
        let bytes = Bytes::copy_from_slice(&buffer[..length]);
        let route = Route::Datagrams { socket: Arc::clone(&socket), to: source };
        if hear.send(Heard { transport: Transport::Udp, at, source, bytes, route }).await.is_err() {
            return;
        }
    }
}

async fn accept(
    listener: TcpListener,
    at: SocketAddr,
    hear: mpsc::Sender<Heard>,
    streams: Arc<tokio::sync::Semaphore>,
) {
    let mut open = JoinSet::new();
    loop {
        let Ok(room) = Arc::clone(&streams).acquire_owned().await else { return };
        let Ok((stream, source)) = listener.accept().await else { continue };
        let hear = hear.clone();
        open.spawn(async move {
            converse(stream, at, source, mpsc::channel(WAITING), hear).await;
            drop(room);
        });
        while open.try_join_next().is_some() {}
    }
}

/// Both directions of a connection, until either ends.
async fn converse(
    stream: TcpStream,
    at: SocketAddr,
    source: SocketAddr,
    (out, mut to_send): (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>),
    hear: mpsc::Sender<Heard>,
) {
    let (read, mut write) = stream.into_split();
    let mut frames = FramedRead::new(read, Framer::default());
    loop {
        tokio::select! {
            frame = frames.next() => match frame {
                Some(Ok(Frame::Message(bytes))) => {
                    let route = Route::Stream(out.clone());
                    let heard = Heard { transport: Transport::Tcp, at, source, bytes, route };
                    if hear.send(heard).await.is_err() {
                        return;
                    }
                }
                Some(Ok(Frame::Ping)) => drop(out.try_send(Bytes::from_static(b"\r\n"))),
                Some(Ok(Frame::Pong)) => {}
                Some(Err(_)) | None => return,
            },
            bytes = to_send.recv() => match bytes {
                Some(bytes) if write.write_all(&bytes).await.is_ok() => {}
                Some(_) | None => return,
            },
        }
    }
}
