//! What a pack says of itself: the index of its blobs, from its own table.

use dolmen_crypto::CryptoError;
use dolmen_format::index::{IndexedFrame, PackEntry};
use dolmen_format::pack::{FrameEntry, Origin, PackTable, Recipient, TRAILER_BYTES};
use dolmen_format::{BlobKind, FormatError, ObjectKey, PackId};
use dolmen_store::{ByteRange, StoreErrorKind};

use crate::error::Error;
use crate::finding::chain;
use crate::objects::Listed;
use crate::repository::Repository;

/// Bytes of a pack's end that are read at first: the table of most packs.
const TAIL_BYTES: u64 = 64 << 10;
/// Tables that are read at the same time.
pub(crate) const READS_MAX: usize = 8;

/// What an original pack's table says of its frames, each descriptor verified.
pub(crate) fn describe_table(
    repository: &Repository,
    table: &PackTable,
) -> Result<Vec<IndexedFrame>, CryptoError> {
    let [origin @ Origin { pack: None, .. }] = table.origins.as_slice() else {
        let field = "origins";
        return Err(FormatError::Invalid { field }.into());
    };
    let frames = table.frames.iter();
    let described = frames.map(|frame| describe_frame(repository, origin, table.recipient, frame));
    described.collect()
}

/// What a frame's descriptor says of it, verified.
pub(crate) fn describe_frame(
    repository: &Repository,
    origin: &Origin,
    recipient: Recipient,
    frame: &FrameEntry,
) -> Result<IndexedFrame, CryptoError> {
    let Some(domain) = repository.keys().domain(&origin.domain) else {
        return if repository.keys().is_blind() {
            Ok(outside_of(frame))
        } else {
            Err(FormatError::Invalid { field: "origins" }.into())
        };
    };
    let descriptors = domain.descriptor_key(repository.id(), origin.salt)?;
    let descriptor = descriptors.open(frame.ordinal, &frame.descriptor)?;
    let is_manifest = recipient == Recipient::Maintain;
    let fits = |kind: BlobKind| (kind == BlobKind::Manifest) == is_manifest;
    if descriptor.frame_hash != frame.hash
        || descriptor.sealed_key_digest != origin.sealed_key.digest()
        || !descriptor.blobs.iter().all(|blob| fits(blob.kind))
    {
        let field = "descriptor";
        return Err(FormatError::Invalid { field }.into());
    }
    Ok(IndexedFrame {
        frame_bytes: frame.frame_bytes,
        raw_bytes: descriptor.raw_bytes,
        compression: frame.compression,
        blobs: descriptor.blobs,
    })
}

/// What a table tells everybody of a frame.
const fn outside_of(frame: &FrameEntry) -> IndexedFrame {
    IndexedFrame {
        frame_bytes: frame.frame_bytes,
        raw_bytes: 0,
        compression: frame.compression,
        blobs: Vec::new(),
    }
}

/// What a segment states of a pack of `pack_bytes` whose last bytes are `tail`, where no store's answer
/// to its put is known any more.
pub(crate) fn entry_of(
    pack: PackId,
    pack_bytes: u64,
    tail: &[u8],
) -> Result<PackEntry, FormatError> {
    let trailer = tail.last_chunk::<TRAILER_BYTES>();
    let invalid = |field| FormatError::Invalid { field };
    Ok(PackEntry {
        pack,
        pack_bytes: u32::try_from(pack_bytes).map_err(|_error| invalid("pack"))?,
        table_bytes: u32::from_le_bytes(*trailer.ok_or_else(|| invalid("table"))?),
        checksum: Vec::new(),
        version: String::new(),
    })
}

/// What a pack's table says, for a segment.
pub(crate) type Described = Result<(PackEntry, Vec<IndexedFrame>), Undescribed>;

/// Why a pack says nothing that can be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Undescribed {
    /// In words.
    pub(crate) problem: String,
    /// Whether it was deleted since it was listed: prune may run beside whoever reads.
    pub(crate) is_gone: bool,
}

