//! The audio plane: packets of both legs of a call, what we say ourselves, and what is written down.

pub mod dtmf_info;
pub mod ear;
pub mod event;
pub mod g711;
pub mod rtcp;
pub mod rtp;
pub mod tone;
