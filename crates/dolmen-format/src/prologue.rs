//! The 16 bytes that open every object (§2).

use crate::bytes::{take, take_u8, take_u16, take_u32};
use crate::error::FormatError;
use crate::limits::{
    KEY_OBJECT_BYTES_MAX, LEDGER_BYTES_MAX, PACK_BYTES_MAX, PROLOGUE_BYTES, SEGMENT_BYTES_MAX,
    SNAPSHOT_BYTES_MAX,
};

/// The first eight bytes of every object: a line end that text conversions would damage.
pub const MAGIC: [u8; 8] = *b"DOLMEN\r\n";
/// The format that this crate reads and writes.
pub const FORMAT: u16 = 1;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A repository's descriptor.
    Root,
    /// A certificate.
    Certificate,
    /// A passphrase bundle.
    Bundle,
    /// A pack.
    Pack,
    /// An index segment.
    Index,
    /// A snapshot or checkpoint.
    Snapshot,
    /// A ledger record.
    Ledger,
}

impl ObjectKind {
    /// The byte that stands for this kind.
    pub const fn code(self) -> u8 {
        match self {
            Self::Root => 1,
            Self::Certificate => 2,
            Self::Bundle => 3,
            Self::Pack => 4,
            Self::Index => 5,
            Self::Snapshot => 6,
            Self::Ledger => 7,
        }
    }

    fn from_code(code: u8) -> Result<Self, FormatError> {
        match code {
            1 => Ok(Self::Root),
            2 => Ok(Self::Certificate),
            3 => Ok(Self::Bundle),
            4 => Ok(Self::Pack),
            5 => Ok(Self::Index),
            6 => Ok(Self::Snapshot),
            7 => Ok(Self::Ledger),
            _ => Err(FormatError::Unknown {
                field: "object kind",
                found: u64::from(code),
            }),
        }
    }

    /// The largest whole object of this kind, in bytes. Checked before a fetch and by decoders.
    pub const fn bytes_max(self) -> u64 {
        match self {
            Self::Root | Self::Certificate | Self::Bundle => KEY_OBJECT_BYTES_MAX,
            Self::Pack => PACK_BYTES_MAX,
            Self::Index => SEGMENT_BYTES_MAX,
            Self::Snapshot => SNAPSHOT_BYTES_MAX,
            Self::Ledger => LEDGER_BYTES_MAX,
        }
    }
}

/// Opens every stored object. 16 bytes; the table is in `docs/format.md` §2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prologue {
    /// What follows.
    pub kind: ObjectKind,
    /// Bytes that follow.
    pub body_bytes: u32,
}

/// Whether an object says that it is of this kind. Every format says it in the same place, also those whose objects this
/// version cannot read.
pub fn states_kind(kind: ObjectKind, stored: &[u8]) -> bool {
    match stored.strip_prefix(&MAGIC) {
        Some([_, _, found, ..]) => *found == kind.code(),
        _ => false,
    }
}

impl Prologue {
    /// The 16 bytes.
    pub fn encode(self) -> [u8; PROLOGUE_BYTES] {
        let [m0, m1, m2, m3, m4, m5, m6, m7] = MAGIC;
        let [f0, f1] = FORMAT.to_le_bytes();
        let [b0, b1, b2, b3] = self.body_bytes.to_le_bytes();
        [
            m0,
            m1,
            m2,
            m3,
            m4,
            m5,
            m6,
            m7,
            f0,
            f1,
            self.kind.code(),
            0,
            b0,
            b1,
            b2,
            b3,
        ]
    }

    /// Reads a prologue off the front; does not look whether the body is there.
    pub fn decode(input: &mut &[u8]) -> Result<Self, FormatError> {
        if take::<8>(input)? != MAGIC {
            return Err(FormatError::NotDolmen);
        }
        let format = take_u16(input)?;
        let kind = take_u8(input)?;
        let features = take_u8(input)?;
        if format == 0 {
            return Err(FormatError::Invalid { field: "format" });
        }
        if format != FORMAT || features != 0 {
            return Err(FormatError::TooNew { format, features });
        }
        let kind = ObjectKind::from_code(kind)?;
        Ok(Self {
            kind,
            body_bytes: take_u32(input)?,
        })
    }

    /// Reads the prologue of a whole object of a known kind and leaves exactly its body.
    pub fn decode_whole(kind: ObjectKind, input: &mut &[u8]) -> Result<(), FormatError> {
        let found = u64::try_from(input.len()).unwrap_or(u64::MAX);
        if found > kind.bytes_max() {
            return Err(FormatError::TooLarge {
                field: "object",
                found,
                limit: kind.bytes_max(),
            });
        }
        let prologue = Self::decode(input)?;
        if prologue.kind != kind {
            return Err(FormatError::WrongKind {
                wanted: kind.code(),
                found: prologue.kind.code(),
            });
        }
        let wanted_bytes = usize::try_from(prologue.body_bytes).unwrap_or(usize::MAX);
        match input.len().checked_sub(wanted_bytes) {
            Some(0) => Ok(()),
            Some(bytes) => Err(FormatError::TrailingBytes { bytes }),
            None => Err(FormatError::Truncated {
                wanted_bytes,
                found_bytes: input.len(),
            }),
        }
    }
}
