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
//! | `<repository id>/<n>/lock` | locked by the process that uses the instance |
//! | `<repository id>/<n>/record` | the instance's id and [`InstanceRecord`] |
//! | `<repository id>/<n>/journal` | the instance's [`JournalEntry`]s |
//!
//! Folders have mode 0700, files 0600. An address may hold a password, so that it is not written down.

mod compared;
mod given_up;
mod instance;
mod journal;
mod record;
mod sightings;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use dolmen_format::signed::Reference;
use dolmen_format::{InstanceId, ObjectId, ObjectKey, RepositoryId, Timestamp};

use crate::durable;
use crate::error::StateError;

pub use compared::{COMPARISONS_MAX, Compared, Comparison};
pub use given_up::{GivenUp, NumberRange};
pub use instance::Instance;
pub use journal::JournalEntry;
pub use record::{InstanceRecord, Signed};
pub use sightings::{SIGHTED_BYTES_MAX, SIGHTED_OBJECTS_MAX, Sighting, Sightings};

/// What can be done about a damaged pin.
const PIN_REMEDY: &str =
    "if you know the repository's id otherwise, remove the file and confirm the id again";

/// What can be done about a damaged list of confirmed policies.
const CONFIRMED_REMEDY: &str = "remove the file and confirm again with --confirm-policy";

/// What can be done about a damaged list of what was given up.
const GIVEN_UP_REMEDY: &str = "remove the file and give up again with --confirm-missing";

/// What can be done about damaged results of comparisons.
const COMPARED_REMEDY: &str = "remove the file; maintenance compares again";

/// What can be done about a damaged note of the last maintenance.
const MAINTAINED_REMEDY: &str = "remove the file; the next dolmen maintain writes it anew";

/// What can be done about a damaged record of what maintenance has seen.
const SIGHTINGS_REMEDY: &str = "restore the file if you can; without it maintenance knows only what the store shows now. \
                                To begin a new one, remove it";

/// A client's state folder.
#[derive(Debug, Clone)]
pub struct StateFolder {
    path: PathBuf,
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
    pub fn claim_instance(
        &self,
        repository: &RepositoryId,
        fresh: InstanceId,
    ) -> Result<Instance, StateError> {
        Instance::claim(&self.path.join(repository.to_string()), fresh)
    }

    /// The latest snapshots that this client's instances know of, as far as their records can be read. Claims nothing.
    pub fn heads(&self, repository: &RepositoryId) -> Vec<Reference> {
        Instance::heads(&self.path.join(repository.to_string()))
    }

    /// The latest ledger records that this client's instances signed, without those that the user gave up. Claims nothing.
    pub fn signed(&self, repository: &RepositoryId) -> Result<Vec<Signed>, StateError> {
        let given_up = self.given_up(repository)?;
        let mut signed = Instance::signed(&self.path.join(repository.to_string()));
        signed.retain(|signed| !given_up.has(&signed.reference.digest));
        Ok(signed)
    }

    /// What the user of this machine takes as lost for good.
    pub fn given_up(&self, repository: &RepositoryId) -> Result<GivenUp, StateError> {
        let path = self.given_up_path(repository);
        let given_up = record::read(&path, "the list of what was given up", GIVEN_UP_REMEDY)?;
        Ok(given_up.unwrap_or_default())
    }

    /// Remembers what the user takes as lost for good. Durable when it returns.
    pub fn note_given_up(
        &self,
        repository: &RepositoryId,
        given_up: &GivenUp,
    ) -> Result<(), StateError> {
        let path = self.given_up_path(repository);
        durable::create_folder(durable::folder_of(&path))?;
        record::write(&path, given_up)
    }

    /// The policies of a repository that the user confirmed, by their records' ids.
    pub fn confirmed(&self, repository: &RepositoryId) -> Result<Vec<ObjectId>, StateError> {
        let path = self.confirmed_path(repository);
        let confirmed = record::read(&path, "the list of confirmed policies", CONFIRMED_REMEDY)?;
        Ok(confirmed.unwrap_or_default())
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
        let path = self.confirmed_path(repository);
        durable::create_folder(durable::folder_of(&path))?;
        record::write(&path, &confirmed)
    }

