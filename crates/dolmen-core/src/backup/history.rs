//! Whether this client's own history goes on where its state folder says that it ended.

use std::collections::BTreeSet;

use dolmen_format::{InstanceId, ObjectId, ObjectKey};
use dolmen_state::state::JournalEntry;

use super::session::lock;
use super::{Context, Observer};
use crate::error::Result;

/// Begins a new instance where the store holds an object of this one that it never put: the state folder was set back
/// with a machine's disk, or copied to another machine that writes too. Numbers would otherwise be used twice.
/// Returns whether it did.
pub(super) fn begin_anew_if_set_back(
    context: &Context<'_>,
    observer: &dyn Observer,
) -> Result<bool> {
    let mut instance = lock(context.instance);
    let journal = instance.journal()?;
    let put: BTreeSet<ObjectId> = journal
        .iter()
        .filter_map(|entry| match entry {
            JournalEntry::Put { key } => key.parse::<ObjectKey>().ok().map(|key| key.id()),
            JournalEntry::PutPack { .. } => None,
        })
        .collect();
    let (id, record) = (instance.id(), instance.record());
    let list = context.snapshots;
    let strange = list
        .snapshots
        .iter()
        .chain(&list.checkpoints)
        .find(|entry| {
            let stamp = entry.snapshot.stamp;
            let is_remembered = record.checkpoint.is_some_and(|own| own.digest == entry.id);
            (stamp.writer, stamp.instance) == (context.repository.writer(), id)
                && stamp.number >= record.next_number
                && !is_remembered
                && !put.contains(&entry.id)
        });
    let Some(strange) = strange else {
        return Ok(false);
    };
    observer.notice(&format!(
        "snapshot {} bears this machine's name, and this machine did not make it: its state folder was set back, or is \
         in use on another machine too; going on under a new name",
        strange.short_id()
    ));
    let environment = &context.repository.environment;
    instance.begin_anew(InstanceId(environment.bytes()))?;
    Ok(true)
}
