//! Writes messages into a reused buffer.
