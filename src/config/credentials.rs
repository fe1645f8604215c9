//! The certificate, key and `client_ca` of a `[[listen]]`: read from their files and checked, so that a node that
//! starts or reloads with them can use them.

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::fields::{Fields, shown};
use super::place::At;

/// The largest file that is read; all of Mozilla's roots together are a quarter of it.
const MAX_FILE: u64 = 1 << 20;
/// A certificate that ends within this time is told of: it wants to be renewed.
const SOON: Duration = Duration::from_secs(14 * 86_400);
/// The longest chain; each handshake sends all of it.
const MAX_CHAIN: usize = 16;

/// What a listener shows, and whose certificates it asks for.
#[derive(Clone)]
pub struct Credentials {
    pub key: Arc<CertifiedKey>,
    /// `None`: whoever connects needs no certificate.
    pub client_ca: Option<Arc<RootCertStore>>,
    /// Of the files, by which they are told apart.
    print: [u8; 32],
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Credentials) -> bool {
        self.print == other.print
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// The three file names of a `[[listen]]`.
pub(super) struct Written<'f> {
    pub cert: Option<&'f At<Box<str>>>,
    pub key: Option<&'f At<Box<str>>>,
    pub client_ca: Option<&'f At<Box<str>>>,
}

/// Reads what they name, relative to `folder`. Every mistake is noted at the name of its file.
pub(super) fn read(fields: &Fields<'_>, folder: &Path, written: &Written<'_>) -> Option<Credentials> {
    let [cert, key, ca] = [("cert", written.cert), ("key", written.key), ("client_ca", written.client_ca)]
        .map(|(key, at)| {
            let file = File { fields, key, at: at?, path: folder.join(&*at?.value) };
            let text = file.text()?;
            Some((file, text))
        });
    let mut print = Sha256::new();
    for (_, text) in [&cert, &key, &ca].into_iter().flatten() {
        print.update(Sha256::digest(text));
    }
    let chain = cert.as_ref().and_then(|(file, text)| file.chain(text));
    let secret = key.as_ref().and_then(|(file, text)| file.secret(text));
    let roots = ca.as_ref().map(|(file, text)| file.roots(text));
    let (chain, secret) = (chain?, secret?);
    let key = key.as_ref().and_then(|(file, _)| file.certified(chain, secret, written.cert?))?;
    let client_ca = match roots {
        Some(roots) => Some(Arc::new(roots?)),
        None if written.client_ca.is_some() => return None,
        None => None,
    };
    Some(Credentials { key: Arc::new(key), client_ca, print: print.finalize().into() })
}

/// One of the files.
struct File<'f> {
    fields: &'f Fields<'f>,
    key: &'static str,
    at: &'f At<Box<str>>,
    path: std::path::PathBuf,
}

impl File<'_> {
    fn wrong(&self, what: &str, remedy: impl Into<String>) {
        let what = format!("{} = \"{}\" {what}", self.key, shown(&self.at.value));
        self.fields.refuse(self.at.place, what, remedy.into());
    }

    fn text(&self) -> Option<Vec<u8>> {
        let unreadable = |why: &str| {
            let remedy = format!("see that {} is there and may be read", self.path.display());
            self.wrong(&format!("cannot be read: {why}"), remedy);
        };
        // Whoever opens a pipe waits until somebody writes.
        if std::fs::metadata(&self.path).is_ok_and(|about| !about.is_file()) {
            unreadable("it is no plain file");
            return None;
        }
        let mut bytes = Vec::new();
        let read =
            std::fs::File::open(&self.path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
        match read {
            Err(error) => unreadable(&error.to_string()),
            Ok(_) if bytes.len() as u64 > MAX_FILE => unreadable("it is larger than 1 MiB"),
            Ok(_) => return Some(bytes),
        }
        None
    }

    fn certificates(&self, text: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        match read {
            Ok(list) if !list.is_empty() => Some(list),
            Ok(_) => {
                self.wrong(
                    "holds no certificate",
                    "write the name of a PEM file, with -----BEGIN CERTIFICATE-----",
                );
                None
            }
            Err(_) => {
                self.wrong("is no whole PEM file", "write the name of a PEM file as its issuer gave it");
                None
            }
        }
    }

    /// Our own certificate first, then those that lead to its root.
    fn chain(&self, text: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
        let chain = self.certificates(text)?;
        if chain.len() > MAX_CHAIN {
            self.wrong(
                &format!("holds more than {MAX_CHAIN} certificates"),
                "leave there our own and those that lead to its root",
            );
            return None;
        }
        for certificate in &chain {
            let Ok(certificate) = Certificate::from_der(certificate) else {
                self.wrong("holds a certificate that cannot be read", "have it issued again");
                return None;
            };
            self.warn_of_its_time(&certificate);
        }
        Some(chain)
    }

    fn warn_of_its_time(&self, certificate: &Certificate) {
        let validity = certificate.tbs_certificate().validity();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (from, until) = (validity.not_before, validity.not_after);
        let (ends, begins) = (until.to_unix_duration(), from.to_unix_duration());
        let (what, remedy) = if now > ends {
            (format!("has expired at {until}"), "renew it: until then others refuse the connection")
        } else if now < begins {
            (format!("is not valid before {from}"), "until then others refuse the connection")
        } else if now + SOON > ends {
            (format!("expires at {until}"), "renew it before")
        } else {
            return;
        };
        let what = format!("{} = \"{}\": the certificate {what}", self.key, shown(&self.at.value));
        self.fields.report().warning(self.at.place, what, remedy);
    }

    fn secret(&self, text: &[u8]) -> Option<PrivateKeyDer<'static>> {
        let secret = PrivateKeyDer::from_pem_slice(text).ok();
        if secret.is_none() {
            let is_locked = memchr::memmem::find(text, b"ENCRYPTED").is_some();
            let what = if is_locked { "holds a key with a passphrase" } else { "holds no private key" };
            self.wrong(
                what,
                "write the name of a PEM file with a key without a passphrase: PKCS#8, PKCS#1 or SEC1",
            );
        }
        secret
    }

    fn certified(
        &self,
        chain: Vec<CertificateDer<'static>>,
        secret: PrivateKeyDer<'static>,
        cert: &At<Box<str>>,
    ) -> Option<CertifiedKey> {
        match CertifiedKey::from_der(chain, secret, &default_provider()) {
            Ok(key) => return Some(key),
            Err(rustls::Error::InconsistentKeys(_)) => self.wrong(
                &format!("is not the key of the first certificate in \"{}\"", shown(&cert.value)),
                "write the key that the certificate was made with, and the certificate before its issuers",
            ),
            Err(_) => self.wrong(
                "holds a key that is not usable",
                "use one of RSA (2048 bits or more), ECDSA or Ed25519",
            ),
        }
        None
    }

    fn roots(&self, text: &[u8]) -> Option<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(text)? {
            if roots.add(certificate).is_err() {
                self.wrong("holds a certificate that cannot be read", "write the name of the CA's PEM file");
                return None;
            }
        }
        Some(roots)
    }
}
