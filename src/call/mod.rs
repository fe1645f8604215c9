//! call

pub mod cdr;
pub mod story;
