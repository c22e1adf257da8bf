//! Backups that nobody can take away.
fn main() {}
