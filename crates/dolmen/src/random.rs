//! The operating system's random bytes.

use dolmen_core::Random;

/// Draws from the operating system's generator.
#[derive(Debug)]
pub(crate) struct SystemRandom;

impl Random for SystemRandom {
    #[expect(
        clippy::panic,
        reason = "nothing can be encrypted without randomness, nor be half done"
    )]
    fn fill(&self, out: &mut [u8]) {
        if let Err(error) = getrandom::fill(out) {
            panic!("the operating system gives no random bytes: {error}");
        }
    }
}
