//! What an earlier run left behind: packs that no segment names which this client believes.

use dolmen_crypto::CryptoError;
use dolmen_format::index::{IndexedFrame, PackEntry};
use dolmen_format::pack::PackTable;
use dolmen_format::{ObjectKey, ObjectKind, Timestamp};
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
/// Cost: where there is any, one request for the store's clock, and two for each pack that an interrupted run stored since
/// its last checkpoint.
pub(super) fn adopt_journal(session: &Session<'_>) -> Result<()> {
    let mut named = Vec::new();
    for entry in lock(session.instance).journal()? {
        match entry {
            JournalEntry::PutPack { writer, pack, .. } => {
                let described = session.index.find_packs(&pack);
                let is_believed = described.iter().any(|pack| session.reuse.trusts(*pack));
                if !is_believed && writer == session.repository.writer() {
                    named.push(ObjectKey::Pack(writer, pack));
                }
            }
            // The client's own history is settled already.
            JournalEntry::Put { .. } => {}
        }
    }
    if named.is_empty() {
        return Ok(());
    }
    let Some(youth) = Youth::now(session)? else {
        return Ok(());
    };
    let mut adopted = 0_u64;
    for key in &named {
        adopted += u64::from(adopt_pack(session, key, &youth)?);
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

/// Until when what nothing needs yet is safe.
struct Youth {
    /// The later clock: who deletes may go by either.
    now: Timestamp,
    /// The shortest protection period that anyone may go by.
    protect_seconds: i64,
}

impl Youth {
    /// As things stand now; `None`: nothing says how long anything is kept.
    fn now(session: &Session<'_>) -> Result<Option<Self>> {
        let repository = session.repository;
        let objects = &repository.objects;
        let store = objects.block_on(objects.store().now())?;
        let local = repository.environment.clock.now();
        let (earlier, later) = (local.min(store.earliest), local.max(store.latest));
        let terms = lives::terms_relied_on(&session.snapshots.facts, earlier, later);
        Ok(terms.map(|terms| Self {
            now: later,
            protect_seconds: i64::try_from(terms.protect_seconds()).unwrap_or(i64::MAX),
        }))
    }
}

/// Whether a pack was stored so lately that nobody deletes it while this run goes on: nothing needs it yet. What is out of
/// view is not safe where the view is what protects, and nobody puts it back before something needs it.
fn is_safe(session: &Session<'_>, key: &ObjectKey, youth: &Youth) -> Result<bool> {
    let repository = session.repository;
    let is_view_needed = repository.objects.is_protected_by_view();
    let mut safe_since = None;
    repository.objects.list(&key.to_string(), |object| {
        let newest = object.copies.iter().map(|copy| copy.stored_at).max();
        let until = newest.map(|at| at.saturating_add_seconds(youth.protect_seconds));
        let is_kept = !(is_view_needed && object.is_hidden);
        if object.key == *key && is_kept && until.is_some_and(|until| until > youth.now) {
            safe_since = newest;
        }
    })?;
    if let Some(stored_at) = safe_since {
        session.reuse.note_own(stored_at);
    }
    Ok(safe_since.is_some())
}

/// Adds a pack that no believed segment names to the index and to the coming segment; false if it is not there.
fn adopt_pack(session: &Session<'_>, key: &ObjectKey, youth: &Youth) -> Result<bool> {
    if !is_safe(session, key, youth)? {
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
