//! Instances: the identities under which a client numbers what it signs.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use dolmen_format::{InstanceId, Label, ObjectId};

use super::journal::{Journal, JournalEntry};
use super::needed::{self, Needed};
use super::record::{self, InstanceRecord, NamedRecord};
use crate::durable;
use crate::error::{Operation, StateError};

/// Instances of one repository in one state folder.
const INSTANCES_MAX: u32 = 1024;
/// What can be done about a damaged record.
const REMEDY: &str = "move the folder it lies in away and run again: a new instance begins, and \
                      nothing in the repository is lost";

/// An instance that belongs to this process alone until it is dropped.
#[derive(Debug)]
pub struct Instance {
    /// Its lock goes when it is closed, however the process ends.
    _lock: File,
    folder: PathBuf,
    named: NamedRecord,
    journal: Journal,
}

impl Instance {
    /// Takes the first slot in `folder` whose lock is free.
    pub(super) fn claim(folder: &Path, fresh: InstanceId) -> Result<Self, StateError> {
        for slot in 0..INSTANCES_MAX {
            let slot = folder.join(slot.to_string());
            durable::create_folder(&slot)?;
            let path = slot.join("lock");
            let lock = durable::open_private(&path)?;
            if durable::try_lock(&lock).map_err(StateError::io(Operation::Lock, &path))? {
                return Self::open(slot, lock, fresh);
            }
        }
        Err(StateError::InstancesInUse {
            path: folder.to_path_buf(),
            tried: INSTANCES_MAX,
        })
    }

    /// The records of all instances in `folder`, as far as they can be read, beside whoever uses them.
    pub(super) fn records(folder: &Path) -> Vec<InstanceRecord> {
        named_in(folder).map(|named| named.record).collect()
    }

    /// This instance's id.
    pub fn id(&self) -> InstanceId {
        self.named.id
    }

    /// The ids of all instances of this signer in this state folder, as far as their records can be read.
    pub fn siblings(&self) -> BTreeSet<InstanceId> {
        let folder = self.folder.parent().unwrap_or(&self.folder);
        let siblings = named_in(folder).map(|named| named.id);
        siblings.chain([self.id()]).collect()
    }

    /// What was saved last; the default in a new instance.
    pub fn record(&self) -> &InstanceRecord {
        &self.named.record
    }

    /// Replaces the record. Durable when it returns; after an error the old or the new one is there.
    pub fn save(&mut self, record: InstanceRecord) -> Result<(), StateError> {
        let named = NamedRecord {
            id: self.named.id,
            record,
        };
        record::write(&record_path(&self.folder), &named)?;
        self.named = named;
        Ok(())
    }

    /// Keeps what a snapshot or checkpoint of these paths needs, for when its manifest does not open to this client; what
    /// the one before it needed is forgotten, unless that is the head still. Durable when it returns.
    pub fn keep_needed(
        &self,
        paths: &Label,
        snapshot: &ObjectId,
        needed: &Needed,
    ) -> Result<(), StateError> {
        let record = self.record();
        let heads = record.head.iter().chain(&record.checkpoint);
        let heads: Vec<_> = heads.map(|head| head.digest).collect();
        needed::keep(&self.folder, paths, snapshot, needed, &heads)
    }

    /// What a snapshot or checkpoint of these paths needs, as [`Self::keep_needed`] kept it.
    pub fn needed(&self, paths: &Label, snapshot: &ObjectId) -> Option<Needed> {
        needed::load(&self.folder, paths, snapshot)
    }

    /// Goes on as another instance, with nothing behind it but what the one before is known to have signed. Durable when
    /// it returns.
    pub fn begin_anew(&mut self, fresh: InstanceId) -> Result<(), StateError> {
        let signed = std::mem::take(&mut self.named.record.signed);
        self.named = NamedRecord::create(&record_path(&self.folder), fresh, signed)?;
        needed::clear(&self.folder)?;
        self.journal.clear()
    }

    /// Appends to the journal. Durable when it returns; after an error the entry may be there or not.
    pub fn journal_append(&mut self, entry: &JournalEntry) -> Result<(), StateError> {
        self.journal.append(entry)
    }

    /// Reads the journal, oldest entry first. What a crash left of a last entry is left out.
    pub fn journal(&self) -> Result<Vec<JournalEntry>, StateError> {
        self.journal.entries()
    }

    /// Empties the journal. Durable when it returns.
    pub fn journal_clear(&mut self) -> Result<(), StateError> {
        self.journal.clear()
    }

    fn open(folder: PathBuf, lock: File, fresh: InstanceId) -> Result<Self, StateError> {
        durable::remove_all_abandoned(&folder);
        let path = record_path(&folder);
        let named = if let Some(named) = record::read(&path, "the instance record", REMEDY)? {
            named
        } else {
            NamedRecord::create(&path, fresh, Vec::new())?
        };
        let journal = Journal::open(&folder.join("journal"))?;
        durable::sync_folder(&folder)?;
        Ok(Self {
            _lock: lock,
            folder,
            named,
            journal,
        })
    }
}

/// What can be read of the instances in `folder`.
fn named_in(folder: &Path) -> impl Iterator<Item = NamedRecord> {
    let slots = (0..INSTANCES_MAX).map(|slot| folder.join(slot.to_string()));
    let slots = slots.take_while(|slot| slot.is_dir());
    slots.filter_map(|slot| {
        let named = record::read(&record_path(&slot), "the instance record", REMEDY);
        named.ok().flatten()
    })
}

fn record_path(folder: &Path) -> PathBuf {
    folder.join("record")
}
