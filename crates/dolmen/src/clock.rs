//! The local clock.

use std::time::{SystemTime, UNIX_EPOCH};

use dolmen_core::Clock;
use dolmen_format::Timestamp;

/// Tells the time as the operating system does.
#[derive(Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the program's one clock")]
    fn now(&self) -> Timestamp {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => {
                let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
                Timestamp {
                    seconds,
                    nanos: since.subsec_nanos(),
                }
            }
            // A clock from before 1970 is wrong in any case; the second is near enough.
            Err(before) => {
                let seconds = i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX);
                Timestamp::from_seconds(seconds.saturating_neg().saturating_sub(1))
            }
        }
    }
}
