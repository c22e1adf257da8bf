//! The listing, name by name.

use bytes::Bytes;
use dolmen_format::{ObjectId, ObjectKey, Timestamp};
use dolmen_store::{ByteRange, LockStatus, StoreKey, Version, VersionInfo, VersionKind};
use futures_util::TryStreamExt as _;

use super::is_withheld;
use crate::error::Result;
use crate::objects::Objects;

/// What every fresh file system has at its top, and no intruder.
const LOST_AND_FOUND: &str = "lost+found/";
/// What of a version is in memory while it is only hashed.
const PART_BYTES: u64 = 8 << 20;

/// All that a store holds under one name.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(super) name: String,
    /// Where the name is one of ours and an object is what has it.
    pub(super) key: Option<ObjectKey>,
    /// The versions that have bytes, oldest first; what is no object at all has one too.
    pub(super) copies: Vec<Copy>,
    /// The markers above all bytes, newest first.
    pub(super) markers: Vec<Version>,
}

/// One version.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(super) version: Version,
    pub(super) bytes: u64,
    pub(super) stored_at: Timestamp,
    pub(super) lock: LockStatus,
}

impl Held {
    fn new(name: String) -> Self {
        Self {
            key: name.parse().ok(),
            name,
            copies: Vec::new(),
            markers: Vec::new(),
        }
    }

    /// Takes a line of the listing: those of one name come newest first.
    fn take(&mut self, line: VersionInfo) {
        match line.kind {
            VersionKind::Marker if self.copies.is_empty() => self.markers.push(line.version),
            VersionKind::Marker => {}
            VersionKind::Data | VersionKind::Foreign => {
                if line.kind == VersionKind::Foreign {
                    self.key = None;
                }
                self.copies.push(Copy {
                    version: line.version,
                    bytes: line.size_bytes,
                    stored_at: line.stored_at.latest,
                    lock: line.lock,
                });
            }
        }
    }

    /// Whether it is no pack.
    pub(super) const fn is_small(&self) -> bool {
        !matches!(self.key, Some(ObjectKey::Pack(..)))
    }

    /// The newest version that has bytes: the plain view, unless markers lie above.
    pub(super) fn newest(&self) -> Option<&Copy> {
        self.copies.last()
    }

    /// All that it takes up.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = self.copies.iter().map(|copy| copy.bytes);
        bytes.fold(0, u64::saturating_add)
    }
}

/// Lists everything below `prefix`, name by name, as long as `each` says so.
///
/// Cost: one listing.
pub(super) fn each(
    objects: &Objects,
    prefix: &str,
    mut each: impl FnMut(Held) -> bool,
) -> Result<()> {
    objects.block_on(async {
        let mut gathered: Option<Held> = None;
        let mut lines = objects.store().list_versions(prefix);
        while let Some(line) = lines.try_next().await? {
            if line.name == LOST_AND_FOUND {
                continue;
            }
            let mut held = match gathered.take() {
                Some(held) if held.name == line.name => held,
                before => {
                    if !before.is_none_or(|before| each(finish(before))) {
                        return Ok(());
                    }
                    Held::new(line.name.clone())
                }
            };
            held.take(line);
            gathered = Some(held);
        }
        if let Some(held) = gathered {
            each(finish(held));
        }
        Ok(())
    })
}

fn finish(mut held: Held) -> Held {
    held.copies.reverse();
    held
}

/// Fetches a version whose bytes hash to `id`; `None`: they do not, or are gone. Fails where the store withholds them.
///
/// Cost: one request; none where it is larger than `bytes_max`.
pub(super) async fn fetch(
    objects: &Objects,
    name: &str,
    copy: &Copy,
    id: ObjectId,
    bytes_max: u64,
) -> Result<Option<Bytes>> {
    let Ok(key) = StoreKey::try_from(name) else {
        return Ok(None);
    };
    if copy.bytes > bytes_max {
        return Ok(None);
    }
    let fetched = objects
        .store()
        .get(&key, Some(&copy.version), None, bytes_max)
        .await;
    match fetched {
        Ok(body) => Ok((ObjectId::of(&body) == id).then_some(body)),
        Err(error) if is_withheld(&error) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// Whether a version's bytes hash to `id`, part by part; `false`: they do not, or are gone. Fails where the store withholds them.
///
/// Cost: one request for each 8 MiB; none where it is larger than `bytes_max`.
pub(super) async fn is_authentic(
    objects: &Objects,
    name: &str,
    copy: &Copy,
    id: ObjectId,
    bytes_max: u64,
) -> Result<bool> {
    let Ok(key) = StoreKey::try_from(name) else {
        return Ok(false);
    };
    if copy.bytes > bytes_max {
        return Ok(false);
    }
    let (mut hasher, mut offset) = (blake3::Hasher::new(), 0_u64);
    while offset < copy.bytes {
        let len = copy.bytes.saturating_sub(offset).min(PART_BYTES);
        let range = ByteRange::FromTo { offset, len };
        let part = objects
            .store()
            .get(&key, Some(&copy.version), Some(range), bytes_max);
        match part.await {
            Ok(part) => hasher.update(&part),
            Err(error) if is_withheld(&error) => return Err(error.into()),
            Err(_) => return Ok(false),
        };
        offset = offset.saturating_add(len);
    }
    Ok(hasher.finalize() == *id.as_bytes())
}

/// Finds the authentic version among `copies`, oldest first: what an intruder wrote is younger.
pub(super) async fn find<'c>(
    objects: &Objects,
    name: &str,
    copies: impl IntoIterator<Item = &'c Copy>,
    id: ObjectId,
    bytes_max: u64,
) -> Result<Option<(&'c Copy, Bytes)>> {
    for copy in copies {
        if let Some(body) = fetch(objects, name, copy, id, bytes_max).await? {
            return Ok(Some((copy, body)));
        }
    }
    Ok(None)
}

/// Whether the newest bytes are others than the authentic version's.
pub(super) async fn is_overwritten(
    objects: &Objects,
    held: &Held,
    authentic: &Copy,
    id: ObjectId,
    bytes_max: u64,
) -> Result<bool> {
    match held.newest() {
        None => Ok(false),
        Some(newest) if newest.version == authentic.version => Ok(false),
        Some(newest) if newest.bytes != authentic.bytes => Ok(true),
        // The same bytes once more do no harm.
        Some(newest) => Ok(!is_authentic(objects, &held.name, newest, id, bytes_max).await?),
    }
}
