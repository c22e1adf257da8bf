//! The state folder: facts that cannot be had again.
//!
//! | path | what |
//! |---|---|
//! | `pins/<BLAKE3 of the address>` | the repository that the address belongs to |
//! | `<repository id>/confirmed` | the policies that the user confirmed |
//! | `<repository id>/compared` | what this machine's maintenance knows of places of moved frames: [`Compared`] |
//! | `<repository id>/sightings` | what this machine's maintenance has seen alive: [`Sightings`] |
//! | `<repository id>/given-up` | the lost objects that the user gave up |
//! | `<repository id>/maintained` | when this machine's maintenance last did all its steps |
//! | `<repository id>/<n>/` | an instance of the admin |
//! | `<repository id>/<writer>/<n>/` | an instance of another signer |
//! | `…/<n>/lock` | locked by the process that uses the instance |
//! | `…/<n>/record` | the instance's id and [`InstanceRecord`] |
//! | `…/<n>/needed-<label of the paths>-<snapshot>` | what it needs, where this client may not open manifests |
//! | `…/<n>/journal` | the instance's [`JournalEntry`]s |
//!
//! Folders have mode 0700, files 0600. An address may hold a password, so that it is not written down.

mod compared;
mod given_up;
mod instance;
mod journal;
mod needed;
mod record;
mod remembered;
mod sightings;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use dolmen_format::{InstanceId, ObjectId, RepositoryId, Timestamp, WriterId};
use minicbor::{Decode, Encode};

use crate::durable;
use crate::error::StateError;

pub use compared::{COMPARISONS_MAX, Compared, Comparison};
pub use given_up::{GivenUp, NumberRange};
pub use instance::Instance;
pub use journal::JournalEntry;
pub use needed::Needed;
pub use record::{InstanceRecord, Signed};
pub use remembered::Remembered;
pub use sightings::{SIGHTED_BYTES_MAX, SIGHTED_OBJECTS_MAX, Sighting, Sightings};

/// What can be done about a damaged pin.
const PIN_REMEDY: &str =
    "if you know the repository's id otherwise, remove the file and confirm the id again";

/// A file of one repository.
struct File {
    name: &'static str,
    /// What messages call it.
    what: &'static str,
    /// What can be done about a damaged one.
    remedy: &'static str,
}

const CONFIRMED: File = File {
    name: "confirmed",
    what: "the list of confirmed policies",
    remedy: "remove the file and confirm again with --confirm-policy",
};
const GIVEN_UP: File = File {
    name: "given-up",
    what: "the list of what was given up",
    remedy: "remove the file and give up again with --confirm-missing",
};
const COMPARED: File = File {
    name: "compared",
    what: "what moved frames were held against",
    remedy: "remove the file; maintenance compares again",
};
const MAINTAINED: File = File {
    name: "maintained",
    what: "the time of the last maintenance",
    remedy: "remove the file; the next dolmen maintain writes it anew",
};
const SIGHTINGS: File = File {
    name: "sightings",
    what: "the record of what maintenance has seen",
    remedy: "restore the file if you can; without it maintenance knows only what the store shows now. To begin a new one, \
             remove it",
};
/// A client's state folder.
#[derive(Debug, Clone)]
pub struct StateFolder {
    path: PathBuf,
}

/// The folders of signers besides the admin.
fn signers_in(folder: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_signer = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.parse::<WriterId>().is_ok())
    };
    let mut folders: Vec<_> = listed.map(|entry| entry.path()).filter(is_signer).collect();
    folders.sort();
    folders
}

