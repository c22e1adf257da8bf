//! Bodies of small objects that this client keeps: what is immutable need not be fetched twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use dolmen_format::{ObjectId, ObjectKind};
use dolmen_state::{BodyCache, SeenObject};
use dolmen_store::Version;

use super::{Authentic, FetchError, Listed, Objects, StoredCopy};

/// The folder in which bodies are kept; none until one is named.
#[derive(Debug, Default)]
pub(super) struct KeptBodies(OnceLock<PathBuf>);

/// Where bytes may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// From this client's copies, where the object is still listed as it was when they were verified.
    Copies,
    /// From the store alone: for whoever looks for damage in it.
    Store,
}

impl Objects {
    /// Keeps bodies of small objects in a folder of the cache from now on; the first one that is named counts.
    pub fn keep_bodies(&self, folder: &Path) {
        self.bodies.0.get_or_init(|| folder.to_path_buf());
    }

    /// As [`Self::fetch_all`], for small objects of which a client needs all at each run. A copy of this client's is
    /// verified by the object's name like any other bytes.
    ///
    /// Cost: nothing for an object of which there is a copy; else as [`Self::fetch_all`].
    pub fn fetch_small(
        &self,
        listed: &[Listed],
        kind: ObjectKind,
        source: Source,
        mut each: impl FnMut(&Listed, Result<Authentic, FetchError>),
    ) {
        let folder = self.bodies.0.get().filter(|_| source == Source::Copies);
        let Some(folder) = folder else {
            return self.fetch_all(listed, kind, each);
        };
        let file = format!("bodies-{}", kind.code());
        let cache = BodyCache::new(folder.join(file), kind.bytes_max());
        let (mut wanted, mut missing) = (BTreeMap::new(), Vec::new());
        for object in listed {
            match seen_copy(object) {
                // Of two that look alike one is fetched.
                Some(seen) => missing.extend(wanted.insert(seen, object)),
                None => missing.push(object),
            }
        }
        cache.read(&mut wanted, |object, body| {
            if let Some(copy) = only_copy(object).cloned() {
                let body = body.into();
                each(object, Ok(Authentic { body, copy }));
            }
        });
        missing.extend(wanted.into_values());
        self.fetch_all(missing, kind, |object, fetched| {
            if let (Ok(found), Some(seen)) = (&fetched, seen_copy(object)) {
                // What cannot be kept is fetched again.
                let _kept = cache.append(&seen, &found.body);
            }
            each(object, fetched);
        });
    }
}

/// What a client remembers of an object whose bytes it verified: whoever touches it changes its version or its size.
pub(crate) fn seen(id: ObjectId, version: &Version, bytes: u64) -> SeenObject {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&bytes.to_le_bytes())
        .update(version.as_str().as_bytes());
    let mut listing = [0; 16];
    hasher.finalize_xof().fill(&mut listing);
    SeenObject { id, listing }
}

/// The one version that there is and that the plain view shows: of several it must be known which one is authentic.
fn only_copy(object: &Listed) -> Option<&StoredCopy> {
    match object.copies.as_slice() {
        [_] => object.plain(),
        _ => None,
    }
}

fn seen_copy(object: &Listed) -> Option<SeenObject> {
    let copy = only_copy(object)?;
    Some(seen(object.key.id(), &copy.version, copy.bytes))
}