/// Describes several packs at once, in their order.
pub(crate) fn describe_all(
    repository: &Repository,
    packs: &[Listed],
) -> crate::error::Result<Vec<Described>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = packs
            .iter()
            .map(|pack| scope.spawn(|| describe_listed(repository, pack)))
            .collect();
        let joined = threads.into_iter().map(|thread| {
            thread.join().map_err(|_panic| Error::Internal {
                what: "a reading thread died",
            })?
        });
        joined.collect()
    })
}

/// Describes a pack. The error within is damage, the one outside the store's failure.
fn describe_listed(repository: &Repository, pack: &Listed) -> crate::error::Result<Described> {
    let objects = &repository.objects;
    let bytes = pack.plain().map_or(0, |plain| plain.bytes);
    // Where there are several versions, the plain one may describe itself well and be another pack.
    if pack.copies.len() == 1 {
        let described = describe_copy(repository, &pack.key, bytes)?;
        if described.is_ok() {
            return Ok(described);
        }
    }
    objects.look_beneath(&pack.key, None)?;
    let authentic = objects.authentic_copy(&pack.key);
    let bytes = authentic.map_or(bytes, |copy| copy.bytes);
    let mut described = describe_copy(repository, &pack.key, bytes)?;
    if let Err(undescribed) = &mut described
        && undescribed.is_gone
    {
        // A marker may be all that is to be seen.
        undescribed.is_gone = objects.is_gone(&pack.key)?;
    }
    Ok(described)
}

/// Reads the end of a pack of `pack_bytes` and describes it.
fn describe_copy(
    repository: &Repository,
    key: &ObjectKey,
    pack_bytes: u64,
) -> crate::error::Result<Described> {
    let mut len = pack_bytes.min(TAIL_BYTES);
    loop {
        let tail = match repository.objects.read(key, ByteRange::Last { len }) {
            Ok(tail) => tail,
            Err(error) if error.kind == StoreErrorKind::Unavailable => return Err(error.into()),
            Err(error) => {
                return Ok(Err(Undescribed {
                    problem: chain(&error),
                    is_gone: error.kind == StoreErrorKind::NotFound,
                }));
            }
        };
        let table = match PackTable::decode_tail(&tail, pack_bytes) {
            Err(FormatError::Truncated { wanted_bytes, .. })
                if count(wanted_bytes) > len && count(wanted_bytes) <= pack_bytes =>
            {
                len = count(wanted_bytes);
                continue;
            }
            decoded => decoded,
        };
        if table.as_ref().is_ok_and(is_moved) {
            return Ok(Err(Undescribed {
                problem: "it holds moved data, and the record of that is missing: where it was signed, dolmen recover puts \
                          it back"
                    .to_owned(),
                is_gone: false,
            }));
        }
        let described = table.map_err(CryptoError::from).and_then(|table| {
            Ok((
                entry_of(key.id(), pack_bytes, &tail)?,
                describe_table(repository, &table)?,
            ))
        });
        return Ok(described.map_err(|error| Undescribed {
            problem: chain(&error),
            is_gone: false,
        }));
    }
}

/// Whether a pack holds frames that were written to other ones.
fn is_moved(table: &PackTable) -> bool {
    let mut origins = table.origins.iter();
    origins.any(|origin| origin.pack.is_some())
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use dolmen_format::WriterId;
    use dolmen_store::StoreKey;

    use super::*;
    use crate::fixture;

    #[test]
    fn what_is_deleted_since_it_was_listed_is_gone_and_what_is_no_pack_is_wrong() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let repository = fixture::repository(&runtime);
        let objects = &repository.objects;
        let key = ObjectKey::Pack(WriterId([1; 16]), PackId::of(b"a pack"));
        let name = StoreKey::try_from(key.to_string()).unwrap();
        let junk = bytes::Bytes::from_static(b"no pack at all");
        let put = objects
            .store()
            .put(&name, junk, None, dolmen_store::Place::IfAbsent);
        let object = objects.block_on(put).unwrap().object;
        let mut listed = Vec::new();
        objects.list("packs/", |found| listed.push(found)).unwrap();
        let is_gone = || {
            let described = describe_all(&repository, &listed).unwrap();
            described.into_iter().next().unwrap().unwrap_err().is_gone
        };
        assert!(!is_gone());
        objects
            .block_on(objects.store().delete_version(&object))
            .unwrap();
        assert!(is_gone());
    }
}
