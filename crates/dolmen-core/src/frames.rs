//! Frames by numbers of their own, so that sets of them are small.

use dolmen_format::limits::PACK_FRAMES_MAX;
use dolmen_state::index::{BlobIndex, PackInfo, PackRef};

/// Numbers all frames of all packs, those of a pack one after the other.
#[derive(Debug)]
pub(crate) struct FrameNumbers {
    /// Each pack with the number of its first frame, ascending.
    packs: Vec<(u64, PackInfo)>,
    end: u64,
}

/// Neighbouring frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) count: u64,
}

/// A set of frames: a bit for each frame of the repository.
#[derive(Debug)]
pub(crate) struct Cover(Vec<u64>);

impl FrameNumbers {
    pub(crate) fn new(index: &BlobIndex) -> Self {
        let (mut packs, mut end) = (Vec::new(), 0_u64);
        index.for_each_pack(|pack, info| {
            packs.push((end, info));
            end = end.saturating_add(count_frames(index, pack));
        });
        Self { packs, end }
    }

    /// Whether the index knew a pack when its frames were numbered.
    pub(crate) fn knows(&self, pack: PackRef) -> bool {
        usize::try_from(pack.number()).is_ok_and(|at| at < self.packs.len())
    }

    /// The number of a frame that the index knows.
    pub(crate) fn number(&self, pack: PackRef, ordinal: u32) -> u64 {
        let at = usize::try_from(pack.number()).unwrap_or(usize::MAX);
        let first = self.packs.get(at).map_or(self.end, |(first, _)| *first);
        first.saturating_add(u64::from(ordinal))
    }

    /// The pack and the ordinal of a number.
    pub(crate) fn place(&self, number: u64) -> Option<(PackInfo, u64)> {
        let behind = self.packs.partition_point(|(first, _)| *first <= number);
        let (first, info) = self.packs.get(behind.checked_sub(1)?)?;
        Some((*info, number.saturating_sub(*first)))
    }

    /// An empty set of frames.
    pub(crate) fn cover(&self) -> Cover {
        Cover(vec![
            0;
            usize::try_from(self.end / 64)
                .unwrap_or(0)
                .saturating_add(1)
        ])
    }
}

/// The index states no count, but its frames have no gaps.
fn count_frames(index: &BlobIndex, pack: PackRef) -> u64 {
    let (mut low, mut high) = (0_u32, u32::try_from(PACK_FRAMES_MAX).unwrap_or(u32::MAX));
    while low < high {
        let middle = low.midpoint(high);
        if index.frame(pack, middle).is_some() {
            low = middle.saturating_add(1);
        } else {
            high = middle;
        }
    }
    u64::from(low)
}

impl Cover {
    pub(crate) fn insert(&mut self, run: Run) {
        for number in run.numbers() {
            let (word, bit) = position(number);
            if let Some(slot) = self.0.get_mut(word) {
                *slot |= bit;
            }
        }
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        let (word, bit) = position(number);
        self.0.get(word).is_some_and(|slot| slot & bit != 0)
    }
}

fn position(number: u64) -> (usize, u64) {
    (
        usize::try_from(number / 64).unwrap_or(usize::MAX),
        1 << (number % 64),
    )
}

impl Run {
    pub(crate) fn numbers(self) -> impl Iterator<Item = u64> {
        self.first..self.first.saturating_add(self.count)
    }
}

/// Gathers numbers into runs.
pub(crate) fn runs(mut numbers: Vec<u64>) -> Box<[Run]> {
    numbers.sort_unstable();
    numbers.dedup();
    let mut runs: Vec<Run> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some(run) if run.first.saturating_add(run.count) == number => run.count += 1,
            Some(_) | None => runs.push(Run {
                first: number,
                count: 1,
            }),
        }
    }
    runs.into_boxed_slice()
}

/// An empty set for tests.
#[cfg(test)]
pub(crate) fn tests_cover(frames: usize) -> Cover {
    Cover(vec![0; frames.div_ceil(64)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_runs_whatever_their_order() {
        let run = |first, count| Run { first, count };
        assert_eq!(
            *runs(vec![7, 3, 4, 4, 5, 9]),
            [run(3, 3), run(7, 1), run(9, 1)]
        );
        assert_eq!(*runs(Vec::new()), []);
    }

    #[test]
    fn a_cover_holds_what_was_put_in() {
        let mut cover = Cover(vec![0; 3]);
        cover.insert(Run {
            first: 62,
            count: 4,
        });
        let held: Vec<u64> = (0..192).filter(|number| cover.contains(*number)).collect();
        assert_eq!(held, [62, 63, 64, 65]);
    }
}
