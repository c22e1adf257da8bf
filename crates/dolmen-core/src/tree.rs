//! File trees: walked in the order of their keys, and written in it.

pub mod reader;
pub mod writer;

pub use reader::{LostRange, TreeReader};
pub use writer::{StoredBlobs, TreeWriter};
