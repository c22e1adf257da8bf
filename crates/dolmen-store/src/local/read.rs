//! Reads whole objects and ranges of them.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::fault::Fault;
use super::folder::{FileState, Folder, lock};
use crate::error::StoreErrorKind;
use crate::key::StoreKey;
use crate::object::{ByteRange, Version};

/// Objects kept open between range reads. A restore reads many ranges of few packs at a time.
const OPEN_OBJECTS_MAX: usize = 16;

/// An object's open file. It goes on showing the same bytes after its name has gone to another file.
#[derive(Debug, Clone)]
pub(super) struct OpenObject(Arc<OwnedFd>);

impl OpenObject {
    fn state(&self) -> Result<FileState, Fault> {
        Ok(FileState::new(&rustix::fs::fstat(&self.0)?))
    }
}

impl Folder {
    pub(super) fn get(
        &self,
        key: &StoreKey,
        version: Option<&Version>,
        range: Option<ByteRange>,
        max_bytes: u64,
    ) -> Result<Bytes, Fault> {
        let (object, state) = match range {
            Some(_) => self.open_kept(key)?,
            None => self.open_object(key)?,
        };
        if version.is_some_and(|version| *version != state.version()) {
            return Err(StoreErrorKind::NotFound.into());
        }
        if state.size_bytes > max_bytes {
            return Err(StoreErrorKind::TooLarge.into());
        }
        let range = range.unwrap_or(ByteRange::FromTo {
            offset: 0,
            len: state.size_bytes,
        });
        let (offset, len) = range
            .within(state.size_bytes)
            .ok_or(StoreErrorKind::ShortRead)?;
        read_exactly(&object.0, offset, len)
    }

    /// Closes a kept file after its name was given to another, or to none.
    pub(super) fn forget(&self, key: &StoreKey) {
        lock(&self.open_objects).retain(|(kept, _)| kept != key);
    }

    fn open_object(&self, key: &StoreKey) -> Result<(OpenObject, FileState), Fault> {
        let (parent, name) = self.parent(key)?;
        // Without NONBLOCK a FIFO in the place of an object would hold the reader up for ever.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
        let object = OpenObject(Arc::new(file));
        let state = object.state()?;
        if state.kind != FileType::RegularFile {
            return Err(Fault::new(
                StoreErrorKind::Other,
                "what lies there is not a file",
            ));
        }
        Ok((object, state))
    }

    /// Opens an object, or takes the file that an earlier read left open if it still has a name.
    fn open_kept(&self, key: &StoreKey) -> Result<(OpenObject, FileState), Fault> {
        let kept = lock(&self.open_objects)
            .iter()
            .find_map(|(kept, object)| (kept == key).then(|| object.clone()));
        if let Some(object) = kept {
            let state = object.state()?;
            if state.is_linked {
                return Ok((object, state));
            }
        }
        let (object, state) = self.open_object(key)?;
        let mut objects = lock(&self.open_objects);
        objects.retain(|(kept, _)| kept != key);
        objects.truncate(OPEN_OBJECTS_MAX - 1);
        objects.push_front((key.clone(), object.clone()));
        drop(objects);
        Ok((object, state))
    }
}

fn read_exactly(file: &OwnedFd, offset: u64, len: u64) -> Result<Bytes, Fault> {
    let wanted_bytes =
        usize::try_from(len).map_err(|error| Fault::new(StoreErrorKind::TooLarge, error))?;
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(wanted_bytes)
        .map_err(|error| Fault::new(StoreErrorKind::Unavailable, error))?;
    let mut at = offset;
    while bytes.len() < wanted_bytes {
        match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => return Err(StoreErrorKind::ShortRead.into()),
            Ok(read_bytes) => at = at.saturating_add(u64::try_from(read_bytes).unwrap_or(u64::MAX)),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    // The allocator may have given more than was asked for, and the file may have grown.
    bytes.truncate(wanted_bytes);
    Ok(bytes.into())
}
