//! Store credentials: variables, from a command, the environment or a key file, for each purpose.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use dolmen_format::FormatError;
use dolmen_format::keyfile::check_credentials;
use dolmen_format::limits::STORE_CREDENTIALS_BYTES_MAX;
use dolmen_s3::{Credentials, Identity, KeySource};
use dolmen_store::{ByPurpose, Purpose};
use zeroize::Zeroizing;

use super::Variables;
use super::command::AskedCommand;
use crate::arguments::Global;
use crate::exit::{Failure, Outcome};

const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
const TOKEN: &str = "AWS_SESSION_TOKEN";
const EXPIRATION: &str = "AWS_CREDENTIAL_EXPIRATION";
const PROFILE: &str = "AWS_PROFILE";
const CONFIG_FILE: &str = "AWS_CONFIG_FILE";
const CREDENTIALS_FILE: &str = "AWS_SHARED_CREDENTIALS_FILE";
const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const ROLE_ARN: &str = "AWS_ROLE_ARN";
const SESSION_NAME: &str = "AWS_ROLE_SESSION_NAME";

/// The variables of one credential, as the plain one has them.
const NAMES: [&str; 10] = [
    KEY_ID,
    SECRET,
    TOKEN,
    EXPIRATION,
    PROFILE,
    CONFIG_FILE,
    CREDENTIALS_FILE,
    TOKEN_FILE,
    ROLE_ARN,
    SESSION_NAME,
];

/// What stands before the variables of a purpose.
pub(crate) const fn prefix_of(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Plain => "",
        Purpose::Renew => "DOLMEN_RENEW_",
        Purpose::Prune => "DOLMEN_PRUNE_",
    }
}

/// The variables of one credential, wiped when dropped.
#[derive(Clone, Default, PartialEq, Eq)]
struct Given(BTreeMap<&'static str, Zeroizing<String>>);

/// Names alone: values are secrets.
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Given {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str())
    }

    /// Whether the variables name somebody, instead of only saying how somebody is found.
    fn is_somebody(&self) -> bool {
        [KEY_ID, SECRET, TOKEN, PROFILE, TOKEN_FILE]
            .iter()
            .any(|name| self.0.contains_key(name))
    }

    /// A value without which another says nothing.
    fn with(&self, name: &str, purpose: Purpose, other: &str) -> Outcome<&str> {
        self.get(name).ok_or_else(|| {
            let prefix = prefix_of(purpose);
            Failure::usage(format!(
                "{prefix}{other} is set and {prefix}{name} is not: a store credential needs both"
            ))
        })
    }

    /// Keys, if some are given.
    fn keys(&self, purpose: Purpose) -> Outcome<Option<Credentials>> {
        let given = [KEY_ID, SECRET, TOKEN];
        let Some(first) = given.into_iter().find(|name| self.0.contains_key(name)) else {
            return Ok(None);
        };
        let id = self.with(KEY_ID, purpose, first)?;
        let secret = self.with(SECRET, purpose, first)?;
        let until = self.get(EXPIRATION).map(|text| {
            let until = text.parse::<jiff::Timestamp>();
            until.map(SystemTime::from).map_err(|_error| {
                let prefix = prefix_of(purpose);
                Failure::usage(format!(
                    "{prefix}{EXPIRATION} is no time such as 2027-01-31T12:00:00Z"
                ))
            })
        });
        let (token, until) = (self.get(TOKEN).map(str::to_owned), until.transpose()?);
        let keys = Credentials::new(id, secret, token, until, "dolmen");
        Ok(Some(keys))
    }

    /// Who asks, in the order of AWS's own chain: keys, a profile, a role with a token.
    fn identity(&self, purpose: Purpose) -> Outcome<Option<Identity>> {
        if let Some(keys) = self.keys(purpose)? {
            return Ok(Some(Identity::Keys(keys)));
        }
        let path = |name: &str| self.get(name).map(PathBuf::from);
        if let Some(name) = self.get(PROFILE) {
            return Ok(Some(Identity::Profile {
                name: name.to_owned(),
                config_file: path(CONFIG_FILE),
                credentials_file: path(CREDENTIALS_FILE),
            }));
        }
        let Some(token_file) = path(TOKEN_FILE) else {
            return Ok(None);
        };
        Ok(Some(Identity::WebIdentity {
            token_file,
            role_arn: self.with(ROLE_ARN, purpose, TOKEN_FILE)?.to_owned(),
            session_name: self.get(SESSION_NAME).unwrap_or("dolmen").to_owned(),
        }))
    }
}

/// The variables of store credentials from one source.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoreVariables(ByPurpose<Given>);

