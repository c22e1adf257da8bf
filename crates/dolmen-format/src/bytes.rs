//! Reading and writing plain fields: the only place that slices input.

use crate::error::FormatError;

/// Splits `N` bytes off the front.
pub fn take<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], FormatError> {
    let (head, rest) = input
        .split_first_chunk::<N>()
        .ok_or(FormatError::Truncated {
            wanted_bytes: N,
            found_bytes: input.len(),
        })?;
    *input = rest;
    Ok(*head)
}

/// Splits `count` bytes off the front.
pub fn take_slice<'a>(input: &mut &'a [u8], count: usize) -> Result<&'a [u8], FormatError> {
    let (head, rest) = input
        .split_at_checked(count)
        .ok_or(FormatError::Truncated {
            wanted_bytes: count,
            found_bytes: input.len(),
        })?;
    *input = rest;
    Ok(head)
}

/// Reads one byte.
pub fn take_u8(input: &mut &[u8]) -> Result<u8, FormatError> {
    take::<1>(input).map(|[byte]| byte)
}

/// Reads a little-endian `u16`.
pub fn take_u16(input: &mut &[u8]) -> Result<u16, FormatError> {
    take(input).map(u16::from_le_bytes)
}

/// Reads a little-endian `u32`.
pub fn take_u32(input: &mut &[u8]) -> Result<u32, FormatError> {
    take(input).map(u32::from_le_bytes)
}

/// Reads a little-endian `u32` that counts or measures something, up to `limit`.
pub fn take_count(
    input: &mut &[u8],
    field: &'static str,
    limit: usize,
) -> Result<usize, FormatError> {
    bounded(u64::from(take_u32(input)?), field, limit)
}

/// Reads a varint in its shortest form.
pub fn take_varint(input: &mut &[u8]) -> Result<u64, FormatError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take_u8(input)?;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte holds the top bit alone.
        if shift == 63 && bits > 1 {
            return Err(FormatError::Invalid { field: "varint" });
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return if byte == 0 && shift > 0 {
                Err(FormatError::NotCanonical)
            } else {
                Ok(value)
            };
        }
    }
    Err(FormatError::Invalid { field: "varint" })
}

/// Reads a varint that counts or measures something, up to `limit`.
pub fn take_varint_count(
    input: &mut &[u8],
    field: &'static str,
    limit: usize,
) -> Result<usize, FormatError> {
    bounded(take_varint(input)?, field, limit)
}

/// Reads a varint that must fit 32 bits.
pub fn take_varint_u32(input: &mut &[u8], field: &'static str) -> Result<u32, FormatError> {
    let found = take_varint(input)?;
    u32::try_from(found).ok().ok_or(FormatError::TooLarge {
        field,
        found,
        limit: u64::from(u32::MAX),
    })
}

/// Reads a signed number.
pub fn take_zigzag(input: &mut &[u8]) -> Result<i64, FormatError> {
    let raw = take_varint(input)?;
    Ok((raw >> 1).cast_signed() ^ (raw & 1).cast_signed().wrapping_neg())
}

/// Reads a length and that many bytes.
pub fn take_string<'a>(
    input: &mut &'a [u8],
    field: &'static str,
    limit: usize,
) -> Result<&'a [u8], FormatError> {
    let count = take_varint_count(input, field, limit)?;
    take_slice(input, count)
}

/// Refuses what is left over.
pub fn finish(input: &[u8]) -> Result<(), FormatError> {
    if input.is_empty() {
        Ok(())
    } else {
        Err(FormatError::TrailingBytes { bytes: input.len() })
    }
}

/// Writes a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

/// Writes a size or count as a varint.
pub fn put_size(out: &mut Vec<u8>, value: usize) {
    // usize has at most 64 bits on every platform that Rust supports.
    put_varint(out, u64::try_from(value).unwrap_or(u64::MAX));
}

/// Bytes of a size or count as a varint.
pub fn size_bytes(value: usize) -> usize {
    let bits = usize::BITS.saturating_sub(value.leading_zeros()).max(1);
    usize::try_from(bits.div_ceil(7)).unwrap_or(usize::MAX)
}

/// Writes a signed number.
pub fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, (value << 1 ^ value >> 63).cast_unsigned());
}

/// Writes a length and the bytes.
pub fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    put_size(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Writes a count as a little-endian `u32`; counts are bounded far below by their writers.
pub fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

fn bounded(found: u64, field: &'static str, limit: usize) -> Result<usize, FormatError> {
    match usize::try_from(found) {
        Ok(count) if count <= limit => Ok(count),
        _ => Err(FormatError::TooLarge {
            field,
            found,
            limit: u64::try_from(limit).unwrap_or(u64::MAX),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_survive_and_have_one_form() {
        for value in [
            0,
            1,
            127,
            128,
            300,
            u64::from(u32::MAX),
            u64::MAX - 1,
            u64::MAX,
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut input = out.as_slice();
            assert_eq!(take_varint(&mut input), Ok(value));
            assert!(input.is_empty());
        }
        assert_eq!(
            take_varint(&mut [0x80, 0x00].as_slice()),
            Err(FormatError::NotCanonical)
        );
        let eleven = [0xff; 11];
        assert!(take_varint(&mut eleven.as_slice()).is_err());
    }

    #[test]
    fn zigzags_survive() {
        for value in [0, 1, -1, i64::MAX, i64::MIN, -62_135_596_800] {
            let mut out = Vec::new();
            put_zigzag(&mut out, value);
            assert_eq!(take_zigzag(&mut out.as_slice()), Ok(value));
        }
    }
}
