//! Where objects lie: the store trait, its backends and their contract.
//!
//! A store maps keys to bytes and knows versions, locks and its own time; it never looks inside a body. [`store`]
//! holds the promises, [`contract`] the cases that every backend passes, [`local`] and [`memory`] two backends.

pub mod api;
pub mod contract;
pub mod error;
pub mod key;
pub mod local;
pub mod lock;
pub mod memory;
pub mod object;
pub mod store;

pub use api::{Api, PriceClass};
pub use error::{Operation, StoreError, StoreErrorKind};
pub use key::{KeyError, StoreKey};
pub use local::LocalStore;
pub use lock::{Hold, Lock, LockMode, LockStatus};
pub use memory::{
    Credential, DefaultRetention, Lie, LifecycleRule, MemoryModel, MemoryOptions, MemoryStore,
    Right, StatedChecksum, Versioning,
};
pub use object::{
    ByteRange, Checksum, ObjectRef, PutReceipt, StoreTime, Version, VersionInfo, VersionKind,
};
pub use store::{Capabilities, LockSupport, Place, Store, StoreClock, StoreIdentity};