impl StoreVariables {
    /// Reads lines `VARIABLE=value`; empty ones, and such with nothing behind the sign, say nothing. Messages name variables
    /// and never what they hold; `source` stands before them.
    pub(crate) fn parse(text: &[u8], source: &str) -> Outcome<Self> {
        let refuse = |why: &str| Err(Failure::usage(format!("{source} {why}")));
        let limit = STORE_CREDENTIALS_BYTES_MAX;
        let text = match str::from_utf8(text) {
            Ok(text) if text.len() <= limit => text.trim_start_matches('\u{feff}'),
            Ok(_) => return refuse(&format!("has more than {} KiB", limit >> 10)),
            Err(_) => return refuse("is not UTF-8"),
        };
        let mut found = Self::default();
        for (number, line) in (1_u32..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let Some((name, value)) = line.split_once('=') else {
                return refuse(&format!("has no VARIABLE=value in line {number}"));
            };
            let Some((purpose, known)) = known(name) else {
                let shown: String = name.chars().take(64).filter(|c| !c.is_control()).collect();
                return refuse(&format!(
                    "has {shown} in line {number}, which is no variable of store credentials"
                ));
            };
            if value.contains(char::is_control) {
                return refuse(&format!("has a control character in line {number}"));
            }
            if !value.is_empty() && !found.put(purpose, known, value) {
                return refuse(&format!("has {name} twice"));
            }
        }
        Ok(found)
    }

    /// Takes what the environment has.
    pub(super) fn of_environment(variables: Variables<'_>) -> Outcome<Self> {
        let mut found = Self::default();
        for purpose in Purpose::ALL {
            for known in NAMES {
                let name = format!("{}{known}", prefix_of(purpose));
                let Some(value) = variables(&name) else {
                    continue;
                };
                let value = value.into_string().map(Zeroizing::new);
                let value = value
                    .map_err(|_value| Failure::usage(format!("what is in {name} is no text")))?;
                found.put(purpose, known, &value);
            }
        }
        Ok(found)
    }

    /// Takes a variable in; `false`: it is there already.
    fn put(&mut self, purpose: Purpose, name: &'static str, value: &str) -> bool {
        let given = self.0.get_mut(purpose).get_or_insert_default();
        let value = Zeroizing::new(value.to_owned());
        given.0.insert(name, value).is_none()
    }

    /// What names somebody for a purpose.
    fn somebody(&self, purpose: Purpose) -> Option<&Given> {
        self.0.get(purpose).filter(|given| given.is_somebody())
    }

    /// The variables that are set, as names.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for purpose in Purpose::ALL {
            let given = self.somebody(purpose).into_iter();
            names.extend(given.flat_map(|given| {
                let prefix = prefix_of(purpose);
                given.0.keys().map(move |name| format!("{prefix}{name}"))
            }));
        }
        names
    }

    /// The text for a key file; refuses what no run could use.
    pub(crate) fn to_text(&self) -> Outcome<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::with_capacity(STORE_CREDENTIALS_BYTES_MAX));
        for purpose in Purpose::ALL {
            let Some(given) = self.somebody(purpose) else {
                continue;
            };
            given.identity(purpose)?;
            for (name, value) in &given.0 {
                for part in [prefix_of(purpose), name, "=", value, "\n"] {
                    text.push_str(part);
                }
            }
        }
        check_credentials(&text).map_err(|error: FormatError| {
            Failure::usage(format!(
                "these store credentials fit into no key file: {error}"
            ))
        })?;
        Ok(text)
    }
}

/// The variable of this name.
fn known(name: &str) -> Option<(Purpose, &'static str)> {
    Purpose::ALL.into_iter().find_map(|purpose| {
        let rest = name.strip_prefix(prefix_of(purpose))?;
        let known = NAMES.into_iter().find(|known| *known == rest)?;
        Some((purpose, known))
    })
}

const CREDENTIALS_COMMAND: AskedCommand = AskedCommand {
    what: "the credentials command",
    named_by: "--credentials-command and DOLMEN_CREDENTIALS_COMMAND",
};

/// Where store credentials come from.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    command: Option<Arc<CredentialsCommand>>,
    environment: Outcome<StoreVariables>,
}

impl Sources {
    /// Gathers them. Nothing is run.
    pub(super) fn find(global: &Global, variables: Variables<'_>) -> Self {
        let line = global.credentials_command.clone();
        let line = line.or_else(|| variables("DOLMEN_CREDENTIALS_COMMAND"));
        Self {
            command: line.map(|line| {
                let printed = OnceLock::new();
                Arc::new(CredentialsCommand { line, printed })
            }),
            environment: StoreVariables::of_environment(variables),
        }
    }

    /// What the environment has.
    pub(super) fn environment(&self) -> Outcome<&StoreVariables> {
        self.environment.as_ref().map_err(Clone::clone)
    }

