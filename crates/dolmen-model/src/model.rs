//! The model, as `stateright` asks for it.

use stateright::{Model, Property};

use crate::config::Config;
use crate::properties;
use crate::state::State;
use crate::steps::{self, Action};

/// The protocol in one configuration.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    /// The configuration.
    pub config: Config,
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        steps::starts(&self.config)
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        steps::actions(&self.config, state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        steps::next(&self.config, state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
