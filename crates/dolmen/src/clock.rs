//! The local clock, and the one that is waited by.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dolmen_core::Clock;
use dolmen_format::Timestamp;
use dolmen_store::Ticker;
use tokio::time::Instant;

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

/// Counts from when it was made, whatever is done to the time of day.
#[derive(Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

#[async_trait::async_trait]
impl Ticker for Stopwatch {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    async fn wait_until(&self, at: Duration) {
        tokio::time::sleep_until(self.0 + at).await;
    }
}
