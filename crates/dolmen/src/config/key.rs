//! A key file that was given.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use dolmen_crypto::RoleSecrets;
use dolmen_format::keyfile::KeyFile;
use dolmen_format::limits::KEY_FILE_BYTES_MAX;
use zeroize::Zeroizing;

use super::{Ask, Secret, StoreVariables};
use crate::exit::{Exit, Failure, Outcome};

/// A key file, read, and what is odd about it.
#[derive(Debug, Clone)]
pub(crate) struct GivenKey {
    pub(crate) file: KeyFile,
    path: PathBuf,
    /// Whether others than its owner may read or change it.
    is_open_to_others: bool,
}

impl GivenKey {
    pub(super) fn read(path: PathBuf) -> Outcome<Self> {
        let shown = path.display();
        let unread = |error: std::io::Error| {
            Failure::usage(format!("cannot read the key file {shown}: {error}"))
                .hint("see that --key-file or DOLMEN_KEY_FILE names a file that this user can read")
        };
        let opened = std::fs::File::open(&path).map_err(unread)?;
        let mode = opened.metadata().map_err(unread)?.permissions().mode();
        let limit = u64::try_from(KEY_FILE_BYTES_MAX).unwrap_or(u64::MAX);
        let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_BYTES_MAX));
        let mut limited = opened.take(limit);
        limited.read_to_string(&mut text).map_err(unread)?;
        let file = KeyFile::from_text(&text).map_err(|error| {
            Failure::new(
                Exit::WrongKey,
                format!("{shown} is no key file that can be used: {error}"),
            )
            .hint("dolmen key add makes one; copy it whole, from its BEGIN line to its END line")
        })?;
        Ok(Self {
            is_open_to_others: mode & 0o077 != 0,
            file,
            path,
        })
    }

    /// What a person should know of the file.
    pub(crate) fn warning(&self) -> Option<String> {
        self.is_open_to_others.then(|| {
            format!(
                "others than its owner can get at the key file {0}: chmod 600 {0}",
                self.path.display()
            )
        })
    }

    /// Whether store credentials lie in the file: then it must be opened before the store is.
    pub(crate) fn has_credentials(&self) -> bool {
        RoleSecrets::has_credentials(&self.file)
    }

    /// Takes out what is in the file; asks for the passphrase where it is wrapped.
    pub(crate) fn contents(&self, secret: &Secret) -> Outcome<(RoleSecrets, StoreVariables)> {
        let shown = self.path.display();
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
