//! A zero-copy view of one SIP message: an index of header names and value ranges, made in one pass.
