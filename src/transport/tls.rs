//! TLS 1.2 and 1.3: what each listener shows of itself and asks of others, whom our own connections trust, and why
//! a handshake failed. Certificates are exchanged whole while connections go on: a handshake takes those that hold
//! when it begins.
//!
//! A handshake costs its shard roughly 0.2 ms of CPU with an ECDSA key and 0.6 to 1 ms with RSA 2048, most of it for
//! one signature; one that resumes an earlier session makes none. The shard's loop has its turn after each (`streams`),
//! so that a message waits for one handshake, not for all that have begun. A connection holds some 12 KB.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Error, InvalidMessage, RootCertStore,
    ServerConfig, ServerConnection,
};

use crate::sip::peer::{Insecure, ListenerId, NameId};

/// What a listener shows, and whom it lets in.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Shown to who connects to us, and to gateways that ask for a certificate of ours.
    pub key: Arc<CertifiedKey>,
    /// Whoever connects to us shows a certificate that one of these has signed. `None`: nobody has to.
    pub clients: Option<Arc<RootCertStore>>,
}

/// The name that a [`NameId`] stands for.
pub type Names = Box<dyn Fn(NameId) -> Option<Arc<str>> + Send + Sync>;

/// The TLS side of a node, the same for all its shards.
pub struct Tls {
    /// By listener; `None` for those of other transports.
    sides: ArcSwap<Sides>,
    names: Names,
}

/// What holds for handshakes that begin now.
pub struct Sides(Vec<Option<Side>>);

struct Side {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Sides {
    /// `identities`: by listener. `roots`: whose signatures the certificates of gateways may bear.
    ///
    /// # Errors
    /// When a certificate or its key cannot be used, or the system gives no random bytes.
    pub fn new(identities: &[Option<Identity>], roots: &Arc<RootCertStore>) -> Result<Sides, Error> {
        let provider = Arc::new(default_provider());
        let side = |identity: &Identity| {
            Ok(Side { server: server(&provider, identity)?, client: client(&provider, identity, roots)? })
        };
        identities
            .iter()
            .map(|identity| identity.as_ref().map(side).transpose())
            .collect::<Result<_, _>>()
            .map(Sides)
    }
}

fn server(provider: &Arc<CryptoProvider>, identity: &Identity) -> Result<Arc<ServerConfig>, Error> {
    let versions =
        ServerConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions()?;
    let asked = match &identity.clients {
        Some(roots) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider)).build();
            versions.with_client_cert_verifier(verifier.map_err(|error| Error::General(error.to_string()))?)
        }
        None => versions.with_no_client_auth(),
    };
    let mut config = asked.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&identity.key))));
    // Phones that come back all at once resume their sessions, and none is remembered here.
    config.ticketer = Ticketer::new()?;
    Ok(Arc::new(config))
}

fn client(
    provider: &Arc<CryptoProvider>,
    identity: &Identity,
    roots: &Arc<RootCertStore>,
) -> Result<Arc<ClientConfig>, Error> {
    let config =
        ClientConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions()?;
    let shows = Arc::new(SingleCertAndKey::from(Arc::clone(&identity.key)));
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider)).build();
    Ok(Arc::new(match verifier {
        Ok(verifier) => config.with_webpki_verifier(verifier).with_client_cert_resolver(shows),
        // Nobody is trusted: every handshake says so.
        Err(_) => config.with_root_certificates(RootCertStore::empty()).with_client_cert_resolver(shows),
    }))
}

impl Tls {
    /// `names`: as the table has them whenever it is asked.
    pub fn new(sides: Sides, names: Names) -> Tls {
        Tls { sides: ArcSwap::from_pointee(sides), names }
    }

    /// Handshakes that begin from now on take these.
    pub fn replace(&self, sides: Sides) {
        self.sides.store(Arc::new(sides));
    }

    /// Whether a listener can take connections.
    pub fn serves(&self, listener: usize) -> bool {
        matches!(self.sides.load().0.get(listener), Some(Some(_)))
    }

    /// The beginning of a connection that was opened to us.
    pub(super) fn accept(&self, listener: ListenerId) -> Option<rustls::Connection> {
        let sides = self.sides.load();
        let side = sides.0.get(usize::from(listener.0))?.as_ref()?;
        ServerConnection::new(Arc::clone(&side.server)).ok().map(Into::into)
    }

    /// The beginning of a connection that we open to that address; the far end has to show a certificate of `name`,
    /// else of the address.
    pub(super) fn open(
        &self,
        listener: ListenerId,
        to: IpAddr,
        name: Option<NameId>,
    ) -> Option<rustls::Connection> {
        let name = match name {
            Some(id) => ServerName::try_from(String::from(&*(self.names)(id)?)).ok()?,
            None => ServerName::from(to.to_canonical()),
        };
        let sides = self.sides.load();
        let side = sides.0.get(usize::from(listener.0))?.as_ref()?;
        ClientConnection::new(Arc::clone(&side.client), name).ok().map(Into::into)
    }
}

/// Why a connection is not secure.
pub(super) fn reason(error: &Error) -> Insecure {
    let certificate = |error: &CertificateError| {
        use CertificateError as Bad;
        if matches!(error, Bad::NotValidForName | Bad::NotValidForNameContext { .. }) {
            Insecure::Anothers
        } else if matches!(error, Bad::Expired | Bad::ExpiredContext { .. }) {
            Insecure::Expired
        } else if matches!(error, Bad::NotValidYet | Bad::NotValidYetContext { .. }) {
            Insecure::NotValidYet
        } else if matches!(error, Bad::UnknownIssuer) {
            Insecure::Untrusted
        } else if matches!(error, Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. }) {
            Insecure::Purpose
        } else {
            Insecure::Unusable
        }
    };
    let alert = |alert: &AlertDescription| {
        use AlertDescription as Alert;
        if matches!(alert, Alert::CertificateRequired) {
            Insecure::OursUnsuited
        } else if matches!(alert, Alert::CertificateExpired) {
            Insecure::OursExpired
        } else if matches!(
            alert,
            Alert::UnknownCA
                | Alert::BadCertificate
                | Alert::CertificateUnknown
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::AccessDenied
        ) {
            Insecure::OursRefused
        } else if matches!(
            alert,
            Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity
        ) {
            Insecure::NoCipher
        } else {
            Insecure::BrokenOff
        }
    };
    if let Error::InvalidCertificate(error) = error {
        certificate(error)
    } else if let Error::AlertReceived(description) = error {
        alert(description)
    } else if matches!(error, Error::NoCertificatesPresented) {
        Insecure::ShowsNone
    } else if matches!(error, Error::PeerIncompatible(_)) {
        Insecure::NoCipher
    } else if matches!(error, Error::InvalidMessage(InvalidMessage::InvalidContentType)) {
        Insecure::NotTls
    } else {
        Insecure::Unruly
    }
}
