//! Passphrases: from a file, a command, a variable, systemd, or the keyboard.

mod prompt;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::command::AskedCommand;
use super::{Variables, trim_text, variable};
use crate::arguments::Global;
use crate::exit::{Failure, Outcome};

/// A passphrase, wiped when dropped.
pub(crate) type Passphrase = Zeroizing<Vec<u8>>;

/// Where a passphrase comes from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// A file's text.
    File(PathBuf),
    /// What a command prints.
    Command(OsString),
    /// The variable of this name.
    Variable(&'static str),
    /// The keyboard.
    Prompt,
}

/// Never shows a command line: it may hold a secret.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File(_) => "File",
            Self::Command(_) => "Command",
            Self::Variable(_) => "Variable",
            Self::Prompt => "Prompt",
        })
    }
}

/// How often the keyboard is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// For a passphrase that exists.
    Once,
    /// For a new one: a slip of the finger would lock everything away.
    Twice,
}

/// The credential that a systemd unit passes: `LoadCredential=dolmen-password:…`.
const CREDENTIAL: &str = "dolmen-password";

const PASSWORD_COMMAND: AskedCommand = AskedCommand {
    what: "the passphrase command",
    named_by: "--password-command and DOLMEN_PASSWORD_COMMAND",
};

/// Chooses the source by restic's order.
pub(super) fn find(global: &Global, variables: Variables<'_>) -> Outcome<Secret> {
    if let Some(file) = &global.password_file {
        return Ok(Secret::File(file.clone()));
    }
    if let Some(command) = &global.password_command {
        return Ok(Secret::Command(command.clone()));
    }
    let file = variables("DOLMEN_PASSWORD_FILE");
    match (variables("DOLMEN_PASSWORD_COMMAND"), file) {
        (Some(_), Some(_)) => {
            return Err(Failure::usage(
                "DOLMEN_PASSWORD_FILE and DOLMEN_PASSWORD_COMMAND are both set; keep one of them",
            ));
        }
        (Some(command), None) => return Ok(Secret::Command(command)),
        (None, Some(file)) => return Ok(Secret::File(file.into())),
        (None, None) => {}
    }
    if variables("DOLMEN_PASSWORD").is_some() {
        return Ok(Secret::Variable("DOLMEN_PASSWORD"));
    }
    let credential = variables("CREDENTIALS_DIRECTORY")
        .map(|folder| Path::new(&folder).join(CREDENTIAL))
        .filter(|path| path.exists());
    Ok(credential.map_or(Secret::Prompt, Secret::File))
}

impl Secret {
    /// The source of the passphrase that replaces the present one.
    pub(crate) fn find_new(file: Option<&PathBuf>) -> Self {
        let file = file
            .cloned()
            .or_else(|| variable("DOLMEN_NEW_PASSWORD_FILE").map(PathBuf::from));
        match file {
            Some(file) => Self::File(file),
            None if variable("DOLMEN_NEW_PASSWORD").is_some() => {
                Self::Variable("DOLMEN_NEW_PASSWORD")
            }
            None => Self::Prompt,
        }
    }

    /// Where to look when there is none.
    const fn remedy(&self) -> &'static str {
        match self {
            Self::File(_) => "see that the file holds the passphrase",
            Self::Command(_) => "see that the command prints the passphrase on its stdout",
            Self::Variable(_) | Self::Prompt => {
                "give one with --password-file FILE, --password-command COMMAND, or in DOLMEN_PASSWORD"
            }
        }
    }

    /// Gets the passphrase; `what` names it at the prompt. An empty one is refused.
    pub(crate) fn read(&self, what: &str, ask: Ask) -> Outcome<Passphrase> {
        let passphrase = match self {
            Self::File(path) => read_file(path)?,
            Self::Command(command) => {
                let text = PASSWORD_COMMAND.run(command)?;
                Zeroizing::new(trim_text(&text).to_vec())
            }
            Self::Variable(name) => {
                let value = variable(name).unwrap_or_default();
                Zeroizing::new(value.into_vec())
            }
            Self::Prompt => prompt::ask(what, ask)?,
        };
        if passphrase.is_empty() {
            return Err(
                Failure::usage("an empty passphrase protects nothing and is refused")
                    .hint(self.remedy()),
            );
        }
        Ok(passphrase)
    }
}

fn read_file(path: &Path) -> Outcome<Passphrase> {
    let text = std::fs::read(path).map_err(|error| {
        Failure::usage(format!(
            "cannot read the passphrase file {}: {error}",
            path.display()
        ))
        .hint(
            "see that --password-file or DOLMEN_PASSWORD_FILE names a file that this user can read",
        )
    })?;
    let text = Zeroizing::new(text);
    Ok(Zeroizing::new(trim_text(&text).to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(global: &Global, variables: &[(&str, &str)]) -> Outcome<Secret> {
        find(global, &|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_order_is_flag_command_file_variable_credential_prompt() {
        let all = [("DOLMEN_PASSWORD", "x"), ("DOLMEN_PASSWORD_COMMAND", "c")];
        let flag = Global {
            password_file: Some("/f".into()),
            ..Global::default()
        };
        assert_eq!(found(&flag, &all), Ok(Secret::File("/f".into())));
        assert_eq!(
            found(&Global::default(), &all),
            Ok(Secret::Command("c".into()))
        );
        assert_eq!(
            found(
                &Global::default(),
                &[("DOLMEN_PASSWORD", "x"), ("DOLMEN_PASSWORD_FILE", "/f")]
            ),
            Ok(Secret::File("/f".into()))
        );
        assert_eq!(
            found(&Global::default(), &[("DOLMEN_PASSWORD", "x")]),
            Ok(Secret::Variable("DOLMEN_PASSWORD"))
        );
        assert_eq!(found(&Global::default(), &[]), Ok(Secret::Prompt));
    }

    #[test]
    fn a_credential_is_used_when_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let variables = [("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
        assert_eq!(found(&Global::default(), &variables), Ok(Secret::Prompt));
        let path = folder.path().join(CREDENTIAL);
        std::fs::write(&path, "\u{feff} pass phrase \n").unwrap();
        let secret = found(&Global::default(), &variables).unwrap();
        assert_eq!(secret, Secret::File(path));
        assert_eq!(
            *secret.read("passphrase", Ask::Once).unwrap(),
            b"pass phrase"
        );
    }

    #[test]
    fn a_command_is_run_without_a_shell() {
        let secret = Secret::Command("printf '%s\\n' 'a $HOME;b'".into());
        assert_eq!(*secret.read("passphrase", Ask::Once).unwrap(), b"a $HOME;b");
        let failure = Secret::Command("false".into())
            .read("passphrase", Ask::Once)
            .unwrap_err();
        assert_eq!(
            failure.message,
            "the passphrase command false failed: exit status: 1"
        );
        let failure = Secret::Command("true".into())
            .read("passphrase", Ask::Once)
            .unwrap_err();
        assert_eq!(
            failure.message,
            "an empty passphrase protects nothing and is refused"
        );
    }
}
