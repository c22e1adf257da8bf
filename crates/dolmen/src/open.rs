//! Opening a repository: pin, look, ask for the passphrase, open, remember.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dolmen_core::finding::{Finding, Nature};
use dolmen_core::index::Index;
use dolmen_core::numbers;
use dolmen_core::objects::Oddities;
use dolmen_core::recall::{self, Recall};
use dolmen_core::repository::Located;
use dolmen_core::snapshots::{SnapshotEntry, SnapshotList, segments_of};
use dolmen_core::{Error, Objects, Repository, lives, own, repository, status};
use dolmen_crypto::RoleSecrets;
use dolmen_format::certificate::Role;
use dolmen_format::{InstanceId, ObjectId, ObjectKey, PackId, RepositoryId, Timestamp};
use dolmen_state::state::{Remembered, Sightings};
use dolmen_state::{Compared, Instance, StateFolder};

use crate::commands::App;
use crate::config::{Ask, Config, GivenKey, GivenKit};
use crate::exit::{During as _, Exit, Failure, Outcome};
use crate::kept::KeptCopies;
use crate::render;
use crate::stores::{self, Trial};

/// An open repository and this client's folders for it.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The repository.
    pub(crate) repository: Repository,
    /// Its cache folder.
    pub(crate) cache: Option<PathBuf>,
    /// The repository's folder, links resolved; `None`: it is not on this machine.
    pub(crate) folder: Option<PathBuf>,
    /// How messages call the address.
    pub(crate) address: String,
    state: StateFolder,
    /// Copies of root and keys as they were kept before this run.
    kept: Vec<(ObjectKey, Vec<u8>)>,
}

/// What a command asks of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Nothing that not every key may.
    Look,
    /// The same, with all store credentials at hand.
    Attack,
    /// Making backups.
    Backup,
    /// Reading contents and names.
    Read,
    /// Keeping and letting go.
    Maintain,
    /// What only the admin may.
    Administer,
}

impl Duty {
    /// Whoever only reads asks nobody but whoever reads.
    const fn trial(self) -> Trial {
        match self {
            Self::Look | Self::Read => Trial::None,
            Self::Attack | Self::Backup | Self::Maintain | Self::Administer => Trial::Each,
        }
    }
}

/// Refuses a key that is for something else, before anything is asked of the store for it.
fn require(repository: &Repository, duty: Duty) -> Result<(), Error> {
    let role = repository.keys().role();
    let (may, what) = match duty {
        Duty::Look | Duty::Attack => return Ok(()),
        Duty::Backup => (role == Role::Backup, "make backups"),
        Duty::Read => (role == Role::Restore, "read contents or names"),
        Duty::Maintain => (role == Role::Maintain, "renew, retire or let go"),
        Duty::Administer => (false, "do what only the passphrase may"),
    };
    if may || role == Role::Admin {
        Ok(())
    } else {
        Err(Error::RoleMayNot { role, what })
    }
}

