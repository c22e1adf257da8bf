//! Copying frames as they are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use dolmen_format::ledger::{Fact, MoveRun};
use dolmen_format::limits::PROLOGUE_BYTES;
use dolmen_format::pack::{FrameEntry, Origin, PackTable};
use dolmen_format::{ObjectId, ObjectKey, ObjectKind, PackId};
use dolmen_state::index::PackInfo;
use dolmen_state::state::{Comparison, Instance};
use dolmen_store::StoreErrorKind;

use super::fill::Fill;
use super::plan::Kind;
use super::{Options, Report, Source};
use crate::check::Observer;
use crate::error::{Error, Result};
use crate::finding::{Finding, chain, reason};
use crate::ledger;
use crate::moves::Moves;
use crate::moves::places::{FramePlace, Places};
use crate::objects::FetchError;
use crate::pack::writer::pack_entry;
use crate::pack::{PACK_BUFFER_BYTES, close};
use crate::repository::Repository;

/// A run under way. Two packs are filled at the same time, those of clients and those of manifest nodes, and one is read:
/// 160 MiB at most.
pub(super) struct Copying<'a> {
    repository: &'a Repository,
    instance: &'a mut Instance,
    moves: &'a Moves,
    places: &'a Places<'a>,
    options: &'a Options<'a>,
    open: Vec<NewPack>,
    /// What the copies are known to be the same as.
    pub(super) learnt: BTreeSet<Comparison>,
}

/// A pack in the making.
struct NewPack {
    kind: Kind,
    buffer: Vec<u8>,
    origins: Vec<Origin>,
    /// The numbers of origins.
    numbers: HashMap<PackId, u32>,
    frames: Vec<FrameEntry>,
    /// Where each frame was copied from.
    sources: Vec<FramePlace>,
    fill: Fill,
}

/// A frame of a pack that is read.
struct Frame<'s> {
    place: FramePlace,
    stored: &'s [u8],
    entry: &'s FrameEntry,
    origin: &'s Origin,
}

impl Frame<'_> {
    /// The pack that it was written into.
    fn origin(&self) -> PackId {
        self.origin.pack.unwrap_or(self.place.pack)
    }
}

