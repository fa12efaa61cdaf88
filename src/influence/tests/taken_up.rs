//! A run that was stopped goes on where it was, if it is the same run.

use super::*;
use std::time::Duration;

/// Rows that a run of `other` takes up from one of `begun` that stopped after its last block, and what it says.
fn taken_up(begun: &Problem, other: &Problem) -> (usize, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let options = RankOptions {
        scores: false,
        record_every: Duration::ZERO,
        ..options()
    };
    // No file can be written where a folder stands.
    let in_the_way = folder.path().join("rankings.parquet");
    std::fs::create_dir(&in_the_way).unwrap();
    let stopped = begun.job(options.clone());
    stopped
        .run(folder.path(), &mut Seen::default())
        .unwrap_err();
    std::fs::remove_dir(&in_the_way).unwrap();
    let mut seen = Seen::default();
    let summary = other.job(options).run(folder.path(), &mut seen).unwrap();
    (summary.resumed, seen.notes)
}

fn nudged(length: usize, frequency: f64) -> Rows {
    let mut values = wave(length, frequency);
    values[7] += 1e-3;
    tensor(values, 3).into()
}

#[test]
fn a_run_goes_on_only_with_the_numbers_labels_and_ids_that_it_began_with() {
    let (rows, notes) = taken_up(&problem(), &problem());
    assert_eq!(
        (rows, notes),
        (10, vec!["10 rows were scored before".into()])
    );
    let changes: [fn(&mut Problem); 6] = [
        |problem| problem.train = nudged(30, 0.9),
        |problem| problem.test = nudged(12, 2.3),
        |problem| problem.train_labels[4] = 2,
        |problem| problem.test_labels[2] = 0,
        |problem| problem.train_ids[1] = 46,
        |problem| problem.test_ids[0] = 6,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut other = problem();
        change(&mut other);
        let (rows, notes) = taken_up(&problem(), &other);
        assert_eq!((rows, notes.len()), (0, 1), "change {at}");
        assert!(
            notes[0].ends_with("is of another run; scoring begins anew"),
            "{notes:?}"
        );
    }
}
