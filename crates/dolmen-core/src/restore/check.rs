//! Comparing files that are there with the snapshot, part by part, before anything is fetched.

use std::sync::Arc;

use crossbeam_channel::Sender;
use dolmen_format::BlobKind;
use dolmen_fs::OutFile;

use super::file::FileJob;
use super::session::Session;
use super::window::{Files, Part};

/// Parts of files that are there.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) files: Files,
    pub(super) parts: Vec<Part>,
    /// Takes those that differ.
    pub(super) differing: Sender<Vec<Part>>,
}

impl Check {
    /// Compares; what is the same is settled.
    pub(super) fn run(self, session: &Session<'_>, buffer: &mut Vec<u8>) {
        let Self {
            files,
            mut parts,
            differing,
        } = self;
        let mut open: Option<(usize, Option<OutFile>)> = None;
        parts.retain(|part| {
            let Some(job) = files.get(part.file) else {
                return false;
            };
            if session.is_over() {
                return false;
            }
            let file = match &open {
                Some((number, file)) if *number == part.file => file,
                _ => {
                    let target = session.place.seen();
                    let file = target.map(|target| target.open_existing_file_for_update(&job.key));
                    // What cannot be opened differs; writing it says why.
                    &open
                        .insert((part.file, file.and_then(Result::ok).flatten()))
                        .1
                }
            };
            let is_same = file
                .as_ref()
                .is_some_and(|file| is_same(session, job, file, part, buffer));
            if is_same {
                job.keep(session, u64::from(part.at.length));
                job.settle(session, buffer);
            } else {
                job.differ();
            }
            !is_same
        });
        // Who asked waits for the answer, or is gone.
        differing.send(parts).ok();
    }
}

fn is_same(
    session: &Session<'_>,
    job: &Arc<FileJob>,
    file: &OutFile,
    part: &Part,
    buffer: &mut Vec<u8>,
) -> bool {
    let bytes = u64::from(part.at.length);
    job.read_back(file, part.content_offset, bytes, buffer)
        .unwrap_or(false)
        && session
            .blobs
            .repository()
            .keys()
            .is_blob(&part.id, BlobKind::Data, buffer)
}
