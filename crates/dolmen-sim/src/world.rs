//! A world: who lives in it, what happens, and what is seen after each step.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use dolmen_core::check::ReadData;
use dolmen_core::finding;
use dolmen_crypto::VerifyKey;
use dolmen_format::ledger::LockStrategy;
use dolmen_format::{ObjectId, ObjectKey, SnapshotId, Timestamp};
use dolmen_store::fault::{Effect, SeededFaults, Tear, When};
use dolmen_store::{Credential, Fault, FaultPlan};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::act::{Act, Done, Outcome, Sorted, Weather, perform};
use crate::attack::{Attack, Attacker};
use crate::dice::Dice;
use crate::error::SimError;
use crate::files;
use crate::invariants::{Failure, Invariant, Scene, violated};
use crate::kit::{DAY, Kit, Machine, SKEW_SECONDS_MAX, Skew};
use crate::model::{Model, Promise, Stored, all_versions};
use crate::mutation::{Mutation, Purpose};
use crate::tap::Moment;
use crate::theft::{Keeping, Stolen};

/// Attacks of one step of a siege.
const SIEGE_ATTACKS: usize = 3;
/// Snapshots that a step restores.
const RESTORED: usize = 1;
/// Snapshots that a step restores after which more may be wrong.
const RESTORED_AFTER_DANGER: usize = 3;

/// How a world is made, beside its seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// The mutation whose world it is, where that can show; `None`: a world of any kind.
    pub stage: Option<Mutation>,
    /// How Dolmen is made to err; `None`: it is not.
    pub mutation: Option<Mutation>,
    /// Half of the steps are attacks, several at once, each kind in its turn.
    pub is_siege: bool,
}

/// What was done in a world.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Steps.
    pub steps: u64,
    /// Attacks of each kind.
    pub attacks: BTreeMap<Attack, u64>,
    /// Snapshots restored and compared.
    pub restored: u64,
    /// Objects that maintenance deleted.
    pub deleted: u64,
    /// Locks that maintenance made longer.
    pub renewed: u64,
}

/// A world.
#[derive(Debug)]
pub struct World {
    kit: Kit,
    dice: Dice,
    clients: Vec<Machine>,
    maintainer: Machine,
    /// Another one, seldom at work, with a state folder of its own; none in the worlds of mutations.
    second: Option<Machine>,
    restorer: Machine,
    attacker: Option<(Attacker, Vec<Attack>)>,
    /// When maintenance renews next, where locks are kept.
    renew_at: Timestamp,
    stage: Option<Mutation>,
    is_siege: bool,
    model: Model,
    all: Vec<Stored>,
    /// What honest processes put.
    honest: BTreeSet<String>,
    /// What was done.
    pub tally: Tally,
    /// What happened, a line for each act.
    pub log: Vec<String>,
    folder: TempDir,
    _runtime: Runtime,
}

/// Kinds of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Backup,
    CrashedBackup,
    LostState,
    StateSetBack,
    Forget,
    Undo,
    Prune,
    CrashedPrune,
    Compact,
    CrashedCompact,
    TroubledCompact,
    RaceCompact,
    RaceBackup,
    RacePrune,
    RaceUndo,
    LidClosed,
    RepairIndex,
    ChangePassphrase,
    SetPolicy,
    TroubledBackup,
    TroubledPrune,
    Recover,
    TroubledRecover,
    Audit,
    LookBack,
    Attack,
}

const STEPS: &[(u64, Step)] = &[
    (240, Step::Backup),
    (90, Step::CrashedBackup),
    (15, Step::LostState),
    (20, Step::StateSetBack),
    (90, Step::Forget),
    (60, Step::Undo),
    (110, Step::Prune),
    (40, Step::CrashedPrune),
    (70, Step::Compact),
    (20, Step::CrashedCompact),
    (20, Step::TroubledCompact),
    (30, Step::RaceCompact),
    (90, Step::RaceBackup),
    (60, Step::RacePrune),
    (30, Step::RaceUndo),
    (40, Step::LidClosed),
    (20, Step::RepairIndex),
    (2, Step::ChangePassphrase),
    (12, Step::SetPolicy),
    (50, Step::TroubledBackup),
    (30, Step::TroubledPrune),
    (30, Step::Recover),
    (10, Step::TroubledRecover),
    (60, Step::Audit),
    (40, Step::LookBack),
    (200, Step::Attack),
];

