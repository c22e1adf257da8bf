//! Errors of the service, sorted by what a caller does next.

use std::error::Error;
use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use dolmen_store::{Operation, StoreError, StoreErrorKind};

use crate::tls;

/// Characters of what a service says that are passed on.
const SAID_CHARS_MAX: usize = 400;

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
    error: &SdkError<E, HttpResponse>,
    operation: Operation,
    key: &str,
) -> StoreError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let kind = kind_of(error, operation);
    let said = match error {
        // Nothing went wrong there, but what came back is not what was asked for.
        SdkError::ServiceError(answer) if answer.raw().status().is_success() => {
            format!("its answer cannot be read: {}", reasons(error))
        }
        SdkError::ServiceError(answer) => said(answer.err(), answer.raw().status().as_u16()),
        other => match (lacking(other), mistrust(other)) {
            (Some(CredentialsError::CredentialsNotLoaded(_)), _) => NO_CREDENTIALS.to_owned(),
            (Some(lacking), _) => reasons(lacking),
            (None, Some(error)) if tls::is_authority(error) => AUTHORITY_AS_SERVER.to_owned(),
            (None, Some(rustls::Error::InvalidCertificate(_))) => {
                format!("{UNKNOWN_SERVER}: {}", reasons(other))
            }
            (None, Some(_) | None) => reasons(other),
        },
    };
    let source = if kind == StoreErrorKind::Denied && lacking(error).is_none() {
        format!("{} (right: {})", plain(&said), right(operation))
    } else {
        plain(&said)
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

const NO_CREDENTIALS: &str =
    "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE";

const UNKNOWN_SERVER: &str =
    "nobody whom this machine trusts vouches for the server (--cacert FILE names who does)";

const AUTHORITY_AS_SERVER: &str = "the server's certificate is an authority's own (CA:TRUE): name it with --cacert FILE if it states the name of \
     the server, else make one for the server that an authority signs (docs/s3.md says how)";

/// The right that a call takes, as policies name it.
const fn right(operation: Operation) -> &'static str {
    match operation {
        Operation::Open => "s3:GetBucketVersioning, s3:GetBucketObjectLockConfiguration",
        Operation::Create => "s3:CreateBucket",
        Operation::Put => "s3:PutObject, with a lock s3:PutObjectRetention",
        Operation::Get => "s3:GetObject, s3:GetObjectVersion",
        Operation::ListVersions => "s3:ListBucketVersions",
        Operation::LockOf => "s3:GetObjectRetention, s3:GetObjectLegalHold",
        Operation::Extend => "s3:PutObjectRetention",
        Operation::Hold => "s3:PutObjectLegalHold",
        Operation::Hide => "s3:DeleteObject",
        Operation::DeleteVersion => "s3:DeleteObjectVersion",
        Operation::SetAside => "none",
        Operation::Now => "s3:ListBucket",
        Operation::Configure => "s3:GetLifecycleConfiguration",
    }
}

/// A text without what a terminal or a log would take for more than text, and not longer than need be.
fn plain(text: &str) -> String {
    let shown = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().take(SAID_CHARS_MAX).map(shown).collect()
}

/// An error and what is behind it, in one line.
fn reasons(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = chain(error).map(ToString::to_string).collect();
    // Some repeat what is behind them.
    parts.dedup_by(|behind, before| before.ends_with(behind.as_str()));
    parts.join(": ")
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
fn kind_of<E>(error: &SdkError<E, HttpResponse>, operation: Operation) -> StoreErrorKind
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
        SdkError::DispatchFailure(_) if lacking(error).is_some() => StoreErrorKind::Denied,
        SdkError::DispatchFailure(_) if mistrust(error).is_some() => StoreErrorKind::Other,
        SdkError::DispatchFailure(_) if never_connected(error) => StoreErrorKind::Unavailable,
        SdkError::ServiceError(answer) => {
            let (error, status) = (answer.err(), answer.raw().status().as_u16());
            kind_of_answer(error, status, unanswered, operation)
        }
        // None came, or none that can be read.
        _ => unanswered,
    }
}

