//! Lists a folder, one directory in memory at a time on each level.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode};
use rustix::io::Errno;

use super::fault::Fault;
use super::folder::{FOLDER_FLAGS, FileState, Folder, RESERVED};
use crate::key::{KEY_BYTES_MAX, is_segment};
use crate::lock::LockStatus;
use crate::object::{VersionInfo, VersionKind};

/// Lines that one blocking step gathers.
const BATCH_LINES_MAX: usize = 256;

/// A walk in byte order of the whole names, which is the order of their keys.
#[derive(Debug)]
pub(super) struct Walk {
    folder: Arc<Folder>,
    prefix: Vec<u8>,
    /// Directories from the root to where the walk stands. The depth is bounded by the length of a key.
    levels: Vec<Level>,
    has_begun: bool,
}

#[derive(Debug)]
struct Level {
    directory: OwnedFd,
    /// Its path with a slash at the end; empty for the root.
    path: Vec<u8>,
    /// What is still to be seen, the next one last. Names of directories end in a slash, which sorts them as keys do.
    names: Vec<Vec<u8>>,
}

impl Walk {
    pub(super) fn new(folder: Arc<Folder>, prefix: &str) -> Self {
        Self {
            folder,
            prefix: prefix.into(),
            levels: Vec::new(),
            has_begun: false,
        }
    }

    /// Returns the next lines; none at the end. A fault comes with the path that it is about.
    pub(super) fn next_batch(&mut self) -> Vec<Result<VersionInfo, (Fault, String)>> {
        let mut lines = Vec::new();
        if !self.has_begun {
            self.has_begun = true;
            match self
                .folder
                .root()
                .and_then(|root| Level::read(root, Vec::new()))
            {
                Ok(level) => self.levels.push(level),
                Err(fault) => lines.push(Err((fault, String::new()))),
            }
        }
        while lines.len() < BATCH_LINES_MAX {
            let Some(level) = self.levels.last_mut() else {
                break;
            };
            let Some(name) = level.names.pop() else {
                self.levels.pop();
                continue;
            };
            match level.visit(&name, &self.prefix) {
                Ok(Visit::Nothing) => {}
                Ok(Visit::Line(line)) => lines.push(Ok(line)),
                Ok(Visit::Level(below)) => self.levels.push(below),
                Err(fault) => {
                    let path = [level.path.as_slice(), &name].concat();
                    lines.push(Err((fault, String::from_utf8_lossy(&path).into_owned())));
                }
            }
        }
        lines
    }
}

enum Visit {
    Nothing,
    Line(VersionInfo),
    Level(Level),
}

impl Level {
    fn read(directory: OwnedFd, path: Vec<u8>) -> Result<Self, Fault> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let mut name = entry.file_name().to_bytes().to_vec();
            if matches!(name.as_slice(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    match rustix::fs::statat(&directory, entry.file_name(), flags) {
                        Ok(stat) => FileState::new(&stat).kind,
                        Err(Errno::NOENT) => continue,
                        Err(errno) => return Err(errno.into()),
                    }
                }
                known => known,
            };
            if kind == FileType::Directory {
                name.push(b'/');
            }
            names.push(name);
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Self {
            directory,
            path,
            names,
        })
    }

    fn visit(&self, name: &[u8], prefix: &[u8]) -> Result<Visit, Fault> {
        let path = [self.path.as_slice(), name].concat();
        match name.strip_suffix(b"/") {
            Some(_) if !(path.starts_with(prefix) || prefix.starts_with(&path)) => {
                Ok(Visit::Nothing)
            }
            Some(directory) if self.path.is_empty() && is_reserved(directory) => Ok(Visit::Nothing),
            // No key lies below it.
            Some(directory) if !is_key_folder(directory) || path.len() >= KEY_BYTES_MAX => {
                self.line(directory, &path, prefix)
            }
            Some(directory) => self.enter(directory, path),
            None => self.line(name, &path, prefix),
        }
    }

    fn enter(&self, name: &[u8], path: Vec<u8>) -> Result<Visit, Fault> {
        match rustix::fs::openat(&self.directory, name, FOLDER_FLAGS, Mode::empty()) {
            Ok(directory) => Ok(Visit::Level(Self::read(directory, path)?)),
            // Removed, or replaced by something else, since its name was read.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Visit::Nothing),
            Err(errno) => Err(errno.into()),
        }
    }

    fn line(&self, name: &[u8], path: &[u8], prefix: &[u8]) -> Result<Visit, Fault> {
        let is_reserved_file = self.path.is_empty() && is_reserved(name);
        if !path.starts_with(prefix) || is_reserved_file {
            return Ok(Visit::Nothing);
        }
        let stat = rustix::fs::statat(self.directory.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW);
        let state = match stat {
            Ok(stat) => FileState::new(&stat),
            Err(Errno::NOENT) => return Ok(Visit::Nothing),
            Err(errno) => return Err(errno.into()),
        };
        let (kind, size_bytes) = match state.kind {
            FileType::RegularFile => (VersionKind::Data, state.size_bytes),
            _ => (VersionKind::Foreign, 0),
        };
        Ok(Visit::Line(VersionInfo {
            name: String::from_utf8_lossy(path).into_owned(),
            version: state.version(),
            size_bytes,
            stored_at: state.stored_at(),
            kind,
            is_current: true,
            lock: LockStatus::None,
            checksum: None,
        }))
    }
}

fn is_reserved(name: &[u8]) -> bool {
    RESERVED.iter().any(|reserved| reserved.as_bytes() == name)
}

fn is_key_folder(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(is_segment)
}
