//! The user's files: walking, reading and writing them with all their metadata
//!
//! Reading starts at [`walk()`], which finds files in [`PathKey`] order and hands out a [`FileHandle`] for each;
//! writing starts at [`Target`], which keeps every write below one directory. Nothing here knows packs or stores.

mod directory;
mod error;
mod inode;
mod key;
mod metadata;
mod names;
mod owners;
pub mod pattern;
mod read;
mod target;
mod walk;
mod xattr;

pub use directory::{OPEN_DIRECTORIES_MAX, raise_open_files_limit};
pub use error::{Errno, FsError, Operation};
pub use key::{PathKey, PathKeyError};
pub use metadata::{Kind, Metadata};
pub use names::Names;
pub use owners::OwnerNames;
pub use read::{DataExtents, Extent, FileHandle, ReadFile};
pub use target::{AttributeError, Attributes, Made, Node, OutFile, Replace, Target};
pub use walk::{DirectoryView, Place, Root, Select, Selection, WalkItem, WalkOptions, walk};
pub use xattr::Xattr;