/// Opens the repository that flags and environment name. It is looked for before a passphrase is asked for.
pub(crate) fn open(app: &App, duty: Duty) -> Outcome<Opened> {
    let config = &app.config;
    let key = config.key()?;
    let address = config.address()?;
    let secret = config.secret()?;
    if let Some(warning) = key.and_then(GivenKey::warning) {
        app.output.warn(warning);
    }
    let shown = address.shown();
    let contents = key.and_then(GivenKey::with_credentials);
    let contents = contents.map(|given| given.contents(secret)).transpose()?;
    let (secrets, carried) = contents.unzip();
    let carried = carried.unwrap_or_default();
    let reached = stores::open(app, address, &carried, duty.trial())?;
    let (pinned_as, folder) = (reached.pinned_as, reached.folder);
    let state = StateFolder::open(config.state()?).during("cannot use the state folder")?;
    let pinned = wanted_id(config, &state, &pinned_as, &shown)?;
    let kept = pinned
        .map(|id| KeptCopies::new(state.path(), &id).load())
        .unwrap_or_default();
    // Bytes of the store's own kind, as the repository takes them.
    let copies: Vec<_> = kept
        .iter()
        .map(|(key, body)| (*key, body.clone().into()))
        .collect();
    let objects = Objects::new(reached.store, app.runtime.clone(), &shown);
    let tried = format!("cannot open the repository at {shown}");
    if config.repository_id.is_none() {
        refuse_replaced(app, &objects, pinned).during(&tried)?;
    }
    let located = repository::locate(objects, app.environment.clone(), pinned, &copies);
    let located = located.during(&tried)?;
    let repository = unlock(located, config, secrets, (&shown, &tried))?;
    require(&repository, duty).during(&tried)?;
    // Another repository's keys are junk here, which audits tell of.
    let found = repository.findings().iter();
    for finding in found.filter(|finding| finding.nature != Nature::Foreign) {
        app.output.warn(finding.to_string());
    }
    let id = repository.id();
    if state.pinned(&pinned_as)? != Some(id) {
        state
            .pin(&pinned_as, &id)
            .during("cannot remember which repository this is")?;
    }
    if let Err(error) = KeptCopies::new(state.path(), &id).keep(&repository) {
        app.output.warn(format!(
            "cannot keep copies of the repository's keys: {error}"
        ));
    }
    let cache = cache_folder(app, &id);
    if let Some(cache) = &cache {
        repository.objects.keep_bodies(cache);
        repository.objects.keep_notes(cache);
    }
    Ok(Opened {
        repository,
        cache,
        folder,
        address: shown,
        state,
        kept,
    })
}

/// Opens with what was given: a key file, whose secrets may have been taken out before, a recovery kit, or a passphrase.
fn unlock(
    located: Located,
    config: &Config,
    secrets: Option<RoleSecrets>,
    (shown, tried): (&str, &str),
) -> Outcome<Repository> {
    let secret = config.secret()?;
    match config.key()? {
        Some(GivenKey::File(given)) => {
            let secrets = match secrets {
                Some(secrets) => secrets,
                None => given.contents(secret)?.0,
            };
            located.open_with(&given.file, &secrets).during(tried)
        }
        Some(GivenKey::Kit(given)) => open_by_kit(located, given).during(tried),
        None => {
            let passphrase = secret.read(&format!("passphrase for {shown}"), Ask::Once)?;
            located.unlock(&passphrase, config.accept).during(tried)
        }
    }
}

/// Opens with a recovery kit. Its secret tells which repository is meant; its id must be that one's.
fn open_by_kit(located: Located, given: &GivenKit) -> Outcome<Repository> {
    const COMPARE: &str =
        "hold its words against the printed page: few mistakes escape their checksum, but some do";
    let path = given.path().display();
    let named = given.kit.repository;
    let refused = |problem: String| Failure::new(Exit::WrongKey, problem).hint(COMPARE);
    match (located.open_as_admin(given.kit.admin.clone()), named) {
        (Ok(repository), Some(named)) if named != repository.id() => Err(refused(format!(
            "the recovery kit {path} names repository {named}, and its words open {}",
            repository.id()
        ))),
        (Ok(repository), _) => Ok(repository),
        (Err(Error::WrongKey), Some(named)) => Err(refused(format!(
            "the recovery kit {path}, of repository {named}, opens no repository there"
        ))),
        (Err(Error::WrongKey), None) => Err(refused(format!(
            "the recovery kit {path} opens no repository there"
        ))),
        (Err(error), _) => Err(error.into()),
    }
}

/// The id that must be found: from the command line, else the one known from before.
fn wanted_id(
    config: &Config,
    state: &StateFolder,
    pinned_as: &str,
    shown: &str,
) -> Outcome<Option<RepositoryId>> {
    if config.trusted.is_some() {
        return Ok(config.trusted);
    }
    let known = state
        .pinned(pinned_as)
        .during("cannot tell which repository this is")?;
    let by_key = config.key()?.and_then(GivenKey::repository);
    match (config.repository_id.or(by_key), known) {
        (Some(given), Some(known)) if given != known => Err(Failure::new(
            Exit::Failed,
            format!("this machine knows {shown} as repository {known}, not {given}"),
        )
        .hint(format!(
            "if it was changed on purpose, accept it with: --trust-repository {given}"
        ))),
        (given, known) => Ok(given.or(known)),
    }
}

