//! How a world fails, apart from what it finds.

use std::io;

use dolmen_crypto::CryptoError;
use dolmen_format::FormatError;
use dolmen_store::StoreError;

/// The world itself failed: nothing is said about Dolmen.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The world's own folders.
    #[error("the world's folder failed")]
    Io(#[from] io::Error),
    /// Dolmen refused to begin.
    #[error("the world could not use Dolmen")]
    Core(#[from] dolmen_core::Error),
    /// A forgery could not be signed.
    #[error("a forgery could not be made")]
    Crypto(#[from] CryptoError),
    /// A forgery could not be encoded.
    #[error("a forgery could not be encoded")]
    Format(#[from] FormatError),
    /// The store refused its owner.
    #[error("the store refused its owner")]
    Store(#[from] StoreError),
}
