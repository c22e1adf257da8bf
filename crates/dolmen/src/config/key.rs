//! What opens a repository in place of its passphrase: a key file, or a recovery kit.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use dolmen_crypto::RoleSecrets;
use dolmen_format::RepositoryId;
use dolmen_format::keyfile::KeyFile;
use dolmen_format::limits::KEY_FILE_BYTES_MAX;
use zeroize::Zeroizing;

use super::{Ask, Secret, StoreVariables, Variables};
use crate::arguments::Global;
use crate::exit::{Exit, Failure, Outcome};
use crate::kit::ReadKit;

/// What was given in place of the passphrase, read.
#[derive(Debug, Clone)]
pub(crate) enum GivenKey {
    /// A key file.
    File(GivenFile),
    /// A recovery kit.
    Kit(GivenKit),
}

/// A key file, and what is odd about it.
#[derive(Debug, Clone)]
pub(crate) struct GivenFile {
    pub(crate) file: KeyFile,
    found: Found,
}

/// A recovery kit, and what is odd about its file.
#[derive(Debug, Clone)]
pub(crate) struct GivenKit {
    pub(crate) kit: ReadKit,
    found: Found,
}

/// A file with secrets in it.
#[derive(Debug, Clone)]
struct Found {
    path: PathBuf,
    /// Whether others than its owner may read or change it.
    is_open_to_others: bool,
}

/// Bytes of the longest kit: a page as HTML.
const KIT_BYTES_MAX: usize = 1 << 20;

/// Chooses by flag, then by variable, and reads.
pub(super) fn find(global: &Global, variables: Variables<'_>) -> Outcome<Option<GivenKey>> {
    let by_flag = (global.key_file.clone(), global.recovery_kit.clone());
    let given = match by_flag {
        (None, None) => (
            variables("DOLMEN_KEY_FILE").map(PathBuf::from),
            variables("DOLMEN_RECOVERY_KIT").map(PathBuf::from),
        ),
        by_flag => by_flag,
    };
    match given {
        (None, None) => Ok(None),
        (Some(path), None) => GivenFile::read(path).map(GivenKey::File).map(Some),
        (None, Some(path)) => GivenKit::read(path).map(GivenKey::Kit).map(Some),
        (Some(_), Some(_)) => Err(Failure::usage(
            "a key file and a recovery kit are both given; keep one of them",
        )
        .hint("see --key-file, DOLMEN_KEY_FILE, --recovery-kit and DOLMEN_RECOVERY_KIT")),
    }
}

impl GivenKey {
    /// What a person should know of the file.
    pub(crate) fn warning(&self) -> Option<String> {
        let (what, found) = match self {
            Self::File(given) => ("key file", &given.found),
            Self::Kit(given) => ("recovery kit", &given.found),
        };
        found.is_open_to_others.then(|| {
            format!(
                "others than its owner can get at the {what} {0}: chmod 600 {0}",
                found.path.display()
            )
        })
    }

    /// The repository that a key file insists on. A kit tells its own by the secret.
    pub(crate) fn repository(&self) -> Option<RepositoryId> {
        match self {
            Self::File(given) => Some(given.file.repository),
            Self::Kit(_) => None,
        }
    }

    /// A key file in which store credentials lie: it must be opened before the store is.
    pub(crate) fn with_credentials(&self) -> Option<&GivenFile> {
        match self {
            Self::File(given) if RoleSecrets::has_credentials(&given.file) => Some(given),
            Self::File(_) | Self::Kit(_) => None,
        }
    }

    /// Where it says that the repository lies.
    pub(super) fn address(&self) -> Option<&str> {
        match self {
            Self::File(given) => Some(&given.file.address),
            Self::Kit(given) => given.kit.address.as_deref(),
        }
    }
}