    /// Who asks. For each purpose the first that names somebody says it all: the command, the environment, the key file; for
    /// the plain one AWS's own chain reads the environment, and what else there is.
    pub(super) fn identities(&self, carried: &StoreVariables) -> Outcome<ByPurpose<Identity>> {
        let printed = match &self.command {
            Some(command) => Some((command, command.printed()?)),
            None => None,
        };
        let environment = self.environment()?;
        let mut identities = ByPurpose::default();
        for purpose in Purpose::ALL {
            let of_command = printed.and_then(|(command, printed)| {
                let given = printed.somebody(purpose)?;
                Some((command, given))
            });
            *identities.get_mut(purpose) = if let Some((command, given)) = of_command {
                command.identity(purpose, given)?
            } else if let Some(given) = environment.somebody(purpose) {
                match purpose {
                    Purpose::Plain => Some(Identity::Chain),
                    Purpose::Renew | Purpose::Prune => given.identity(purpose)?,
                }
            } else {
                let given = carried.somebody(purpose);
                let identity = given.map(|given| given.identity(purpose));
                identity.transpose()?.flatten()
            };
        }
        Ok(identities)
    }
}

/// A command that prints store credentials.
struct CredentialsCommand {
    line: OsString,
    /// What it printed when it was first asked.
    printed: OnceLock<Outcome<StoreVariables>>,
}

/// Never shows the command line: it may hold a secret.
impl fmt::Debug for CredentialsCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialsCommand")
    }
}

impl CredentialsCommand {
    fn run(&self) -> Outcome<StoreVariables> {
        let text = CREDENTIALS_COMMAND.run(&self.line)?;
        StoreVariables::parse(&text, "what the credentials command prints")
    }

    fn printed(&self) -> Outcome<&StoreVariables> {
        let printed = self.printed.get_or_init(|| self.run());
        printed.as_ref().map_err(Clone::clone)
    }

    /// Who asks by what was printed; keys that end are asked for anew.
    fn identity(self: &Arc<Self>, purpose: Purpose, given: &Given) -> Outcome<Option<Identity>> {
        match given.keys(purpose)? {
            Some(keys) if keys.expiry().is_some() => {
                let source = PrintedKeys {
                    command: Arc::clone(self),
                    purpose,
                    first: Mutex::new(Some(keys)),
                };
                Ok(Some(Identity::Given(Arc::new(source))))
            }
            _ => given.identity(purpose),
        }
    }
}

/// Keys that a command prints, as long as they are good for, and then again.
#[derive(Debug)]
struct PrintedKeys {
    command: Arc<CredentialsCommand>,
    purpose: Purpose,
    /// Those that were printed first, until they are taken.
    first: Mutex<Option<Credentials>>,
}