impl<'a> Copying<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        instance: &'a mut Instance,
        moves: &'a Moves,
        places: &'a Places<'a>,
        options: &'a Options<'a>,
    ) -> Self {
        Self {
            repository,
            instance,
            moves,
            places,
            options,
            open: Vec::new(),
            learnt: BTreeSet::new(),
        }
    }

    /// Copies what is needed of packs. One that cannot be read stays as it is, and stops no other.
    pub(super) fn all(
        &mut self,
        sources: &[Source],
        report: &mut Report,
        observer: &dyn Observer,
    ) -> Result<()> {
        for source in sources {
            if self.options.cancel.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let info = &source.info;
            let key = ObjectKey::Pack(info.writer, info.pack);
            let read = match self.repository.objects.fetch(&key, ObjectKind::Pack) {
                Ok(stored) => match PackTable::decode_pack(&stored) {
                    Ok(table) => Ok((stored, table)),
                    Err(error) => Err(chain(&error)),
                },
                Err(FetchError::Store(error)) if error.kind == StoreErrorKind::Unavailable => {
                    return Err(error.into());
                }
                Err(error) => Err(reason(&error)),
            };
            let (stored, table) = match read {
                Ok(read) => read,
                Err(problem) => {
                    observer.finding(&Finding::new(key.to_string(), problem));
                    continue;
                }
            };
            report.packs_read = report.packs_read.saturating_add(1);
            report.bytes_read = report.bytes_read.saturating_add(count(stored.len()));
            self.copy(source, &stored, &table, report)?;
        }
        for pack in std::mem::take(&mut self.open) {
            self.put(pack, report)?;
        }
        Ok(())
    }

    /// Copies the needed frames of a pack that is what its name says.
    fn copy(
        &mut self,
        source: &Source,
        stored: &Bytes,
        table: &PackTable,
        report: &mut Report,
    ) -> Result<()> {
        let mut begin = PROLOGUE_BYTES;
        for (position, entry) in (0_u32..).zip(&table.frames) {
            let end = begin.saturating_add(to_usize(entry.frame_bytes));
            let own = begin..end;
            begin = end;
            let origin = table.origins.get(to_usize(entry.origin));
            let (Some(stored), Some(origin)) = (stored.get(own), origin) else {
                break;
            };
            let place = FramePlace {
                pack: source.info.pack,
                position,
            };
            let frame = Frame {
                place,
                stored,
                entry,
                origin,
            };
            // What has to stay elsewhere, too, is not made even more of.
            if source.frames.contains(position)
                && self.places.kept(&frame.origin(), entry.ordinal) == [place]
            {
                let kind = Kind {
                    recipient: table.recipient,
                    domain: origin.domain,
                };
                self.push(kind, &frame, report)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, kind: Kind, frame: &Frame<'_>, report: &mut Report) -> Result<()> {
        let at = self.open.iter().position(|pack| pack.kind == kind);
        let mut pack = match at {
            Some(at) => self.open.swap_remove(at),
            None => NewPack::new(kind),
        };
        if pack.fill.is_full() {
            let full = std::mem::replace(&mut pack, NewPack::new(kind));
            self.put(full, report)?;
        }
        pack.push(frame);
        report.frames = report.frames.saturating_add(1);
        self.open.push(pack);
        Ok(())
    }

    /// Puts a pack and signs where its frames came from. A run that dies in between leaves a pack that nothing names.
    fn put(&mut self, pack: NewPack, report: &mut Report) -> Result<()> {
        report.packs_written = report.packs_written.saturating_add(1);
        report.bytes_written = report
            .bytes_written
            .saturating_add(count(pack.buffer.len()));
        let (runs, sources) = (pack.runs(), pack.sources());
        let (bytes, table_bytes) = pack.finish()?;
        let info = PackInfo {
            pack: ObjectId::of(&bytes),
            writer: self.repository.writer(),
            pack_bytes: u32::try_from(bytes.len()).map_err(|_error| Error::Internal {
                what: "a pack is too large",
            })?,
            table_bytes,
        };
        let key = ObjectKey::Pack(info.writer, info.pack);
        let receipt = self.repository.objects.put(&key, bytes.into())?;
        let pack = pack_entry(&info, &receipt);
        let record = ledger::write(self.repository, self.instance, Fact::Moves { pack, runs })?;
        self.learn(record.digest, &sources);
        Ok(())
    }

    /// Notes what the frames of a record are the same as: those of an origin that were all copied from itself, and those of
    /// another record that were all copied from where that says.
    fn learn(&mut self, record: ObjectId, sources: &[(PackId, u32, FramePlace)]) {
        let mut is_same: BTreeMap<ObjectId, bool> = BTreeMap::new();
        for (origin, ordinal, source) in sources {
            let own = FramePlace {
                pack: *origin,
                position: *ordinal,
            };
            let claims = self.moves.claims_to(origin, *ordinal);
            for (name, place) in claims.chain([(*origin, own)]) {
                let so_far = is_same.entry(name).or_insert(true);
                *so_far &= place == *source;
            }
        }
        let same = is_same.into_iter().filter(|(_, is_same)| *is_same);
        self.learnt.extend(same.map(|(name, _)| (record, name)));
    }
}

impl NewPack {
    fn new(kind: Kind) -> Self {
        // All at once: a buffer that grows leaves holes of its former sizes behind. What is not filled takes no memory.
        let mut buffer = Vec::with_capacity(PACK_BUFFER_BYTES);
        buffer.resize(PROLOGUE_BYTES, 0);
        Self {
            kind,
            buffer,
            origins: Vec::new(),
            numbers: HashMap::new(),
            frames: Vec::new(),
            sources: Vec::new(),
            fill: Fill::default(),
        }
    }

    fn push(&mut self, frame: &Frame<'_>) {
        let origin = frame.origin();
        let next = u32::try_from(self.origins.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(origin).or_insert(next);
        if number == next {
            self.origins.push(Origin {
                pack: Some(origin),
                ..frame.origin.clone()
            });
            self.fill.add_origin();
        }
        self.buffer.extend_from_slice(frame.stored);
        self.frames.push(FrameEntry {
            origin: number,
            ..frame.entry.clone()
        });
        self.sources.push(frame.place);
        self.fill.add_frame(frame.entry);
    }

    /// Every frame's origin and ordinal, and where it was copied from.
    fn sources(&self) -> Vec<(PackId, u32, FramePlace)> {
        let frames = self.frames.iter().zip(&self.sources);
        let sources = frames
            .filter_map(|(entry, source)| Some((self.origin_of(entry)?, entry.ordinal, *source)));
        sources.collect()
    }

    fn origin_of(&self, entry: &FrameEntry) -> Option<PackId> {
        self.origins.get(to_usize(entry.origin))?.pack
    }

    /// What the record says: frames that follow each other here and there are one run.
    fn runs(&self) -> Vec<MoveRun> {
        let mut runs: Vec<MoveRun> = Vec::new();
        for (position, entry) in (0_u32..).zip(&self.frames) {
            let Some(origin) = self.origin_of(entry) else {
                continue;
            };
            let last = runs.last_mut().filter(|run| {
                run.origin == origin
                    && run.first_ordinal.checked_add(run.count) == Some(entry.ordinal)
            });
            match last {
                Some(run) => run.count = run.count.saturating_add(1),
                None => runs.push(MoveRun {
                    origin,
                    first_ordinal: entry.ordinal,
                    count: 1,
                    position,
                }),
            }
        }
        runs
    }

    /// The pack as it is stored, and the size of its table.
    fn finish(self) -> Result<(Vec<u8>, u32)> {
        let table = PackTable {
            recipient: self.kind.recipient,
            origins: self.origins,
            frames: self.frames,
        };
        close(self.buffer, &table).map_err(Error::encode_format("a pack"))
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
