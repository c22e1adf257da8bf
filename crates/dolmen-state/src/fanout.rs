//! Fan-out tables: where in a sorted table the keys with a given prefix begin.

use crate::number::to_usize;

/// Records below one entry of the table, on average at most.
const BUCKET_RECORDS: u32 = 4;
/// Most bits of a prefix: 256 MiB of table, for 268 million records.
const BITS_MAX: u32 = 26;

/// How many leading bits of a prefix number the buckets of a table of `records`.
pub(crate) fn bits(records: u32) -> u32 {
    let buckets = records.div_ceil(BUCKET_RECORDS).max(1);
    // The logarithm, rounded up.
    (u32::BITS - (buckets - 1).leading_zeros()).min(BITS_MAX)
}

/// Entries in the fan-out table of `records` records: one for each bucket, the number of records up to its end.
pub(crate) fn entries(records: u32) -> u32 {
    1 << bits(records)
}

/// The records that a key with this prefix can be among.
///
/// The table may be damaged: the range is then wrong, and may be out of bounds or reversed.
pub(crate) fn range(table: &[[u8; 4]], records: u32, prefix: u32) -> core::ops::Range<usize> {
    let bucket = to_usize(bucket(prefix, bits(records)));
    let end_of = |at: usize| table.get(at).map_or(0, |end| u32::from_le_bytes(*end));
    let start = bucket.checked_sub(1).map_or(0, end_of);
    to_usize(start)..to_usize(end_of(bucket))
}

/// Counts records on their way into a table.
#[derive(Debug)]
pub(crate) struct FanoutWriter {
    bits: u32,
    counts: Vec<u32>,
}

impl FanoutWriter {
    /// Begins the fan-out table of `records` records.
    pub(crate) fn new(records: u32) -> Self {
        Self {
            bits: bits(records),
            counts: vec![0; to_usize(entries(records))],
        }
    }

    /// Counts a record.
    pub(crate) fn add(&mut self, prefix: u32) {
        if let Some(count) = self.counts.get_mut(to_usize(bucket(prefix, self.bits))) {
            *count = count.saturating_add(1);
        }
    }

    /// Returns the entries of the table.
    pub(crate) fn finish(self) -> impl Iterator<Item = [u8; 4]> {
        self.counts.into_iter().scan(0_u32, |end, count| {
            *end = end.saturating_add(count);
            Some(end.to_le_bytes())
        })
    }
}

fn bucket(prefix: u32, bits: u32) -> u32 {
    // A shift by all 32 bits leaves the only bucket.
    prefix.checked_shr(u32::BITS - bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_in_the_range_of_its_prefix() {
        for records in [0_u32, 1, 4, 5, 33, 1000, 5000] {
            let mut prefixes: Vec<u32> = (0..records)
                .map(|at| at.wrapping_mul(0x9e37_79b9))
                .collect();
            prefixes.sort_unstable();
            let mut writer = FanoutWriter::new(records);
            for prefix in &prefixes {
                writer.add(*prefix);
            }
            let table: Vec<_> = writer.finish().collect();
            assert_eq!(table.len(), to_usize(entries(records)));
            for (at, prefix) in prefixes.iter().enumerate() {
                let range = range(&table, records, *prefix);
                assert!(range.contains(&at), "record {at} of {records}");
                assert!(range.len() <= 16, "{} records in a bucket", range.len());
            }
        }
    }
}
