//! The words of `story` at work, and what seeds found, told by hand.

mod found;
mod words;