/// Junk that is named; more is counted.
const JUNK_NAMED_MAX: usize = 10;

/// Warns of what does not verify. Whoever may write can leave any number of junk: what is more than some is one line.
fn warn_of(app: &App, findings: &[Finding]) {
    let (junk, others): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| finding.is_stray());
    for finding in others.iter().chain(junk.iter().take(JUNK_NAMED_MAX)) {
        app.output.warn(finding.to_string());
    }
    let more = junk.len().saturating_sub(JUNK_NAMED_MAX);
    if more > 0 {
        app.output.warn(format!(
            "passed over {more} more objects that are none of this repository's, or damaged: dolmen audit names them"
        ));
    }
}

/// Refuses another repository that took the place of the known one. Kept copies would otherwise open the known one
/// amidst the other's objects.
///
/// Cost: one listing, and where the known root is gone what [`repository::locate`] costs.
fn refuse_replaced(app: &App, objects: &Objects, known: Option<RepositoryId>) -> Result<(), Error> {
    let Some(known) = known else { return Ok(()) };
    let mut is_there = false;
    objects.list("root/", |object| {
        is_there |= object.key == ObjectKey::Root(known);
    })?;
    if is_there {
        return Ok(());
    }
    match repository::locate(objects.clone(), app.environment.clone(), Some(known), &[]) {
        Err(error @ Error::OtherRepository { .. }) => Err(error),
        // Kept copies would make a repository of the empty bucket that was made in place of the right one.
        Err(error @ Error::NoRepository { .. }) if stores::is_empty(objects)? => Err(error),
        // The root is lost: copies may help.
        _ => Ok(()),
    }
}

/// The cache folder of a repository, made if need be; a cache that cannot be kept is gone without.
fn cache_folder(app: &App, id: &RepositoryId) -> Option<PathBuf> {
    let folder = app.config.cache.as_ref()?.join(id.to_string());
    match make_cache_folder(&folder) {
        Ok(()) => Some(folder),
        Err(error) => {
            app.output.warn(format!(
                "cannot use the cache folder {}, going on without: {error}",
                folder.display()
            ));
            None
        }
    }
}

fn make_cache_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    // Other backup programs leave a marked folder out.
    let tag = folder.parent().unwrap_or(folder).join("CACHEDIR.TAG");
    if !tag.exists() {
        std::fs::write(tag, "Signature: 8a477f597d28d172789f06886806bc55\n")?;
    }
    Ok(())
}

impl Opened {
    /// Loads the index; what is wrong with it is only warned of.
    pub(crate) fn load_index(&self, app: &App) -> Outcome<Index> {
        let cache = self.index_cache();
        let index = Index::load(&self.repository, cache.as_deref())
            .during(&format!("cannot load the index of {}", self.address))?;
        warn_of(app, &index.findings);
        Ok(index)
    }

    /// Loads an index that is good for reading these snapshots, even where segments that they list are lost.
    pub(crate) fn load_index_for(&self, app: &App, entries: &[&SnapshotEntry]) -> Outcome<Index> {
        let mut index = self.load_index(app)?;
        let told = index.findings.len();
        let wanted = segments_of(entries.iter().copied());
        let added = index
            .complete(&self.repository, &wanted)
            .during(&format!("cannot read the packs of {}", self.address))?;
        for finding in index.findings.iter().skip(told) {
            app.output.warn(finding.to_string());
        }
        if added > 0 {
            app.output.warn(format!(
                "parts of the index are missing or damaged: {} told what is in them; mend it with: dolmen repair index",
                render::count(added, "pack")
            ));
        }
        Ok(index)
    }

