//! Connections of `[admin]`: a bounded number, none for ever.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections at the same time; what comes beyond waits in the kernel's queue.
pub const CONNECTIONS: usize = 64;
/// How long a request may take to arrive and be answered, from its first byte to the answer's first.
const REQUEST: Duration = Duration::from_secs(20);
/// How long a connection may be idle between requests.
const IDLE: Duration = Duration::from_secs(60);
/// How long to wait when the process has no file descriptor left.
const RETRY: Duration = Duration::from_millis(100);

pub(super) struct Listener {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

impl Listener {
    pub fn new(listener: TcpListener) -> Listener {
        Listener { listener, room: Arc::new(Semaphore::new(CONNECTIONS)) }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let Ok(permit) = self.room.clone().acquire_owned().await else {
                // Nobody closes the semaphore.
                std::future::pending::<()>().await;
                continue;
            };
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    // Answers are small and complete; a delay only costs time.
                    stream.set_nodelay(true).ok();
                    return (Connection::new(stream, permit), from);
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection to [admin] could not be accepted");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when a request dawdles. One byte now and then does not extend it.
pub(super) struct Connection {
    stream: TcpStream,
    phase: Phase,
    deadline: Pin<Box<Sleep>>,
    patience: Patience,
    _permit: OwnedSemaphorePermit,
}

/// Whether a request has come whole and its answer takes as long as it takes.
#[derive(Clone, Default)]
pub(super) struct Patience(Arc<AtomicBool>);

impl Patience {
    /// From now on until what comes back is dropped.
    pub fn begin(&self) -> Patient {
        self.0.store(true, Ordering::Relaxed);
        Patient(self.clone())
    }
}

/// As long as it lives its connection waits for the answer.
pub(super) struct Patient(Patience);

impl Drop for Patient {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, Listener>> for Patience {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Patience {
        stream.io().patience.clone()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing of the next request has come.
    Idle,
    /// A request comes or is being answered.
    Request,
}

impl Connection {
    fn new(stream: TcpStream, permit: OwnedSemaphorePermit) -> Connection {
        let deadline = Box::pin(tokio::time::sleep(REQUEST));
        let patience = Patience::default();
        Connection { stream, phase: Phase::Request, deadline, patience, _permit: permit }
    }

    /// Whether its time is over.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        while self.deadline.as_mut().poll(cx).is_ready() {
            if !self.patience.0.load(Ordering::Relaxed) {
                return true;
            }
            self.enter(self.phase, REQUEST);
        }
        false
    }

    fn enter(&mut self, phase: Phase, limit: Duration) {
        self.phase = phase;
        self.deadline.as_mut().reset(Instant::now() + limit);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_ready() && buf.filled().len() > before && self.phase == Phase::Idle {
            self.enter(Phase::Request, REQUEST);
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        match polled {
            Poll::Ready(_) => self.enter(Phase::Idle, IDLE),
            // The far end reads nothing: the deadline holds for that too.
            Poll::Pending if self.is_over(cx) => {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            Poll::Pending => {}
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        if polled.is_ready() {
            self.enter(Phase::Idle, IDLE);
        } else if self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_whose_time_is_over_ends_unless_its_answer_is_being_made() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
            let mut connection = Connection::new(stream, permit);
            let is_over = |connection: &mut Connection| {
                let mut buffer = [0; 1];
                let mut context = Context::from_waker(std::task::Waker::noop());
                let read = Pin::new(&mut *connection).poll_read(&mut context, &mut ReadBuf::new(&mut buffer));
                matches!(read, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut)
            };
            let patience = connection.patience.clone();
            let patient = patience.begin();
            connection.enter(Phase::Request, Duration::ZERO);
            connection.deadline.as_mut().await;
            assert!(!is_over(&mut connection) && !is_over(&mut connection));
            drop(patient);
            connection.enter(Phase::Request, Duration::ZERO);
            connection.deadline.as_mut().await;
            assert!(is_over(&mut connection));
        });
    }
}
