//! Reading bodies, never more than asked for.

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder;
use bytes::{Bytes, BytesMut};
use dolmen_store::{ByteRange, Operation, StoreError, StoreErrorKind};

use crate::fault;

/// What is asked for, and how much of it is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) key: &'a str,
    pub(crate) range: Option<ByteRange>,
    pub(crate) bytes_max: u64,
}

impl Wanted<'_> {
    fn fail(&self, kind: StoreErrorKind, said: &str) -> StoreError {
        fault::own(kind, Operation::Get, self.key, said)
    }

    /// The range as a header states it; `None`: the whole object.
    fn header(&self) -> Option<String> {
        match self.range? {
            ByteRange::FromTo { offset, len } => {
                let last = offset.saturating_add(len).saturating_sub(1);
                Some(format!("bytes={offset}-{last}"))
            }
            ByteRange::Last { len } => Some(format!("bytes=-{len}")),
        }
    }

    /// How many bytes an object of this size gives.
    pub(crate) fn length_in(&self, size_bytes: u64) -> Result<u64, StoreError> {
        if size_bytes > self.bytes_max {
            return Err(self.fail(
                StoreErrorKind::TooLarge,
                &format!(
                    "it has {size_bytes} bytes, and at most {} are taken",
                    self.bytes_max
                ),
            ));
        }
        let Some(range) = self.range else {
            return Ok(size_bytes);
        };
        let Some((_, length)) = range.within(size_bytes) else {
            return Err(self.fail(
                StoreErrorKind::ShortRead,
                &format!("it has {size_bytes} bytes"),
            ));
        };
        Ok(length)
    }
}

/// Whether a request cannot ask for this range: HTTP has no empty ones, and none beyond what a number holds.
pub(crate) fn is_beyond_http(range: ByteRange) -> bool {
    match range {
        ByteRange::FromTo { offset, len } => len == 0 || offset.checked_add(len).is_none(),
        ByteRange::Last { len } => len == 0,
    }
}

/// Sends a request for a body and takes it in.
pub(crate) async fn body(
    request: GetObjectFluentBuilder,
    wanted: Wanted<'_>,
) -> Result<Bytes, StoreError> {
    let answer = request.set_range(wanted.header()).send().await;
    let answer = answer.map_err(|error| fault::store_error(&error, Operation::Get, wanted.key))?;
    take(answer, &wanted).await
}

/// Takes a body in; one that breaks off is `Unavailable`.
async fn take(mut answer: GetObjectOutput, wanted: &Wanted<'_>) -> Result<Bytes, StoreError> {
    let unclear = || {
        wanted.fail(
            StoreErrorKind::Other,
            "the store does not say how long it is",
        )
    };
    let stated = answer
        .content_length()
        .and_then(|bytes| u64::try_from(bytes).ok());
    let size_bytes = match answer.content_range() {
        Some(range) => range
            .rsplit_once('/')
            .and_then(|(_, size)| size.parse().ok())
            .ok_or_else(unclear)?,
        None => stated.ok_or_else(unclear)?,
    };
    let length = wanted.length_in(size_bytes)?;
    let is_whole = answer.content_range().is_none();
    if is_whole && wanted.range.is_some() && length != size_bytes {
        return Err(wanted.fail(
            StoreErrorKind::Other,
            "the store gives the whole object where a part was asked for",
        ));
    }
    let length = usize::try_from(length)
        .map_err(|_error| wanted.fail(StoreErrorKind::TooLarge, "it does not fit into memory"))?;
    let mut body = BytesMut::with_capacity(length);
    let broken = |error: &dyn std::error::Error| {
        wanted.fail(
            StoreErrorKind::Unavailable,
            &format!("the connection broke off: {error}"),
        )
    };
    while let Some(part) = answer
        .body
        .try_next()
        .await
        .map_err(|error| broken(&error))?
    {
        if body.len().saturating_add(part.len()) > length {
            return Err(wanted.fail(StoreErrorKind::Other, "more bytes came than were stated"));
        }
        body.extend_from_slice(&part);
    }
    if body.len() != length {
        return Err(wanted.fail(StoreErrorKind::Unavailable, "the body ended too early"));
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_stated_as_http_does() {
        let header = |range| {
            Wanted {
                key: "k",
                range: Some(range),
                bytes_max: 10,
            }
            .header()
        };
        let first = header(ByteRange::FromTo { offset: 0, len: 1 });
        assert_eq!(first.as_deref(), Some("bytes=0-0"));
        let middle = header(ByteRange::FromTo { offset: 3, len: 4 });
        assert_eq!(middle.as_deref(), Some("bytes=3-6"));
        assert_eq!(
            header(ByteRange::Last { len: 3 }).as_deref(),
            Some("bytes=-3")
        );
    }
}
