//! What is done about each trouble. Pure.

use dolmen_store::{Capabilities, StoreKey, Version};

use crate::audit::{Covered, State, Trouble};
use crate::finding::{Finding, Findings};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In the order of the troubles; none depends on another.
    pub steps: Vec<Step>,
    /// What nothing can be done about here.
    pub left: Findings,
}

/// What is done about one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The markers go; where they may not, the authentic bytes are put above them.
    Unhide {
        /// The key.
        name: String,
        /// Newest first.
        markers: Vec<Version>,
        /// The version that shows then.
        authentic: Version,
        /// Its size.
        bytes: u64,
    },
    /// The authentic bytes are put on top.
    PutBack {
        /// The key.
        name: String,
        /// Where they are read from.
        authentic: Version,
        /// Their size.
        bytes: u64,
    },
    /// A marker is put on top.
    Hide {
        /// The key.
        name: String,
    },
    /// What lies there is moved to where no command reads it.
    SetAside {
        /// The name as it was listed.
        name: String,
        /// What was listed.
        version: Version,
    },
}

impl Step {
    /// The name that it is about.
    pub fn name(&self) -> &str {
        match self {
            Self::Unhide { name, .. }
            | Self::PutBack { name, .. }
            | Self::Hide { name }
            | Self::SetAside { name, .. } => name,
        }
    }
}

/// Decides what is done about each trouble in a store that can do this.
///
/// A damaged needed object stays where it is as long as anything in it can be read; in a store with versions it stays in
/// any case, since the next put covers it.
pub fn plan(troubles: &[Trouble], store: Capabilities) -> Plan {
    let mut plan = Plan::default();
    for Trouble { name, state } in troubles {
        let name = name.clone();
        match state {
            State::Missing => {}
            State::Covered(covered) => plan.steps.push(uncover(name, covered)),
            State::Corrupt {
                plain,
                is_useless: true,
            } if store.quarantine => {
                let version = plain.clone();
                plan.steps.push(Step::SetAside { name, version });
            }
            State::Corrupt { is_useless, .. } => plan.left.push(Finding::new(
                name,
                if *is_useless {
                    "stays: no version of it is whole"
                } else {
                    "stays: parts of it can still be read"
                },
            )),
            State::Foreign { plain } if store.quarantine => {
                let version = plain.clone();
                plan.steps.push(Step::SetAside { name, version });
            }
            State::Foreign { .. }
                if store.versions && StoreKey::try_from(name.as_str()).is_ok() =>
            {
                plan.steps.push(Step::Hide { name });
            }
            State::Foreign { .. } => plan.left.push(Finding::new(
                name,
                "stays: no call of this store reaches it; remove it with the store's own tools",
            )),
        }
    }
    plan
}

fn uncover(name: String, covered: &Covered) -> Step {
    let (authentic, bytes) = (covered.authentic.clone(), covered.bytes);
    if covered.is_overwritten {
        // Above whatever lies there, markers included.
        return Step::PutBack {
            name,
            authentic,
            bytes,
        };
    }
    Step::Unhide {
        name,
        markers: covered.markers.clone(),
        authentic,
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use dolmen_store::{LockSupport, StoreClock};

    use super::*;

    fn store(versions: bool) -> Capabilities {
        Capabilities {
            versions,
            quarantine: !versions,
            locks: LockSupport::None,
            listed_locks: true,
            conditional_put: true,
            clock: StoreClock::Server,
        }
    }

    fn version(name: &str) -> Version {
        Version::new(name)
    }

    fn trouble(state: State) -> Trouble {
        let name = "root/x".to_owned();
        Trouble { name, state }
    }

    fn covered(markers: &[&str], is_overwritten: bool) -> Trouble {
        trouble(State::Covered(Covered {
            authentic: version("1"),
            bytes: 7,
            markers: markers.iter().map(|name| version(name)).collect(),
            is_overwritten,
        }))
    }

    fn step(trouble: Trouble, versions: bool) -> Option<Step> {
        plan(&[trouble], store(versions)).steps.pop()
    }

    #[test]
    fn markers_go_and_garbage_is_covered() {
        let unhide = Step::Unhide {
            name: "root/x".to_owned(),
            markers: vec![version("3"), version("2")],
            authentic: version("1"),
            bytes: 7,
        };
        assert_eq!(step(covered(&["3", "2"], false), true), Some(unhide));
        let put_back = Some(Step::PutBack {
            name: "root/x".to_owned(),
            authentic: version("1"),
            bytes: 7,
        });
        assert_eq!(step(covered(&[], true), true), put_back);
        assert_eq!(step(covered(&["3"], true), true), put_back);
    }

    #[test]
    fn what_is_foreign_is_set_aside_as_the_store_can() {
        let plain = || version("1");
        let foreign = || trouble(State::Foreign { plain: plain() });
        let name = "root/x".to_owned();
        assert_eq!(step(foreign(), true), Some(Step::Hide { name }));
        let moved = Step::SetAside {
            name: "root/x".to_owned(),
            version: plain(),
        };
        assert_eq!(step(foreign(), false), Some(moved));
        let odd = Trouble {
            name: "a b".to_owned(),
            state: State::Foreign { plain: plain() },
        };
        let left = plan(&[odd], store(true));
        assert_eq!((left.steps.len(), left.left.len()), (0, 1));
    }

    #[test]
    fn damage_moves_only_where_nothing_in_it_is_left() {
        let corrupt = |is_useless| {
            let plain = version("1");
            trouble(State::Corrupt { plain, is_useless })
        };
        assert!(matches!(
            step(corrupt(true), false),
            Some(Step::SetAside { .. })
        ));
        assert_eq!(step(corrupt(false), false), None);
        assert_eq!(step(corrupt(true), true), None);
        assert_eq!(step(trouble(State::Missing), true), None);
    }
}
