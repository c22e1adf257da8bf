//! Where objects lie: the store trait, its backends and their contract.
//!
//! A store maps keys to bytes and knows versions, locks and its own time; it never looks inside a body. [`store`]
//! holds the promises, [`contract`] the cases that every backend passes, [`local`] and [`memory`] two backends. [`record`],
//! [`pace`], [`credentials`] and [`fault`] are layers: stores over others, which write down what passes, space it out, choose
//! under whose credential it passes, or break it on purpose.

pub mod api;
pub mod bucket;
pub mod contract;
pub mod credentials;
pub mod error;
pub mod fault;
pub mod key;
pub mod local;
pub mod lock;
pub mod memory;
pub mod object;
pub mod pace;
pub mod record;
pub mod store;

pub use api::{Api, PriceClass};
pub use bucket::{Bucket, BucketSettings, DefaultRetention, Harm, Hazard, Setting};
pub use credentials::{ByPurpose, CredentialLayer, Purpose, WrongCredential};
pub use error::{Operation, StoreError, StoreErrorKind};
pub use fault::{Fault, FaultLayer, FaultPlan};
pub use key::{KeyError, StoreKey};
pub use local::LocalStore;
pub use lock::{Hold, Lock, LockMode, LockStatus};
pub use memory::{Credential, MemoryModel, MemoryOptions, MemoryStore};
pub use object::{
    ByteRange, Checksum, ObjectRef, PutReceipt, StoreTime, Version, VersionInfo, VersionKind,
};
pub use pace::{Pace, PaceLayer, Ticker};
pub use record::{RecordLayer, RecordOptions};
pub use store::{
    Capabilities, LISTING_PAGE_VERSIONS, LockSupport, Place, Store, StoreClock, StoreIdentity,
};
