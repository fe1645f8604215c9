//! The audio plane: packets of both legs of a call, what we say ourselves, and what is written down.

pub mod account;
pub mod counts;
pub mod dtmf_info;
pub mod ear;
pub mod event;
pub mod format;
pub mod g711;
pub mod g722;
mod keys;
pub mod latch;
pub mod listening;
pub mod plane;
pub mod ports;
pub mod prompt;
pub mod quality;
pub mod reel;
pub mod rtcp;
pub mod rtp;
mod sampler;
pub mod session;
pub mod speech;
pub mod tape;
pub mod terms;
pub mod told;
pub mod tone;
pub mod wav;
