//! Objects that are no packs: each is fetched and hashed, and must be signed by whom its place says.

use std::collections::BTreeSet;

use dolmen_format::index::Segment;
use dolmen_format::ledger::Record;
use dolmen_format::snapshot::Snapshot;
use dolmen_format::{ObjectId, ObjectKey, ObjectKind};
use futures_util::StreamExt as _;

use super::held::{self, Copy, Held};
use super::{Depth, Look};
use crate::check::verify_standing;
use crate::error::{Error, Result};
use crate::repository::Repository;
use crate::verify::{self, Refusal};

/// Objects that are fetched at the same time.
const FETCHES_AT_ONCE: usize = 16;

/// What became of a key.
enum Seen {
    /// It has an authentic version.
    Whole {
        authentic: Copy,
        is_overwritten: bool,
    },
    /// No version hashes to the name.
    Altered,
    /// A version hashes to the name, and is not signed by whom its place says.
    Stranger(String),
    /// A version hashes to the name and is signed as it should be, in words that this version does not know.
    Unknown(String),
}

/// Judges what was listed. Returns what is told of where it lies: needed and damaged, or withheld.
///
/// Cost: one request for each, more where the plain view is not the authentic version; none where only listings count.
pub(super) fn check(
    repository: &Repository,
    look: &mut Look<'_>,
    small: Vec<Held>,
    depth: Depth,
) -> Result<BTreeSet<ObjectKey>> {
    let (mut whole, mut withheld) = (BTreeSet::new(), BTreeSet::new());
    let mut altered = Vec::new();
    let mut ours = Vec::new();
    for held in small {
        match held.key {
            // What probes and drills wrote is nobody's loss.
            Some(ObjectKey::Canary(_)) => look.unneeded(&held, false),
            Some(key) => ours.push((key, held)),
            None => look.foreign(&held, "not an object of this repository"),
        }
    }
    let objects = &repository.objects;
    objects.block_on(async {
        let mut judged = futures_util::stream::iter(ours)
            .map(|(key, held)| async move {
                let seen = match depth {
                    Depth::Listing => Ok(believe(&held)),
                    Depth::Hashes(_) => judge(repository, key, &held).await,
                };
                (key, held, seen)
            })
            .buffer_unordered(FETCHES_AT_ONCE);
        while let Some((key, held, seen)) = judged.next().await {
            look.check_cancelled()?;
            let seen = match seen {
                Err(Error::Store(error)) => {
                    // It is there, as far as is known.
                    withheld.insert(key);
                    look.unread(&held.name, error)?;
                    continue;
                }
                seen => seen?,
            };
            look.silences = 0;
            match seen {
                Seen::Whole {
                    authentic,
                    is_overwritten,
                } => {
                    if look.needs.is_needed(&key) {
                        whole.insert(key);
                        look.whole(&held, &authentic, is_overwritten);
                    } else {
                        look.unneeded(&held, false);
                    }
                }
                Seen::Altered => altered.push((key, held)),
                Seen::Stranger(problem) => look.foreign(&held, &problem),
                Seen::Unknown(problem) => {
                    whole.insert(key);
                    look.unknown(held.name, problem);
                }
            }
        }
        Ok::<(), Error>(())
    })?;
    whole.extend(&withheld);
    withheld.extend(conclude(look, &whole, &altered));
    Ok(withheld)
}

/// Tells what is needed and is not there whole, and what only looks as if it were. Returns what is there and damaged.
fn conclude(
    look: &mut Look<'_>,
    whole: &BTreeSet<ObjectKey>,
    altered: &[(ObjectKey, Held)],
) -> BTreeSet<ObjectKey> {
    let needs = look.needs;
    let mut there: BTreeSet<ObjectId> = whole
        .iter()
        .filter(|key| needs.names(key))
        .map(ObjectKey::id)
        .collect();
    let mut lost = BTreeSet::new();
    for (key, held) in altered {
        let is_needed = needs.names(key) || needs.is_told(key);
        if is_needed && there.insert(key.id()) {
            lost.insert(*key);
            look.lost(held, true, "no version of it hashes to its name");
        } else {
            look.foreign(held, "its bytes do not hash to its name");
        }
    }
    for (_, named) in needs.ids.iter().filter(|(id, _)| !there.contains(*id)) {
        look.view.objects = look.view.objects.saturating_add(1);
        look.trouble(&named.name, super::State::Missing, "missing from the store");
    }
    lost
}

/// Takes what a listing shows for what it should be.
fn believe(held: &Held) -> Seen {
    match held.copies.first() {
        Some(first) => Seen::Whole {
            authentic: first.clone(),
            is_overwritten: false,
        },
        None => Seen::Altered,
    }
}

async fn judge(repository: &Repository, key: ObjectKey, held: &Held) -> Result<Seen> {
    let objects = &repository.objects;
    let bytes_max = kind_of(key).bytes_max();
    let found = held::find(objects, &held.name, &held.copies, key.id(), bytes_max).await?;
    let Some((authentic, body)) = found else {
        return Ok(Seen::Altered);
    };
    match belongs(repository, key, &body) {
        Ok(()) => {}
        Err(Refusal::Foreign(problem)) => return Ok(Seen::Stranger(problem)),
        Err(Refusal::Unknown(problem)) => return Ok(Seen::Unknown(problem)),
    }
    let is_overwritten =
        held::is_overwritten(objects, held, authentic, key.id(), bytes_max).await?;
    Ok(Seen::Whole {
        authentic: authentic.clone(),
        is_overwritten,
    })
}

const fn kind_of(key: ObjectKey) -> ObjectKind {
    match key {
        ObjectKey::Root(_) | ObjectKey::Key(_) | ObjectKey::Canary(_) => ObjectKind::Root,
        ObjectKey::Pack(..) => ObjectKind::Pack,
        ObjectKey::Index(..) => ObjectKind::Index,
        ObjectKey::Snapshot(..) => ObjectKind::Snapshot,
        ObjectKey::Ledger(..) => ObjectKind::Ledger,
    }
}

/// Whether an object is signed by whom its place says.
fn belongs(
    repository: &Repository,
    key: ObjectKey,
    stored: &[u8],
) -> std::result::Result<(), Refusal> {
    let (Some(_), kind) = (key.writer(), kind_of(key)) else {
        return verify_standing(repository, &key, stored);
    };
    match kind {
        ObjectKind::Index => {
            verify::verify(repository, &key, stored, |body: &Segment| body.writer).map(drop)
        }
        ObjectKind::Snapshot => verify::verify(repository, &key, stored, |body: &Snapshot| {
            body.stamp.writer
        })
        .map(drop),
        ObjectKind::Ledger => {
            verify::verify(repository, &key, stored, |body: &Record| body.stamp.writer).map(drop)
        }
        ObjectKind::Root | ObjectKind::Certificate | ObjectKind::Bundle | ObjectKind::Pack => {
            Ok(())
        }
    }
}