    /// When maintenance of a repository last did all its steps from here; `None`: never.
    pub fn maintained(&self, repository: &RepositoryId) -> Result<Option<Timestamp>, StateError> {
        let path = self.maintained_path(repository);
        record::read(&path, "the time of the last maintenance", MAINTAINED_REMEDY)
    }

    /// Remembers when maintenance did all its steps. Durable when it returns.
    pub fn note_maintained(
        &self,
        repository: &RepositoryId,
        at: Timestamp,
    ) -> Result<(), StateError> {
        let path = self.maintained_path(repository);
        durable::create_folder(durable::folder_of(&path))?;
        record::write(&path, &at)
    }

    /// What maintenance from here knows of places of moved frames.
    pub fn compared(&self, repository: &RepositoryId) -> Result<Compared, StateError> {
        let path = self.compared_path(repository);
        let compared = record::read(
            &path,
            "what moved frames were held against",
            COMPARED_REMEDY,
        )?;
        Ok(compared.unwrap_or_default())
    }

    /// Remembers what maintenance knows of places of moved frames. Durable when it returns.
    pub fn note_compared(
        &self,
        repository: &RepositoryId,
        compared: &Compared,
    ) -> Result<(), StateError> {
        let path = self.compared_path(repository);
        durable::create_folder(durable::folder_of(&path))?;
        record::write(&path, compared)
    }

    /// The same as what was seen, as far as their bytes are known.
    pub fn signed_sightings(&self, repository: &RepositoryId) -> Result<Sightings, StateError> {
        let mut sightings = Sightings::default();
        self.add_signed(repository, &mut sightings)?;
        Ok(sightings)
    }

    fn add_signed(
        &self,
        repository: &RepositoryId,
        sightings: &mut Sightings,
    ) -> Result<(), StateError> {
        for Signed {
            reference,
            sighting,
        } in self.signed(repository)?
        {
            // Without its bytes it would count by a time that nobody stated.
            if let Some(sighting) = sighting {
                let key = ObjectKey::Ledger(reference.writer, reference.digest);
                sightings.note(key.to_string(), sighting);
            }
        }
        Ok(())
    }

    /// What maintenance of a repository has seen alive from here, and the latest that was signed here.
    pub fn sightings(&self, repository: &RepositoryId) -> Result<Sightings, StateError> {
        let path = self.sightings_path(repository);
        let sightings: Option<Sightings> = record::read(
            &path,
            "the record of what maintenance has seen",
            SIGHTINGS_REMEDY,
        )?;
        let mut sightings = sightings.unwrap_or_default();
        self.add_signed(repository, &mut sightings)?;
        Ok(sightings)
    }

    /// Remembers what maintenance has seen alive. Durable when it returns.
    pub fn note_sightings(
        &self,
        repository: &RepositoryId,
        sightings: &Sightings,
    ) -> Result<(), StateError> {
        let path = self.sightings_path(repository);
        durable::create_folder(durable::folder_of(&path))?;
        record::write(&path, sightings)
    }

    fn sightings_path(&self, repository: &RepositoryId) -> PathBuf {
        self.path.join(repository.to_string()).join("sightings")
    }

    fn given_up_path(&self, repository: &RepositoryId) -> PathBuf {
        self.path.join(repository.to_string()).join("given-up")
    }

    fn compared_path(&self, repository: &RepositoryId) -> PathBuf {
        self.path.join(repository.to_string()).join("compared")
    }

    fn maintained_path(&self, repository: &RepositoryId) -> PathBuf {
        self.path.join(repository.to_string()).join("maintained")
    }

    fn confirmed_path(&self, repository: &RepositoryId) -> PathBuf {
        self.path.join(repository.to_string()).join("confirmed")
    }

    fn pin_path(&self, address: &str) -> PathBuf {
        let name = blake3::hash(address.as_bytes()).to_hex();
        self.path.join("pins").join(name.as_str())
    }
}
