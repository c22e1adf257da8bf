//! Nodes in one file, and a table that says where: a reader keeps nothing in memory.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use dolmen_core::Error;
use dolmen_core::live::{NodePlace, NodeSource};
use dolmen_core::pack::BlobError;
use dolmen_format::PackId;
use dolmen_format::limits::PACK_FRAMES_MAX;

use crate::Result;

/// Bytes of an entry in the table: offset and length.
const PLACE_BYTES: u64 = 8 + 4;

/// Writes nodes into packs and roots one behind the other.
pub(crate) struct StoreWriter {
    nodes: BufWriter<File>,
    places: File,
    roots: BufWriter<File>,
    /// Bytes of nodes.
    end: u64,
    /// Packs that were begun.
    packs: u64,
    /// Frames of the latest pack.
    frames: u32,
    is_open: bool,
}

impl StoreWriter {
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        Ok(Self {
            nodes: BufWriter::new(File::create(folder.join("nodes"))?),
            places: File::create(folder.join("places"))?,
            roots: BufWriter::new(File::create(folder.join("roots"))?),
            end: 0,
            packs: 0,
            frames: 0,
            is_open: false,
        })
    }

    /// Packs that there are.
    pub(crate) const fn packs(&self) -> u64 {
        self.packs
    }

    /// Ends the pack: each level has packs of its own.
    pub(crate) const fn begin_level(&mut self) {
        self.is_open = false;
    }

    pub(crate) fn put(&mut self, node: &[u8]) -> Result<(PackId, u32)> {
        if !self.is_open || usize::try_from(self.frames)? >= PACK_FRAMES_MAX {
            self.packs += 1;
            self.frames = 0;
            self.is_open = true;
        }
        let (pack, ordinal) = (pack_id(self.packs), self.frames);
        let mut place = self.end.to_le_bytes().to_vec();
        place.extend_from_slice(&u32::try_from(node.len())?.to_le_bytes());
        self.places.write_all_at(&place, place_at(&pack, ordinal))?;
        self.nodes.write_all(node)?;
        self.end += u64::try_from(node.len())?;
        self.frames += 1;
        Ok((pack, ordinal))
    }

    pub(crate) fn add_root(&mut self, root: &[u8]) -> Result<()> {
        let bytes = u32::try_from(root.len())?;
        self.roots.write_all(&bytes.to_le_bytes())?;
        Ok(self.roots.write_all(root)?)
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        self.nodes.flush()?;
        Ok(self.roots.flush()?)
    }
}

/// An id that ends in the pack's number and is spread by the rest.
fn pack_id(number: u64) -> PackId {
    let mut id = PackId::of(&[b"nodes", number.to_le_bytes().as_slice()].concat());
    if let Some(end) = id.0.last_chunk_mut() {
        *end = number.to_le_bytes();
    }
    id
}

fn place_at(pack: &PackId, ordinal: u32) -> u64 {
    let number = pack
        .0
        .last_chunk()
        .map_or(0, |end| u64::from_le_bytes(*end));
    let frames = u64::try_from(PACK_FRAMES_MAX).unwrap_or(u64::MAX);
    (number * frames + u64::from(ordinal)) * PLACE_BYTES
}

/// Reads nodes.
#[derive(Debug)]
pub(crate) struct Nodes {
    nodes: File,
    places: File,
}

impl Nodes {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        Ok(Self {
            nodes: File::open(folder.join("nodes"))?,
            places: File::open(folder.join("places"))?,
        })
    }

    fn node(&self, place: &NodePlace) -> io::Result<Vec<u8>> {
        let (mut offset, mut length) = ([0; 8], [0; 4]);
        let at = place_at(&place.pack, place.ordinal);
        self.places.read_exact_at(&mut offset, at)?;
        self.places.read_exact_at(&mut length, at + 8)?;
        let length = u32::from_le_bytes(length);
        let mut node = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.nodes
            .read_exact_at(&mut node, u64::from_le_bytes(offset))?;
        Ok(node)
    }
}

impl NodeSource for Nodes {
    fn read(
        &mut self,
        places: &[NodePlace],
    ) -> dolmen_core::Result<Vec<std::result::Result<Vec<u8>, BlobError>>> {
        let nodes = places.iter().map(|place| match self.node(place) {
            Ok(node) => Ok(Ok(node)),
            Err(error) => Err(Error::damaged("the store of nodes", error)),
        });
        nodes.collect()
    }
}

/// Reads roots.
pub(crate) struct Roots(BufReader<File>);

impl Roots {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        Ok(Self(BufReader::new(File::open(folder.join("roots"))?)))
    }
}

impl Iterator for Roots {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut length = [0; 4];
        match self.0.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return None,
            Err(error) => return Some(Err(error)),
        }
        let length = u32::from_le_bytes(length);
        let mut root = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        Some(self.0.read_exact(&mut root).map(|()| root))
    }
}
