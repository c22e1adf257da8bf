//! What snapshots of this machine need, for whoever may not open their manifests.
//!
//! A file for each: a line that names the format, then for each pack its id, the bytes of its bitmap (u16) and the bitmap,
//! then a checksum of all that. A damaged one counts as none: what it named is merely stored again.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use dolmen_format::bytes::take;
use dolmen_format::manifest::FrameSet;
use dolmen_format::{Label, ObjectId, PackId};

use crate::checksum::{CHECKSUM_BYTES, checksum};
use crate::durable;
use crate::error::{Operation, StateError};

const MAGIC: &[u8] = b"dolmen needed 1\n";
/// Begins the names of these files.
const PREFIX: &str = "needed-";

/// Packs, and which frames of each.
pub type Needed = Vec<(PackId, FrameSet)>;

/// Writes what a snapshot or checkpoint needs, in place of what earlier ones of the same paths did, except `kept`.
/// Durable when it returns.
pub(super) fn keep(
    folder: &Path,
    paths: &Label,
    snapshot: &ObjectId,
    needed: &Needed,
    kept: &[ObjectId],
) -> Result<(), StateError> {
    let mut bytes = MAGIC.to_vec();
    for (pack, frames) in needed {
        bytes.extend_from_slice(pack.as_bytes());
        frames.encode(&mut bytes);
    }
    let path = path_of(folder, paths, snapshot);
    let mut file = durable::temporary_beside(&path)?;
    file.write_all(&bytes)
        .and_then(|()| file.write_all(&checksum(&bytes)))
        .map_err(StateError::io(Operation::Write, file.path()))?;
    durable::publish(file, &path)?;
    let group = format!("{PREFIX}{paths}-");
    let keeps = |name: &str| {
        let is_kept = |id: &ObjectId| name.ends_with(&id.to_string());
        !name.starts_with(&group) || is_kept(snapshot) || kept.iter().any(is_kept)
    };
    remove_unless(folder, keeps)
}

/// What a snapshot needs, where it is known.
pub(super) fn load(folder: &Path, paths: &Label, snapshot: &ObjectId) -> Option<Needed> {
    let bytes = fs::read(path_of(folder, paths, snapshot)).ok()?;
    let (body, found) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if checksum(body) != *found {
        return None;
    }
    let (mut rest, mut needed) = (body.strip_prefix(MAGIC)?, Needed::new());
    while !rest.is_empty() {
        let pack = PackId::from_bytes(take(&mut rest).ok()?);
        needed.push((pack, FrameSet::decode(&mut rest).ok()?));
    }
    Some(needed)
}

/// Forgets all of it.
pub(super) fn clear(folder: &Path) -> Result<(), StateError> {
    remove_unless(folder, |name| !name.starts_with(PREFIX))
}

fn path_of(folder: &Path, paths: &Label, snapshot: &ObjectId) -> PathBuf {
    folder.join(format!("{PREFIX}{paths}-{snapshot}"))
}

fn remove_unless(folder: &Path, keeps: impl Fn(&str) -> bool) -> Result<(), StateError> {
    let listed = fs::read_dir(folder).map_err(StateError::io(Operation::Read, folder))?;
    for entry in listed.flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| !keeps(name)) {
            let path = entry.path();
            fs::remove_file(&path).map_err(StateError::io(Operation::Remove, &path))?;
        }
    }
    Ok(())
}
