//! What a client keeps on its own disk.
//!
//! Two folders, two promises. The *state folder* ([`StateFolder`]) holds small facts that cannot be
//! had again: which repository an address belongs to, which numbers an instance has used, which puts
//! were under way. It is written durably and damage in it is an error. The *cache folder* holds what
//! can be fetched or read again: [`BlobIndex`], [`BodyCache`], [`VersionNotes`] and [`FilesCache`]. Damage in it is never an error; what
//! is damaged is simply not found.
//!
//! No path names of the user's files, no keys and no plain content are kept in either.

mod bodies;
mod checksum;
mod durable;
mod error;
mod fanout;
pub mod files;
pub mod index;
mod map;
mod merge;
mod notes;
mod number;
mod seen;
pub mod sort;
pub mod state;

pub use bodies::BodyCache;
pub use error::{Operation, StateError};
pub use files::{CachedFile, FileKey, FilesCache, FilesCacheWriter};
pub use index::{BlobIndex, FrameInfo, Location, PackInfo, PackRef};
pub use notes::{NoteKey, VersionNote, VersionNotes};
pub use seen::SeenObject;
pub use sort::{Sorted, Sorter};
pub use state::{Compared, Comparison, Instance, InstanceRecord, JournalEntry, StateFolder};
