//! Errors of the service, sorted by what a caller does next.

use std::error::Error;
use std::io;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use dolmen_store::{Operation, StoreError, StoreErrorKind};

/// Whether a call changes something, so that without an answer nobody knows whether it did.
const fn changes(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Put
            | Operation::Extend
            | Operation::Hold
            | Operation::Hide
            | Operation::DeleteVersion
            | Operation::Create
            | Operation::Configure
    )
}

/// What a call's failure means.
pub(crate) fn store_error<E>(
    error: SdkError<E, HttpResponse>,
    operation: Operation,
    key: &str,
) -> StoreError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let kind = kind_of(&error, operation);
    let source = match &error {
        SdkError::ServiceError(answer) => said(answer.err(), answer.raw().status().as_u16()),
        other => DisplayErrorContext(other).to_string(),
    };
    StoreError {
        kind,
        operation,
        key: (!key.is_empty()).then(|| key.into()),
        source: Some(source.into()),
    }
}

/// A failure that no answer of the service is behind.
pub(crate) fn own(
    kind: StoreErrorKind,
    operation: Operation,
    key: &str,
    source: impl Into<Box<dyn Error + Send + Sync>>,
) -> StoreError {
    StoreError {
        kind,
        operation,
        key: (!key.is_empty()).then(|| key.into()),
        source: Some(source.into()),
    }
}

/// What the service said, in one line.
fn said(error: &impl ProvideErrorMetadata, status: u16) -> String {
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(text), None) | (None, Some(text)) => format!("{text} (HTTP {status})"),
        (None, None) => format!("HTTP {status}"),
    }
}

/// Sorts a failure.
pub(crate) fn kind_of<E>(error: &SdkError<E, HttpResponse>, operation: Operation) -> StoreErrorKind
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let unanswered = if changes(operation) {
        StoreErrorKind::OutcomeUnknown
    } else {
        StoreErrorKind::Unavailable
    };
    match error {
        SdkError::ConstructionFailure(_) => StoreErrorKind::Other,
        SdkError::DispatchFailure(failure) if failure.is_user() => StoreErrorKind::Other,
        SdkError::DispatchFailure(_) if never_connected(error) => StoreErrorKind::Unavailable,
        SdkError::DispatchFailure(failure) if failure.is_other() => StoreErrorKind::Denied,
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => unanswered,
        SdkError::ServiceError(answer) => {
            let (error, status) = (answer.err(), answer.raw().status().as_u16());
            kind_of_answer(error, status, unanswered)
        }
        // An answer that cannot be read says nothing.
        _ => unanswered,
    }
}

/// Whether the request cannot have reached anybody.
fn never_connected(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            use io::ErrorKind as Kind;
            if matches!(
                io.kind(),
                Kind::ConnectionRefused
                    | Kind::HostUnreachable
                    | Kind::NetworkUnreachable
                    | Kind::NetworkDown
                    | Kind::AddrNotAvailable
            ) {
                return true;
            }
        }
        next = error.source();
    }
    false
}

fn kind_of_answer(
    error: &impl ProvideErrorMetadata,
    status: u16,
    unanswered: StoreErrorKind,
) -> StoreErrorKind {
    let message = error.message().unwrap_or_default().to_ascii_lowercase();
    // Each service words it in its own way, and most have no code for it.
    let is_lock = [
        "object lock",
        "worm",
        "retention",
        "legal hold",
        "legalhold",
        "retain",
    ]
    .iter()
    .any(|word| message.contains(word));
    match (error.code().unwrap_or_default(), status) {
        ("ObjectLocked", _) => StoreErrorKind::Locked,
        ("AccessDenied" | "InvalidRequest", _) if is_lock => StoreErrorKind::Locked,
        ("XMinioStorageFull" | "QuotaExceeded" | "InsufficientStorage", _) | (_, 507) => {
            StoreErrorKind::NoSpace
        }
        ("EntityTooLarge", _) | (_, 413) => StoreErrorKind::TooLarge,
        ("InvalidRange", _) | (_, 416) => StoreErrorKind::ShortRead,
        ("NotImplemented", _) | (_, 501) => StoreErrorKind::Unsupported,
        // Two puts of one key at the same moment: the other one may fail yet.
        ("ConditionalRequestConflict" | "OperationAborted" | "SlowDown" | "RequestTimeout", _)
        | (_, 429 | 503) => StoreErrorKind::Unavailable,
        ("PreconditionFailed", _) | (_, 412) => StoreErrorKind::Exists,
        // A marker, by its version, has no body.
        ("MethodNotAllowed", _) | (_, 404 | 405) => StoreErrorKind::NotFound,
        (_, 401 | 403) => StoreErrorKind::Denied,
        (_, 500..=599) => unanswered,
        _ => StoreErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::error::ErrorMetadata;

    use super::*;

    #[derive(Debug)]
    struct Said(ErrorMetadata);

    impl ProvideErrorMetadata for Said {
        fn meta(&self) -> &ErrorMetadata {
            &self.0
        }
    }

    #[test]
    fn an_answer_is_sorted_by_code_then_by_status() {
        use StoreErrorKind as Kind;
        for (code, status, message, kind) in [
            ("AccessDenied", 403, "Access Denied", Kind::Denied),
            (
                "AccessDenied",
                403,
                "Access Denied because object protected by object lock.",
                Kind::Locked,
            ),
            (
                "InvalidRequest",
                400,
                "Object is WORM protected and cannot be overwritten",
                Kind::Locked,
            ),
            ("InvalidRequest", 400, "Missing header", Kind::Other),
            ("", 404, "", Kind::NotFound),
            ("NoSuchVersion", 404, "", Kind::NotFound),
            ("MethodNotAllowed", 405, "", Kind::NotFound),
            ("PreconditionFailed", 412, "", Kind::Exists),
            ("ConditionalRequestConflict", 409, "", Kind::Unavailable),
            ("SlowDown", 503, "", Kind::Unavailable),
            ("InternalError", 500, "", Kind::OutcomeUnknown),
            ("InvalidAccessKeyId", 403, "", Kind::Denied),
            ("InvalidRange", 416, "", Kind::ShortRead),
            ("NotImplemented", 501, "", Kind::Unsupported),
            ("XMinioStorageFull", 507, "", Kind::NoSpace),
        ] {
            let said = Said(ErrorMetadata::builder().code(code).message(message).build());
            let found = kind_of_answer(&said, status, Kind::OutcomeUnknown);
            assert_eq!(found, kind, "{code} {status} {message}");
        }
    }
}
