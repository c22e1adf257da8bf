//! `dolmen key …`

mod kit;

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use dolmen_core::repository::certify::AskedKey;
use dolmen_core::revoke;
use dolmen_crypto::Wrap;
use dolmen_crypto::bundle::default_kdf;
use dolmen_format::certificate::{RIGHT_ATTEST, RIGHT_SHARED, Role};
use dolmen_format::keyfile::KeyFile;
use dolmen_format::limits::KEY_NAME_BYTES_MAX;
use jiff::tz::TimeZone;
use serde_json::json;
use zeroize::Zeroizing;

use super::App;
use crate::config::{Ask, Passphrase, Secret, StoreVariables};
use crate::exit::{During as _, Exit, Failure, Outcome};
use crate::open::{Duty, Opened, open};
use crate::render;
use crate::units::parse_time;

/// What to do with keys.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Change the passphrase of this repository; what opened with the old one can still be opened with it
    ///
    /// The passphrase that opened the repository is the one that is changed. Opened with --recovery-kit or an admin's key
    /// file, the repository gets one more passphrase, and those that there are stay.
    ///
    /// Nothing in a repository is ever overwritten, so that the old key bundle stays in it beside the new one. Dolmen
    /// no longer accepts the old passphrase where it sees the new bundle, but whoever can read the store and knows the
    /// old passphrase can still open the old bundle, and with it everything, later backups too. If the old passphrase
    /// leaked, make a new repository with another one and back up there.
    Passwd(PasswdArgs),
    /// Make a key that can do one thing, and write it into a file for the machine that does it
    ///
    /// With --role admin --passphrase and no --out, the repository gets one more passphrase that opens everything.
    Add(AddArgs),
    /// List the keys
    List,
    /// Trust a key no longer: what it wrote before stays, what came since is quarantined
    Revoke(RevokeArgs),
    /// Make the recovery kit: one page to print that opens the repository when all else is lost
    Export(kit::ExportArgs),
    /// Tell whether a recovery kit opens this repository; nothing secret is printed
    VerifyKit(kit::VerifyKitArgs),
}

impl KeyArgs {
    /// Whether stdout tells of what was done elsewhere, and is not what the command was run for.
    pub(crate) const fn reports(&self) -> bool {
        match self.command {
            KeyCommand::Passwd(_)
            | KeyCommand::Add(_)
            | KeyCommand::Revoke(_)
            | KeyCommand::VerifyKit(_) => true,
            KeyCommand::List | KeyCommand::Export(_) => false,
        }
    }

    /// The recovery kit that opens the repository because it is to be verified.
    pub(crate) const fn kit_to_verify(&self) -> Option<&PathBuf> {
        match &self.command {
            KeyCommand::VerifyKit(args) => Some(&args.kit),
            KeyCommand::Passwd(_)
            | KeyCommand::Add(_)
            | KeyCommand::List
            | KeyCommand::Revoke(_)
            | KeyCommand::Export(_) => None,
        }
    }
}

/// A key to be made.
#[derive(Debug, Args)]
struct AddArgs {
    /// What people will call it, the machine's name for instance
    name: String,
    /// What it is for
    #[arg(long)]
    role: RoleName,
    /// Write the key file here; it must not be there yet
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Let keys that are given the same name name chunks alike, and confirm guesses about each other's; `admin` is the
    /// domain of backups made with the passphrase [default: one of its own]
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// Wrap the file with a passphrase of its own, from --new-password-file, DOLMEN_NEW_PASSWORD_FILE,
    /// DOLMEN_NEW_PASSWORD or the keyboard; whoever uses it gives that instead of the repository's. For an admin without
    /// --out: one more passphrase of the repository
    #[arg(long)]
    passphrase: bool,
    /// Read the new passphrase from a file
    #[arg(long, value_name = "FILE", requires = "passphrase")]
    new_password_file: Option<PathBuf>,
    /// Put store credentials into the file, beneath its passphrase: lines VARIABLE=value from a file, or else what the
    /// environment has
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        requires = "out"
    )]
    with_store_credentials: Option<CredentialsFrom>,
    /// Let a restore key sign that packs were read and are whole
    #[arg(long)]
    attest: bool,
    /// Say that several machines use a backup key on purpose
    #[arg(long)]
    shared: bool,
}

/// Where the store credentials are that go into a key file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum CredentialsFrom {
    /// In the variables of the environment.
    Environment,
    /// In a file.
    File(PathBuf),
}

impl From<OsString> for CredentialsFrom {
    fn from(text: OsString) -> Self {
        if text.is_empty() {
            Self::Environment
        } else {
            Self::File(text.into())
        }
    }
}

/// A role's name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleName {
    /// Everything, as the passphrase
    Admin,
    /// Adds backups, and can neither read nor end any
    Backup,
    /// Renews, retires by the signed policy, compacts and prunes, and can read nothing
    Maintain,
    /// Reads, and writes nothing
    Restore,
}