    /// A folder for what does not fit into memory: the cache, or the system's.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// Where the index's tables are kept.
    pub(crate) fn index_cache(&self) -> Option<PathBuf> {
        let is_blind = self.repository.keys().is_blind();
        let name = if is_blind { "index-of-tables" } else { "index" };
        self.cache.as_ref().map(|cache| cache.join(name))
    }

    /// Loads the snapshots as they were at a time; what is wrong with them is only warned of.
    pub(crate) fn load_snapshots_at(
        &self,
        app: &App,
        at: Option<Timestamp>,
    ) -> Outcome<SnapshotList> {
        if at.is_none() {
            return self.load_snapshots(app);
        }
        let snapshots = SnapshotList::load(&self.repository, at)
            .during(&format!("cannot list the snapshots of {}", self.address))?;
        warn_of(app, &snapshots.findings);
        Ok(snapshots)
    }

    /// Loads the snapshots; what is wrong with them is only warned of. What this machine said of them in the ledger counts
    /// even where the store holds it no longer.
    pub(crate) fn load_snapshots(&self, app: &App) -> Outcome<SnapshotList> {
        let (remembered, mut signed) = (self.remembered()?, Sightings::default());
        remembered.add_to(&mut signed);
        self.load_recalling(app, Recall::Seen(&signed), &remembered)
    }

    /// As [`Self::load_snapshots`], for whoever lets go: what this machine's maintenance has seen counts as long as nobody
    /// has retired it.
    pub(crate) fn load_all_seen(&self, app: &App) -> Outcome<SnapshotList> {
        let (remembered, sightings) = self.memory()?;
        self.load_recalling(app, Recall::Seen(&sightings), &remembered)
    }

    /// As [`Self::load_snapshots`], with what this machine remembers.
    pub(crate) fn load_recalling(
        &self,
        app: &App,
        recall: Recall<'_>,
        remembered: &Remembered,
    ) -> Outcome<SnapshotList> {
        let mut snapshots = SnapshotList::load_recalling(&self.repository, recall)
            .during(&format!("cannot list the snapshots of {}", self.address))?;
        warn_of(app, &snapshots.findings);
        self.settle_facts(app, &mut snapshots)?;
        for key in numbers::lost(&snapshots, remembered) {
            app.output.warn(match key {
                ObjectKey::Ledger(..) => {
                    format!("{key} is gone, which this machine signed: run dolmen check")
                }
                _ => format!(
                    "snapshot {} is gone, which this machine remembers as its latest: run dolmen check",
                    key.id()
                ),
            });
        }
        Ok(snapshots)
    }

    /// Notes what this machine knows by itself: which policies its user confirmed, and where moved frames are the same.
    /// Names the policies that wait.
    fn settle_facts(&self, app: &App, list: &mut SnapshotList) -> Outcome<()> {
        list.facts.confirmed = self.confirmed()?;
        list.facts.compared = self.compared()?;
        let waiting = lives::waiting(&list.facts);
        let waiting: Vec<_> = waiting
            .iter()
            .filter_map(|record| record.reference)
            .map(|reference| reference.digest)
            .collect();
        if waiting.is_empty() {
            return Ok(());
        }
        if app.config.confirm_policy {
            self.confirm(&waiting)?;
            list.facts.confirmed.extend(waiting);
        } else {
            app.output.warn(
                "a new policy more than doubles a time and does not count on this machine yet: look at it with dolmen \
                 policy show, and if it is meant, run once with --confirm-policy",
            );
        }
        Ok(())
    }

    /// The policies that the user confirmed on this machine.
    pub(crate) fn confirmed(&self) -> Outcome<BTreeSet<ObjectId>> {
        let confirmed = self.state.confirmed(&self.repository.id());
        let confirmed = confirmed.during("cannot tell which policies were confirmed")?;
        Ok(confirmed.into_iter().collect())
    }

    /// Remembers policies as confirmed on this machine.
    pub(crate) fn confirm(&self, policies: &[ObjectId]) -> Outcome<()> {
        self.state
            .confirm(&self.repository.id(), policies)
            .during("cannot remember that the policy is confirmed")
    }

