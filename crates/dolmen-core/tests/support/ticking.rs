//! A clock that goes on by a second whenever it is asked.

use std::sync::atomic::{AtomicI64, Ordering};

use dolmen_core::Clock;
use dolmen_format::Timestamp;

#[derive(Debug)]
pub(crate) struct Ticking(AtomicI64);

impl Ticking {
    /// It begins far from any real time.
    pub(crate) fn new() -> Self {
        Self(AtomicI64::new(4_000_000_000))
    }
}

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.0.fetch_add(1, Ordering::SeqCst))
    }
}