/// A key to be revoked.
#[derive(Debug, Args)]
struct RevokeArgs {
    /// Its name
    name: String,
    /// The first moment that is not trusted, by the store's times: when it was stolen [default: now]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

/// Where the new passphrase comes from.
#[derive(Debug, Args)]
struct PasswdArgs {
    /// Read the new passphrase from a file [env: DOLMEN_NEW_PASSWORD_FILE, DOLMEN_NEW_PASSWORD]
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
}

/// Manages keys.
pub(super) fn run(app: &App, args: &KeyArgs) -> Outcome {
    match &args.command {
        KeyCommand::Passwd(args) => passwd(app, args),
        KeyCommand::Add(args) => add(app, args),
        KeyCommand::List => list(app),
        KeyCommand::Revoke(args) => revoke_key(app, args),
        KeyCommand::Export(args) => kit::export(app, args),
        KeyCommand::VerifyKit(_) => kit::verify(app),
    }
}

const NEW_PASSPHRASE: [&str; 1] = [
    "give the new one with --new-password-file FILE, DOLMEN_NEW_PASSWORD_FILE or DOLMEN_NEW_PASSWORD",
];

fn passwd(app: &App, args: &PasswdArgs) -> Outcome {
    let mut opened = open(app, Duty::Administer)?;
    let passphrase = new_passphrase(&opened.address, args.new_password_file.as_ref())?;
    drop(opened.settled(app)?);
    let is_changed = opened.repository.passphrases().any(|known| known.is_used);
    opened
        .repository
        .change_passphrase(&passphrase)
        .during(&format!(
            "cannot change the passphrase of {}",
            opened.address
        ))?;
    keep_copies(app, &opened);
    let output = &app.output;
    let (message_type, done) = if is_changed {
        ("passphrase_changed", "changed the passphrase of")
    } else {
        ("passphrase_added", "added a passphrase to")
    };
    if output.is_json() {
        output.json(&json!({
            "message_type": message_type,
            "id": opened.repository.id().to_string(),
        }));
    } else if !output.is_quiet() {
        output.line(format!("{done} {}", opened.address));
    }
    let others = opened.repository.passphrases().count().saturating_sub(1);
    if is_changed {
        output.notice(
            "the old key bundle stays in the repository, which never overwrites anything: whoever can read the store and \
             knows the old passphrase can still open it and read every backup in it, later ones too. If the old \
             passphrase leaked, make a new repository with another one and back up there",
        );
    } else if others > 0 {
        let others = render::count(u64::try_from(others).unwrap_or(u64::MAX), "passphrase");
        output.notice(format!(
            "{others} that the repository had before still open everything; whoever knows one changes it with dolmen key \
             passwd"
        ));
    }
    Ok(Exit::Done)
}

/// Gets the passphrase that is to open something.
fn new_passphrase(what: &str, file: Option<&PathBuf>) -> Outcome<Passphrase> {
    let new = Secret::find_new(file);
    let passphrase = new.read(&format!("new passphrase for {what}"), Ask::Twice);
    // The flags for the present passphrase would not help.
    passphrase.map_err(|failure| Failure {
        hints: Vec::from(NEW_PASSPHRASE.map(str::to_owned)),
        ..failure
    })
}

fn keep_copies(app: &App, opened: &Opened) {
    if let Err(error) = opened.keep_copies() {
        app.output.warn(format!(
            "cannot keep copies of the repository's keys: {error}"
        ));
    }
}

fn add(app: &App, args: &AddArgs) -> Outcome {
    let role = match args.role {
        RoleName::Admin => Role::Admin,
        RoleName::Backup => Role::Backup,
        RoleName::Maintain => Role::Maintain,
        RoleName::Restore => Role::Restore,
    };
    check_fit(args, role)?;
    if args.name.is_empty() || args.name.len() > KEY_NAME_BYTES_MAX {
        let problem = format!("a key's name has 1 to {KEY_NAME_BYTES_MAX} bytes");
        return Err(Failure::usage(problem));
    }
    match &args.out {
        Some(out) => add_file(app, args, role, out),
        None => add_passphrase(app, args),
    }
}

fn add_passphrase(app: &App, args: &AddArgs) -> Outcome {
    let mut opened = open(app, Duty::Administer)?;
    let tried = format!("cannot add a passphrase to {}", opened.address);
    let passphrase = new_passphrase(&opened.address, args.new_password_file.as_ref())?;
    drop(opened.settled(app)?);
    let added = opened.repository.add_passphrase(&args.name, &passphrase);
    added.during(&tried)?;
    keep_copies(app, &opened);
    if app.output.is_json() {
        app.output.json(&json!({
            "message_type": "key_added",
            "name": args.name,
            "role": role_name(Role::Admin),
            "file": null,
        }));
    } else if !app.output.is_quiet() {
        app.output.line(format!(
            "added the passphrase {} to {}",
            args.name, opened.address
        ));
    }
    app.output.notice(
        "whoever knows it can do everything; it cannot be revoked, only changed by whoever knows it",
    );
    Ok(Exit::Done)
}

fn add_file(app: &App, args: &AddArgs, role: Role, out: &Path) -> Outcome {
    let credentials = store_credentials(app, args)?;
    let mut opened = open(app, Duty::Administer)?;
    let tried = format!("cannot make a key for {}", opened.address);
    let passphrase = args.passphrase.then(|| {
        let new = Secret::find_new(args.new_password_file.as_ref());
        new.read(&format!("new passphrase for {}", out.display()), Ask::Twice)
    });
    let passphrase = passphrase.transpose()?;
    // Nothing is certified whose file could not be written.
    let mut made = create_private(out, KEY_FILE)?;
    drop(opened.settled(app)?);
    let rights =
        if args.attest { RIGHT_ATTEST } else { 0 } | if args.shared { RIGHT_SHARED } else { 0 };
    let asked = AskedKey {
        name: args.name.clone(),
        role,
        domain: args.domain.clone(),
        rights,
        address: opened.lasting_address(),
    };
    let written = opened
        .repository
        .add_key(asked)
        .during(&tried)
        .and_then(|(file, secrets)| {
            let kdf = default_kdf(opened.repository.environment.salt());
            let wrap = passphrase.as_ref().map(|passphrase| Wrap {
                passphrase,
                kdf,
                credentials: &credentials,
            });
            let file = secrets.put_into(file, wrap);
            let file =
                file.map_err(|error| Failure::new(Exit::Failed, format!("{tried}: {error}")))?;
            let text = file.to_text();
            let text =
                text.map_err(|error| Failure::new(Exit::Failed, format!("{tried}: {error}")))?;
            write(&mut made, &text, out, KEY_FILE)?;
            Ok(file)
        });
    let file = match written {
        Ok(file) => file,
        Err(failure) => {
            // It holds nothing that is of use.
            drop(std::fs::remove_file(out));
            return Err(failure);
        }
    };
    keep_copies(app, &opened);
    tell_added(app, &file, out);
    Ok(Exit::Done)
}

/// How messages call the file of a key.
const KEY_FILE: &str = "key file";

/// Refuses flags that say nothing for a role.
fn check_fit(args: &AddArgs, role: Role) -> Outcome<()> {
    let odd = [
        (
            args.domain.is_some() && role != Role::Backup,
            "--domain",
            "backup",
        ),
        (args.shared && role != Role::Backup, "--shared", "backup"),
        (args.attest && role != Role::Restore, "--attest", "restore"),
    ];
    match odd.into_iter().find(|(is_odd, ..)| *is_odd) {
        Some((_, flag, role)) => Err(Failure::usage(format!(
            "{flag} is for keys of the role {role}"
        ))),
        None if args.out.is_none() && !(role == Role::Admin && args.passphrase) => Err(
            Failure::usage("a key needs a file: name one with --out FILE").hint(
                "one more passphrase needs none: dolmen key add --role admin NAME --passphrase",
            ),
        ),
        None => Ok(()),
    }
}

/// The store credentials that go into the file, if some shall.
fn store_credentials(app: &App, args: &AddArgs) -> Outcome<Zeroizing<String>> {
    let Some(from) = &args.with_store_credentials else {
        return Ok(Zeroizing::default());
    };
    if !args.passphrase {
        return Err(Failure::usage(
            "--with-store-credentials needs --passphrase: in a file that is not wrapped anybody could read them",
        ));
    }
    let (found, source) = match from {
        CredentialsFrom::File(file) => {
            let source = format!("the file {}", file.display());
            let text = std::fs::read(file).map(Zeroizing::new);
            let text =
                text.map_err(|error| Failure::usage(format!("cannot read {source}: {error}")))?;
            (StoreVariables::parse(&text, &source)?, source)
        }
        CredentialsFrom::Environment => (
            app.config.store_variables()?.clone(),
            "the environment".to_owned(),
        ),
    };
    let names = found.names();
    if names.is_empty() {
        let problem = format!("{source} has no store credentials for --with-store-credentials");
        return Err(Failure::usage(problem).hint(
            "give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the same with DOLMEN_RENEW_ or DOLMEN_PRUNE_ before them",
        ));
    }
    let text = found.to_text()?;
    app.output
        .notice(format!("the file gets {}", names.join(", ")));
    Ok(text)
}

/// Makes a file for the user alone that is not there yet.
fn create_private(path: &Path, what: &str) -> Outcome<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).map_err(|error| {
        let problem = format!("cannot write the {what} {}: {error}", path.display());
        Failure::new(Exit::Failed, problem)
            .hint("name a file that is not there yet, in a folder in which this user may write")
    })
}

