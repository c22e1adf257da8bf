//! Time and randomness, from outside.

use std::fmt::Debug;
use std::sync::Arc;

use dolmen_crypto::Secret;
use dolmen_format::{Nonce, Salt, Timestamp};
use zeroize::Zeroize as _;

/// Tells the local time.
pub trait Clock: Debug + Send + Sync {
    /// Now, by the local clock.
    fn now(&self) -> Timestamp;
}

/// Gives random bytes fit for keys.
pub trait Random: Debug + Send + Sync {
    /// Fills `out`.
    fn fill(&self, out: &mut [u8]);
}

/// What a run draws time and randomness from.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The local clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub random: Arc<dyn Random>,
}

impl Environment {
    /// Random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes);
        bytes
    }

    /// A random secret.
    pub fn secret(&self) -> Secret {
        let mut bytes = self.bytes();
        let secret = Secret::new(bytes);
        bytes.zeroize();
        secret
    }

    /// A random salt.
    pub fn salt(&self) -> Salt {
        Salt(self.bytes())
    }

    /// A random nonce of a signed object.
    pub fn nonce(&self) -> Nonce {
        Nonce(self.bytes())
    }
}
