//! What flags, environment and defaults come to: a flag beats a variable, an empty variable is none.

mod address;
mod command;
mod credentials;
mod key;
mod s3;
mod secret;
mod split;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use dolmen_core::repository::Accept;
use dolmen_format::RepositoryId;
use dolmen_s3::{Identity, S3Options};
use dolmen_store::ByPurpose;

use crate::arguments::Global;
use crate::exit::{Failure, Outcome};

pub(crate) use address::{Address, canonical};
pub(crate) use credentials::{StoreVariables, prefix_of};
pub(crate) use key::{GivenKey, GivenKit};
pub(crate) use secret::{Ask, Passphrase, Secret};

/// The environment: a variable's value.
pub(crate) type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Reads a variable; an empty one counts as unset.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Which repository, which secret, which folders.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where the repository is; an error until a command needs it.
    address: Outcome<Address>,
    /// What opens the repository in place of its passphrase, if something is given.
    key: Outcome<Option<GivenKey>>,
    /// Where the passphrase comes from.
    secret: Outcome<Secret>,
    /// How buckets are spoken to.
    s3: Outcome<S3Options>,
    /// Where store credentials come from.
    credentials: credentials::Sources,
    /// The cache folder of all repositories; `None`: no cache.
    pub(crate) cache: Option<PathBuf>,
    state: Option<PathBuf>,
    /// The id that must be found.
    pub(crate) repository_id: Option<RepositoryId>,
    /// The id that is accepted in place of the one that was known.
    pub(crate) trusted: Option<RepositoryId>,
    /// Which passphrases open a repository.
    pub(crate) accept: Accept,
    /// Whether policies that more than double a time are accepted.
    pub(crate) confirm_policy: bool,
    /// Whether the store's clock is to be taken as true.
    pub(crate) confirm_clock: bool,
    /// Whether a backup builds upon what others under this key list.
    pub(crate) trust_own_history: bool,
}

impl Config {
    /// Gathers it.
    pub(crate) fn new(global: &Global, variables: Variables<'_>) -> Self {
        let home = variables("HOME").map(PathBuf::from);
        let below_home = |variable: &str, default: &str| {
            let base = variables(variable)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute());
            let base = base.or_else(|| home.as_ref().map(|home| home.join(default)));
            base.map(|base| base.join("dolmen"))
        };
        let cache = first(global.cache_dir.as_ref(), variables("DOLMEN_CACHE_DIR"));
        let state = first(global.state_dir.as_ref(), variables("DOLMEN_STATE_DIR"));
        let cache = cache.or_else(|| below_home("XDG_CACHE_HOME", ".cache"));
        let is_on = |name: &str| variables(name).is_some_and(|value| value == "1");
        let key = key::find(global, variables);
        let known = key.as_ref().ok().and_then(Option::as_ref);
        Self {
            address: find_address(global, variables, known),
            key,
            secret: secret::find(global, variables),
            s3: s3::options(global, variables),
            credentials: credentials::Sources::find(global, variables),
            cache: cache.filter(|_| !global.no_cache),
            state: state.or_else(|| below_home("XDG_STATE_HOME", ".local/state")),
            repository_id: global.repository_id,
            trusted: global.trust_repository,
            accept: if global.replaced_passphrase {
                Accept::Replaced
            } else {
                Accept::Current
            },
            confirm_policy: global.confirm_policy,
            confirm_clock: global.confirm_clock || is_on("DOLMEN_CONFIRM_CLOCK"),
            trust_own_history: global.trust_own_history || is_on("DOLMEN_TRUST_OWN_HISTORY"),
        }
    }

    /// Where the repository is.
    pub(crate) fn address(&self) -> Outcome<&Address> {
        self.address.as_ref().map_err(Clone::clone)
    }

    /// What opens the repository in place of its passphrase, if something is given.
    pub(crate) fn key(&self) -> Outcome<Option<&GivenKey>> {
        let key = self.key.as_ref().map_err(Clone::clone)?;
        Ok(key.as_ref())
    }

    /// Where the passphrase comes from.
    pub(crate) fn secret(&self) -> Outcome<&Secret> {
        self.secret.as_ref().map_err(Clone::clone)
    }

    /// How buckets are spoken to, and who asks beside for purposes of their own; `carried` lay in a key file. Runs the
    /// credentials command, if there is one, the first time.
    pub(crate) fn s3(&self, carried: &StoreVariables) -> Outcome<(S3Options, ByPurpose<Identity>)> {
        let options = self.s3.as_ref().map_err(Clone::clone)?;
        let mut own = self.credentials.identities(carried)?;
        let identity = own.plain.take().unwrap_or_default();
        let options = S3Options {
            identity,
            ..options.clone()
        };
        Ok((options, own))
    }

    /// The store credentials that the environment has.
    pub(crate) fn store_variables(&self) -> Outcome<&StoreVariables> {
        self.credentials.environment()
    }

    /// The state folder of all repositories.
    pub(crate) fn state(&self) -> Outcome<&PathBuf> {
        self.state.as_ref().ok_or_else(|| {
            Failure::usage("no folder for what this machine must remember: HOME is not set")
                .hint("name one with --state-dir or DOLMEN_STATE_DIR")
        })
    }
}