impl KeySource for PrintedKeys {
    fn keys(&self) -> Result<Credentials, Box<dyn Error + Send + Sync>> {
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(first) = first {
            return Ok(first);
        }
        let printed = self.command.run().map_err(|failure| failure.message)?;
        let given = printed.somebody(self.purpose);
        let keys = given.map(|given| given.keys(self.purpose));
        let keys = keys.transpose().map_err(|failure| failure.message)?;
        Ok(keys
            .flatten()
            .ok_or("the credentials command prints no keys any more")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn parsed(text: &str) -> StoreVariables {
        StoreVariables::parse(text.as_bytes(), "it").unwrap()
    }

    fn refused(text: &str) -> String {
        let failure = StoreVariables::parse(text.as_bytes(), "it").unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        failure.message
    }

    /// Who asks for each purpose, in short: the key's id, or the profile.
    fn shown(identities: &ByPurpose<Identity>) -> [Option<String>; 3] {
        Purpose::ALL.map(|purpose| {
            Some(match identities.get(purpose)? {
                Identity::Chain => "chain".to_owned(),
                Identity::Keys(keys) => keys.access_key_id().to_owned(),
                Identity::Given(source) => source.keys().unwrap().access_key_id().to_owned(),
                Identity::Profile { name, .. } => format!("profile {name}"),
                Identity::WebIdentity { role_arn, .. } => format!("role {role_arn}"),
            })
        })
    }

    fn sources(command: Option<&str>, variables: &[(&str, &str)]) -> Sources {
        let global = Global {
            credentials_command: command.map(OsString::from),
            ..Global::default()
        };
        Sources::find(&global, &|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_first_source_that_names_somebody_says_all_of_a_purpose() {
        let printed = "printf '%s\\n' AWS_ACCESS_KEY_ID=printed AWS_SECRET_ACCESS_KEY=x \
                       DOLMEN_PRUNE_AWS_ACCESS_KEY_ID=ends DOLMEN_PRUNE_AWS_SECRET_ACCESS_KEY=x \
                       DOLMEN_PRUNE_AWS_CREDENTIAL_EXPIRATION=2030-01-01T00:00:00Z";
        let environment = [
            ("AWS_ACCESS_KEY_ID", "own"),
            ("AWS_SECRET_ACCESS_KEY", "y"),
            ("DOLMEN_RENEW_AWS_PROFILE", "renewer"),
            ("DOLMEN_PRUNE_AWS_ACCESS_KEY_ID", "half"),
        ];
        let carried = parsed(
            "AWS_ACCESS_KEY_ID=carried\nAWS_SECRET_ACCESS_KEY=z\n\
             DOLMEN_RENEW_AWS_ACCESS_KEY_ID=carried\nDOLMEN_RENEW_AWS_SECRET_ACCESS_KEY=z\n",
        );
        let some = |names: [&str; 3]| names.map(|name| (!name.is_empty()).then(|| name.to_owned()));
        let identities = |sources: Sources| shown(&sources.identities(&carried).unwrap());
        let all = identities(sources(Some(printed), &environment));
        assert_eq!(all, some(["printed", "profile renewer", "ends"]));
        let by_environment = identities(sources(None, &environment[..3]));
        assert_eq!(by_environment, some(["chain", "profile renewer", ""]));
        assert_eq!(
            identities(sources(None, &[])),
            some(["carried", "carried", ""])
        );
        let none = sources(None, &[]).identities(&StoreVariables::default());
        assert_eq!(shown(&none.unwrap()), some(["", "", ""]));
    }

    #[test]
    fn half_a_credential_is_refused() {
        for (variables, said) in [
            (
                [("DOLMEN_PRUNE_AWS_ACCESS_KEY_ID", "a")],
                "DOLMEN_PRUNE_AWS_ACCESS_KEY_ID is set and DOLMEN_PRUNE_AWS_SECRET_ACCESS_KEY is not",
            ),
            (
                [("DOLMEN_RENEW_AWS_SESSION_TOKEN", "a")],
                "DOLMEN_RENEW_AWS_SESSION_TOKEN is set and DOLMEN_RENEW_AWS_ACCESS_KEY_ID is not",
            ),
            (
                [("DOLMEN_RENEW_AWS_WEB_IDENTITY_TOKEN_FILE", "a")],
                "DOLMEN_RENEW_AWS_WEB_IDENTITY_TOKEN_FILE is set and DOLMEN_RENEW_AWS_ROLE_ARN is not",
            ),
        ] {
            let failure = sources(None, &variables).identities(&StoreVariables::default());
            let failure = failure.unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.starts_with(said), "{}", failure.message);
        }
    }

    #[test]
    fn a_refusal_names_variables_and_no_value() {
        assert_eq!(
            refused("AWS_REGION=hidden"),
            "it has AWS_REGION in line 1, which is no variable of store credentials"
        );
        assert_eq!(refused("\n\nhidden"), "it has no VARIABLE=value in line 3");
        assert_eq!(
            refused("AWS_PROFILE=a\nAWS_PROFILE=hidden"),
            "it has AWS_PROFILE twice"
        );
        assert_eq!(
            refused("AWS_PROFILE=hid\u{1b}den"),
            "it has a control character in line 1"
        );
        assert_eq!(refused(&"x".repeat(20_000)), "it has more than 16 KiB");
        let shown = format!("{:?}", parsed("AWS_SECRET_ACCESS_KEY=hidden"));
        assert!(
            shown.contains(SECRET) && !shown.contains("hidden"),
            "{shown}"
        );
        let keys =
            parsed("AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\nAWS_CREDENTIAL_EXPIRATION=soon");
        let failure = keys.to_text().unwrap_err();
        assert!(
            failure
                .message
                .starts_with("AWS_CREDENTIAL_EXPIRATION is no time")
        );
    }

    #[test]
    fn text_for_a_key_file_reads_as_what_it_was_made_of() {
        let text = "DOLMEN_PRUNE_AWS_PROFILE=p\n\nAWS_SECRET_ACCESS_KEY=b=c\r\nAWS_ACCESS_KEY_ID=a\nAWS_SESSION_TOKEN=\n";
        let found = parsed(text);
        assert_eq!(
            found.names(),
            [
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY",
                "DOLMEN_PRUNE_AWS_PROFILE"
            ]
        );
        let text = found.to_text().unwrap();
        assert_eq!(
            text.as_str(),
            "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b=c\nDOLMEN_PRUNE_AWS_PROFILE=p\n"
        );
        assert_eq!(parsed(&text).to_text().unwrap(), text);
    }
}
