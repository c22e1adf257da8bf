//! Integers of one width as another, without `as`.

/// A count from a file as an index. Every platform here has at least 32 bits.
pub(crate) fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// A size in memory as a size in a file.
pub(crate) fn to_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// A count that its owner has bounded; [`u32::MAX`] never passes for a valid one.
pub(crate) fn to_u32(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
