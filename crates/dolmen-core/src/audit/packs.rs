//! Packs: told by their sizes, hashed where these do not decide or the caller wants it.

use std::collections::BTreeSet;

use dolmen_format::limits::{PACK_BYTES_MAX, PROLOGUE_BYTES};
use dolmen_format::pack::{PackTable, TRAILER_BYTES};
use dolmen_format::{ObjectKey, ObjectKind, PackId, Prologue};
use dolmen_state::index::PackInfo;
use dolmen_store::{ByteRange, StoreKey};
use futures_util::StreamExt as _;

use super::held::{self, Copy, Held};
use super::needs::{Needs, Want};
use super::{Depth, Look, State, is_withheld};
use crate::check::{ReadData, choose};
use crate::error::{Error, Result};
use crate::objects::Objects;
use crate::repository::Repository;

/// Packs that are hashed at the same time.
const PACKS_AT_ONCE: usize = 2;
/// A pack that nothing names is hashed up to this size, whatever is to be read.
const SMALL_BYTES_MAX: u64 = 4 << 20;

/// The packs of a look.
pub(super) struct Packs<'a> {
    repository: &'a Repository,
    needs: &'a Needs,
    depth: Depth,
    /// Packs to be hashed, by their numbers in the index.
    chosen: BTreeSet<u32>,
    choice_failed: Option<Error>,
    /// Needed packs that were listed, by their numbers.
    seen: BTreeSet<u32>,
    damaged: BTreeSet<PackId>,
    waiting: Vec<Waiting>,
}

/// A pack that must be read to be judged.
struct Waiting {
    key: ObjectKey,
    held: Held,
    /// What the index knows of it, where it is needed.
    info: Option<PackInfo>,
}

/// What reading told.
enum Read {
    Whole {
        authentic: Copy,
        is_overwritten: bool,
    },
    Damaged {
        is_useless: bool,
    },
    Foreign,
    /// It may be whole, and nothing needs it.
    Unneeded,
}

impl<'a> Packs<'a> {
    pub(super) fn new(repository: &'a Repository, needs: &'a Needs, depth: Depth) -> Self {
        let (mut chosen, mut choice_failed) = (BTreeSet::new(), None);
        if let Depth::Hashes(read_data) = depth {
            let mut packs = Vec::new();
            needs.for_each_needed(|number, info| {
                packs.push((number, info.pack, u64::from(info.pack_bytes)));
            });
            let of = |(_, id, bytes): &(u32, PackId, u64)| (*id, *bytes);
            match choose(repository, &mut packs, of, read_data) {
                Ok(()) => chosen.extend(packs.into_iter().map(|(number, ..)| number)),
                Err(error) => choice_failed = Some(error),
            }
        }
        Self {
            repository,
            needs,
            depth,
            chosen,
            choice_failed,
            seen: BTreeSet::new(),
            damaged: BTreeSet::new(),
            waiting: Vec::new(),
        }
    }

    /// Judges a pack by its listing, or has it wait. Nothing is read here: a listing is under way.
    pub(super) fn take(&mut self, look: &mut Look<'_>, held: Held) -> Result<()> {
        if let Some(error) = self.choice_failed.take() {
            return Err(error);
        }
        let Some(key) = held.key else {
            return Ok(());
        };
        let Some((number, info, want)) = self.needs.known(&key) else {
            if self.depth == Depth::Listing || held.copies.is_empty() || !held.markers.is_empty() {
                look.unneeded(&held, false);
            } else {
                let info = None;
                self.waiting.push(Waiting { key, held, info });
            }
            return Ok(());
        };
        let mut plausible = plausible(&held, &info);
        let (first, second) = (plausible.next().cloned(), plausible.next());
        let is_clear = second.is_none() && !self.chosen.contains(&number);
        drop(plausible);
        if want != Want::Needed {
            match (first, want) {
                // An undo may still find something in it.
                (Some(_), _) | (None, Want::Kept) => look.unneeded(&held, want == Want::Kept),
                (None, _) => look.foreign(&held, "not of the size that the index states"),
            }
            return Ok(());
        }
        self.seen.insert(number);
        match first {
            Some(authentic) if is_clear || self.depth == Depth::Listing => {
                let newest = held.newest().map(|newest| &newest.version);
                let is_overwritten = newest != Some(&authentic.version) && is_clear;
                look.whole(&held, &authentic, is_overwritten);
            }
            None if held.copies.is_empty() => {
                self.damaged.insert(info.pack);
                look.lost(&held, false, "");
            }
            Some(_) | None => {
                let info = Some(info);
                self.waiting.push(Waiting { key, held, info });
            }
        }
        Ok(())
    }

    /// Reads the packs that wait, and tells what was not listed at all.
    pub(super) fn finish(mut self, look: &mut Look<'_>) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.read(look, waiting)?;
        self.conclude(look);
        Ok(())
    }

    /// Reads packs and judges them.
    fn read(&mut self, look: &mut Look<'_>, waiting: Vec<Waiting>) -> Result<()> {
        let (objects, reads_all) = (&self.repository.objects, self.reads_strangers());
        objects.block_on(async {
            let mut read = futures_util::stream::iter(waiting)
                .map(|waiting| async move {
                    let read = match waiting.info {
                        Some(info) => judge(objects, &waiting, &info).await,
                        None => judge_stranger(objects, &waiting, reads_all).await,
                    };
                    (waiting, read)
                })
                .buffer_unordered(PACKS_AT_ONCE);
            while let Some((Waiting { key, held, .. }, read)) = read.next().await {
                look.check_cancelled()?;
                let read = match read {
                    Err(Error::Store(error)) => {
                        look.unread(&held.name, error)?;
                        continue;
                    }
                    read => read?,
                };
                look.silences = 0;
                match read {
                    Read::Whole {
                        authentic,
                        is_overwritten,
                    } => look.whole(&held, &authentic, is_overwritten),
                    Read::Damaged { is_useless } => {
                        self.damaged.insert(key.id());
                        let problem = if is_useless {
                            "it is other bytes: nothing of it can be read"
                        } else {
                            "its bytes do not hash to its name"
                        };
                        look.lost(&held, is_useless, problem);
                    }
                    Read::Foreign => look.foreign(&held, "its bytes do not hash to its name"),
                    Read::Unneeded => look.unneeded(&held, false),
                }
            }
            Ok(())
        })
    }