    /// What this machine knows of places of moved frames.
    pub(crate) fn compared(&self) -> Outcome<Compared> {
        let compared = self.state.compared(&self.repository.id());
        compared.during("cannot tell what moved frames were held against")
    }

    /// Remembers what this machine knows of places of moved frames.
    pub(crate) fn note_compared(&self, compared: &Compared) -> Outcome<()> {
        self.state
            .note_compared(&self.repository.id(), compared)
            .during("cannot remember what moved frames were held against")
    }

    /// Remembers packs that were read whole, and are what their names and tables say.
    pub(crate) fn note_read_whole(&self, packs: &BTreeSet<PackId>) -> Outcome<()> {
        if packs.is_empty() {
            return Ok(());
        }
        let mut compared = self.compared()?;
        compared
            .equal
            .extend(packs.iter().map(|pack| (*pack, *pack)));
        compared.trim(|_record| true);
        self.note_compared(&compared)
    }

    /// Remembers what this machine's maintenance has seen alive.
    pub(crate) fn note_sightings(&self, sightings: &Sightings) -> Outcome<()> {
        self.state
            .note_sightings(&self.repository.id(), sightings)
            .during("cannot remember what maintenance has seen")
    }

    /// When maintenance last did all its steps from this machine.
    pub(crate) fn maintained(&self) -> Outcome<Option<Timestamp>> {
        let maintained = self.state.maintained(&self.repository.id());
        maintained.during("cannot tell when maintenance last ran")
    }

    /// Remembers that maintenance just did all its steps.
    pub(crate) fn note_maintained(&self) -> Outcome<()> {
        let now = self.repository.environment.clock.now();
        self.state
            .note_maintained(&self.repository.id(), now)
            .during("cannot remember that maintenance ran")
    }

    /// The address for another day, whatever folder a command is run in; empty where that cannot be written as text.
    pub(crate) fn lasting_address(&self) -> String {
        match &self.folder {
            Some(folder) => folder.to_str().unwrap_or_default().to_owned(),
            None => self.address.clone(),
        }
    }

    /// Takes an identity under which this machine writes.
    pub(crate) fn claim_instance(&self) -> Outcome<Instance> {
        claim_instance(&self.state, &self.repository)
    }

    /// This machine's instance, with its own history settled: what it puts from then on is locked as the policy says.
    pub(crate) fn writer(&self, app: &App, list: &SnapshotList) -> Outcome<Instance> {
        let mut instance = self.claim_instance()?;
        let notice = |text: &str| app.output.warn(text);
        own::settle(&self.repository, &mut instance, list, &notice)
            .during("cannot tell what this machine wrote last")?;
        Ok(instance)
    }

    /// As [`Self::writer`], for a command that needs no list else.
    pub(crate) fn settled(&self, app: &App) -> Outcome<Instance> {
        let list = self.load_snapshots(app)?;
        self.writer(app, &list)
    }

    /// What a backup leaves out of itself and a restore leaves alone, with what messages call it.
    pub(crate) fn own_folders(&self, app: &App) -> impl Iterator<Item = (&'static str, PathBuf)> {
        let cache = app.config.cache.clone();
        let folder = self.folder.clone();
        folder
            .map(|folder| ("repository", folder))
            .into_iter()
            .chain([("state folder", self.state.path().to_path_buf())])
            .chain(cache.map(|cache| ("cache", cache)))
    }

    /// Keeps copies of what `repository` says of itself now.
    pub(crate) fn keep_copies(&self) -> std::io::Result<()> {
        KeptCopies::new(self.state.path(), &self.repository.id()).keep(&self.repository)
    }

    /// What this machine knows by itself.
    pub(crate) fn remembered(&self) -> Outcome<Remembered> {
        let remembered = self.state.remembered(&self.repository.id());
        remembered.during("cannot tell what this machine remembers")
    }

