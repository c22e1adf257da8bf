//! The program as scripts see it: exit codes, messages, JSON.

#[path = "cli/backup.rs"]
mod backup;
#[path = "cli/damage.rs"]
mod damage;
#[path = "cli/repository.rs"]
mod repository;
#[path = "cli/restore.rs"]
mod restore;
#[path = "cli/usage.rs"]
mod usage;
#[path = "cli/world.rs"]
mod world;