fn write(out: &mut std::fs::File, text: &str, path: &Path, what: &str) -> Outcome<()> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.sync_all());
    written.map_err(|error| {
        let problem = format!("cannot write the {what} {}: {error}", path.display());
        Failure::new(Exit::Failed, problem)
    })
}

fn tell_added(app: &App, file: &KeyFile, path: &Path) {
    let output = &app.output;
    if output.is_json() {
        output.json(&json!({
            "message_type": "key_added",
            "name": file.name,
            "role": role_name(file.role),
            "file": path.display().to_string(),
        }));
    } else if !output.is_quiet() {
        output.line(format!(
            "wrote the {} key {} to {}",
            role_name(file.role),
            file.name,
            path.display()
        ));
    }
    match file.role {
        Role::Admin => output.notice(
            "whoever holds this file can do everything; it cannot be revoked, only made useless by a new repository",
        ),
        Role::Backup | Role::Maintain | Role::Restore => {
            output.notice("use it with --key-file or DOLMEN_KEY_FILE; give the machine store credentials of its own, too");
        }
    }
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Backup => "backup",
        Role::Maintain => "maintain",
        Role::Restore => "restore",
    }
}

fn list(app: &App) -> Outcome {
    let opened = open(app, Duty::Look)?;
    let snapshots = opened.load_snapshots(app)?;
    let revoked = snapshots.facts.revoked();
    let repository = &opened.repository;
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    let admin = repository.admin_id();
    let created = repository.root().created;
    let mut keys = vec![(admin, "admin", Role::Admin, created, "secret")];
    // Passphrases sign as the admin; the first has no name.
    keys.extend(repository.passphrases().map(|known| {
        let name = known.name.unwrap_or_default();
        (admin, name, Role::Admin, known.created, "passphrase")
    }));
    for (writer, certificate) in repository.signers() {
        keys.push((
            writer,
            certificate.name.as_str(),
            certificate.role,
            certificate.created,
            "key-file",
        ));
    }
    for (writer, name, role, created, kind) in keys {
        let since = revoked.get(&writer).copied();
        values.push(json!({
            "name": name,
            "role": role_name(role),
            "kind": kind,
            "created": render::rfc3339(created),
            "revoked_since": since.map(render::rfc3339),
            "writer": writer.to_string(),
        }));
        let revoked = since.map_or_else(String::new, render::local_time);
        rows.push(vec![
            name.to_owned(),
            role_name(role).to_owned(),
            kind.to_owned(),
            render::local_time(created),
            revoked,
        ]);
    }
    if app.output.is_json() {
        app.output.json(&json!(values));
        return Ok(Exit::Done);
    }
    let heads = ["Name", "Role", "Kind", "Created", "Revoked"];
    rows.insert(0, heads.map(str::to_owned).to_vec());
    for line in render::table(&rows) {
        app.output.line(line);
    }
    Ok(Exit::Done)
}

