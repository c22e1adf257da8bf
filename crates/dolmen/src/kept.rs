//! Copies of a repository's root and keys that this client keeps: small, and without them nothing can be read.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use dolmen_core::Repository;
use dolmen_format::{ObjectKey, RepositoryId};

/// Where a repository's copies lie: `<state>/<repository id>/standing/`, an object's key with `_` for `/` as the name.
#[derive(Debug)]
pub(crate) struct KeptCopies {
    folder: PathBuf,
}

impl KeptCopies {
    /// The copies of a repository.
    pub(crate) fn new(state: &Path, id: &RepositoryId) -> Self {
        Self {
            folder: state.join(id.to_string()).join("standing"),
        }
    }

    /// Reads them all. What cannot be read is not there; the repository verifies the rest.
    pub(crate) fn load(&self) -> Vec<(ObjectKey, Vec<u8>)> {
        let mut copies = Vec::new();
        for entry in std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            let key = name
                .to_str()
                .and_then(|name| name.replace('_', "/").parse().ok());
            if let (Some(key), Ok(body)) = (key, std::fs::read(entry.path())) {
                copies.push((key, body));
            }
        }
        copies.sort_by_key(|(key, _)| *key);
        copies
    }

    /// Adds what is not kept yet.
    pub(crate) fn keep(&self, repository: &Repository) -> io::Result<()> {
        for (key, body) in repository.standing_objects() {
            let path = self.folder.join(file_name(key));
            if std::fs::read(&path).is_ok_and(|known| known == *body) {
                continue;
            }
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.folder)?;
            replace(&path, body)?;
        }
        Ok(())
    }
}

fn file_name(key: &ObjectKey) -> String {
    key.to_string().replace('/', "_")
}

/// Writes a file that is seen whole or not at all.
fn replace(path: &Path, body: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(body).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _removed = std::fs::remove_file(&temporary);
    }
    written?;
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_copy_is_private_and_found_under_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let copies = KeptCopies::new(folder.path(), &RepositoryId::of(b"r"));
        assert_eq!(copies.load(), []);
        let key = ObjectKey::Key(RepositoryId::of(b"body"));
        std::fs::create_dir_all(&copies.folder).unwrap();
        let path = copies.folder.join(file_name(&key));
        replace(&path, b"body").unwrap();
        std::fs::write(copies.folder.join("keys_rubbish"), b"").unwrap();
        assert_eq!(copies.load(), [(key, b"body".to_vec())]);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
