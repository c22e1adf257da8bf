//! The same thief at a store with locks: one in memory, which behaves as a bucket with Object Lock does.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use dolmen_format::ledger::LockStrategy;
use dolmen_store::{
    Credential, MemoryOptions, MemoryStore, Place, Store, StoreError, StoreErrorKind, VersionInfo,
};
use futures_util::TryStreamExt as _;

use super::tree;
use super::world::{Home, Site};
use crate::commands::App;
use crate::exit::{During as _, Exit, Failure, Outcome};
use crate::render;

/// What a thief puts on top of every object.
const GARBAGE: &[u8] = b"Your files are gone. Pay.\n";

/// What the thief came to.
#[derive(Debug, Default)]
struct Attacked {
    objects: u64,
    deleted: u64,
    refused: u64,
    covered: u64,
    hidden: u64,
}

/// Backs up into a locked bucket, attacks it with every right that a client could ever be given, and restores. Returns
/// how many items came back.
pub(super) fn show(app: &App, home: &Home, files: &Path, say: &dyn Fn(&str)) -> Outcome<u64> {
    let bucket = MemoryStore::new(MemoryOptions::LOCKS);
    bucket.set_clock(app.environment.clock.now());
    let client: Arc<dyn Store> = Arc::new(bucket.with_credential(Credential::locking_client()));
    let mut site = Site::create_in(
        app,
        home,
        "locked",
        Arc::clone(&client),
        LockStrategy::Compliance,
    )?;
    site.backup(files, "laptop")?;
    say(
        "8. The same files, backed up to a store with locks: a bucket with Object Lock, simulated in memory.",
    );
    say("   The thief has the passphrase again, and every right to the bucket that there is:");
    let notes = home.folder().join("ransom");
    site.backup(&notes, "thief")?;
    let attacked = attack(app, &bucket)?;
    let Attacked {
        objects,
        deleted,
        refused,
        covered,
        hidden,
    } = attacked;
    say(&format!(
        "   - deletes every version of {}: {refused} refused, {deleted} deleted",
        render::count(objects, "object")
    ));
    say(&format!(
        "   - writes garbage over {covered} of them, which puts another version on top"
    ));
    say(&format!(
        "   - hides all {hidden} behind delete markers, so that the bucket looks empty"
    ));

    let fresh = site.reopen(app, home, "fresh", client)?;
    let whole = fresh.restore(files, "from-locked")?;
    let all = tree::compare(files, &whole.target, &whole.failed)?;
    let oddities = fresh.repository.objects.oddities();
    if all.same != all.total || deleted > 0 {
        return Err(Failure::new(
            Exit::Damage,
            format!(
                "{} of {} items came back from the locked store",
                all.same, all.total
            ),
        )
        .hint("this is a bug in Dolmen; please report it"));
    }
    say(&format!(
        "9. A new machine that has only the passphrase restores from it: all {} came back, each byte",
        render::count(all.total, "item")
    ));
    say(&format!(
        "   compared. It read {} hidden objects beneath their markers, and took no garbage for data.",
        oddities.hidden.len()
    ));
    Ok(all.total)
}

/// Does its worst, with all rights but that of a time machine.
fn attack(app: &App, bucket: &MemoryStore) -> Outcome<Attacked> {
    let thief = bucket.with_credential(Credential::everything());
    let tried = "cannot attack the simulated store";
    let listed: Vec<VersionInfo> = app
        .runtime
        .block_on(thief.list_versions("").try_collect())
        .during(tried)?;
    let mut attacked = Attacked::default();
    for line in listed {
        let Some(object) = line.object_ref() else {
            continue;
        };
        attacked.objects = attacked.objects.saturating_add(1);
        match app.runtime.block_on(thief.delete_version(&object)) {
            Ok(()) => attacked.deleted = attacked.deleted.saturating_add(1),
            Err(StoreError {
                kind: StoreErrorKind::Locked | StoreErrorKind::Denied,
                ..
            }) => attacked.refused = attacked.refused.saturating_add(1),
            Err(error) => return Err(Failure::from(error).during(tried)),
        }
        let garbage = Bytes::from_static(GARBAGE);
        let put = thief.put(&object.key, garbage, None, Place::OnTop);
        app.runtime.block_on(put).during(tried)?;
        attacked.covered = attacked.covered.saturating_add(1);
        app.runtime
            .block_on(thief.hide(&object.key))
            .during(tried)?;
        attacked.hidden = attacked.hidden.saturating_add(1);
    }
    Ok(attacked)
}
