//! The bytes of one open connection, as they are or by TLS: what the kernel takes at once is written, what it has is
//! read, and nobody waits here.

use std::cell::RefCell;
use std::io::{self, BufRead as _, IoSlice, Read, Write};

use bytes::{Buf, BytesMut};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::tls;

/// Room for one read; a longer message grows the buffer as it comes.
const READ: usize = 4096;

/// Encrypted bytes that the kernel has not taken yet; four records of the longest (RFC 8446 §5.1). More is encrypted
/// when these are gone.
const ENCRYPTED: usize = 64 << 10;

/// One open connection.
pub(super) enum Pipe {
    Plain(TcpStream),
    Tls(Box<Session>),
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    All,
    /// The kernel takes no more.
    Some,
    /// The far end is gone.
    Broken,
}

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Took {
    /// There was nothing, or nothing for us.
    Nothing,
    Bytes,
    /// The far end has closed. What came before it is in the buffer.
    Close,
}

impl Pipe {
    pub fn socket(&self) -> &TcpStream {
        match self {
            Pipe::Plain(stream) => stream,
            Pipe::Tls(session) => &session.stream,
        }
    }

    /// Writes as much as the kernel takes: all of it in one call, and with TLS in one record for each 16 KB.
    pub fn write(&self, pending: &mut BytesMut) -> Wrote {
        match self {
            Pipe::Plain(stream) => write_plain(stream, pending),
            Pipe::Tls(session) => session.write(pending),
        }
    }

    /// Takes what one read brings.
    pub fn read(&self, buffer: &mut BytesMut) -> io::Result<Took> {
        match self {
            Pipe::Plain(stream) => read_plain(stream, buffer),
            Pipe::Tls(session) => session.read(buffer),
        }
    }

    /// Whether TLS has something of its own to say.
    pub fn has_word(&self) -> bool {
        match self {
            Pipe::Plain(_) => false,
            Pipe::Tls(session) => session.tls.borrow().wants_write(),
        }
    }

    /// Says that nothing comes any more, as far as that can be said at once.
    pub fn close(&self) {
        if let Pipe::Tls(session) = self {
            session.tls.borrow_mut().send_close_notify();
            let _said = session.write(&mut BytesMut::new());
        }
    }
}

fn write_plain(stream: &TcpStream, pending: &mut BytesMut) -> Wrote {
    loop {
        if pending.is_empty() {
            *pending = BytesMut::new();
            return Wrote::All;
        }
        match stream.try_write(pending) {
            Ok(0) => return Wrote::Broken,
            Ok(written) => pending.advance(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Wrote::Some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Wrote::Broken,
        }
    }
}

fn read_plain(stream: &TcpStream, buffer: &mut BytesMut) -> io::Result<Took> {
    buffer.reserve(READ);
    let room = buffer.capacity() - buffer.len();
    match stream.try_read_buf(buffer) {
        Ok(0) => Ok(Took::Close),
        Ok(read) => {
            if read < room {
                is_read_empty(stream);
            }
            Ok(Took::Bytes)
        }
        Err(error) if is_for_later(&error) => Ok(Took::Nothing),
        Err(error) => Err(error),
    }
}

/// All that there was: the driver is told so without another read.
fn is_read_empty(stream: &TcpStream) {
    let _empty =
        stream.try_io(Interest::READABLE, || -> io::Result<()> { Err(io::ErrorKind::WouldBlock.into()) });
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A connection by TLS.
pub(super) struct Session {
    stream: TcpStream,
    tls: RefCell<rustls::Connection>,
}

/// What a handshake waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Over,
    Write,
    Read,
}

impl Session {
    pub fn new(stream: TcpStream, mut tls: rustls::Connection) -> Session {
        tls.set_buffer_limit(Some(ENCRYPTED));
        Session { stream, tls: RefCell::new(tls) }
    }

    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends what is to be sent of the handshake.
    pub fn shake(&self) -> io::Result<Step> {
        match self.write(&mut BytesMut::new()) {
            Wrote::Some => Ok(Step::Write),
            Wrote::Broken => Err(io::ErrorKind::BrokenPipe.into()),
            Wrote::All if self.tls.borrow().is_handshaking() => Ok(Step::Read),
            Wrote::All => Ok(Step::Over),
        }
    }

    /// Receives what there is of the handshake. False: nothing.
    pub fn hear(&self) -> io::Result<bool> {
        let mut tls = self.tls.borrow_mut();
        match tls.read_tls(&mut Cipher(&self.stream)) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(true),
            Err(error) if is_for_later(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Works on what was received: here is the CPU that a handshake costs.
    pub fn work(&self) -> io::Result<()> {
        let worked = self.tls.borrow_mut().process_new_packets();
        worked.map(drop).map_err(|error| self.told(&error))
    }

    fn write(&self, pending: &mut BytesMut) -> Wrote {
        let mut tls = self.tls.borrow_mut();
        loop {
            while tls.wants_write() {
                match tls.write_tls(&mut Cipher(&self.stream)) {
                    Ok(0) => return Wrote::Broken,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Wrote::Some,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return Wrote::Broken,
                }
            }
            if pending.is_empty() {
                *pending = BytesMut::new();
                return Wrote::All;
            }
            match tls.writer().write(pending) {
                Ok(0) | Err(_) => return Wrote::Broken,
                Ok(taken) => pending.advance(taken),
            }
        }
    }

    fn read(&self, buffer: &mut BytesMut) -> io::Result<Took> {
        // What came with the end of the handshake is here already.
        let took = self.decrypted(buffer)?;
        if took != Took::Nothing {
            return Ok(took);
        }
        let received = self.tls.borrow_mut().read_tls(&mut Cipher(&self.stream));
        match received {
            Ok(0) => Ok(Took::Close),
            Ok(_) => self.decrypted(buffer),
            Err(error) if is_for_later(&error) => Ok(Took::Nothing),
            Err(error) => Err(error),
        }
    }

    fn decrypted(&self, buffer: &mut BytesMut) -> io::Result<Took> {
        let worked = self.tls.borrow_mut().process_new_packets();
        let state = worked.map_err(|error| self.told(&error))?;
        let before = buffer.len();
        let mut tls = self.tls.borrow_mut();
        let mut reader = tls.reader();
        while buffer.len() - before < state.plaintext_bytes_to_read() {
            let chunk = reader.fill_buf()?;
            let length = chunk.len();
            if length == 0 {
                break;
            }
            buffer.extend_from_slice(chunk);
            reader.consume(length);
        }
        Ok(match (state.peer_has_closed(), buffer.len() > before) {
            (true, _) => Took::Close,
            (false, true) => Took::Bytes,
            (false, false) => Took::Nothing,
        })
    }

    /// The far end is told too, as far as it listens.
    fn told(&self, error: &rustls::Error) -> io::Error {
        let _told = self.write(&mut BytesMut::new());
        io::Error::other(tls::reason(error))
    }
}

/// The socket below TLS.
struct Cipher<'s>(&'s TcpStream);

impl Read for Cipher<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.0.try_read(into)?;
        if read > 0 && read < into.len() {
            is_read_empty(self.0);
        }
        Ok(read)
    }
}

impl Write for Cipher<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