fn first(flag: Option<&PathBuf>, variable: Option<OsString>) -> Option<PathBuf> {
    flag.cloned().or_else(|| variable.map(PathBuf::from))
}

/// By flag, by variable, or as a key file or recovery kit has it.
fn find_address(
    global: &Global,
    variables: Variables<'_>,
    key: Option<&GivenKey>,
) -> Outcome<Address> {
    let by_flag = (global.repo.clone(), global.repository_file.clone());
    let (text, file) = match by_flag {
        (None, None) => (
            variables("DOLMEN_REPOSITORY"),
            variables("DOLMEN_REPOSITORY_FILE").map(PathBuf::from),
        ),
        by_flag => by_flag,
    };
    match (text, file) {
        (Some(_), Some(_)) => Err(Failure::usage(
            "DOLMEN_REPOSITORY and DOLMEN_REPOSITORY_FILE are both set; keep one of them",
        )),
        (Some(text), None) => Address::parse(&text),
        (None, Some(file)) => {
            let content = std::fs::read(&file).map_err(|error| {
                Failure::usage(format!(
                    "cannot read the repository file {}: {error}",
                    file.display()
                ))
            })?;
            Address::parse(OsStr::from_bytes(trim_text(&content)))
        }
        (None, None) => match key.and_then(GivenKey::address) {
            Some(address) => Address::parse(OsStr::new(address)),
            None => Err(Failure::usage("no repository given")
                .hint("name it with -r ADDRESS, or set DOLMEN_REPOSITORY")
                .hint("`dolmen demo` shows what Dolmen does without one")),
        },
    }
}

/// Drops a byte order mark and the white space around the text of a small file.
pub(crate) fn trim_text(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xEF\xBB\xBF")
        .unwrap_or(text)
        .trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(global: &Global, variables: &[(&str, &str)]) -> Config {
        Config::new(global, &|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn a_flag_beats_a_variable() {
        let variables = [
            ("DOLMEN_REPOSITORY", "/variable"),
            ("DOLMEN_REPOSITORY_FILE", "/file"),
            ("DOLMEN_CACHE_DIR", "/variable/cache"),
        ];
        let global = Global {
            repo: Some("/flag".into()),
            cache_dir: Some("/flag/cache".into()),
            ..Global::default()
        };
        let config = config(&global, &variables);
        assert_eq!(config.address().unwrap().shown(), "/flag");
        assert_eq!(config.cache, Some("/flag/cache".into()));
    }

    #[test]
    fn two_variables_for_one_thing_are_a_contradiction() {
        let variables = [
            ("DOLMEN_REPOSITORY", "/a"),
            ("DOLMEN_REPOSITORY_FILE", "/b"),
        ];
        let config = config(&Global::default(), &variables);
        assert_eq!(
            config.address().unwrap_err().message,
            "DOLMEN_REPOSITORY and DOLMEN_REPOSITORY_FILE are both set; keep one of them"
        );
    }

    #[test]
    fn folders_follow_xdg_and_home() {
        let by_home = config(&Global::default(), &[("HOME", "/home/u")]);
        assert_eq!(by_home.cache, Some("/home/u/.cache/dolmen".into()));
        assert_eq!(
            by_home.state().unwrap(),
            &PathBuf::from("/home/u/.local/state/dolmen")
        );
        let variables = [
            ("HOME", "/h"),
            ("XDG_CACHE_HOME", "/c"),
            ("XDG_STATE_HOME", "relative"),
        ];
        let by_xdg = config(
            &Global {
                no_cache: false,
                ..Global::default()
            },
            &variables,
        );
        assert_eq!(by_xdg.cache, Some("/c/dolmen".into()));
        assert_eq!(
            by_xdg.state().unwrap(),
            &PathBuf::from("/h/.local/state/dolmen")
        );
        let none = config(
            &Global {
                no_cache: true,
                ..Global::default()
            },
            &variables,
        );
        assert_eq!(none.cache, None);
    }
}