impl World {
    /// Makes the world of a seed.
    pub fn new(seed: u64, options: &Options) -> Result<Self, Failure> {
        let mutation = options.mutation;
        let mut dice = Dice::new(seed);
        let folder = make_folder()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()?;
        let (keeping, stolen) = set_stage(options.stage, &mut dice);
        let kit = Kit::create(keeping, runtime.handle().clone(), &mut dice, mutation)?;
        let machine = |name: &str, skew| make_machine(folder.path(), name, skew);
        let mut clients = Vec::new();
        for number in 0..dice.between(1, 3) {
            let skew = draw_skew(&kit, &mut dice);
            clients.push(machine(&format!("client{number}"), skew)?);
        }
        let maintainer = machine("maintainer", draw_skew(&kit, &mut dice))?;
        let second = match options.stage {
            None => Some(machine("second maintainer", draw_skew(&kit, &mut dice))?),
            Some(_) => None,
        };
        let restorer = machine("restorer", draw_skew(&kit, &mut dice))?;
        let attacker = match stolen {
            None => None,
            Some(stolen) => {
                let machine = machine("attacker", honest_skew(&kit))?;
                let attacks = stolen.attacks(&keeping);
                Some((Attacker::new(machine, stolen, &mut dice), attacks))
            }
        };
        let log = vec![format!("{keeping:?}, stolen: {stolen:?}")];
        let all = all_versions(&kit)?;
        let honest = all.iter().map(|stored| stored.key.to_string()).collect();
        let repository = kit
            .open(
                kit.view(Credential::client(), Purpose::Other),
                &restorer,
                dice.next(),
            )
            .map_err(SimError::from)?;
        let admin = VerifyKey::from_bytes(&repository.root().verify_key).map_err(SimError::from)?;
        let mut model = Model::new(admin, kit.now(), &keeping);
        let first = keeping.first_days().iter().sum::<u64>();
        let renew_at = kit.now().saturating_add_seconds(DAY);
        let until = kit
            .now()
            .saturating_add_seconds(DAY * i64::try_from(first).unwrap_or(0));
        model.stand(all.iter().map(|stored| stored.key.to_string()), until);
        Ok(Self {
            kit,
            dice,
            clients,
            maintainer,
            second,
            restorer,
            attacker,
            stage: options.stage,
            is_siege: options.is_siege,
            model,
            all,
            honest,
            renew_at,
            tally: Tally::default(),
            log,
            folder,
            _runtime: runtime,
        })
    }

    /// Runs a world from beginning to end.
    pub fn run(&mut self, steps: u64) -> Result<(), Failure> {
        for _ in 0..steps {
            self.step()?;
        }
        self.end()
    }

    /// Takes one step and looks at what came of it.
    pub fn step(&mut self) -> Result<(), Failure> {
        self.tally.steps += 1;
        self.pass_time()?;
        let drawn = self.dice.weighted(STEPS).unwrap_or(Step::Backup);
        let favoured = self.stage.map_or(&[][..], favoured);
        let step = match self.dice.pick(favoured) {
            Some(step) if self.dice.chance(600) => *step,
            Some(_) | None if self.is_siege && self.dice.chance(500) => Step::Attack,
            Some(_) | None => drawn,
        };
        let step = match step {
            Step::Attack if self.attacker.is_none() => Step::Backup,
            step => step,
        };
        self.log.push(format!(
            "step {} at {}: {step:?}",
            self.tally.steps,
            self.kit.now().seconds
        ));
        self.take(step)?;
        let is_dangerous = !matches!(step, Step::Backup | Step::Forget | Step::RepairIndex);
        self.look(if is_dangerous {
            RESTORED_AFTER_DANGER
        } else {
            RESTORED
        })
    }

    fn take(&mut self, step: Step) -> Result<(), Failure> {
        let client = self.client();
        match step {
            Step::Backup => self.backup(&client, Weather::default()),
            Step::CrashedBackup | Step::TroubledBackup => {
                let weather = self.weather(step, None);
                self.backup(&client, weather)
            }
            Step::RaceBackup | Step::LidClosed => {
                let meanwhile = self.meanwhile(step);
                let weather = self.weather(step, Some(meanwhile));
                self.backup(&client, weather)
            }
            Step::LostState => {
                files::remove(&client.state())?;
                self.backup(&client, Weather::default())
            }
            Step::StateSetBack => self.set_state_back(&client),
            Step::RepairIndex => self.act(&client, &Act::RepairIndex, Weather::default()),
            Step::ChangePassphrase => {
                let act = Act::ChangePassphrase(self.dice.bytes(12));
                self.act(&client, &act, Weather::default())
            }
            Step::SetPolicy => self.set_policy(),
            Step::Audit => self.audit(&client),
            Step::LookBack => self.look_back(),
            Step::Attack => self.attack(),
            Step::Forget => self.maintain(step, Self::forgetting),
            Step::Undo | Step::RaceUndo => self.maintain(step, Self::undoing),
            Step::Prune | Step::CrashedPrune | Step::TroubledPrune | Step::RacePrune => {
                self.maintain(step, Self::pruning)
            }
            Step::Compact | Step::CrashedCompact | Step::TroubledCompact | Step::RaceCompact => {
                self.maintain(step, |_world| Act::Compact)
            }
            Step::Recover | Step::TroubledRecover => self.maintain(step, |_world| Act::Recover),
        }
    }

    /// The maintainer does something.
    fn maintain(&mut self, step: Step, act: impl FnOnce(&mut Self) -> Act) -> Result<(), Failure> {
        let is_race = matches!(step, Step::RacePrune | Step::RaceUndo | Step::RaceCompact);
        let meanwhile = is_race.then(|| self.meanwhile(step));
        let act = act(self);
        let weather = self.weather(step, meanwhile);
        let maintainer = self.some_maintainer();
        self.act(&maintainer, &act, weather)
    }

    /// The one that is at work most of the time, or the other.
    fn some_maintainer(&mut self) -> Machine {
        match &self.second {
            Some(second) if self.dice.chance(250) => second.clone(),
            Some(_) | None => self.maintainer.clone(),
        }
    }

