//! What a client keeps on its own disk: pins, journal, caches
