//! Asks at the terminal, without showing what is typed.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Read as _, Write as _};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

use super::{Ask, Passphrase};
use crate::exit::{Exit, Failure, Outcome};

/// How often two answers may differ.
const TRIES: usize = 3;

/// Asks for a passphrase.
pub(super) fn ask(what: &str, ask: Ask) -> Outcome<Passphrase> {
    let mut terminal = open_terminal().ok_or_else(|| {
        Failure::usage(format!("no {what} given, and no terminal to ask for it at")).hint(
            "give it with --password-file FILE, --password-command COMMAND, or in DOLMEN_PASSWORD",
        )
    })?;
    for _ in 0..TRIES {
        let first = read_line(&mut terminal, &format!("{what}: "))?;
        if ask == Ask::Once {
            return Ok(first);
        }
        let second = read_line(&mut terminal, &format!("{what} again: "))?;
        if first == second {
            return Ok(first);
        }
        let _shown = writeln!(terminal, "these were not the same");
    }
    Err(Failure::usage(format!(
        "the two answers for the {what} differed {TRIES} times"
    )))
}

/// The terminal of a user who is there to answer.
fn open_terminal() -> Option<File> {
    if !std::io::stdin().is_terminal() && !std::io::stderr().is_terminal() {
        return None;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .ok()
}

/// Puts the terminal back, however the reading ends.
struct Quiet<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Quiet<'t> {
    /// Turns echo, line editing and signals off: Ctrl-C then comes as a byte, and the terminal is never left without
    /// echo.
    fn new(terminal: &'t File) -> rustix::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _restored = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

fn read_line(terminal: &mut File, prompt: &str) -> Outcome<Passphrase> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("cannot ask at the terminal: {error}"))
    };
    terminal.write_all(prompt.as_bytes()).map_err(failed)?;
    let line = {
        let quiet = Quiet::new(terminal).map_err(|errno| failed(errno.into()))?;
        edit(quiet.terminal)
    };
    let _shown = terminal.write_all(b"\n");
    line.map_err(failed)?
        .ok_or_else(|| Failure::new(Exit::Interrupted, "interrupted"))
}

/// Reads up to the end of the line; `None` when the user presses Ctrl-C.
fn edit(mut terminal: &File) -> std::io::Result<Option<Passphrase>> {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const BACKSPACE: u8 = 8;
    const CTRL_U: u8 = 21;
    const DELETE: u8 = 127;
    // Room from the start, so that no copy of a part is left behind when it grows.
    let mut line = Zeroizing::new(Vec::with_capacity(4096));
    loop {
        let mut typed = Zeroizing::new([0_u8; 1]);
        if terminal.read(typed.as_mut_slice())? == 0 {
            return Ok(Some(line));
        }
        let [byte] = *typed;
        match byte {
            b'\n' | b'\r' | CTRL_D => return Ok(Some(line)),
            CTRL_C => return Ok(None),
            CTRL_U => line.clear(),
            BACKSPACE | DELETE => {
                // A character of UTF-8 goes as a whole.
                while line
                    .pop()
                    .is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000)
                {}
            }
            _ => line.push(byte),
        }
    }
}