    /// What happens to the act of a step.
    fn weather(&mut self, step: Step, meanwhile: Option<Vec<(Machine, Act)>>) -> Weather {
        match (step, meanwhile) {
            (_, Some(meanwhile)) => self.interleave(meanwhile),
            (Step::CrashedBackup | Step::CrashedCompact, None) => self.crash(60),
            (Step::CrashedPrune, None) => self.crash(80),
            (
                Step::TroubledBackup
                | Step::TroubledPrune
                | Step::TroubledCompact
                | Step::TroubledRecover,
                None,
            ) => self.trouble(),
            (_, None) => Weather::default(),
        }
    }

    /// Somebody looks; whoever sees a policy that is not theirs supersedes it. They have the old protection period to do so:
    /// until then it does not count (DESIGN §3), and whoever leaves it in force has what it says, which is all that the model
    /// promises them.
    fn audit(&mut self, client: &Machine) -> Result<(), Failure> {
        self.act(client, &Act::Audit, Weather::default())?;
        if self.model.is_policy_owned() {
            return Ok(());
        }
        self.set_policy()
    }

    /// A policy that protects for longer or shorter than the first one, and never for twice as long.
    fn set_policy(&mut self) -> Result<(), Failure> {
        let choices: &[[u64; 3]] = if self.kit.keeping.is_renewed() {
            &[[45, 15, 12], [31, 14, 5], [30, 15, 10]]
        } else {
            &[[45, 7, 1], [20, 5, 1], [30, 7, 1]]
        };
        let Some(days) = self.dice.pick(choices).copied() else {
            return Ok(());
        };
        let act = Act::SetPolicy(days);
        self.act(&self.maintainer.clone(), &act, Weather::default())
    }

    /// The repository as it was some time ago.
    fn look_back(&mut self) -> Result<(), Failure> {
        let days = self.dice.between(0, 40);
        let second = self.dice.between(0, DAY);
        let ago = days.saturating_mul(DAY).saturating_add(second);
        let at = self.kit.now().saturating_add_seconds(ago.saturating_neg());
        self.refresh()?;
        Ok(self.scene().the_past_stays(at)?)
    }

    fn client(&mut self) -> Machine {
        let client = self.dice.pick(&self.clients).cloned();
        client.unwrap_or_else(|| self.maintainer.clone())
    }

    /// Lets minutes to days pass, or goes to where a lease lapses.
    fn pass_time(&mut self) -> Result<(), Failure> {
        let now = self.kit.now();
        let seconds = match self.dice.below(10) {
            0 | 1 => 0,
            2..=4 => self.dice.between(60, 7200),
            5 | 6 => self.dice.between(7200, DAY),
            7 => self.dice.between(DAY, 9 * DAY),
            _ => {
                let edges = self.model.edges(&self.all, now);
                let coming: Vec<_> = edges
                    .into_iter()
                    .filter(|at| *at > now.seconds)
                    .take(4)
                    .collect();
                let jitter = self.dice.between(-3600, 7200);
                let edge = self.dice.pick(&coming).copied();
                edge.map_or(60, |at| {
                    at.saturating_sub(now.seconds).saturating_add(jitter)
                })
            }
        };
        self.pass(seconds)
    }

    fn refresh(&mut self) -> Result<(), Failure> {
        self.all = all_versions(&self.kit)?;
        self.model.look(&self.kit, &self.all);
        Ok(())
    }

    fn crash(&mut self, calls: u64) -> Weather {
        let effect = if self.dice.chance(500) {
            Effect::Done
        } else {
            Effect::Skipped
        };
        let call = self.dice.below(calls);
        Weather {
            faults: FaultPlan::none().at(call, Fault::Crash(effect)),
            meanwhile: None,
        }
    }

    /// Some calls fail, get lost on the way, or take long.
    fn trouble(&mut self) -> Weather {
        let seconds = self.dice.between(1, 7200);
        let faults = SeededFaults {
            seed: self.dice.next(),
            per_mille: u16::try_from(self.dice.between(5, 80)).unwrap_or(5),
            faults: vec![
                Fault::Unavailable,
                Fault::TimedOut(Effect::Done),
                Fault::TimedOut(Effect::Skipped),
                Fault::Denied(Effect::Skipped),
                Fault::Torn(Tear::Noticed),
                Fault::Slow {
                    seconds,
                    when: When::BeforeEffect,
                },
                Fault::Slow {
                    seconds,
                    when: When::AfterEffect,
                },
            ],
        };
        Weather {
            faults: FaultPlan::seeded(faults),
            meanwhile: None,
        }
    }

    fn interleave(&mut self, acts: Vec<(Machine, Act)>) -> Weather {
        let moment = match self.dice.below(6) {
            0 => Moment::PutBelow("index/"),
            1 => Moment::PutBelow("snapshots/"),
            _ => Moment::Call(self.dice.below(50)),
        };
        Weather {
            faults: FaultPlan::none(),
            meanwhile: Some((moment, acts)),
        }
    }

    /// What others do while somebody is at work.
    fn meanwhile(&mut self, step: Step) -> Vec<(Machine, Act)> {
        let maintainer = self.maintainer.clone();
        let other = self.client();
        let mut acts = Vec::new();
        match step {
            Step::LidClosed => {
                acts.push((maintainer.clone(), self.forgetting()));
                acts.extend(self.passing(60 * DAY));
                acts.push((maintainer, self.pruning()));
            }
            Step::RaceCompact if self.second.is_some() && self.dice.chance(500) => {
                acts.push((self.some_maintainer(), Act::Compact));
                acts.extend(self.passing(3 * DAY));
                acts.push((self.some_maintainer(), self.pruning()));
            }
            Step::RacePrune => {
                acts.extend(self.passing(DAY));
                match self.dice.below(3) {
                    0 => acts.push((maintainer, self.undoing())),
                    1 => acts.push((maintainer, self.pruning())),
                    _ => acts.push((other, Act::Backup { checkpoints: false })),
                }
            }
            _ => {
                if self.dice.chance(400) {
                    acts.push((maintainer.clone(), self.forgetting()));
                }
                acts.extend(self.passing(3 * DAY));
                if self.dice.chance(300) {
                    acts.push((other, Act::Backup { checkpoints: false }));
                }
                acts.push((maintainer, self.pruning()));
            }
        }
        acts
    }

