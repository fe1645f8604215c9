//! The audio plane: packets of both legs of a call, what we say ourselves, and what is written down.

pub mod dtmf_info;
pub mod ear;
pub mod event;
pub mod g711;
pub mod g722;
pub mod latch;
pub mod listening;
pub mod own;
pub mod plane;
pub mod ports;
pub mod prompt;
pub mod quality;
pub mod reel;
pub mod rtcp;
pub mod rtp;
pub mod session;
pub mod speech;
pub mod tape;
pub mod terms;
pub mod tone;
pub mod wav;
