//! Exploring, and what comes of it.

use std::fmt;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model as _};

use crate::config::Config;
use crate::model::Protocol;
use crate::state::State;
use crate::steps::Action;

/// A way to a state that must not be.
#[derive(Debug, Clone)]
pub struct Counterexample {
    /// What does not hold.
    pub property: &'static str,
    /// The steps.
    pub steps: Vec<(State, Option<Action>)>,
}

/// What an exploration found.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The configuration.
    pub config: Config,
    /// States, those that nothing can tell apart counted once.
    pub states: usize,
    /// Steps of the longest path that was needed.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// Whether every state was visited, and nothing fails.
    pub is_complete: bool,
    /// What does not hold.
    pub violations: Vec<Counterexample>,
    /// What never happens and should.
    pub never: Vec<&'static str>,
}

/// Visits every state that a configuration can reach, those nearest to the start first, until something does not hold.
pub fn explore(config: Config, threads: usize, timeout: Duration) -> Outcome {
    let begun = Instant::now();
    let checker = Protocol { config }
        .checker()
        .threads(threads)
        .timeout(timeout)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    outcome(config, begun, timeout, &checker)
}

impl Outcome {
    /// Whether every state was visited, nothing that must hold fails, and all that should happen does.
    pub fn holds(&self) -> bool {
        self.is_complete && self.never.is_empty()
    }
}

fn outcome(
    config: Config,
    begun: Instant,
    timeout: Duration,
    checker: &impl Checker<Protocol>,
) -> Outcome {
    let discoveries = checker.discoveries();
    let properties = checker.model().properties();
    let (mut violations, mut never) = (Vec::new(), Vec::new());
    for property in properties {
        let fails = property.expectation.discovery_is_failure();
        match discoveries.get(property.name) {
            Some(path) if fails => violations.push(Counterexample {
                property: property.name,
                steps: path.clone().into_vec(),
            }),
            None if !fails => never.push(property.name),
            Some(_) | None => {}
        }
    }
    let took = begun.elapsed();
    Outcome {
        config,
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        took,
        is_complete: took < timeout && violations.is_empty(),
        violations,
        never,
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}: {} states, depth {}, {:.1} s",
            self.config.name,
            self.states,
            self.depth,
            self.took.as_secs_f64(),
        )?;
        if !self.is_complete {
            write!(out, "; NOT ALL EXPLORED")?;
        }
        for violation in &self.violations {
            write!(out, "\n  VIOLATED: {}\n{violation}", violation.property)?;
        }
        for never in &self.never {
            write!(out, "\n  never: {never}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Counterexample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (state, action) in &self.steps {
            match action {
                Some(action) => writeln!(out, "    {action:?}")?,
                None => write!(out, "    {state:?}")?,
            }
        }
        Ok(())
    }
}