    /// Time that goes by while somebody is at work; maintenance renews as ever.
    fn passing(&mut self, high: i64) -> Vec<(Machine, Act)> {
        let maintainer = self.maintainer.clone();
        let (mut left, mut acts) = (self.dice.between(0, high), Vec::new());
        let mut at = self.kit.now();
        while self.kit.keeping.is_renewed() {
            let wait = self.renew_at.seconds.saturating_sub(at.seconds).max(0);
            if wait > left {
                break;
            }
            left = left.saturating_sub(wait);
            at = at.saturating_add_seconds(wait);
            acts.push((maintainer.clone(), Act::Pass { seconds: wait }));
            acts.push((maintainer.clone(), Act::Renew));
            self.renew_at = at.saturating_add_seconds(self.renewal_wait());
        }
        acts.push((maintainer, Act::Pass { seconds: left }));
        acts
    }

    /// How long maintenance waits for the next renewal: it may miss one.
    fn renewal_wait(&mut self) -> i64 {
        let interval = self.model.terms_at(self.kit.now()).interval_seconds;
        self.dice.between(interval, interval.saturating_mul(2))
    }

    /// Renews, be it at the second try.
    fn renew(&mut self) -> Result<(), Failure> {
        let maintainer = self.maintainer.clone();
        let is_troubled = self.dice.chance(150);
        if is_troubled {
            let weather = self.trouble();
            self.act(&maintainer, &Act::Renew, weather)?;
        }
        self.act(&maintainer, &Act::Renew, Weather::default())?;
        let wait = self.renewal_wait();
        self.renew_at = self.kit.now().saturating_add_seconds(wait);
        Ok(())
    }

    /// Lets time pass; maintenance renews on the way, as it promised.
    fn pass(&mut self, seconds: i64) -> Result<(), Failure> {
        let end = self.kit.now().saturating_add_seconds(seconds.max(0));
        while self.kit.keeping.is_renewed() && self.renew_at <= end {
            if self.renew_at > self.kit.now() {
                self.kit.store.set_clock(self.renew_at);
            }
            self.renew()?;
        }
        if end > self.kit.now() {
            self.kit.store.set_clock(end);
        }
        self.refresh()
    }

    fn forgetting(&mut self) -> Act {
        let live = self.model.ids();
        let live: Vec<_> = live.into_iter().filter(|id| self.model.lives(id)).collect();
        match self.dice.below(8) {
            0 => Act::ForgetAll,
            1..=3 => Act::KeepLast(u32::try_from(self.dice.between(1, 3)).unwrap_or(1)),
            _ => {
                let mut chosen = Vec::new();
                for _ in 0..self.dice.between(1, 3) {
                    chosen.extend(self.dice.pick(&live).copied());
                }
                Act::Forget(chosen)
            }
        }
    }

    fn undoing(&mut self) -> Act {
        let all = self.model.ids();
        let ended: Vec<_> = all
            .into_iter()
            .filter(|id| self.model.ended_at(id).is_some())
            .collect();
        if self.dice.chance(300) {
            return Act::Undo(ended);
        }
        Act::Undo(self.dice.pick(&ended).copied().into_iter().collect())
    }

    fn pruning(&mut self) -> Act {
        Act::Prune {
            confirm_clock: self.dice.chance(200),
            confirm_missing: false,
        }
    }

    fn backup(&mut self, client: &Machine, weather: Weather) -> Result<(), Failure> {
        if self.dice.chance(850) {
            files::edit(&client.source(), &mut self.dice)?;
        }
        let act = Act::Backup {
            checkpoints: self.dice.chance(300),
        };
        self.act(client, &act, weather)
    }

    /// The state folder is as it was before the last backups: a disk was set back.
    fn set_state_back(&mut self, client: &Machine) -> Result<(), Failure> {
        let kept = client.folder.join("kept");
        files::remove(&kept)?;
        if client.state().is_dir() {
            files::copy(&client.state(), &kept)?;
        }
        for _ in 0..self.dice.between(1, 2) {
            self.backup(client, Weather::default())?;
        }
        if kept.is_dir() {
            files::remove(&client.state())?;
            fs::rename(kept, client.state())?;
        }
        self.backup(client, Weather::default())
    }

    fn attack(&mut self) -> Result<(), Failure> {
        let Some((_, attacks)) = &self.attacker else {
            return Ok(());
        };
        if self.is_siege {
            let struck: u64 = self.tally.attacks.values().sum();
            let struck = usize::try_from(struck).unwrap_or(0);
            let next = attacks.iter().cycle().skip(struck).take(SIEGE_ATTACKS);
            let next: Vec<_> = next.copied().collect();
            return next.into_iter().try_for_each(|attack| self.strike(attack));
        }
        let bait = self.stage.and_then(Mutation::bait);
        match bait.or_else(|| self.dice.pick(attacks).copied()) {
            Some(attack) => self.strike(attack),
            None => Ok(()),
        }
    }

