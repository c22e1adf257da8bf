//! A stream as one file: it is read by this thread, and compressed by all.

use std::io::{ErrorKind, Read};

use crossbeam_channel::{bounded, unbounded};
use dolmen_format::Timestamp;
use dolmen_format::tree::{Node, NodeKind};
use dolmen_fs::{OwnerNames, PathKey};

use super::assemble::{Assembler, Finished, start_workers};
use super::blobs::BlobWriter;
use super::entry::{Outcome, Saved, SavedEntry, file_kind};
use super::reader::{Content, ContentReader, ReadError};
use super::session::Session;
use super::worker::Shared;
use super::{Change, Stdin};
use crate::error::{Error, Result};
use crate::pack::PackWriter;

/// Reads the stream into the file, with directories above it made up.
pub(super) fn run(
    session: &Session<'_>,
    packs: &PackWriter<'_>,
    stdin: Stdin<'_>,
) -> Result<Finished> {
    let Stdin {
        path,
        reader,
        finish,
    } = stdin;
    let unusable = || Error::Usage {
        reason: "the name for standard input is not usable".to_owned(),
    };
    let key = PathKey::from_path(&path)
        .ok()
        .filter(|key| !key.as_bytes().is_empty());
    let key = key.ok_or_else(unusable)?;
    let shared = Shared::new(session, packs, None);
    let mut stream = Stream { reader };
    let listed = std::thread::scope(|scope| {
        let (batches_in, batches) = bounded(1);
        let (done_in, _done) = unbounded();
        let queue = start_workers(scope, &shared, &batches, &done_in);
        drop(batches_in);
        let mut blobs = BlobWriter::new(session, packs);
        let mut reader = ContentReader::new(session, &shared.chunker, queue);
        let progress = session.progress;
        let listed =
            progress.while_reading(&key, || reader.read(&mut stream, u64::MAX, &mut blobs));
        drop(reader);
        blobs.flush()?;
        listed.map_err(|error| match error {
            ReadError::Fatal(error) => error,
            ReadError::Source(error) => Error::Fs(error),
        })
    })?;
    finish()?;
    let mut assembler = Assembler::new(session, packs, None);
    let mut ancestors: Vec<PathKey> =
        std::iter::successors(key.parent(), PathKey::parent).collect();
    ancestors.retain(|ancestor| !ancestor.as_bytes().is_empty());
    for ancestor in ancestors.into_iter().rev() {
        assembler.take(outcome(session, ancestor, NodeKind::Directory, 0o755))?;
    }
    let kind = file_kind(listed.length, None, listed.content);
    assembler.take(outcome(session, key, kind, 0o644))?;
    assembler.finish()
}

fn outcome(session: &Session<'_>, key: PathKey, kind: NodeKind, mode: u16) -> Outcome {
    let options = session.options;
    let owners = OwnerNames::default();
    let mtime: Timestamp = options.time.unwrap_or(session.start);
    let node = Node {
        kind,
        mode,
        uid: options.uid,
        gid: options.gid,
        user: owners.user(options.uid).map(Into::into),
        group: owners.group(options.gid).map(Into::into),
        mtime,
        hard_link: None,
        xattrs: Vec::new(),
    };
    let entry = SavedEntry {
        node,
        change: Change::New,
        cache: None,
        flaw: None,
    };
    Outcome {
        path: key.to_path(),
        key,
        result: Saved::Entry(Box::new(entry)),
    }
}

struct Stream<'a> {
    reader: Box<dyn Read + Send + 'a>,
}

impl Content for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::result::Result<usize, ReadError> {
        let mut filled = 0;
        while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.reader.read(room) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let reason = format!("cannot read its output: {error}");
                    return Err(Error::Command { reason }.into());
                }
            }
        }
        Ok(filled)
    }
}
