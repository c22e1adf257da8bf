//! Packs: frames on their way to the store and back.

mod builder;
mod compress;
pub(crate) mod describe;
pub(crate) mod moved;
pub mod reader;
pub mod writer;

pub use compress::Effort;
pub use reader::{BlobError, BlobReader};
pub use writer::PackWriter;

pub(crate) use builder::{FinishedPack, PACK_BUFFER_BYTES, PackBuilder, TABLE_BYTES_TARGET, close};
pub(crate) use compress::FrameCompressor;
pub(crate) use writer::{PackListener, put_pack};