    fn strike(&mut self, attack: Attack) -> Result<(), Failure> {
        self.log.push(format!("  attack: {attack}"));
        *self.tally.attacks.entry(attack).or_default() += 1;
        if attack == Attack::Destroy {
            // What is wrong by then is not excused by what comes.
            let scene = self.scene();
            scene.nothing_needed_is_gone()?;
            scene.everything_needed_is_locked()?;
        }
        let Some((attacker, _)) = &mut self.attacker else {
            return Ok(());
        };
        attacker.strike(&self.kit, &self.model, attack, &mut self.dice)?;
        if attack == Attack::Destroy {
            self.refresh()?;
            self.model.note_destroyed(&self.all);
            let client = self.client();
            self.act(&client, &Act::Audit, Weather::default())?;
        }
        if attack == Attack::OverwriteThenWait && self.kit.keeping.is_renewed() {
            self.renew()?;
        }
        Ok(())
    }

    /// Lets a machine do something, and takes in what came of it.
    fn act(&mut self, machine: &Machine, act: &Act, weather: Weather) -> Result<(), Failure> {
        let outcomes = perform(&self.kit, machine, act, weather, self.dice.next());
        for outcome in outcomes {
            let retry = self.take_in(&outcome)?;
            if retry {
                self.clear_away(&outcome)?;
                let (machine, act) = (&outcome.machine, &outcome.act);
                let again = perform(
                    &self.kit,
                    machine,
                    act,
                    Weather::default(),
                    self.dice.next(),
                );
                for outcome in again {
                    if self.take_in(&outcome)? {
                        return Err(refused(&outcome).into());
                    }
                }
            }
        }
        Ok(())
    }

    /// A backup that came too late says so, and its snapshot lies there all the same: a person retires it.
    fn clear_away(&mut self, outcome: &Outcome) -> Result<(), Failure> {
        let left = self.left_behind(outcome);
        if left.is_empty() {
            return Ok(());
        }
        let maintainer = self.maintainer.clone();
        let (act, seed) = (Act::Forget(left), self.dice.next());
        for outcome in perform(&self.kit, &maintainer, &act, Weather::default(), seed) {
            self.take_in(&outcome)?;
        }
        Ok(())
    }

    /// The snapshots that an act put, whatever it said of them.
    fn left_behind(&self, outcome: &Outcome) -> Vec<SnapshotId> {
        let keys = outcome.puts.iter().filter_map(|key| key.parse().ok());
        keys.filter_map(|key| match key {
            ObjectKey::Snapshot(_, id) if self.model.is_snapshot(&id) => Some(id),
            _ => None,
        })
        .collect()
    }

    /// Notes what an act did; true where it is to be tried again, because others were at work.
    fn take_in(&mut self, outcome: &Outcome) -> Result<bool, Failure> {
        self.note(outcome);
        self.honest.extend(outcome.puts.iter().cloned());
        if let Ok(Done::Pruned(report)) = &outcome.result {
            self.tally.deleted += report.deleted.objects;
        }
        self.refresh()?;
        for key in outcome.puts.iter().filter_map(|key| key.parse().ok()) {
            if let ObjectKey::Ledger(_, id) = key {
                self.model.note_moves(&id);
            }
        }
        self.credit(outcome)?;
        let is_at_odds = outcome.is_faulted || outcome.is_interleaved;
        match &outcome.result {
            Err(_) if !is_at_odds => return Err(refused(outcome).into()),
            Err(_) if outcome.is_interleaved => return Ok(true),
            Ok(_) | Err(_) => {}
        }
        match (&outcome.act, &outcome.result) {
            (Act::Backup { .. }, _) => self.promise(outcome)?,
            (Act::Undo(ids), Ok(Done::Undone(_, 0))) if !outcome.is_interleaved => {
                self.revive(ids, outcome.began);
            }
            _ => {}
        }
        Ok(false)
    }

    /// Notes what an act that went well promised, and looks whether what it told is so.
    fn credit(&mut self, outcome: &Outcome) -> Result<(), Failure> {
        let Ok(done) = &outcome.result else {
            return Ok(());
        };
        if self.kit.keeping.is_renewed() {
            let until = self.model.locked_at_least(outcome.began);
            let put = outcome.puts.iter().filter(|key| is_standing(key));
            self.model.stand(put.cloned(), until);
        }
        let is_calm = !outcome.is_faulted && !outcome.is_interleaved;
        match done {
            Done::Renewed(report) => {
                self.tally.renewed += report.renewed;
                if is_calm && report.failed == 0 && self.kit.keeping.lock == LockStrategy::Hide {
                    self.scene().what_lives_is_shown()?;
                }
                if !outcome.is_faulted || report.failed == 0 {
                    let standing = self.standing_at(outcome.began);
                    self.model.renewed(outcome.began, standing, &self.all);
                }
            }
            Done::Recovered(report) if is_calm && report.failed == 0 => {
                self.scene().recovery_is_whole()?;
            }
            Done::Kept(sorted) => {
                if let Act::KeepLast(count) = &outcome.act {
                    self.rules_keep_their_number(*count, sorted)?;
                }
            }
            Done::Audited(view) if is_calm => self.scene().audit_tells_the_truth(view)?,
            Done::Backup(_)
            | Done::Retired(_)
            | Done::Undone(..)
            | Done::Pruned(_)
            | Done::Compacted(_)
            | Done::Recovered(_)
            | Done::Audited(_)
            | Done::Nothing => {}
        }
        Ok(())
    }

