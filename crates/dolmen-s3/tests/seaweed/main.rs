//! The store against a real server: SeaweedFS, started here on loopback and ended with the test.

mod contract;
mod server;