/// Why it cannot be said who asks, if that is so.
fn lacking<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e CredentialsError> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// Why the other side does not speak TLS, or is not whom it should be, if that is so.
fn mistrust<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    chain(error).find_map(|error| {
        // An error of the system names what is behind the one that it wraps, and not that one itself.
        let wrapped = error.downcast_ref::<io::Error>();
        let wrapped = wrapped.and_then(io::Error::get_ref);
        error.downcast_ref().or_else(|| mistrust(wrapped?))
    })
}

/// Whether the request cannot have reached anybody.
fn never_connected(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind as Kind;
    chain(error).any(|error| {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(
            kind,
            Some(
                Kind::ConnectionRefused
                    | Kind::HostUnreachable
                    | Kind::NetworkUnreachable
                    | Kind::NetworkDown
                    | Kind::AddrNotAvailable
            )
        )
    })
}

/// An error and what is behind it.
fn chain<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'e (dyn Error + 'static)| {
        (*error).source()
    })
}

fn kind_of_answer(
    error: &impl ProvideErrorMetadata,
    status: u16,
    unanswered: StoreErrorKind,
    operation: Operation,
) -> StoreErrorKind {
    let message = error.message().unwrap_or_default().to_ascii_lowercase();
    // Who lacks a right is told its name, which may be `s3:PutObjectRetention`.
    let is_right = message.contains("not authorized") || message.contains("s3:");
    // Each service words it in its own way, and most have no code for it.
    let names_lock = [
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
        // No object is missing there: everything is, or somebody else's turn has come.
        ("NoSuchBucket", _) if !matches!(operation, Operation::Open | Operation::Create) => {
            StoreErrorKind::Other
        }
        // Nothing that is put here is encrypted with a key of the client's own (SSE-C).
        ("InvalidRequest" | "InvalidArgument", 400)
            if operation == Operation::Get && message.contains("encryption") =>
        {
            StoreErrorKind::Sealed
        }
        ("ObjectLocked", _) => StoreErrorKind::Locked,
        ("AccessDenied" | "InvalidRequest", _) if names_lock && !is_right => StoreErrorKind::Locked,
        // The next signature has the service's time.
        ("RequestTimeTooSkewed", _) => StoreErrorKind::Unavailable,
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
        // Not every service says it with the status that belongs to it.
        ("AccessDenied", _) | (_, 401 | 403) => StoreErrorKind::Denied,
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
            ("AccessDenied", 400, "", Kind::Denied),
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
            (
                "AccessDenied",
                403,
                "User: u is not authorized to perform: s3:PutObjectRetention",
                Kind::Denied,
            ),
            ("RequestTimeTooSkewed", 403, "", Kind::Unavailable),
            ("NoSuchBucket", 404, "", Kind::Other),
        ] {
            let said = Said(ErrorMetadata::builder().code(code).message(message).build());
            let found = kind_of_answer(&said, status, Kind::OutcomeUnknown, Operation::Put);
            assert_eq!(found, kind, "{code} {status} {message}");
        }
        let said = Said(ErrorMetadata::builder().code("NoSuchBucket").build());
        let found = kind_of_answer(&said, 404, Kind::Unavailable, Operation::Open);
        assert_eq!(found, Kind::NotFound);
    }

    #[test]
    fn reasons_are_said_once_each() {
        let inner = io::Error::other("refused");
        let outer = io::Error::other(Wrapped("no connection: refused", inner));
        assert_eq!(reasons(&outer), "no connection: refused");
        let outer = Wrapped("no connection", io::Error::other("refused"));
        assert_eq!(reasons(&outer), "no connection: refused");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Wrapped(&'static str, #[source] io::Error);

    #[test]
    fn what_a_service_says_cannot_speak_to_a_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert_eq!(plain(&"x".repeat(10_000)).len(), SAID_CHARS_MAX);
    }
}
