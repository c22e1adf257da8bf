//! What every answer says beside its own matter: the store's time. And what every request must say.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use dolmen_format::Timestamp;
use dolmen_store::StoreTime;

use crate::checksum;

/// Hears the `Date` of the last answer to one call, errors included.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Option<StoreTime>>>);

impl Heard {
    /// The time; `None`: no answer came, or it did not say.
    pub(crate) fn time(&self) -> Option<StoreTime> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for Heard {
    fn name(&self) -> &'static str {
        "the store's time"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(seconds) = date(context.response()) {
            let time = StoreTime::within_second(seconds);
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(time);
        }
        Ok(())
    }
}

/// What an answer says of the time, in seconds since 1970.
pub(crate) fn date(response: &HttpResponse) -> Option<i64> {
    let stated = response.headers().get("date")?;
    let time = DateTime::from_str(stated, Format::HttpDate).ok()?;
    Some(time.secs())
}

/// Replaces the checksum of a small request by MD5: every service takes that one, and some no other.
#[derive(Debug)]
pub(crate) struct WithMd5;

impl Intercept for WithMd5 {
    fn name(&self) -> &'static str {
        "Content-MD5"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let Some(digest) = request.body().bytes().map(checksum::digest) else {
            return Ok(());
        };
        let headers = request.headers_mut();
        let others: Vec<String> = headers
            .iter()
            .map(|(name, _)| name.to_owned())
            .filter(|name| {
                name.starts_with("x-amz-checksum-") || name == "x-amz-sdk-checksum-algorithm"
            })
            .collect();
        for name in others {
            headers.remove(name);
        }
        headers.insert("content-md5", checksum::header(digest));
        Ok(())
    }
}

/// When a version was received. SeaweedFS states another time once its lock was made longer, but its ids hold the right one:
/// nanoseconds since 1970, or what is left of them to the greatest number, in the first 16 of 32 hexadecimal digits.
pub(crate) fn received_at(stated: &DateTime, version: &str) -> StoreTime {
    const IN_2020: i64 = 1_577_836_800;
    let digits = version.get(..16).filter(|_| version.len() == 32);
    let is_hex = version.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = digits
        .filter(|_| is_hex)
        .and_then(|digits| i64::from_str_radix(digits, 16).ok());
    let times = number.map(|number| [number, i64::MAX.saturating_sub(number)]);
    let mut times = times.into_iter().flatten();
    let earlier = times.find_map(|nanos| {
        let seconds = nanos.checked_div(NANOS)?;
        let nanos = u32::try_from(nanos.checked_rem(NANOS)?).ok()?;
        let is_it = (IN_2020..stated.secs()).contains(&seconds);
        is_it.then_some(Timestamp { seconds, nanos })
    });
    earlier.map_or_else(|| stored_at(stated), StoreTime::exact)
}

/// Nanoseconds in a second.
const NANOS: i64 = 1_000_000_000;

/// A time in an answer's body. Some services state whole seconds, some fractions cut off at thousandths or finer.
fn stored_at(time: &DateTime) -> StoreTime {
    let nanos = time.subsec_nanos();
    if nanos == 0 {
        return StoreTime::within_second(time.secs());
    }
    let earliest = Timestamp {
        seconds: time.secs(),
        nanos,
    };
    let is_in_millis = nanos.is_multiple_of(1_000_000);
    let latest = Timestamp {
        nanos: if is_in_millis {
            nanos.saturating_add(999_999)
        } else {
            nanos
        },
        ..earliest
    };
    StoreTime { earliest, latest }
}

/// The end of a lock, as a service states it: never later than it is.
pub(crate) fn ends_at(time: &DateTime) -> Timestamp {
    Timestamp {
        seconds: time.secs(),
        nanos: time.subsec_nanos(),
    }
}

/// The end of a lock, as it is asked for: whole seconds, rounded up.
pub(crate) fn until(until: Timestamp) -> DateTime {
    DateTime::from_secs(until.ceil_seconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_holds_an_earlier_time_tells_the_receipt() {
        // As SeaweedFS 4.48 made it, and stated it ten seconds later, after an extension.
        let id = "6714335c7aeea80f09ef953081932e75";
        let extended = DateTime::from_secs(1_795_753_889);
        assert_eq!(received_at(&extended, id).earliest.seconds, 1_795_753_879);
        for other in [
            "null",
            "",
            "L4kqtJlcpXroDTDmpUMLUo0000000000",
            "3HL4kqtJvjVBH40Nrjfkd0000000000",
            "ffffffffffffffffffffffffffffffff",
        ] {
            let found = received_at(&extended, other);
            assert_eq!(found, StoreTime::within_second(1_795_753_889), "{other}");
        }
        // A later time than the stated one is none.
        let before = DateTime::from_secs(1_600_000_000);
        assert_eq!(
            received_at(&before, id),
            StoreTime::within_second(1_600_000_000)
        );
    }
}
