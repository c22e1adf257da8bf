//! Whether everything that the snapshots need is there and readable.
