//! The command line as a whole: the commands and the flags that all of them take.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use dolmen_format::RepositoryId;

use crate::commands::{
    access, audit, backup, cat, check, completions, cost, drill, forget, init, key, ls, maintain,
    man, policy, prune, recover, renew, repair, restore, snapshots, stats, status,
};
use crate::demo;

/// Backups that nobody can take away.
#[derive(Debug, Parser)]
#[command(
    name = "dolmen",
    version,
    max_term_width = 100,
    after_help = EXIT_CODES
)]
pub(crate) struct Arguments {
    /// What all commands take.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed, nothing usable made; 2 wrong usage; 3 done, but some source files could \
not be read; 10 no repository there; 12 wrong passphrase or key; 13 not allowed; 20 damage found; \
21 protection falls short, or this machine's key or state is in use elsewhere; 22 backup made, but it \
looks like mass encryption or deletion (no command of this version says so yet); 130 interrupted.

New here? `dolmen demo` shows in a minute what it does, with nothing to set up.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show in a minute what Dolmen does: back up, be attacked, restore
    Demo(demo::DemoArgs),
    /// Make a repository
    Init(init::InitArgs),
    /// Back up files and folders
    Backup(backup::BackupArgs),
    /// List the snapshots, newest last
    Snapshots(snapshots::SnapshotsArgs),
    /// List the files in a snapshot
    Ls(ls::LsArgs),
    /// Bring files of a snapshot back
    Restore(restore::RestoreArgs),
    /// Retire snapshots: by rules or by id, and until their leases lapse bring them back
    Forget(Box<forget::ForgetArgs>),
    /// Delete what no snapshot needs and whose lease has lapsed
    Prune(prune::PruneArgs),
    /// Extend the locks of everything that lives, where they are due
    Renew(renew::RenewArgs),
    /// Renew, retire by the signed policy, prune: one command for cron
    Maintain(maintain::MaintainArgs),
    /// Show or change how the repository is kept
    Policy(policy::PolicyArgs),
    /// Verify that every snapshot is complete and readable
    Check(check::CheckArgs),
    /// Show how the repository stands, on one screen or as metrics
    Status(status::StatusArgs),
    /// Verify that the store still holds and shows everything, without reading contents
    Audit(audit::AuditArgs),
    /// Attack the store with the credentials at hand, on canaries, and tell what succeeds
    Drill(drill::DrillArgs),
    /// Put back what the store hides or shows overwritten, and set aside what is foreign
    Recover(recover::RecoverArgs),
    /// Show how much data there is
    Stats(stats::StatsArgs),
    /// Print the rights that each role needs at a provider
    Access(access::AccessArgs),
    /// Work out what a year costs: storage, locks, requests; planned or as it is
    Cost(cost::CostArgs),
    /// Print one object or blob
    Cat(cat::CatArgs),
    /// Manage keys and passphrases
    Key(key::KeyArgs),
    /// Rebuild what can be rebuilt
    Repair(repair::RepairArgs),
    /// Print the version
    Version,
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write all of them into a folder
    Man(man::ManArgs),
}

/// Flags that stand before or after the command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options of all commands")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(crate) struct Global {
    /// Where the repository is: a folder, `s3:https://host/bucket/prefix` or, on AWS, `s3://bucket/prefix`; credentials
    /// for S3 come from AWS's own variables and files, and those for renewing and pruning alone from the same with
    /// DOLMEN_RENEW_ or DOLMEN_PRUNE_ before them [env: DOLMEN_REPOSITORY]
    #[arg(short, long, global = true, value_name = "ADDRESS")]
    pub(crate) repo: Option<OsString>,
    /// Read the address from a file [env: DOLMEN_REPOSITORY_FILE]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "repo")]
    pub(crate) repository_file: Option<PathBuf>,
    /// Read the passphrase from a file [env: DOLMEN_PASSWORD_FILE; the passphrase itself: DOLMEN_PASSWORD]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Take the passphrase from what a command prints; no shell is used [env: DOLMEN_PASSWORD_COMMAND]
    #[arg(
        long,
        global = true,
        value_name = "COMMAND",
        conflicts_with = "password_file"
    )]
    pub(crate) password_command: Option<OsString>,
    /// Take store credentials from what a command prints, lines VARIABLE=value; no shell is used. They beat those of the
    /// environment, and are asked for again when they expire [env: DOLMEN_CREDENTIALS_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND")]
    pub(crate) credentials_command: Option<OsString>,
    /// Open the repository with a key file instead of the passphrase; one that is wrapped asks for its own passphrase [env:
    /// DOLMEN_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Open the repository with its recovery kit, whatever passphrases are lost: the page that `dolmen key export` made, the
    /// text of its QR code, or the words alone [env: DOLMEN_RECOVERY_KIT]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "key_file")]
    pub(crate) recovery_kit: Option<PathBuf>,
    /// Folder for what can be fetched again [env: DOLMEN_CACHE_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Keep no cache
    #[arg(long, global = true)]
    pub(crate) no_cache: bool,
    /// Folder for what this machine must remember [env: DOLMEN_STATE_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// The repository that must be at the address
    #[arg(long, global = true, value_name = "ID")]
    pub(crate) repository_id: Option<RepositoryId>,
    /// Accept that another repository is at the address from now on
    #[arg(
        long,
        global = true,
        value_name = "ID",
        conflicts_with = "repository_id"
    )]
    pub(crate) trust_repository: Option<RepositoryId>,
    /// Open the repository with a passphrase that was changed since: for whoever was locked out by a thief who knew it
    #[arg(long, global = true)]
    pub(crate) replaced_passphrase: bool,
    /// Take the store's clock as true in this run, however far the local one is off [env: DOLMEN_CONFIRM_CLOCK=1]
    #[arg(long, global = true)]
    pub(crate) confirm_clock: bool,
    /// Build upon all that snapshots of this key list, whichever machine made them, when this machine does not remember
    /// them: without it that is stored again unless it is attested; where nothing is locked it is done anyway [env:
    /// DOLMEN_TRUST_OWN_HISTORY=1]
    #[arg(long, global = true)]
    pub(crate) trust_own_history: bool,
    /// Accept a policy that more than doubles a time: what is locked for so long cannot be unlocked
    #[arg(long, global = true)]
    pub(crate) confirm_policy: bool,
    /// Speak JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say only what is wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more; twice: even more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Believe servers that the certificates in this file vouch for, and no others [env: DOLMEN_CACERT]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// Believe any server, be it somebody in between: who that is can read nothing, but hide and withhold all
    #[arg(long, global = true, conflicts_with = "cacert")]
    pub(crate) insecure_tls: bool,
    /// Set an option of the store: s3.bucket-lookup=auto|path|dns, s3.connections=N, s3.storage-class=CLASS; a folder has
    /// none
    #[arg(short, long = "option", global = true, value_name = "KEY=VALUE", value_parser = parse_option)]
    pub(crate) option: Vec<String>,
}

/// Options of stores; each store looks for its own, and a folder has none.
const OPTIONS: [&str; 4] = [
    "s3.bucket-lookup",
    "s3.connections",
    "s3.storage-class",
    "sftp.command",
];

/// Takes `key=value`.
fn parse_option(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if OPTIONS.contains(&key.trim()) => Ok(text.to_owned()),
        Some((key, _)) if !key.trim().is_empty() => Err(format!(
            "there is no option {}; a folder has none, other stores have {}",
            key.trim(),
            OPTIONS.join(", ")
        )),
        _ => Err("write it as key=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }
}