fn revoke_key(app: &App, args: &RevokeArgs) -> Outcome {
    let now = app.environment.clock.now();
    let since = args.since.as_deref();
    let since =
        since.map(|text| parse_time(text, now, &TimeZone::system()).map_err(Failure::usage));
    let since = since.transpose()?;
    let opened = open(app, Duty::Administer)?;
    let tried = format!("cannot revoke {} in {}", args.name, opened.address);
    let snapshots = opened.load_snapshots(app)?;
    revoke::find(&opened.repository, &args.name).during(&tried)?;
    let mut instance = opened.writer(app, &snapshots)?;
    let since = match since {
        Some(since) => since,
        // By the store's clock: what it holds now was received before.
        None => {
            opened
                .repository
                .objects
                .block_on(opened.repository.objects.store().now())?
                .latest
        }
    };
    let revoked = revoke::revoke(
        &opened.repository,
        &mut instance,
        &snapshots,
        &args.name,
        since,
    );
    let revoked = revoked.during(&tried)?;
    if app.output.is_json() {
        app.output.json(&json!({
            "message_type": "key_revoked",
            "name": args.name,
            "since": render::rfc3339(since),
            "trusted": revoked.trusted,
            "quarantined": revoked.quarantined,
        }));
    } else if !app.output.is_quiet() {
        app.output.line(format!(
            "revoked {}: kept {} of it as they were, quarantined {}",
            args.name,
            render::count(revoked.trusted, "snapshot"),
            render::count(revoked.quarantined, "snapshot"),
        ));
    }
    app.output.notice(
        "take its store credentials away, too: a revoked key still opens what it could, and may fill the store. What is quarantined restores by its id, and stays until it is retired by name",
    );
    Ok(Exit::Done)
}
