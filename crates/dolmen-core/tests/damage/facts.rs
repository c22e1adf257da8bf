//! What signed objects say of each other, and what trees need.

use dolmen_core::check::ReadData;
use dolmen_core::snapshots::SnapshotList;
use dolmen_format::ledger::Fact;

use crate::world::{World, noise};

fn remove_snapshot(world: &World, id: &str) {
    let path = world
        .objects("snapshots")
        .into_iter()
        .find(|path| path.ends_with(id))
        .unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_retired_snapshot_may_be_gone_and_a_revived_one_may_not() {
    let world = World::new(1);
    let list = SnapshotList::load(&world.repository, None).unwrap();
    let (first, id) = (
        list.snapshots[0].snapshot.reference(list.snapshots[0].id),
        list.snapshots[0].id,
    );
    let retirement = world.sign(Fact::Retirement {
        snapshots: vec![first],
        policy: None,
    });
    let (report, notes) = world.check(ReadData::None);
    assert_eq!((report.findings, report.snapshots), (Vec::new(), 1));
    assert!(notes.notices.lock().unwrap()[0].contains("1 retired"));

    remove_snapshot(&world, &id.to_string());
    assert_eq!(world.check(ReadData::None).0.findings, []);

    world.sign(Fact::Undo {
        retirement,
        snapshots: vec![first],
    });
    let (report, _) = world.check(ReadData::None);
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.subject.contains(&id.to_string()))
    );
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.problem.contains("number 2 is missing"))
    );
    assert_eq!((report.snapshots, report.snapshots_damaged), (2, 1));
}

#[test]
fn a_number_used_twice_is_found() {
    let world = World::new(1);
    let mut instance = world.instance();
    let mut record = instance.record().clone();
    record.next_number = 1;
    instance.save(record).unwrap();
    drop(instance);
    world.sign(Fact::Attestation { packs: Vec::new() });
    let (report, _) = world.check(ReadData::None);
    assert_eq!(report.findings.len(), 1);
    assert!(
        report.findings[0]
            .problem
            .starts_with("number 1 is used more than once")
    );
}

#[test]
fn frames_that_a_manifest_leaves_out_are_found() {
    let world = World::new(1);
    let id = world.forge_an_empty_manifest();
    let (report, _) = world.check(ReadData::None);
    let [finding] = report.findings.as_slice() else {
        panic!("{:?}", report.findings)
    };
    assert!(finding.subject.contains(&id), "{finding}");
    assert!(
        finding.problem.starts_with("its manifest lacks"),
        "{finding}"
    );
    assert_eq!((report.snapshots, report.snapshots_damaged), (3, 1));
}

#[test]
fn a_long_file_is_walked_through_its_list() {
    let world = World::new(1);
    // More chunks than an entry lists itself; the data fills packs that hold no tree.
    world.write("long", &noise(77, 110 << 20));
    world.backup().unwrap();
    assert_eq!(world.check(ReadData::None).0.findings, []);
    let saved = world.save();
    let mut hurt = 0;
    for path in world.objects("packs") {
        std::fs::remove_file(&path).unwrap();
        let (report, _) = world.check(ReadData::None);
        let id = path.file_name().unwrap().to_str().unwrap();
        assert!(
            report
                .findings
                .iter()
                .any(|finding| finding.subject.contains(id))
        );
        let of_file = report
            .findings
            .iter()
            .find(|finding| finding.subject.ends_with("source/long"));
        hurt += usize::from(of_file.is_some_and(|finding| finding.problem.contains(id)));
        world.heal(&saved);
    }
    assert!(hurt >= 3, "{hurt} packs");
}

#[test]
fn a_lost_pack_that_was_stored_again_is_no_loss_for_what_came_after() {
    let world = World::new(1);
    let largest = world.objects("packs").into_iter();
    let largest = largest
        .max_by_key(|path| std::fs::metadata(path).unwrap().len())
        .unwrap();
    std::fs::remove_file(largest).unwrap();
    world.backup().unwrap();
    // Data is stored again, and so are the nodes of the present tree; what only older trees had is gone, and
    // the manifests of the older snapshots name the lost pack for ever.
    let (report, _) = world.check(ReadData::All);
    let latest = world.latest();
    assert!(
        !report
            .findings
            .iter()
            .any(|finding| finding.subject.contains(&latest))
    );
    assert_eq!((report.snapshots, report.snapshots_damaged), (3, 2));
    let reading = world.read_all();
    assert!(!reading.lost.iter().any(|lost| lost.contains(&latest)));
    assert_eq!(
        reading
            .whole
            .iter()
            .filter(|whole| whole.contains(&latest))
            .count(),
        46
    );
}
