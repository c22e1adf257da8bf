//! Why bytes are refused.

/// Why an encoding is refused. Nothing was believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The input ends too early.
    #[error("truncated: {wanted_bytes} bytes wanted, {found_bytes} found")]
    Truncated {
        /// Bytes that the next field needs.
        wanted_bytes: usize,
        /// Bytes that are left.
        found_bytes: usize,
    },
    /// Bytes follow where the encoding has ended.
    #[error("{bytes} bytes follow the end")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// The first eight bytes are not Dolmen's.
    #[error("not a Dolmen object")]
    NotDolmen,
    /// A later format, or a feature that this version does not know.
    #[error("written by a newer version of Dolmen (format {format}, features {features:#04x})")]
    TooNew {
        /// The prologue's format.
        format: u16,
        /// The prologue's feature bits.
        features: u8,
    },
    /// Another kind of object than the one expected.
    #[error("object of kind {found}, {wanted} expected")]
    WrongKind {
        /// The kind that was asked for.
        wanted: u8,
        /// The kind that the prologue states.
        found: u8,
    },
    /// A number, length or count is beyond its limit.
    #[error("{field} is {found}, at most {limit} allowed")]
    TooLarge {
        /// The field's name in `docs/format.md`.
        field: &'static str,
        /// What was found.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A value that the format does not allow.
    #[error("invalid {field}")]
    Invalid {
        /// The field's name in `docs/format.md`.
        field: &'static str,
    },
    /// A code that this version does not know, in an encoding that is otherwise sound so far.
    #[error("unknown {field} {found}: written by a newer version of Dolmen")]
    Unknown {
        /// The field's name in `docs/format.md`.
        field: &'static str,
        /// The code.
        found: u64,
    },
    /// CBOR that does not decode to the expected structure.
    #[error("invalid CBOR: {reason}")]
    Cbor {
        /// The decoder's words.
        reason: String,
    },
    /// It decodes, but there is another encoding of the same, and that is the only valid one.
    #[error("not the one encoding of its content")]
    NotCanonical,
}
