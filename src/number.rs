//! E.164 numbers.