impl StateFolder {
    /// Opens the folder; creates it if need be.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StateError> {
        let path = path.into();
        durable::create_folder(&path)?;
        Ok(Self { path })
    }

    /// Fails where the next record could not be written: for want of a permission, or of room.
    pub fn check_writable(&self) -> Result<(), StateError> {
        durable::try_writing(&self.path)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The repository that `address` was found to be, if it was ever pinned.
    pub fn pinned(&self, address: &str) -> Result<Option<RepositoryId>, StateError> {
        record::read(
            &self.pin_path(address),
            "the pinned repository id",
            PIN_REMEDY,
        )
    }

    /// Remembers that `address` is this repository, in the place of what was pinned before. Durable when it returns.
    pub fn pin(&self, address: &str, id: &RepositoryId) -> Result<(), StateError> {
        let path = self.pin_path(address);
        durable::create_folder(durable::folder_of(&path))?;
        record::write(&path, id)
    }

    /// Takes the first of this repository's instances that no other process uses, for as long as the result lives.
    ///
    /// When all are in use there is a new one, with the id `fresh`. Two claims at once never get the
    /// same instance, in one process or in two.
    ///
    /// Numbers count for each signer by itself: `signer` is `None` for the admin.
    pub fn claim_instance(
        &self,
        repository: &RepositoryId,
        signer: Option<&WriterId>,
        fresh: InstanceId,
    ) -> Result<Instance, StateError> {
        let folder = self.path.join(repository.to_string());
        durable::create_folder(&folder)?;
        let folder = signer.map_or(folder.clone(), |signer| folder.join(signer.to_string()));
        Instance::claim(&folder, fresh)
    }

    /// What this client knows by itself, as far as its instances' records can be read. Claims nothing.
    pub fn remembered(&self, repository: &RepositoryId) -> Result<Remembered, StateError> {
        let mut remembered = Remembered {
            given_up: self.read(repository, &GIVEN_UP)?.unwrap_or_default(),
            ..Remembered::default()
        };
        let folder = self.path.join(repository.to_string());
        let signers = signers_in(&folder);
        for folder in [folder].iter().chain(&signers) {
            for record in Instance::records(folder) {
                remembered.heads.extend(record.head);
                remembered.signed.extend(record.signed);
            }
        }
        let given_up = &remembered.given_up;
        let is_kept = |signed: &Signed| !given_up.has(&signed.reference.digest);
        remembered.signed.retain(is_kept);
        Ok(remembered)
    }

    /// Remembers what the user takes as lost for good. Durable when it returns.
    pub fn note_given_up(
        &self,
        repository: &RepositoryId,
        given_up: &GivenUp,
    ) -> Result<(), StateError> {
        self.write(repository, &GIVEN_UP, given_up)
    }

    /// The policies of a repository that the user confirmed, by their records' ids.
    pub fn confirmed(&self, repository: &RepositoryId) -> Result<Vec<ObjectId>, StateError> {
        Ok(self.read(repository, &CONFIRMED)?.unwrap_or_default())
    }

    /// Remembers that the user confirmed policies, besides those confirmed before. Durable when it returns.
    pub fn confirm(
        &self,
        repository: &RepositoryId,
        policies: &[ObjectId],
    ) -> Result<(), StateError> {
        let mut confirmed = self.confirmed(repository)?;
        confirmed.extend_from_slice(policies);
        confirmed.sort();
        confirmed.dedup();
        self.write(repository, &CONFIRMED, &confirmed)
    }

    /// When maintenance of a repository last did all its steps from here; `None`: never.
    pub fn maintained(&self, repository: &RepositoryId) -> Result<Option<Timestamp>, StateError> {
        self.read(repository, &MAINTAINED)
    }

    /// Remembers when maintenance did all its steps. Durable when it returns.
    pub fn note_maintained(
        &self,
        repository: &RepositoryId,
        at: Timestamp,
    ) -> Result<(), StateError> {
        self.write(repository, &MAINTAINED, &at)
    }

    /// What maintenance from here knows of places of moved frames.
    pub fn compared(&self, repository: &RepositoryId) -> Result<Compared, StateError> {
        Ok(self.read(repository, &COMPARED)?.unwrap_or_default())
    }

    /// Remembers what maintenance knows of places of moved frames. Durable when it returns.
    pub fn note_compared(
        &self,
        repository: &RepositoryId,
        compared: &Compared,
    ) -> Result<(), StateError> {
        self.write(repository, &COMPARED, compared)
    }

    /// What maintenance of a repository has seen alive from here.
    pub fn sightings(&self, repository: &RepositoryId) -> Result<Sightings, StateError> {
        Ok(self.read(repository, &SIGHTINGS)?.unwrap_or_default())
    }

    /// Remembers what maintenance has seen alive. Durable when it returns.
    pub fn note_sightings(
        &self,
        repository: &RepositoryId,
        sightings: &Sightings,
    ) -> Result<(), StateError> {
        self.write(repository, &SIGHTINGS, sightings)
    }

    fn read<T: for<'b> Decode<'b, ()>>(
        &self,
        repository: &RepositoryId,
        file: &File,
    ) -> Result<Option<T>, StateError> {
        record::read(&self.file_path(repository, file), file.what, file.remedy)
    }

    fn write<T: Encode<()>>(
        &self,
        repository: &RepositoryId,
        file: &File,
        value: &T,
    ) -> Result<(), StateError> {
        let path = self.file_path(repository, file);
        durable::create_folder(durable::folder_of(&path))?;
        record::write(&path, value)
    }

    fn file_path(&self, repository: &RepositoryId, file: &File) -> PathBuf {
        self.path.join(repository.to_string()).join(file.name)
    }

    fn pin_path(&self, address: &str) -> PathBuf {
        let name = blake3::hash(address.as_bytes()).to_hex();
        self.path.join("pins").join(name.as_str())
    }
}
