//! The time that requests are signed with. A service refuses signatures of another quarter of an hour than its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_async::time::{SystemTimeSource, TimeSource};
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;

use crate::answer;

/// A difference that no service refuses.
const SKEW_SECONDS_MAX: u64 = 300;

/// The local clock, put right by what a refusal says of the time.
#[derive(Debug, Clone, Default)]
pub(crate) struct SigningClock {
    ahead_seconds: Arc<AtomicI64>,
}

impl SigningClock {
    /// Sets it to a time that the service states, if it is far off. Only signatures follow it.
    fn set(&self, stated_seconds: i64) {
        let local = SystemTimeSource::new().now();
        let local = local.duration_since(SystemTime::UNIX_EPOCH);
        let local = local.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0));
        let ahead = stated_seconds.saturating_sub(local);
        if ahead.unsigned_abs() > SKEW_SECONDS_MAX {
            self.ahead_seconds.store(ahead, Ordering::Relaxed);
        }
    }
}

impl TimeSource for SigningClock {
    fn now(&self) -> SystemTime {
        let local = SystemTimeSource::new().now();
        let ahead = self.ahead_seconds.load(Ordering::Relaxed);
        let by = Duration::from_secs(ahead.unsigned_abs());
        let corrected = if ahead < 0 {
            local.checked_sub(by)
        } else {
            local.checked_add(by)
        };
        corrected.unwrap_or(local)
    }
}

impl Intercept for SigningClock {
    fn name(&self) -> &'static str {
        "the time of signatures"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        if response.status().is_client_error()
            && let Some(seconds) = answer::date(response)
        {
            self.set(seconds);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_far_off_is_put_right_and_another_left_alone() {
        let seconds = |time: SystemTime| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            i64::try_from(since.as_secs()).unwrap()
        };
        let clock = SigningClock::default();
        let local = seconds(SystemTimeSource::new().now());
        clock.set(local + 60);
        assert!(seconds(clock.now()) < local + 60);
        for days in [40, -40] {
            let stated = local + days * 86_400;
            clock.set(stated);
            assert!((stated..stated + 600).contains(&seconds(clock.now())));
        }
    }
}
