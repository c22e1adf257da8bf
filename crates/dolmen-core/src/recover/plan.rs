//! What is done about each trouble. Pure.

use std::collections::BTreeMap;

use dolmen_format::key::FOLDERS;
use dolmen_format::{ObjectId, Timestamp};
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
        /// Newest first.
        markers: Vec<Version>,
        /// What shows then.
        beneath: Beneath,
    },
    /// The authentic bytes are put on top.
    PutBack(Beneath),
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

/// An authentic version that the plain view does not show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beneath {
    /// The key.
    pub name: String,
    /// The version.
    pub authentic: Version,
    /// Its size.
    pub bytes: u64,
    /// When the store received it.
    pub stored_at: Timestamp,
}

impl Step {
    /// The name that it is about.
    pub fn name(&self) -> &str {
        match self {
            Self::Unhide { beneath, .. } | Self::PutBack(beneath) => &beneath.name,
            Self::Hide { name } | Self::SetAside { name, .. } => name,
        }
    }
}

/// Whether something lies in a folder that holds objects, or in the place of one.
fn is_below_ours(name: &str) -> bool {
    let top = name.split('/').next();
    top.is_some_and(|top| FOLDERS.contains(&top))
}

/// Decides what is done about each trouble in a store that can do this.
///
/// A damaged needed object stays where it is as long as anything in it can be read; in a store with versions it stays in
/// any case, since the next put covers it. What lies beside the folders of the repository is not touched: it may be a
/// person's. What has the name of something that is missing is not touched either: it may be the only copy.
pub fn plan(troubles: &[Trouble], store: Capabilities) -> Plan {
    let mut plan = Plan::default();
    let lacking = lacking(troubles);
    for Trouble { name, state } in troubles {
        let lacks = id_in(name).and_then(|id| lacking.get(id));
        if let (State::Foreign { .. }, Some(place)) = (state, lacks) {
            plan.left.push(Finding::new(
                name,
                format!("stays: by its name it is what is missing at {place}; if its bytes are (b3sum tells), put it there"),
            ));
            continue;
        }
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
            State::Foreign { .. } if !is_below_ours(&name) => plan.left.push(Finding::new(
                name,
                "stays: it lies beside the folders of the repository, which are for Dolmen alone; whoever put it there can \
                 move it elsewhere",
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

/// What is missing, by the ids that names end in, and where.
fn lacking(troubles: &[Trouble]) -> BTreeMap<&str, &str> {
    let missing = troubles
        .iter()
        .filter(|trouble| matches!(trouble.state, State::Missing));
    let places = missing.filter_map(|trouble| Some((id_in(&trouble.name)?, trouble.name.as_str())));
    places.collect()
}

/// The id that a name ends in.
fn id_in(name: &str) -> Option<&str> {
    let last = name.rsplit(['/', ' ']).next()?;
    last.parse::<ObjectId>().is_ok().then_some(last)
}

fn uncover(name: String, covered: &Covered) -> Step {
    let beneath = Beneath {
        name,
        authentic: covered.authentic.clone(),
        bytes: covered.bytes,
        stored_at: covered.stored_at,
    };
    if covered.is_overwritten {
        // Above whatever lies there, markers included.
        return Step::PutBack(beneath);
    }
    Step::Unhide {
        markers: covered.markers.clone(),
        beneath,
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
            stored_at: Timestamp::from_seconds(5),
            markers: markers.iter().map(|name| version(name)).collect(),
            is_overwritten,
        }))
    }

    fn step(trouble: Trouble, versions: bool) -> Option<Step> {
        plan(&[trouble], store(versions)).steps.pop()
    }

    #[test]
    fn markers_go_and_garbage_is_covered() {
        let beneath = || Beneath {
            name: "root/x".to_owned(),
            authentic: version("1"),
            bytes: 7,
            stored_at: Timestamp::from_seconds(5),
        };
        let unhide = Step::Unhide {
            markers: vec![version("3"), version("2")],
            beneath: beneath(),
        };
        assert_eq!(step(covered(&["3", "2"], false), true), Some(unhide));
        let put_back = Some(Step::PutBack(beneath()));
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
            name: "root/a b".to_owned(),
            state: State::Foreign { plain: plain() },
        };
        let left = plan(&[odd], store(true));
        assert_eq!((left.steps.len(), left.left.len()), (0, 1));
    }

    #[test]
    fn what_may_be_the_only_copy_of_something_missing_stays() {
        let id = ObjectId::of(b"a snapshot");
        let (right, wrong) = (format!("snapshots/11/{id}"), format!("snapshots/22/{id}"));
        let missing = Trouble {
            name: right.clone(),
            state: State::Missing,
        };
        for name in [&right, &wrong] {
            let foreign = || Trouble {
                name: name.clone(),
                state: State::Foreign {
                    plain: version("1"),
                },
            };
            let planned = plan(&[foreign(), missing.clone()], store(false));
            assert_eq!((planned.steps.len(), planned.left.len()), (0, 1));
            assert_eq!(plan(&[foreign()], store(false)).steps.len(), 1);
        }
    }

    #[test]
    fn what_lies_beside_the_folders_stays() {
        for name in ["README", "lost+found/", "rooted/x", "notes/packs/x"] {
            for versions in [true, false] {
                let beside = Trouble {
                    name: name.to_owned(),
                    state: State::Foreign {
                        plain: version("1"),
                    },
                };
                let planned = plan(&[beside], store(versions));
                assert_eq!((planned.steps.len(), planned.left.len()), (0, 1), "{name}");
            }
        }
        let in_its_place = Trouble {
            name: "packs".to_owned(),
            state: State::Foreign {
                plain: version("1"),
            },
        };
        assert_eq!(plan(&[in_its_place], store(false)).steps.len(), 1);
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
