//! What an earlier run left behind: packs that no segment names which this client believes.

use dolmen_crypto::CryptoError;
use dolmen_format::index::{IndexedFrame, PackEntry};
use dolmen_format::pack::PackTable;
use dolmen_format::{ObjectKey, ObjectKind};
use dolmen_state::state::JournalEntry;

use super::session::{Session, lock};
use crate::error::Result;
use crate::index::info_of;
use crate::lives;
use crate::objects::FetchError;
use crate::pack::describe::{describe_table, entry_of};
use crate::repository::Repository;

/// Takes over what the journal names and the store holds with those bytes.
///
/// Cost: two requests for each pack that an interrupted run stored since its last checkpoint.
pub(super) fn adopt_journal(session: &Session<'_>) -> Result<()> {
    let entries = lock(session.instance).journal()?;
    let mut adopted = 0_u64;
    for entry in entries {
        match entry {
            JournalEntry::PutPack { writer, pack, .. } => {
                let described = session.index.find_packs(&pack);
                let is_believed = described.iter().any(|pack| session.reuse.trusts(*pack));
                if !is_believed && writer == session.repository.writer() {
                    adopted += u64::from(adopt_pack(session, &ObjectKey::Pack(writer, pack))?);
                }
            }
            // The client's own history is settled already.
            JournalEntry::Put { .. } => {}
        }
    }
    if adopted > 0 {
        session.observer.notice(&format!(
            "carrying on where an earlier run stopped: {} of it already stored",
            match adopted {
                1 => "1 pack is".to_owned(),
                packs => format!("{packs} packs are"),
            }
        ));
    }
    Ok(())
}

/// Whether a pack was stored so lately that nobody deletes it while this run goes on: nothing needs it yet.
fn is_safe(session: &Session<'_>, key: &ObjectKey) -> Result<bool> {
    let repository = session.repository;
    let now = repository.environment.clock.now();
    let Some(terms) = lives::terms(&session.snapshots.facts, now) else {
        return Ok(false);
    };
    let protect_seconds = i64::try_from(terms.protect_seconds()).unwrap_or(i64::MAX);
    let mut safe_since = None;
    repository.objects.list(&key.to_string(), |object| {
        let newest = object.copies.iter().map(|copy| copy.stored_at).max();
        let until = newest.map(|at| at.saturating_add_seconds(protect_seconds));
        if object.key == *key && until.is_some_and(|until| until > now) {
            safe_since = newest;
        }
    })?;
    if let Some(stored_at) = safe_since {
        session.reuse.note_own(stored_at);
    }
    Ok(safe_since.is_some())
}

/// Adds a pack that no believed segment names to the index and to the coming segment; false if it is not there.
fn adopt_pack(session: &Session<'_>, key: &ObjectKey) -> Result<bool> {
    if !is_safe(session, key)? {
        return Ok(false);
    }
    let stored = match session.repository.objects.fetch(key, ObjectKind::Pack) {
        Ok(stored) => stored,
        // It never arrived, or not whole: its data is simply backed up again.
        Err(FetchError::Altered) => return Ok(false),
        Err(error) if error.is_missing() => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let Ok((entry, frames)) = describe(session.repository, key, &stored) else {
        return Ok(false);
    };
    let info = info_of(session.repository.writer(), &entry);
    let pack = session.index.add_pack(info, &frames)?;
    session.index.settle(pack);
    session.reuse.take_over(pack);
    lock(&session.segment).push(session.repository, entry, &frames)?;
    Ok(true)
}

fn describe(
    repository: &Repository,
    key: &ObjectKey,
    stored: &[u8],
) -> std::result::Result<(PackEntry, Vec<IndexedFrame>), CryptoError> {
    let table = PackTable::decode_pack(stored)?;
    let pack_bytes = u64::try_from(stored.len()).unwrap_or(u64::MAX);
    Ok((
        entry_of(key.id(), pack_bytes, stored)?,
        describe_table(repository, &table)?,
    ))
}