    /// [`Invariant::RulesKeepTheirNumber`]
    fn rules_keep_their_number(&self, count: u32, sorted: &[Sorted]) -> Result<(), Failure> {
        let is_signed_for = |(attacker, _): &(Attacker, Vec<Attack>)| attacker.has_passphrase();
        if self.attacker.as_ref().is_some_and(is_signed_for) {
            return Ok(());
        }
        let own: BTreeSet<SnapshotId> = self
            .honest
            .iter()
            .filter_map(|key| key.parse().ok().map(|key: ObjectKey| key.id()))
            .collect();
        for group in sorted {
            let kept = group.kept.iter().filter(|id| own.contains(id)).count();
            let mut removed = group.removed.iter().filter(|id| own.contains(id));
            let is_short = kept < usize::try_from(count).unwrap_or(usize::MAX);
            if let (true, Some(id)) = (is_short, removed.next()) {
                let detail = format!("snapshot {id} is retired, and {kept} stay of {count}");
                return Err(violated(Invariant::RulesKeepTheirNumber, detail).into());
            }
        }
        Ok(())
    }

    /// What stands beside the snapshots since a time: the root, the keys and the ledger.
    fn standing_at(&self, at: Timestamp) -> Vec<String> {
        let received = self.all.iter().filter(|stored| stored.received <= at);
        let keys = received.map(|stored| stored.key.to_string());
        let own = keys.filter(|key| self.honest.contains(key) && is_standing(key));
        own.chain(self.model.records_at(at)).collect()
    }

    fn note(&mut self, outcome: &Outcome) {
        let result = match &outcome.result {
            Ok(Done::Pruned(report)) => format!(
                "deleted {}, locked {}, live {}, held {:?}",
                report.deleted.objects, report.locked.objects, report.live.objects, report.held
            ),
            Ok(Done::Audited(view)) => format!("{:?}", view.counts),
            Ok(done) => format!("{done:?}"),
            Err(error) => format!("failed: {}", finding::chain(error)),
        };
        let skew = outcome.machine.skew.offset_seconds;
        self.log.push(format!(
            "  {} ({skew:+} s) at {}: {:?}: {} calls: {result}",
            outcome.machine.name,
            self.kit.now().seconds,
            outcome.act,
            outcome.calls
        ));
        for line in &outcome.notices {
            self.log.push(format!("    {line}"));
        }
        for key in &outcome.puts {
            self.log.push(format!("    put {key}"));
        }
        for key in &outcome.deletes {
            self.log.push(format!("    deleted {key}"));
        }
    }

    /// Takes the snapshots as promised that a backup reported, or left behind when it crashed.
    fn promise(&mut self, outcome: &Outcome) -> Result<(), Failure> {
        let made = match &outcome.result {
            Ok(Done::Backup(id)) => vec![*id],
            // Where nothing is locked, a snapshot that is there is as good as one that was reported.
            Err(_) if outcome.has_crashed && !self.kit.keeping.is_renewed() => {
                self.left_behind(outcome)
            }
            Ok(_) | Err(_) => Vec::new(),
        };
        for id in made {
            let needs = self.scene().needs_of(&id)?;
            let received = self.received(&id);
            let until = self.model.locked_at_least(received);
            if self.kit.keeping.is_renewed() {
                let standing = self.standing_at(outcome.began);
                self.model.stand(standing, until);
            }
            let promise = Promise {
                id,
                received,
                until,
                number: self.model.promises.len(),
                machine: outcome.machine.name.clone(),
                picture: Arc::clone(&outcome.picture),
                needs,
                has_lapsed: false,
                is_broken: false,
                revived_at: None,
            };
            self.model.promises.insert(id, promise);
        }
        Ok(())
    }

    /// When the store first received a snapshot.
    fn received(&self, id: &SnapshotId) -> Timestamp {
        let suffix = id.to_string();
        let of_it = self
            .all
            .iter()
            .filter(|stored| stored.is_authentic && stored.key.as_str().ends_with(&suffix));
        let received = of_it.map(|stored| stored.received).min();
        received.unwrap_or_else(|| self.kit.now())
    }

    fn revive(&mut self, ids: &[SnapshotId], began: Timestamp) {
        let now = self.kit.now();
        let until = self.model.locked_at_least(began);
        for id in ids {
            if self.model.ended_at(id).is_none()
                && self.model.is_snapshot(id)
                && let Some(promise) = self.model.promises.get_mut(id)
            {
                promise.has_lapsed = false;
                promise.revived_at = Some(now);
                promise.until = promise.until.max(until);
            }
        }
    }

