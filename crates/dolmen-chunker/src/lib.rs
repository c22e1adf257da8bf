//! Cuts a byte stream into content-defined chunks
