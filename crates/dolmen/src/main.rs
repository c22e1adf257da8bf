//! Backups that nobody can take away.
//!
//! The command line: it reads arguments and environment, asks for passphrases, prints, and ends the process.
//! It decides nothing about data; that is `dolmen-core`'s.

mod access;
mod arguments;
mod clock;
mod commands;
mod config;
mod cost;
mod demo;
mod exit;
mod interrupt;
mod kept;
mod kit;
mod memory;
mod open;
mod output;
mod paths;
mod progress;
mod random;
mod render;
mod stores;
mod units;

use std::process::ExitCode;

fn main() -> ExitCode {
    memory::give_back_large();
    exit::report_panics();
    let ended = commands::run(std::env::args_os().collect());
    ExitCode::from(ended.code())
}