    /// Whether large packs that nothing names are hashed, too.
    fn reads_strangers(&self) -> bool {
        self.depth == Depth::Hashes(ReadData::All)
    }

    /// Tells of needed packs that no listing showed, and of those that lost a part of a manifest.
    fn conclude(&mut self, look: &mut Look<'_>) {
        let needs = self.needs;
        let mut missing = Vec::new();
        needs.for_each_needed(|number, info| {
            if !self.seen.contains(&number) {
                missing.push((
                    ObjectKey::Pack(info.writer, info.pack).to_string(),
                    info.pack,
                ));
            }
        });
        let unknown = needs.unknown_packs.iter();
        missing.extend(unknown.map(|pack| (format!("pack {pack}"), *pack)));
        for (name, pack) in missing {
            self.damaged.insert(pack);
            look.view.objects = look.view.objects.saturating_add(1);
            look.trouble(&name, State::Missing, "missing from the store");
        }
        for pack in needs.lost_packs.difference(&self.damaged) {
            look.view.counts.corrupt = look.view.counts.corrupt.saturating_add(1);
            look.tell(
                format!("pack {pack}"),
                "a part of a manifest in it is damaged",
            );
        }
    }
}

/// The versions that have the right size, oldest first.
fn plausible<'h>(held: &'h Held, info: &PackInfo) -> impl Iterator<Item = &'h Copy> + use<'h> {
    let bytes = u64::from(info.pack_bytes);
    held.copies.iter().filter(move |copy| copy.bytes == bytes)
}

async fn judge(objects: &Objects, waiting: &Waiting, info: &PackInfo) -> Result<Read> {
    let Waiting { key, held, .. } = waiting;
    let mut found = None;
    for copy in plausible(held, info) {
        if held::is_authentic(objects, &held.name, copy, key.id(), PACK_BYTES_MAX).await? {
            found = Some(copy);
            break;
        }
    }
    let Some(authentic) = found else {
        let is_useless = is_useless(objects, held, info).await?;
        return Ok(Read::Damaged { is_useless });
    };
    let is_overwritten =
        held::is_overwritten(objects, held, authentic, key.id(), PACK_BYTES_MAX).await?;
    Ok(Read::Whole {
        authentic: authentic.clone(),
        is_overwritten,
    })
}

/// Judges a pack that nothing names: what an interrupted backup left, or what was planted.
async fn judge_stranger(objects: &Objects, waiting: &Waiting, reads_all: bool) -> Result<Read> {
    let Waiting { key, held, .. } = waiting;
    for copy in &held.copies {
        if !has_prologue(objects, held, copy).await? {
            continue;
        }
        if copy.bytes > SMALL_BYTES_MAX && !reads_all {
            return Ok(Read::Unneeded);
        }
        if held::is_authentic(objects, &held.name, copy, key.id(), PACK_BYTES_MAX).await? {
            return Ok(Read::Unneeded);
        }
    }
    Ok(Read::Foreign)
}

/// Reads a part of a version; `None`: it is not there.
async fn part(
    objects: &Objects,
    held: &Held,
    copy: &Copy,
    range: ByteRange,
) -> Result<Option<bytes::Bytes>> {
    let Ok(key) = StoreKey::try_from(held.name.as_str()) else {
        return Ok(None);
    };
    let version = Some(&copy.version);
    // Whatever its size: the range is small.
    let read = objects.store().get(&key, version, Some(range), u64::MAX);
    match read.await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_withheld(&error) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

async fn has_prologue(objects: &Objects, held: &Held, copy: &Copy) -> Result<bool> {
    let len = u64::try_from(PROLOGUE_BYTES).unwrap_or(u64::MAX);
    let range = ByteRange::FromTo { offset: 0, len };
    let Some(bytes) = part(objects, held, copy, range).await? else {
        return Ok(false);
    };
    let prologue = Prologue::decode(&mut bytes.as_ref());
    Ok(prologue.is_ok_and(|prologue| {
        prologue.kind == ObjectKind::Pack
            && u64::from(prologue.body_bytes).checked_add(len) == Some(copy.bytes)
    }))
}

/// Whether nothing of a damaged pack can be read: its key and the places of its frames are in its table.
async fn is_useless(objects: &Objects, held: &Held, info: &PackInfo) -> Result<bool> {
    let Some(newest) = held.newest() else {
        return Ok(true);
    };
    let pack_bytes = u64::from(info.pack_bytes);
    let trailer = u64::try_from(TRAILER_BYTES).unwrap_or(u64::MAX);
    let len = u64::from(info.table_bytes).saturating_add(trailer);
    let range = ByteRange::FromTo {
        offset: pack_bytes.saturating_sub(len),
        len: len.min(pack_bytes),
    };
    let tail = part(objects, held, newest, range).await?;
    Ok(tail.is_none_or(|tail| PackTable::decode_tail(&tail, pack_bytes).is_err()))
}
