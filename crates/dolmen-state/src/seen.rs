//! What a client remembers of an object whose bytes it verified.

use dolmen_format::ObjectId;

/// An object as it lay in the store when its bytes were verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeenObject {
    /// The object.
    pub id: ObjectId,
    /// A digest of how the store listed it then: its version and its size. What is cached of it is believed only while it
    /// is still listed like that; another digest means that somebody touched the object since.
    pub listing: [u8; 16],
}
