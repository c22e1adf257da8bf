//! What the process gives back of memory that it no longer needs.

/// Allocations from this size on are mappings of their own, in bytes: pack buffers and bodies, never chunks.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_BYTES_MIN: i32 = 4 << 20;

/// What a heap keeps at its end for the next allocation, in bytes: twice the above, which is glibc's own rule.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const FREE_BYTES_MAX: i32 = 2 * MAPPED_BYTES_MIN;

/// Keeps pack-sized memory out of the heaps of threads.
///
/// glibc raises the size from which it maps an allocation by itself to the largest that was ever freed, up to 32 MiB: after
/// the first pack each thread that reads or writes one keeps a pack's worth in its own heap. A stated size stays.
/// Other C libraries map large allocations always.
pub(crate) fn give_back_large() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "glibc has no safe name for it")]
        // SAFETY: it is called before any other thread is started, and takes and returns plain numbers.
        let _are_taken = unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN)
                & libc::mallopt(libc::M_TRIM_THRESHOLD, FREE_BYTES_MAX)
        };
    }
}