    fn scene(&self) -> Scene<'_> {
        Scene {
            kit: &self.kit,
            model: &self.model,
            all: &self.all,
            restorer: &self.restorer,
            is_attacked: self.attacker.is_some(),
        }
    }

    /// Looks at every invariant, and restores some snapshots.
    fn look(&mut self, restored: usize) -> Result<(), Failure> {
        self.refresh()?;
        let held: BTreeSet<_> = self.model.held().map(|promise| promise.id).collect();
        let mut some = self.model.ids();
        some.retain(|id| held.contains(id));
        while some.len() > restored {
            some.swap_remove(self.dice.place(some.len()));
        }
        self.tally.restored += u64::try_from(some.len()).unwrap_or(0);
        let reads = self.dice.chance(100);
        let scene = self.scene();
        scene.ledger_records_stay()?;
        scene.nothing_needed_is_gone()?;
        scene.everything_needed_is_locked()?;
        scene.promised_snapshots_restore(&some)?;
        scene.check_finds_nothing_wrong(if reads { ReadData::All } else { ReadData::None })?;
        Ok(())
    }

    /// Everything restores; then everybody sets their clocks, the owner the policy, everything is retired, and its space
    /// comes back.
    fn end(&mut self) -> Result<(), Failure> {
        self.log.push("the end".to_owned());
        self.look(usize::MAX)?;
        self.maintainer.skew = honest_skew(&self.kit);
        for client in self.clients.clone() {
            self.backup(&client, Weather::default())?;
        }
        if !self.model.is_policy_owned() {
            self.set_policy()?;
        }
        let maintainer = self.maintainer.clone();
        let prune = Act::Prune {
            confirm_clock: false,
            confirm_missing: true,
        };
        // A hold is lifted once nothing needs what it keeps, and what was held goes a lease later.
        let is_held = self.kit.keeping.lock == LockStrategy::Hold;
        let prunes = vec![prune.clone(); if is_held { 3 } else { 2 }];
        // Checkpoints end by themselves within a month; what they freed lapses as all else.
        let lease = if self.kit.keeping.is_renewed() {
            110
        } else {
            43
        };
        let mut acts = vec![
            Act::KeepLast(1),
            Act::Compact,
            prune.clone(),
            Act::Forget(self.model.ids()),
        ];
        acts.extend(prunes.clone());
        for act in acts {
            self.act(&maintainer, &act, Weather::default())?;
            self.look(2)?;
            self.pass(lease * DAY)?;
        }
        self.attackers_cost_little()?;
        for act in std::iter::once(Act::ForgetAll).chain(prunes) {
            self.act(&maintainer, &act, Weather::default())?;
            self.look(2)?;
            self.pass(lease * DAY)?;
        }
        self.space_comes_back()
    }

    /// What this world's own machines put and nothing needs any more, be it kept by what an attacker planted; without what
    /// the attacker locked for ever, which stays for as long. A snapshot that stays so keeps what it names: else it would
    /// be listed, and could not be restored. Both cost no more than what that key may lock anyway.
    fn left(&self) -> impl Iterator<Item = &Stored> {
        let mut locked = BTreeSet::new();
        if let Some((attacker, _)) = &self.attacker {
            for key in attacker.extended() {
                if let Ok(ObjectKey::Snapshot(_, id)) = key.parse() {
                    // A manifest that cannot be read names nothing.
                    let needs = self.scene().needs_of(&id).unwrap_or_default();
                    locked.extend(self.model.places.of(&needs));
                }
                locked.insert(key.clone());
            }
        }
        self.all.iter().filter(move |stored| {
            let key = stored.key.as_str();
            stored.is_authentic && self.honest.contains(key) && !locked.contains(key)
        })
    }

    /// [`Invariant::AttackersCostLittle`], once every snapshot of this world's own machines is retired by name and its time
    /// is over: what is left of its packs is named by what an attacker planted.
    fn attackers_cost_little(&self) -> Result<(), Failure> {
        let held = self.log.iter().rev().find(|line| line.contains("held"));
        // Nothing is let go while something planted cannot be read, or lies about what is missing.
        if !held.is_some_and(|line| line.ends_with("held None")) {
            return Ok(());
        }
        let named = self.scene().named_by_the_living()?;
        let mut packs = self
            .left()
            .filter(|stored| stored.key.as_str().starts_with("packs/"));
        match packs.find(|stored| !named.contains(stored.key.as_str())) {
            Some(stored) => {
                let detail = format!("{} stays, and nothing that lives names it", stored.key);
                Err(violated(Invariant::AttackersCostLittle, detail).into())
            }
            None => Ok(()),
        }
    }

    /// [`Invariant::SpaceComesBack`]
    fn space_comes_back(&self) -> Result<(), Failure> {
        let promised: BTreeSet<String> = self.model.ids().iter().map(ToString::to_string).collect();
        let is_left = |stored: &&Stored| {
            let (folder, id) = stored.key.as_str().split_once('/').unwrap_or_default();
            match folder {
                "packs" | "index" => true,
                // One that came too late to count stays: it bears a number that would be missed.
                "snapshots" => id.split('/').any(|part| promised.contains(part)),
                _ => false,
            }
        };
        match self.left().find(is_left) {
            Some(stored) => {
                let last = self.log.iter().rev().find(|line| line.contains("held"));
                let detail = format!("{} stays; {}", stored.key, last.map_or("", String::as_str));
                Err(violated(Invariant::SpaceComesBack, detail).into())
            }
            None => Ok(()),
        }
    }

    /// What keeps its objects, and what was stolen.
    pub fn kind(&self) -> (LockStrategy, Option<Stolen>) {
        let stolen = self
            .attacker
            .as_ref()
            .map(|(attacker, _)| attacker.stolen());
        (self.kit.keeping.lock, stolen)
    }

    /// Each version in the store: its key, when it was received, and the hash of its bytes.
    pub fn content(&self) -> Result<Vec<(String, Timestamp, ObjectId)>, SimError> {
        let all = all_versions(&self.kit)?;
        let line = |one: Stored| (one.key.to_string(), one.received, ObjectId::of(&one.body));
        Ok(all.into_iter().map(line).collect())
    }

    /// Where the world's files lie.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// What keeps a world's objects and what was stolen: of every kind, or where a mutation can show.
