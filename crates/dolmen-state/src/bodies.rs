//! Bodies of small immutable objects, so that each is fetched from the store once.
//!
//! One file for each kind of object: records one after the other, appended as they come, each
//! `id (32) ‖ listing (16) ‖ length (u32) ‖ body`. Nothing in it is believed: a body counts if it hashes to its name. What
//! is damaged ends the file; what nobody wants any more goes when it is more than the rest.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use dolmen_format::ObjectId;

use crate::durable::{publish, temporary_beside};
use crate::error::{Operation, StateError};
use crate::seen::SeenObject;

/// Bytes of a record before the body.
const HEAD_BYTES: u64 = 32 + 16 + 4;
/// Unwanted bytes that are not worth writing the file anew.
const WASTE_BYTES_MIN: u64 = 1 << 20;

/// A file of bodies. Several processes may append to it at the same time.
#[derive(Debug)]
pub struct BodyCache {
    path: PathBuf,
    body_bytes_max: u64,
}

/// Where a wanted record lies.
#[derive(Debug, Clone, Copy)]
struct Extent {
    offset: u64,
    bytes: u64,
}

impl BodyCache {
    /// The cache in this file, which need not be there. No body is larger than `body_bytes_max`.
    pub const fn new(path: PathBuf, body_bytes_max: u64) -> Self {
        Self {
            path,
            body_bytes_max,
        }
    }

    /// Hands the bodies of what is `wanted` to `each`, in no order, and leaves in `wanted` what is not here.
    ///
    /// A file that cannot be read holds nothing: this is a cache.
    pub fn read<T>(&self, wanted: &mut BTreeMap<SeenObject, T>, mut each: impl FnMut(T, Vec<u8>)) {
        let Ok(file) = File::open(&self.path) else {
            return;
        };
        let (mut reader, mut kept, mut offset) = (BufReader::new(file), Vec::new(), 0_u64);
        let mut read_all = || -> io::Result<()> {
            while let Some((seen, body_bytes)) = read_head(&mut reader, self.body_bytes_max)? {
                let bytes = body_bytes.saturating_add(HEAD_BYTES);
                if wanted.contains_key(&seen) {
                    let mut body = Vec::new();
                    reader.by_ref().take(body_bytes).read_to_end(&mut body)?;
                    if ObjectId::of(&body) != seen.id {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    kept.push(Extent { offset, bytes });
                    if let Some(of) = wanted.remove(&seen) {
                        each(of, body);
                    }
                } else {
                    reader.seek_relative(i64::try_from(body_bytes).unwrap_or(i64::MAX))?;
                }
                offset = offset.saturating_add(bytes);
            }
            Ok(())
        };
        let is_whole = read_all().is_ok();
        let kept_bytes: u64 = kept.iter().map(|extent| extent.bytes).sum();
        let waste_bytes = offset.saturating_sub(kept_bytes);
        if !is_whole || waste_bytes > kept_bytes.max(WASTE_BYTES_MIN) {
            // Whoever cannot write leaves it as it is.
            let _rewritten = self.keep_only(&kept);
        }
    }

    /// Adds a body.
    pub fn append(&self, seen: &SeenObject, body: &[u8]) -> Result<(), StateError> {
        let Ok(length) = u32::try_from(body.len()) else {
            return Ok(());
        };
        let mut record = Vec::new();
        record.extend_from_slice(seen.id.as_bytes());
        record.extend_from_slice(&seen.listing);
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(body);
        // One write: records of several processes do not mix.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
            .and_then(|mut file| file.write_all(&record))
            .map_err(StateError::io(Operation::Write, &self.path))
    }

    /// Writes the file anew with these records alone.
    fn keep_only(&self, wanted: &[Extent]) -> Result<(), StateError> {
        let path: &Path = &self.path;
        let mut from = File::open(path).map_err(StateError::io(Operation::Open, path))?;
        let mut fresh = temporary_beside(path)?;
        let mut copy = || -> io::Result<()> {
            let mut to = BufWriter::new(fresh.as_file_mut());
            for extent in wanted {
                from.seek(SeekFrom::Start(extent.offset))?;
                io::copy(&mut (&from).take(extent.bytes), &mut to)?;
            }
            to.flush()
        };
        copy().map_err(StateError::io(Operation::Write, path))?;
        publish(fresh, path)
    }
}

/// Reads what stands before a body; `None` at the end of the file.
fn read_head(reader: &mut impl Read, body_bytes_max: u64) -> io::Result<Option<(SeenObject, u64)>> {
    let mut head = Vec::new();
    reader.take(HEAD_BYTES).read_to_end(&mut head)?;
    if head.is_empty() {
        return Ok(None);
    }
    let parts = head
        .split_first_chunk::<32>()
        .and_then(|(id, rest)| Some((*id, rest.split_first_chunk::<16>()?)));
    let Some((id, (listing, length))) = parts else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let length = length
        .try_into()
        .map_err(|_short| io::ErrorKind::UnexpectedEof)?;
    let body_bytes = u64::from(u32::from_le_bytes(length));
    if body_bytes > body_bytes_max {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let seen = SeenObject {
        id: ObjectId::from_bytes(id),
        listing: *listing,
    };
    Ok(Some((seen, body_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(body: &[u8], listing: u8) -> SeenObject {
        SeenObject {
            id: ObjectId::of(body),
            listing: [listing; 16],
        }
    }

    fn cache(folder: &tempfile::TempDir) -> BodyCache {
        BodyCache::new(folder.path().join("bodies"), 1 << 20)
    }

    /// Reads what is there of these.
    fn read(cache: &BodyCache, wanted: &[SeenObject]) -> BTreeMap<SeenObject, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut wanted = wanted.iter().map(|seen| (*seen, *seen)).collect();
        cache.read(&mut wanted, |seen, body| {
            found.insert(seen, body);
        });
        found
    }

    #[test]
    fn what_was_appended_is_read_and_the_rest_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder);
        let bodies = [b"one".as_slice(), b"", b"three"];
        let all = bodies.map(|body| seen(body, 1));
        assert!(read(&cache, &all).is_empty());
        for body in bodies {
            cache.append(&seen(body, 1), body).unwrap();
        }
        let found = read(&cache, &all);
        assert_eq!(found.len(), 3);
        assert_eq!(found[&seen(b"three", 1)], b"three");
        let mut wanted = BTreeMap::from([(seen(b"one", 1), 1), (seen(b"four", 1), 4)]);
        cache.read(&mut wanted, |_, _| {});
        assert_eq!(wanted, BTreeMap::from([(seen(b"four", 1), 4)]));
    }

    #[test]
    fn another_listing_of_the_same_object_is_another_record() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder);
        cache.append(&seen(b"body", 1), b"body").unwrap();
        assert!(read(&cache, &[seen(b"body", 2)]).is_empty());
    }