    /// What this machine knows by itself, and what its maintenance has seen alive or it signed.
    pub(crate) fn memory(&self) -> Outcome<(Remembered, Sightings)> {
        let remembered = self.remembered()?;
        let sightings = self.state.sightings(&self.repository.id());
        let mut sightings = sightings.during("cannot tell what maintenance has seen")?;
        remembered.add_to(&mut sightings);
        Ok((remembered, sightings))
    }

    /// As [`Self::memory`], without what is missing: the user takes that as lost for good. It is remembered unless nothing
    /// may change.
    pub(crate) fn memory_without_missing(&self, dry_run: bool) -> Outcome<(Remembered, Sightings)> {
        let (mut remembered, mut sightings) = self.memory()?;
        recall::give_up(&self.repository, &mut sightings, &mut remembered)
            .during(&format!("cannot tell what is missing in {}", self.address))?;
        if !dry_run {
            self.state
                .note_given_up(&self.repository.id(), &remembered.given_up)
                .during("cannot remember what was given up")?;
            self.note_sightings(&sightings)?;
        }
        Ok((remembered, sightings))
    }

    /// Warns, once and at the end, of objects whose plain view is not authentic.
    pub(crate) fn warn_of_oddities(&self, app: &App) {
        // What lay beneath was found by hashing.
        self.repository.objects.save_notes();
        let oddities = self.repository.objects.oddities();
        if oddities == Oddities::default() {
            return;
        }
        let count = |met: usize| u64::try_from(met).unwrap_or(u64::MAX);
        let (hidden, overwritten) = (
            count(oddities.hidden.len()),
            count(oddities.overwritten.len()),
        );
        app.output.warn(status::oddities_text(hidden, overwritten));
    }

    /// Puts root and keys that the store lost, or holds damaged, back from this client's copies, up to the first failure.
    ///
    /// Cost: one put for each.
    pub(crate) fn put_back(&self, app: &App) -> Outcome<()> {
        self.put_back_each(app)
            .try_for_each(|(name, put)| put.during(&format!("cannot put {name} back")))
    }

    /// As [`Self::put_back`], one after the other, each with its name.
    pub(crate) fn put_back_each(
        &self,
        app: &App,
    ) -> impl Iterator<Item = (String, Result<(), Error>)> {
        let named = self
            .kept
            .iter()
            .map(|(key, body)| (key.to_string(), key, body));
        let lacking = named.filter(|(name, ..)| {
            let mut findings = self.repository.findings().iter();
            findings.any(|finding| finding.subject == *name)
        });
        lacking.map(|(name, key, body)| {
            let put = self.repository.objects.put(key, body.clone().into());
            if put.is_ok() {
                let told = format!("put {name} back from this machine's copy");
                app.output.notice(told);
            }
            (name, put.map(|_receipt| ()))
        })
    }
}

/// Takes an identity under which this machine writes to a repository.
fn claim_instance(state: &StateFolder, repository: &Repository) -> Outcome<Instance> {
    let fresh = InstanceId(repository.environment.bytes());
    let writer = repository.writer();
    let signer = (writer != repository.admin_id()).then_some(&writer);
    state
        .claim_instance(&repository.id(), signer, fresh)
        .during("cannot use the state folder")
}

/// Finds out whether this machine can remember a repository.
pub(crate) fn try_state(app: &App) -> Outcome<()> {
    StateFolder::open(app.config.state()?)
        .and_then(|state| state.check_writable())
        .during("cannot use the state folder")
}

/// Remembers a repository that was just made, and returns this machine's instance, which has written nothing yet.
pub(crate) fn remember(app: &App, pinned_as: &str, repository: &Repository) -> Outcome<Instance> {
    let tried = "the repository is made, but cannot be remembered";
    let state = StateFolder::open(app.config.state()?).during(tried)?;
    state.pin(pinned_as, &repository.id()).during(tried)?;
    KeptCopies::new(state.path(), &repository.id())
        .keep(repository)
        .map_err(|error| Failure::new(Exit::Failed, format!("{tried}: {error}")))?;
    claim_instance(&state, repository)
}
