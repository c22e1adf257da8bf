//! What a user chooses for stores on S3.

use std::num::NonZeroUsize;

use dolmen_s3::{Lookup, S3Options, Trust};

use super::Variables;
use crate::arguments::Global;
use crate::exit::{Exit, Failure, Outcome};

/// Connections beyond which a line gets no faster, and a service slows its clients down.
const CONNECTIONS_MAX: usize = 256;

/// Gathers it.
pub(super) fn options(global: &Global, variables: Variables<'_>) -> Outcome<S3Options> {
    let mut options = S3Options::default();
    for option in &global.option {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let (name, value) = (name.trim(), value.trim());
        let wrong = |wanted: &str| Failure::usage(format!("-o {name}={value}: {wanted}"));
        match name {
            "s3.bucket-lookup" => {
                options.lookup = lookup(value).ok_or_else(|| wrong("say auto, path or dns"))?;
            }
            "s3.connections" => {
                let connections = value.parse().ok();
                let connections =
                    connections.filter(|count: &NonZeroUsize| count.get() <= CONNECTIONS_MAX);
                options.connections = connections
                    .ok_or_else(|| wrong(&format!("say a number from 1 to {CONNECTIONS_MAX}")))?;
            }
            "s3.storage-class" => {
                if value.is_empty() || is_archive(value) {
                    return Err(wrong(
                        "name a class whose objects can be read at once, as STANDARD_IA",
                    ));
                }
                options.storage_class = Some(value.to_owned());
            }
            _ => {}
        }
    }
    options.trust = trust(global, variables)?;
    Ok(options)
}

fn lookup(text: &str) -> Option<Lookup> {
    match text {
        "auto" => Some(Lookup::Auto),
        "path" => Some(Lookup::Path),
        "dns" => Some(Lookup::Dns),
        _ => None,
    }
}

/// Whether objects of a class must be fetched from an archive before they can be read.
fn is_archive(class: &str) -> bool {
    matches!(class, "GLACIER" | "DEEP_ARCHIVE")
}

fn trust(global: &Global, variables: Variables<'_>) -> Outcome<Trust> {
    if global.insecure_tls {
        return Ok(Trust::Anybody);
    }
    let file = super::first(global.cacert.as_ref(), variables("DOLMEN_CACERT"));
    let Some(file) = file else {
        return Ok(Trust::System);
    };
    let tried = format!("cannot use the certificates in {}", file.display());
    let pem = std::fs::read(&file)
        .map_err(|error| Failure::new(Exit::Usage, format!("{tried}: {error}")))?;
    Trust::only(pem).ok_or_else(|| {
        Failure::usage(format!("{tried}: there are none, or one cannot be read"))
            .hint("give a file in PEM, which begins with -----BEGIN CERTIFICATE-----")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(option: &str) -> Outcome<S3Options> {
        let global = Global {
            option: vec![option.to_owned()],
            ..Global::default()
        };
        options(&global, &|_| None)
    }

    #[test]
    fn options_are_taken_and_others_stores_left_alone() {
        assert_eq!(with("s3.connections=5").unwrap().connections.get(), 5);
        assert_eq!(with("s3.bucket-lookup=dns").unwrap().lookup, Lookup::Dns);
        let class = with("s3.storage-class=STANDARD_IA").unwrap().storage_class;
        assert_eq!(class.as_deref(), Some("STANDARD_IA"));
        assert_eq!(with("sftp.command=ssh").unwrap().lookup, Lookup::Auto);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for option in [
            "s3.connections=0",
            "s3.connections=1000000",
            "s3.connections=many",
            "s3.bucket-lookup=somewhere",
            "s3.storage-class=DEEP_ARCHIVE",
            "s3.storage-class=",
        ] {
            let failure = with(option).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{option}");
        }
    }
}
