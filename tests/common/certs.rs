//! Certificates that are made up here, and far ends that speak TLS by them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};
use strowger::transport::tls::Identity;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who signs certificates.
pub struct Ca {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub struct Issued {
    pub cert: String,
    pub key: String,
}

impl Ca {
    pub fn new(name: &str) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Ca { pem, issuer: Issuer::new(params, key) }
    }

    /// For those names and addresses.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_until(names, 2999)
    }

    /// The same, valid until the first day of a year.
    pub fn issue_until(&self, names: &[&str], year: i32) -> Issued {
        self.issue_between(names, date_time_ymd(2020, 1, 1).into(), date_time_ymd(year, 1, 1).into())
    }

    /// The same, valid between two times.
    pub fn issue_between(&self, names: &[&str], from: SystemTime, until: SystemTime) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = from.into();
        params.not_after = until.into();
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Issued { cert: cert.pem(), key: key.serialize_pem() }
    }

    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        Arc::new(roots)
    }
}

impl Issued {
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.cert.as_bytes()).map(Result::unwrap).collect()
    }

    pub fn secret(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }

    /// As a listener of ours shows it.
    pub fn identity(&self, clients: Option<&Ca>) -> Identity {
        let key = CertifiedKey::from_der(self.chain(), self.secret(), &default_provider()).unwrap();
        Identity { key: Arc::new(key), clients: clients.map(Ca::roots) }
    }

    /// A gateway that shows it.
    pub fn server(&self) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        Arc::new(builder.with_single_cert(self.chain(), self.secret()).unwrap())
    }

    /// Writes it as `edge.pem` and `edge.key`.
    pub fn write(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("edge.pem"), &self.cert).unwrap();
        std::fs::write(folder.join("edge.key"), &self.key).unwrap();
    }
}

/// A phone that trusts `ca`, and shows a certificate where it has one.
pub fn phone(
    ca: &Ca,
    shows: Option<&Issued>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(ca.roots());
    Arc::new(match shows {
        Some(issued) => builder.with_client_auth_cert(issued.chain(), issued.secret()).unwrap(),
        None => builder.with_no_client_auth(),
    })
}

pub type Client = StreamOwned<ClientConnection, TcpStream>;
pub type Server = StreamOwned<ServerConnection, TcpStream>;

/// Connects, and is through with the handshake.
pub fn dial(addr: SocketAddr, phone: &Arc<ClientConfig>) -> io::Result<Client> {
    let mut tcp = TcpStream::connect(addr)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::from(addr.ip());
    let mut tls = ClientConnection::new(Arc::clone(phone), name).map_err(io::Error::other)?;
    tls.complete_io(&mut tcp)?;
    Ok(StreamOwned::new(tls, tcp))
}

/// The next connection to a gateway, through with the handshake.
pub fn accept(gateway: &TcpListener, config: &Arc<ServerConfig>) -> io::Result<Server> {
    gateway.set_nonblocking(true)?;
    let until = Instant::now() + PATIENCE;
    let mut tcp = loop {
        match gateway.accept() {
            Ok((tcp, _)) => break tcp,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                std::thread::park_timeout(Duration::from_millis(2));
            }
            Err(error) => return Err(error),
        }
    };
    tcp.set_nonblocking(false)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let mut tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    Ok(StreamOwned::new(tls, tcp))
}

/// Exactly so many bytes.
pub fn read(stream: &mut (impl Read + Write), length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}
