//! A ranking through the blocks that is killed goes on after its last recorded queries, to the same bytes.

use crate::command_line::run;
use crate::killed_run::{goes_on_to_the_same_bytes, kill_when_recorded, rank, record, same_files};
use ascribe::influence::read_rankings;

const FILES: [&str; 6] = [
    "rankings.parquet",
    "solves.parquet",
    "shares.parquet",
    "scores.npy",
    "group_rankings.parquet",
    "train_groups.parquet",
];

/// Three blocks of queries, the last one smaller.
const RANK: &str = "--model model --blocks 1 --queries 150 --damping 1e-1 --top 5 --bottom 3";

/// A small model of 100 digits, its last block fine-tuned.
pub(crate) fn transferred() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let digits = "--train builtin:digits-train --test builtin:digits-test";
    run(
        folder.path(),
        &format!(
            "train {digits} --architecture cifar-resnet8-w4 --side 8 --images 200 --epochs 3 --out source"
        ),
    );
    run(
        folder.path(),
        &format!(
            "transfer --source source {digits} --images 100 --blocks 1 --epochs 3 --out model"
        ),
    );
    folder
}

#[test]
fn a_killed_run_through_the_blocks_goes_on_to_the_same_bytes() {
    let place = transferred();
    let folder = place.path();
    for (name, options) in [
        ("shares", "--shares --scores"),
        ("ranks", ""),
        ("low-rank", "--query-rank 2 --shares"),
    ] {
        let common = format!("{RANK} {options}");
        goes_on_to_the_same_bytes(folder, &common, name, &FILES);
        let scoring = |run: &str| record(folder, run)["results"]["scoring"].clone();
        let (whole, killed) = (format!("{name}-whole"), format!("{name}-killed"));
        assert_eq!(scoring(&whole), scoring(&killed));
        let errors = scoring(&whole)["rank_errors"].as_array().unwrap().len();
        assert_eq!(errors, if name == "low-rank" { 150 } else { 0 });
    }
    // As in the records of before it was an option, which are resumed and rerun.
    assert!(record(folder, "ranks-whole")["options"]["groups-only"].is_null());
    let rankings = read_rankings(&folder.join("ranks-whole/rankings.parquet")).unwrap();
    let each = (rankings.iter()).map(|query| format!("{0},{0}\n", query.query));
    let groups = format!("query,group\n{}", each.collect::<String>());
    std::fs::write(folder.join("groups.csv"), groups).unwrap();
    let alone = "--query-groups groups.csv --groups-only --train-groups class";
    goes_on_to_the_same_bytes(folder, &format!("{RANK} {alone}"), "groups", &FILES);
    // A damaged record is passed over.
    let common = format!("{RANK} --shares --scores");
    let words = format!("{common} --out damaged");
    kill_when_recorded(folder, &words, "damaged");
    let path = folder.join("damaged/.scored");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let said = rank(folder, &format!("{words} --record-every 0"));
    assert!(said.contains("is damaged; scoring begins anew"), "{said}");
    assert_eq!(record(folder, "damaged")["results"]["resumed"], 0);
    same_files(folder, &FILES[..4], "shares-whole", "damaged");
}
