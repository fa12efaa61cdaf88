//! Records that are taken up, and those of another run or damaged.

use super::*;

struct Scored(Vec<f64>);

impl Recordable for Scored {
    fn save(&mut self) -> Result<Option<Vec<SinkState>>> {
        Ok(Some(vec![SinkState {
            integers: Vec::new(),
            numbers: self.0.clone(),
        }]))
    }

    fn restore(&mut self, states: &mut std::slice::Iter<SinkState>) -> Result<bool> {
        let state = states.next();
        self.0 = state.map_or(Vec::new(), |state| state.numbers.clone());
        Ok(state.is_some())
    }

    fn begin_anew(&mut self) -> Result<()> {
        self.0.clear();
        Ok(())
    }
}

/// Records 4 rows.
fn record(mut checkpoint: Checkpoint) {
    let mut scored = Scored(vec![0.5, -2.0]);
    checkpoint.block_is_done(&mut scored, 4, &[]).unwrap();
}

/// The scores and the number of rows that are taken up.
fn taken_up(mut checkpoint: Checkpoint) -> (Vec<f64>, usize) {
    let (mut scored, mut reports) = (Scored(Vec::new()), Vec::new());
    let rows = checkpoint.resume(&mut scored, &mut reports).unwrap();
    (scored.0, rows)
}

#[test]
fn what_decides_the_numbers_must_be_the_same_for_a_record_to_be_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    let notes = std::cell::RefCell::new(Vec::new());
    let say = |text: &str| notes.borrow_mut().push(text.to_owned());
    let keyed = |decisive: &str, material: &[u8]| {
        Checkpoint::keyed(folder.path(), decisive, material, Duration::ZERO, &say)
    };
    record(keyed("damping 1", b"residuals and labels"));
    for (decisive, material) in [
        ("damping 2", &b"residuals and labels"[..]),
        ("damping 1", b"residuals and label"),
        ("damping 1", b"residuals and others"),
    ] {
        assert_eq!(taken_up(keyed(decisive, material)), (Vec::new(), 0));
        let note = notes.take().concat();
        assert!(
            note.ends_with(".scored: is of another run; scoring begins anew"),
            "{note}"
        );
    }
    let same = keyed("damping 1", b"residuals and labels");
    assert_eq!(taken_up(same), (vec![0.5, -2.0], 4));
    assert_eq!(notes.take(), ["4 rows were scored before"]);
}

#[test]
fn of_the_options_all_but_the_time_between_records_decide() {
    let folder = tempfile::tempdir().unwrap();
    let silent = |_: &str| {};
    let of = |damping, seconds| {
        let options = RankOptions {
            damping,
            record_every: Duration::from_secs(seconds),
            ..RankOptions::default()
        };
        Checkpoint::new(folder.path(), &options, b"material", &silent)
    };
    record(of(0.1, 0));
    assert_eq!(taken_up(of(0.1, 60)).1, 4);
    assert_eq!(taken_up(of(0.2, 0)).1, 0);
}

fn recorded() -> Recorded {
    Recorded {
        rows: 7,
        reports: vec![Report {
            outcome: Outcome::LimitReached,
            residual: 1e-7,
            iterations: 12,
        }],
        sinks: vec![
            SinkState {
                integers: vec![3, u64::MAX],
                numbers: vec![-0.0, f64::MIN_POSITIVE],
            },
            SinkState::default(),
        ],
    }
}

#[test]
fn comes_back_bit_for_bit_and_for_its_key_alone() {
    let key = digest_bytes(b"one run");
    let bytes = recorded().encode(&key);
    assert_eq!(Recorded::decode(&bytes, &key), Ok(recorded()));
    let other = digest_bytes(b"another");
    assert_eq!(Recorded::decode(&bytes, &other), Err("is of another run"));
}

#[test]
fn no_cut_and_no_flipped_bit_is_trusted() {
    let key = digest_bytes(b"one run");
    let bytes = recorded().encode(&key);
    for length in 0..bytes.len() {
        assert!(Recorded::decode(&bytes[..length], &key).is_err());
    }
    for place in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1;
        assert!(Recorded::decode(&flipped, &key).is_err(), "byte {place}");
    }
}
