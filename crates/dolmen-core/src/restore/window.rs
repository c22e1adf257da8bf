//! Windows: neighbouring entries that are restored together, and the runs of frames that they need.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use dolmen_format::BlobId;
use dolmen_state::index::{FrameInfo, Location, PackInfo, PackRef};

use super::after::After;
use super::file::FileJob;
use super::session::lock;
use crate::pack::BlobError;

/// Windows that are written at the same time, while one more is planned.
pub(super) const WINDOWS_MAX: usize = 2;
/// Bytes of packs that one request fetches, unless a single frame is larger.
const RUN_BYTES_MAX: u64 = 4 << 20;
/// Bytes between two frames that are fetched along rather than asked around.
const GAP_BYTES_MAX: u64 = 256 << 10;

/// A place in a file that a blob belongs in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) id: BlobId,
    pub(super) at: Location,
    /// The file's number in the window.
    pub(super) file: usize,
    /// Bytes of content before it.
    pub(super) content_offset: u64,
}

/// The files of a window, by number.
pub(super) type Files = Arc<Vec<Arc<FileJob>>>;

/// A planned window.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) files: Files,
    /// In the order in which the blobs lie in the packs.
    pub(super) parts: Vec<Part>,
    /// Tasks that are not done, and one while there may be more.
    tasks: AtomicUsize,
    /// What is to be done when they are.
    after: Mutex<Vec<After>>,
}

/// Neighbouring frames of a pack that a window needs.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) window: Arc<Window>,
    pub(super) pack: PackRef,
    pub(super) info: PackInfo,
    pub(super) frames: Vec<NeededFrame>,
}

/// A frame and the parts that lie in it.
#[derive(Debug)]
pub(super) struct NeededFrame {
    pub(super) ordinal: u32,
    pub(super) frame: FrameInfo,
    /// Range of the window's parts.
    pub(super) parts: Range<usize>,
}

impl Window {
    /// A window whose planner may add tasks until it ends its own.
    pub(super) fn new(files: Files, mut parts: Vec<Part>, after: Vec<After>) -> Self {
        parts.sort_unstable_by_key(|part| {
            (
                part.at.pack,
                part.at.ordinal,
                part.at.offset,
                part.file,
                part.content_offset,
            )
        });
        Self {
            files,
            parts,
            tasks: AtomicUsize::new(1),
            after: Mutex::new(after),
        }
    }

