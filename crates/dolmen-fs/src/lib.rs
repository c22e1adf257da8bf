//! The user's files: walking, reading and writing them with all their metadata
