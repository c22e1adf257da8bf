//! Backups as a whole: what they add, what survives a crash, what they do with a changing source.

mod changes;
mod crashes;
mod growth;
mod world;
