//! What the listeners of TLS show, and whom our own connections trust, from the configuration and the system.

use std::sync::Arc;

use rustls::RootCertStore;

use crate::config::{Listen, Node};
use crate::sip::peer::Transport;
use crate::transport::tls::{Identity, Sides};

/// What handshakes take, by the node's listeners; `None`: none is one of TLS. Reads the system's roots from the disk.
pub(super) fn sides(node: &Node) -> Result<Option<Sides>, rustls::Error> {
    let identities: Vec<Option<Identity>> = served(node).map(identity).collect();
    if identities.iter().all(Option::is_none) {
        return Ok(None);
    }
    Sides::new(&identities, &Arc::new(system_roots())).map(Some)
}

/// The listeners that this version serves, in the order of the file.
pub(super) fn served(node: &Node) -> impl Iterator<Item = &Listen> {
    node.listen.iter().filter(|listen| match listen.transport.transport() {
        Transport::Udp | Transport::Tcp | Transport::Tls => true,
        // `check` warned of it.
        Transport::Ws | Transport::Wss => false,
    })
}

fn identity(listen: &Listen) -> Option<Identity> {
    let credentials = listen.credentials.as_deref()?;
    Some(Identity { key: Arc::clone(&credentials.key), clients: credentials.client_ca.clone() })
}

/// Those of the system, or of the file and folder that SSL_CERT_FILE and SSL_CERT_DIR name.
fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    for error in &found.errors {
        tracing::warn!(%error, "root certificates cannot be read");
    }
    if taken == 0 {
        tracing::warn!(
            "there are no root certificates: no connection by TLS to a gateway or phone will come about; install ca-certificates, or name a file in SSL_CERT_FILE"
        );
    }
    roots
}

/// Takes over what was read anew where the listener is still the same; what else changed of it waits for a restart.
/// True: something is new.
pub(super) fn renew(running: &mut Node, read: &Node) -> bool {
    let says = |listen: &Listen| Listen {
        credentials: None,
        place: crate::config::Place::default(),
        ..listen.clone()
    };
    let mut renewed = false;
    for listen in &mut running.listen {
        let fresh = read.listen.iter().find(|fresh| says(fresh) == says(listen));
        if let Some(fresh) = fresh.filter(|fresh| fresh.credentials != listen.credentials) {
            listen.credentials.clone_from(&fresh.credentials);
            renewed = true;
        }
    }
    renewed
}
