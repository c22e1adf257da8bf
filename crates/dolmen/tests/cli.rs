//! The program as scripts see it: exit codes, messages, JSON.

#[cfg(test)]
#[path = "cli/access.rs"]
mod access;
#[cfg(test)]
#[path = "cli/audit.rs"]
mod audit;
#[cfg(test)]
#[path = "cli/backup.rs"]
mod backup;
#[cfg(test)]
#[path = "cli/compact.rs"]
mod compact;
#[cfg(test)]
#[path = "cli/cost.rs"]
mod cost;
#[cfg(test)]
#[path = "cli/damage.rs"]
mod damage;
#[cfg(test)]
#[path = "cli/demo.rs"]
mod demo;
#[cfg(test)]
#[path = "cli/drill.rs"]
mod drill;
#[cfg(test)]
#[path = "cli/facts.rs"]
mod facts;
#[cfg(test)]
#[path = "cli/failures.rs"]
mod failures;
#[cfg(test)]
#[path = "cli/forget.rs"]
mod forget;
#[cfg(test)]
#[path = "cli/keys.rs"]
mod keys;
#[cfg(test)]
#[path = "cli/kit.rs"]
mod kit;
#[cfg(test)]
#[path = "cli/planted.rs"]
mod planted;
#[cfg(test)]
#[path = "cli/reader.rs"]
mod reader;
#[cfg(test)]
#[path = "cli/repository.rs"]
mod repository;
#[cfg(test)]
#[path = "cli/restore.rs"]
mod restore;
#[cfg(test)]
#[path = "cli/usage.rs"]
mod usage;
#[cfg(test)]
#[path = "cli/world.rs"]
mod world;
