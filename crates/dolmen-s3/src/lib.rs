//! Objects in a bucket: the store on S3 and on what speaks its protocol.
//!
//! [`S3Store`] keeps what [`dolmen_store::store`] promises: one put for each object, its lock in the same request; reads,
//! locks and deletes by version id; listings of versions. [`address`] says where a bucket is.

pub mod address;
mod answer;
mod bucket;
mod checksum;
mod client;
mod clock;
mod fault;
mod identity;
mod listing;
mod read;
mod send;
mod settings;
mod store;
mod tls;

pub use aws_sdk_s3::config::Credentials;

pub use address::{AddressError, S3Address};
pub use client::{Lookup, S3Options, Trust};
pub use identity::{Identity, KeySource};
pub use store::S3Store;