impl GivenFile {
    fn read(path: PathBuf) -> Outcome<Self> {
        let (text, found) =
            read_private(path, "key file", KEY_FILE_BYTES_MAX).map_err(|failure| {
                failure.hint(
                    "see that --key-file or DOLMEN_KEY_FILE names a file that this user can read",
                )
            })?;
        let file = KeyFile::from_text(&text).map_err(|error| {
            Failure::new(
                Exit::WrongKey,
                format!(
                    "{} is no key file that can be used: {error}",
                    found.path.display()
                ),
            )
            .hint("dolmen key add makes one; copy it whole, from its BEGIN line to its END line")
        })?;
        Ok(Self { file, found })
    }

    /// Takes out what is in the file; asks for the passphrase where it is wrapped.
    pub(crate) fn contents(&self, secret: &Secret) -> Outcome<(RoleSecrets, StoreVariables)> {
        let shown = self.found.path.display();
        let passphrase = match self.file.wrapping {
            Some(_) => {
                Some(secret.read(&format!("passphrase for the key file {shown}"), Ask::Once)?)
            }
            None => None,
        };
        let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_slice());
        let contents = RoleSecrets::from_file(&self.file, passphrase).map_err(|error| {
            Failure::new(
                Exit::WrongKey,
                format!("cannot use the key file {shown}: {error}"),
            )
            .hint("if it is damaged, make another with dolmen key add and revoke this one")
        })?;
        let source = format!("the key file {shown}");
        let carried = StoreVariables::parse(contents.credentials.as_bytes(), &source)?;
        Ok((contents.secrets, carried))
    }
}

impl GivenKit {
    fn read(path: PathBuf) -> Outcome<Self> {
        let (text, found) =
            read_private(path, "recovery kit", KIT_BYTES_MAX).map_err(|failure| {
                failure
                    .hint("name a file with the page, the text of its QR code, or the words alone")
            })?;
        let kit = ReadKit::parse(&text).map_err(|error| {
            Failure::new(
                Exit::WrongKey,
                format!("cannot use the recovery kit {}: {error}", found.path.display()),
            )
            .hint("hold it against the printed page; the file may be the page, the text of its QR code, or the words alone")
        })?;
        Ok(Self { kit, found })
    }

    /// The file that holds it.
    pub(crate) fn path(&self) -> &Path {
        &self.found.path
    }
}

/// Reads a file's text, wiped when dropped.
fn read_private(
    path: PathBuf,
    what: &str,
    bytes_max: usize,
) -> Outcome<(Zeroizing<String>, Found)> {
    let unread = |error: std::io::Error| {
        Failure::usage(format!(
            "cannot read the {what} {}: {error}",
            path.display()
        ))
    };
    let opened = std::fs::File::open(&path).map_err(unread)?;
    let mode = opened.metadata().map_err(unread)?.permissions().mode();
    let mut text = Zeroizing::new(String::with_capacity(bytes_max));
    let mut limited = opened.take(u64::try_from(bytes_max).unwrap_or(u64::MAX));
    limited.read_to_string(&mut text).map_err(unread)?;
    let is_open_to_others = mode & 0o077 != 0;
    Ok((
        text,
        Found {
            path,
            is_open_to_others,
        },
    ))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn found(global: &Global, set: &[&str]) -> Failure {
        let variables = |name: &str| set.contains(&name).then(|| OsString::from("/nowhere"));
        find(global, &variables).unwrap_err()
    }

    #[test]
    fn a_flag_beats_the_variable_of_the_other() {
        let kit = Global {
            recovery_kit: Some("/no/kit".into()),
            ..Global::default()
        };
        let failure = found(&kit, &["DOLMEN_KEY_FILE", "DOLMEN_RECOVERY_KIT"]);
        assert!(failure.message.contains("recovery kit /no/kit"));
        let file = Global {
            key_file: Some("/no/key".into()),
            ..Global::default()
        };
        let failure = found(&file, &["DOLMEN_RECOVERY_KIT"]);
        assert!(failure.message.contains("key file /no/key"));
        let both = found(
            &Global::default(),
            &["DOLMEN_KEY_FILE", "DOLMEN_RECOVERY_KIT"],
        );
        assert_eq!(both.exit, Exit::Usage);
        assert!(both.message.contains("both given"), "{}", both.message);
        let none = find(&Global::default(), &|_| None).unwrap();
        assert!(none.is_none());
    }
}