    #[test]
    fn a_body_that_is_not_its_names_is_not_found_and_ends_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder);
        let all = [b"good", b"name", b"late", b"next"].map(|body| seen(body, 1));
        cache.append(&seen(b"good", 1), b"good").unwrap();
        cache.append(&seen(b"name", 1), b"else").unwrap();
        cache.append(&seen(b"late", 1), b"late").unwrap();
        assert_eq!(read(&cache, &all).len(), 1);
        // The file was mended: what comes now is found again.
        cache.append(&seen(b"next", 1), b"next").unwrap();
        assert_eq!(read(&cache, &all).len(), 2);
    }

    #[test]
    fn a_record_cut_at_any_byte_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder);
        let all = [b"first".as_slice(), b"second"].map(|body| seen(body, 1));
        cache.append(&seen(b"first", 1), b"first").unwrap();
        let whole = std::fs::read(&cache.path).unwrap();
        cache.append(&seen(b"second", 1), b"second").unwrap();
        let both = std::fs::read(&cache.path).unwrap();
        for end in whole.len()..both.len() {
            std::fs::write(&cache.path, &both[..end]).unwrap();
            assert_eq!(read(&cache, &all).len(), 1, "cut at {end}");
            assert_eq!(std::fs::read(&cache.path).unwrap(), whole, "cut at {end}");
        }
    }

    #[test]
    fn a_length_without_measure_allocates_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder);
        let mut record = seen(b"", 1).id.as_bytes().to_vec();
        record.extend_from_slice(&[1; 16]);
        record.extend_from_slice(&u32::MAX.to_le_bytes());
        std::fs::write(&cache.path, record).unwrap();
        assert!(read(&cache, &[seen(b"", 1)]).is_empty());
    }

    #[test]
    fn what_nobody_wants_goes_when_it_is_more_than_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder);
        let large = vec![1; 600_000];
        cache.append(&seen(&large, 1), &large).unwrap();
        cache.append(&seen(&large, 2), &large).unwrap();
        cache.append(&seen(b"small", 1), b"small").unwrap();
        let small = [seen(b"small", 1)];
        assert_eq!(read(&cache, &small).len(), 1);
        let left = std::fs::metadata(&cache.path).unwrap().len();
        assert_eq!(left, HEAD_BYTES + 5);
        assert_eq!(read(&cache, &small).len(), 1);
    }
}
