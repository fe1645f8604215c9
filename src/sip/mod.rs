//! PURE. SIP as bytes, transactions and dialogs (RFC 3261). Knows no call, no configuration, no socket:
//! a message or a moment comes in, bytes and events go out.

pub mod body;
pub mod build;
pub mod dialog;
pub mod digest;
pub mod header;
pub mod peer;
pub mod replaces;
pub mod sdp;
pub mod session;
pub mod shown;
pub mod transaction;
pub mod uri;
pub mod wheel;
pub mod wire;