fn set_stage(mutation: Option<Mutation>, dice: &mut Dice) -> (Keeping, Option<Stolen>) {
    use Mutation as M;
    let keeping = match mutation {
        None => {
            let (keeping, is_attacked) = match dice.below(12) {
                0 => (Keeping::plain(), false),
                1..=3 => (Keeping::versions(), true),
                4 => (Keeping::locks(dice), false),
                5..=7 => (Keeping::locks(dice), true),
                8 | 9 => (Keeping::holds(dice), true),
                _ => (Keeping::hides(dice), true),
            };
            let stolen = Stolen::draw(&keeping, dice).filter(|_| is_attacked);
            return (keeping, stolen);
        }
        Some(
            M::TrustLatest
            | M::PruneByClientClock
            | M::AbsenceIsDeath
            | M::WitnessBackdates
            | M::AcceptTwinEncodings
            | M::CountPlanted
            | M::BelieveMoves,
        ) => Keeping::versions(),
        Some(
            M::DropTheCommitRule
            | M::DecideBeforeThePut
            | M::ExtendWithoutVersion
            | M::FirstClaimPicksTheVersion
            | M::NumberVoidsObjects
            | M::CheckpointEndsLives
            | M::ForgetStandingObjects
            | M::UndoWithoutExtending,
        ) => Keeping::locks(dice),
        Some(M::LiftBeforeExtending) => Keeping::holds(dice),
        Some(M::HiddenIsDead) => Keeping::hides(dice),
    };
    let stolen = match mutation {
        Some(M::CountPlanted) => Stolen::BackupKey,
        Some(
            M::TrustLatest
            | M::PruneByClientClock
            | M::AbsenceIsDeath
            | M::ExtendWithoutVersion
            | M::AcceptTwinEncodings
            | M::LiftBeforeExtending
            | M::HiddenIsDead,
        ) => Stolen::ClientKey,
        Some(_) | None => Stolen::Passphrase,
    };
    (keeping, Some(stolen))
}

/// Steps in which a mutation can show.
fn favoured(mutation: Mutation) -> &'static [Step] {
    match mutation {
        Mutation::PruneByClientClock | Mutation::LiftBeforeExtending => {
            &[Step::Forget, Step::Prune]
        }
        Mutation::TrustLatest | Mutation::AbsenceIsDeath | Mutation::BelieveMoves => {
            &[Step::Attack, Step::Prune]
        }
        Mutation::DropTheCommitRule | Mutation::DecideBeforeThePut => &[Step::LidClosed],
        Mutation::ExtendWithoutVersion
        | Mutation::FirstClaimPicksTheVersion
        | Mutation::NumberVoidsObjects
        | Mutation::CheckpointEndsLives
        | Mutation::HiddenIsDead => &[Step::Attack, Step::Backup],
        Mutation::WitnessBackdates => &[Step::Forget, Step::Attack, Step::Prune],
        Mutation::ForgetStandingObjects => &[],
        Mutation::AcceptTwinEncodings => &[Step::Forget, Step::Undo, Step::Attack, Step::Prune],
        Mutation::UndoWithoutExtending => &[Step::Forget, Step::Undo],
        Mutation::CountPlanted => &[Step::Attack, Step::Backup, Step::Forget],
    }
}

/// Whether a key is of what is renewed for as long as the repository lives.
fn is_standing(key: &str) -> bool {
    let standing = ["root/", "keys/", "ledger/"];
    standing.iter().any(|prefix| key.starts_with(prefix))
}

fn refused(outcome: &Outcome) -> crate::invariants::Violation {
    let error = outcome
        .result
        .as_ref()
        .err()
        .map(|error| finding::chain(error));
    let detail = format!(
        "{} could not {:?}: {}",
        outcome.machine.name,
        outcome.act,
        error.unwrap_or_default()
    );
    violated(Invariant::HonestWorkSucceeds, detail)
}

/// In memory, where there is such a folder: state folders are synced at every step.
fn make_folder() -> std::io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
}

fn make_machine(folder: &Path, name: &str, skew: Skew) -> Result<Machine, SimError> {
    let folder = folder.join(name);
    for part in ["source", "scratch"] {
        fs::create_dir_all(folder.join(part))?;
    }
    Ok(Machine {
        name: name.to_owned(),
        folder,
        skew,
    })
}

fn honest_skew(kit: &Kit) -> Skew {
    Skew {
        offset_seconds: 0,
        drift_seconds: 0,
        set_at: kit.now(),
    }
}

/// Most clocks are minutes off, a few are days off.
fn draw_skew(kit: &Kit, dice: &mut Dice) -> Skew {
    let offset_seconds = match dice.below(12) {
        0 => dice.between(-80 * DAY, 80 * DAY),
        1 | 2 => dice.between(-2 * DAY, 2 * DAY),
        _ => dice.between(-SKEW_SECONDS_MAX, SKEW_SECONDS_MAX),
    };
    Skew {
        offset_seconds,
        drift_seconds: dice.between(-60, 60),
        set_at: kit.now(),
    }
}
