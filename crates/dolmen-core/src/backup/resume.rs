//! What an earlier run left behind: packs that no segment names, and a head that was not noted.

use dolmen_crypto::CryptoError;
use dolmen_format::index::{IndexedFrame, PackEntry};
use dolmen_format::pack::{PackTable, TRAILER_BYTES};
use dolmen_format::{ObjectId, ObjectKey, ObjectKind};
use dolmen_state::index::PackInfo;
use dolmen_state::state::JournalEntry;

use super::commit::Note as _;
use super::session::{Session, lock};
use crate::error::Result;
use crate::objects::FetchError;
use crate::repository::Repository;

/// Takes over what the journal names and the store holds with those bytes.
///
/// Cost: one request for each pack that an interrupted run stored since its last checkpoint.
pub(super) fn adopt_journal(session: &Session<'_>) -> Result<()> {
    let entries = {
        let instance = lock(session.instance);
        lock(&session.segment).begin(instance.id());
        instance.journal()?
    };
    let mut adopted = 0_u64;
    for entry in entries {
        match entry {
            JournalEntry::PutPack { writer, pack, .. } => {
                if session.index.find_pack(&pack).is_none() && writer == session.repository.writer()
                {
                    adopted += u64::from(adopt_pack(session, &ObjectKey::Pack(writer, pack))?);
                }
            }
            JournalEntry::Put { key } => adopt_head(session, &key)?,
            JournalEntry::Stored { .. } => {}
        }
    }
    if adopted > 0 {
        session.observer.notice(&format!(
            "carrying on after an interrupted backup: {adopted} packs are already stored"
        ));
    }
    Ok(())
}

/// Adds a pack that no segment names to the index and to the coming segment; false if it is not there.
fn adopt_pack(session: &Session<'_>, key: &ObjectKey) -> Result<bool> {
    let stored = match session.repository.objects.fetch(key, ObjectKind::Pack) {
        Ok(stored) => stored,
        // It never arrived, or not whole: its data is simply backed up again.
        Err(FetchError::Altered) => return Ok(false),
        Err(error) if error.is_missing() => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let Ok((info, frames)) = describe_pack(session.repository, key, &stored) else {
        return Ok(false);
    };
    session.index.add_pack(info, &frames)?;
    let entry = PackEntry {
        pack: info.pack,
        pack_bytes: info.pack_bytes,
        table_bytes: info.table_bytes,
        checksum: Vec::new(),
        version: String::new(),
    };
    lock(&session.segment).push(session.repository, entry, &frames)?;
    Ok(true)
}

/// Reads what a whole, verified pack holds from its own table.
pub(crate) fn describe_pack(
    repository: &Repository,
    key: &ObjectKey,
    stored: &[u8],
) -> std::result::Result<(PackInfo, Vec<IndexedFrame>), CryptoError> {
    let invalid = |field| dolmen_format::FormatError::Invalid { field };
    let table = PackTable::decode_pack(stored)?;
    let origin = table.origins.first().ok_or_else(|| invalid("origins"))?;
    if origin.domain != repository.domain().id() || origin.pack.is_some() {
        return Err(invalid("origins").into());
    }
    let descriptors = repository
        .domain()
        .descriptor_key(repository.id(), origin.salt)?;
    let mut frames = Vec::with_capacity(table.frames.len());
    for frame in &table.frames {
        let descriptor = descriptors.open(frame.ordinal, &frame.descriptor)?;
        let sealed = descriptor.sealed_key_digest == origin.sealed_key.digest();
        if descriptor.frame_hash != frame.hash || !sealed {
            return Err(invalid("descriptor").into());
        }
        frames.push(IndexedFrame {
            frame_bytes: frame.frame_bytes,
            raw_bytes: descriptor.raw_bytes,
            compression: frame.compression,
            blobs: descriptor.blobs,
        });
    }
    let size = |bytes: usize| u32::try_from(bytes).map_err(|_error| invalid("pack"));
    let table_bytes = stored
        .last_chunk::<TRAILER_BYTES>()
        .map(|trailer| u32::from_le_bytes(*trailer))
        .ok_or_else(|| invalid("table"))?;
    let info = PackInfo {
        pack: key.id(),
        writer: key.writer().unwrap_or(repository.writer()),
        pack_bytes: size(stored.len())?,
        table_bytes,
    };
    Ok((info, frames))
}

/// A snapshot that was put but not noted before the crash becomes the head after all.
fn adopt_head(session: &Session<'_>, key: &str) -> Result<()> {
    let Some(id) = key.parse::<ObjectKey>().ok().map(|key| key.id()) else {
        return Ok(());
    };
    let known = |id: ObjectId| {
        let list = session.snapshots;
        list.snapshots
            .iter()
            .chain(&list.checkpoints)
            .find(move |entry| entry.id == id)
    };
    let Some(entry) = known(id) else {
        return Ok(());
    };
    let mut instance = lock(session.instance);
    let stamp = entry.snapshot.stamp;
    let mut record = instance.record().clone();
    if stamp.instance != instance.id() || stamp.number < record.next_number {
        return Ok(());
    }
    let (checkpoint, segments) = (entry.snapshot.checkpoint, entry.snapshot.segments.clone());
    record.note(entry.snapshot.reference(id), checkpoint, segments);
    Ok(instance.save(record)?)
}
