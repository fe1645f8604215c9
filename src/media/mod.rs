//! The audio plane: packets of both legs of a call, what we say ourselves, and what is written down.

pub mod event;
pub mod g711;
pub mod quality;
pub mod reel;
pub mod rtcp;
pub mod rtp;
pub mod tape;
