//! Rebuilding what can be rebuilt.