    /// Counts a task.
    pub(super) fn begin_task(&self) {
        self.tasks.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends a task; true for the last one.
    pub(super) fn end_task(&self) -> bool {
        self.tasks.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Whether all tasks have ended.
    pub(super) fn is_done(&self) -> bool {
        self.tasks.load(Ordering::Acquire) == 0
    }

    /// Takes what is to be done now that they have.
    pub(super) fn take_after(&self) -> Vec<After> {
        std::mem::take(&mut lock(&self.after))
    }
}

/// Groups a window's parts into runs. Those whose frame the index does not know come with the reason instead.
pub(super) fn plan_runs(
    window: &Arc<Window>,
    mut frame_of: impl FnMut(PackRef, u32) -> Result<(PackInfo, FrameInfo), BlobError>,
) -> (Vec<Run>, Vec<(Range<usize>, BlobError)>) {
    let (mut runs, mut lost) = (Vec::<Run>::new(), Vec::new());
    let mut start = 0_usize;
    for group in window
        .parts
        .chunk_by(|a, b| (a.at.pack, a.at.ordinal) == (b.at.pack, b.at.ordinal))
    {
        let Some(Location { pack, ordinal, .. }) = group.first().map(|part| part.at) else {
            continue;
        };
        let end = start.saturating_add(group.len());
        match frame_of(pack, ordinal) {
            Err(error) => lost.push((start..end, error)),
            Ok((info, frame)) => {
                let needed = NeededFrame {
                    ordinal,
                    frame,
                    parts: start..end,
                };
                let run = runs.last_mut();
                if let Some(run) = run.filter(|run| run.pack == pack && run.has_room(&needed)) {
                    run.frames.push(needed);
                } else {
                    let window = Arc::clone(window);
                    runs.push(Run {
                        window,
                        pack,
                        info,
                        frames: vec![needed],
                    });
                }
            }
        }
        start = end;
    }
    (runs, lost)
}

impl Run {
    /// Where in the pack it begins and ends.
    pub(super) fn span(&self) -> Range<u64> {
        let begin = self
            .frames
            .first()
            .map_or(0, |first| u64::from(first.frame.offset));
        begin..self.frames.last().map_or(0, NeededFrame::end)
    }

    fn has_room(&self, next: &NeededFrame) -> bool {
        let offset = u64::from(next.frame.offset);
        is_worth_one_request(self.span(), offset..next.end())
    }
}

/// Whether a range that lies behind another is fetched along with it.
pub(super) fn is_worth_one_request(fetched: Range<u64>, next: Range<u64>) -> bool {
    next.start >= fetched.end
        && next.start.saturating_sub(fetched.end) <= GAP_BYTES_MAX
        && next.end.saturating_sub(fetched.start) <= RUN_BYTES_MAX
}

impl NeededFrame {
    fn end(&self) -> u64 {
        u64::from(self.frame.offset).saturating_add(u64::from(self.frame.frame_bytes))
    }
}

#[cfg(test)]
mod tests {
    use dolmen_format::index::IndexedFrame;
    use dolmen_format::pack::{BlobEntry, Compression};
    use dolmen_format::{BlobKind, PackId, WriterId};
    use dolmen_state::index::BlobIndex;

    use super::*;

    /// A pack of frames of these sizes, each of one blob, and the blobs' places.
    fn pack(index: &BlobIndex, number: u8, frames: &[u32]) -> Vec<(BlobId, Location)> {
        let id = |at: usize| {
            BlobId(
                [number, u8::try_from(at).unwrap(), 0, 0]
                    .repeat(8)
                    .try_into()
                    .unwrap(),
            )
        };
        let frame = |(at, frame_bytes): (usize, &u32)| IndexedFrame {
            frame_bytes: *frame_bytes,
            raw_bytes: 10,
            compression: Compression::None,
            blobs: vec![BlobEntry {
                kind: BlobKind::Data,
                id: id(at),
                length: 10,
            }],
        };
        let indexed: Vec<_> = frames.iter().enumerate().map(frame).collect();
        let info = PackInfo {
            pack: PackId::of(&[number]),
            writer: WriterId([0; 16]),
            pack_bytes: frames.iter().sum(),
            table_bytes: 0,
        };
        index.add_pack(info, &indexed).unwrap();
        (0..frames.len())
            .map(|at| (id(at), index.lookup(&id(at)).unwrap()))
            .collect()
    }

    fn runs(index: &BlobIndex, blobs: &[(BlobId, Location)]) -> Vec<Vec<u32>> {
        let part = |&(id, at): &(BlobId, Location)| Part {
            id,
            at,
            file: 0,
            content_offset: 0,
        };
        let parts = blobs.iter().map(part).collect();
        let window = Arc::new(Window::new(Arc::default(), parts, Vec::new()));
        let (runs, lost) = plan_runs(&window, |pack, ordinal| {
            Ok((
                index.pack(pack).unwrap(),
                index.frame(pack, ordinal).unwrap(),
            ))
        });
        assert!(lost.is_empty());
        let ordinals = |run: &Run| run.frames.iter().map(|frame| frame.ordinal).collect();
        runs.iter().map(ordinals).collect()
    }

    #[test]
    fn neighbours_are_fetched_together_in_their_order() {
        let (index, _) = BlobIndex::open(None, &[]).unwrap();
        let small = pack(&index, 1, &[100_000; 6]);
        let mut wanted = small.clone();
        wanted.reverse();
        wanted.extend(&small);
        assert_eq!(runs(&index, &wanted), [[0, 1, 2, 3, 4, 5]]);
        assert_eq!(
            runs(&index, &[small[4], small[1]]),
            [[1, 4]],
            "a gap of two frames is read along"
        );
        assert_eq!(
            runs(&index, &[small[5], small[1]]),
            [[1], [5]],
            "a larger one is not"
        );
        let large = pack(&index, 2, &[3_000_000, 1_000_000, 1_000_000, 4_194_332]);
        assert_eq!(runs(&index, &large), [vec![0, 1], vec![2], vec![3]]);
        let both = [small[0], large[0]];
        assert_eq!(runs(&index, &both), [[0], [0]], "no run leaves its pack");
        assert_eq!(runs(&index, &[]), [[0_u32; 0]; 0]);
    }
}
