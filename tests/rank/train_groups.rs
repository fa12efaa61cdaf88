//! Groups of training images: their scores as sums, what happens without them, and files of groups that are none.

use crate::command_line::{self, ascribe, both, run};
use crate::killed_run::{goes_on_to_the_same_bytes, record, same_files};
use crate::parquet_table::{batches, numbers, words};
use crate::rank::archives::{overlapping, write};
use crate::rank::scores;
use arrow::record_batch::RecordBatch;
use ascribe::influence::read_rankings;
use ndarray::{Array2, Axis};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Positions by name.
type Groups = BTreeMap<String, Vec<usize>>;

const TABLES: [&str; 2] = ["train_group_rankings.parquet", "train_groups.parquet"];
const RANK: &str =
    "rank --train train.npz --test test.npz --l2 1e-2 --precision f64 --scores --skip-train";

fn refused(folder: &Path, words: &str, parts: &[&str]) {
    let said = command_line::refused(folder, words);
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
}

fn results(folder: &Path, run: &str) -> Value {
    record(folder, run)["results"].clone()
}

/// A folder with `train.npz` (40 × 5) and `test.npz` (23 × 5).
fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("train.npz"), &overlapping(40, 5, 0.0));
    write(&folder.path().join("test.npz"), &overlapping(23, 5, 0.5));
    folder
}

/// Of the 40: four images are in two groups, nine in none.
fn four_groups() -> Groups {
    let groups = [
        ("even", (0..30).step_by(2).collect()),
        ("first", (0..8).collect()),
        ("odd", (9..30).step_by(2).collect()),
        ("single", vec![31]),
    ];
    groups.map(|(name, rows)| (name.to_owned(), rows)).into()
}

fn first_groups(count: usize) -> Groups {
    four_groups().into_iter().take(count).collect()
}

fn by_label(count: usize) -> Groups {
    let mut groups = Groups::new();
    for (row, label) in overlapping(count, 1, 0.0).1.iter().enumerate() {
        groups.entry(label.to_string()).or_default().push(row);
    }
    groups
}

fn write_groups(path: &Path, groups: &Groups) {
    let rows = groups.iter().flat_map(|(name, members)| {
        let rows = members.iter();
        rows.map(move |row| format!("{row},{name}\n"))
    });
    let rows: String = rows.collect();
    std::fs::write(path, format!("train,group\n{rows}")).unwrap();
}

/// `[query, group]` from the file of scores, and how far rounding them to f32 may have moved each sum.
fn sums(scores: &Array2<f64>, groups: &Groups) -> (Array2<f64>, Array2<f64>) {
    let sums_of = |value: fn(f64) -> f64| {
        let mut sums = Array2::zeros((scores.nrows(), groups.len()));
        for (mut column, members) in sums.columns_mut().into_iter().zip(groups.values()) {
            let chosen = scores.select(Axis(1), members);
            column.assign(&chosen.mapv(value).sum_axis(Axis(1)));
        }
        sums
    };
    (sums_of(|score| score), sums_of(f64::abs) * 1e-7)
}

fn check_rankings(folder: &Path, run: &str, groups: &Groups, (top, bottom): (i32, i32)) {
    let file = folder.join(run).join(TABLES[0]);
    let (sums, rounding) = sums(&scores(folder, run), groups);
    let queries = read_rankings(&folder.join(run).join("rankings.parquet")).unwrap();
    let names = words(&file, "group");
    let of = |name: &str| numbers(&file, name);
    let (ids, labels, predictions) = (of("query"), of("query_label"), of("query_prediction"));
    let (found_ranks, images, found) = (of("rank"), of("images"), of("score"));
    let harmful = (1..=bottom).map(|rank| (-rank, groups.len() - rank as usize));
    let ranks = (1..=top).map(|rank| (rank, rank as usize - 1));
    let ranks: Vec<(i32, usize)> = ranks.chain(harmful).collect();
    assert_eq!(names.len(), queries.len() * ranks.len(), "{run}");
    for (row, name) in names.iter().enumerate() {
        let (at, (rank, position)) = (row / ranks.len(), ranks[row % ranks.len()]);
        let query = &queries[at];
        assert_eq!(ids[row], query.query as f64);
        assert_eq!(labels[row], query.query_label as f64);
        assert_eq!(predictions[row], query.query_prediction as f64);
        assert_eq!(found_ranks[row], f64::from(rank));
        let name = name.as_ref().unwrap();
        assert_eq!(images[row], groups[name].len() as f64, "{name}");
        let group = groups.keys().position(|known| known == name).unwrap();
        let mut sorted = sums.row(at).to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let within = rounding.row(at).fold(0.0, |most, far| f64::max(most, *far));
        for expected in [sums[[at, group]], sorted[position]] {
            let apart = (found[row] - expected).abs();
            assert!(apart <= within, "{run} {at} {name} {rank}: {apart:e}");
        }
    }
}

/// The means of all queries and of those of each label, where there are `query_groups`.
fn check_means(folder: &Path, run: &str, groups: &Groups, query_groups: &Groups) {
    let file = folder.join(run).join(TABLES[1]);
    let (sums, rounding) = sums(&scores(folder, run), groups);
    let all = (None, (0..sums.nrows()).collect());
    let named = (query_groups.iter()).map(|(name, rows)| (Some(name.clone()), rows.clone()));
    let asked: Vec<(Option<String>, Vec<usize>)> = std::iter::once(all).chain(named).collect();
    let (names, query_names) = (words(&file, "group"), words(&file, "query_group"));
    let of = |name: &str| numbers(&file, name);
    let (images, queries, found) = (of("images"), of("queries"), of("score"));
    assert_eq!(names.len(), groups.len() * asked.len(), "{run}");
    for (group, (name, members)) in groups.iter().enumerate() {
        for (place, (query_group, rows)) in asked.iter().enumerate() {
            let row = group * asked.len() + place;
            assert_eq!(
                (&names[row], &query_names[row]),
                (&Some(name.clone()), query_group)
            );
            assert_eq!(images[row], members.len() as f64, "{name}");
            assert_eq!(queries[row], rows.len() as f64, "{query_group:?}");
            let mean = |of: &Array2<f64>| of.column(group).select(Axis(0), rows).mean().unwrap();
            let apart = (found[row] - mean(&sums)).abs();
            assert!(
                apart <= mean(&rounding),
                "{name} {query_group:?}: {apart:e}"
            );
        }
    }
}

/// The means of all queries by the groups' names.
fn means(folder: &Path, run: &str) -> BTreeMap<String, f64> {
    let file = folder.join(run).join(TABLES[1]);
    let of_all = words(&file, "query_group");
    let rows = words(&file, "group")
        .into_iter()
        .zip(numbers(&file, "score"));
    let rows = rows
        .zip(of_all)
        .filter(|(_, query_group)| query_group.is_none());
    rows.map(|((name, mean), _)| (name.unwrap(), mean))
        .collect()
}

#[test]
fn a_group_has_the_sum_of_the_scores_of_its_images() {
    let place = place();
    let folder = place.path();
    let groups = four_groups();
    write_groups(&folder.join("groups.csv"), &groups);
    let options = "--query-groups class --top 4 --bottom 2";
    let words = format!("{RANK} --train-groups groups.csv {options} --out sums");
    let (said, noted) = both(folder, &words);
    assert!(!noted.contains("all images of a class"), "{noted}");
    check_rankings(folder, "sums", &groups, (4, 2));
    check_means(folder, "sums", &groups, &by_label(23));
    assert_eq!(results(folder, "sums")["train_groups"], 4);

    let means = means(folder, "sums");
    let mut listed: Vec<(&String, &f64)> = means.iter().collect();
    listed.sort_by(|a, b| b.1.total_cmp(a.1));
    let line = |(name, mean): &(&String, &f64)| {
        let images = groups[*name].len();
        format!("  {mean:+.3e} {name} ({images} images)")
    };
    let expected: Vec<String> = listed.iter().map(line).collect();
    let found: Vec<&str> = said.lines().filter(|line| line.starts_with("  ")).collect();
    assert_eq!(found, expected);

    let words = format!("{RANK} --train-groups groups.csv --top 1 --bottom 1 --out ends");
    run(folder, &words);
    check_rankings(folder, "ends", &groups, (1, 1));
    check_means(folder, "ends", &groups, &Groups::new());

    let words = format!("{RANK} --train-groups groups.csv --correction leverage --out corrected");
    run(folder, &words);
    assert_ne!(scores(folder, "corrected"), scores(folder, "sums"));
    check_means(folder, "corrected", &groups, &Groups::new());

    let table = std::fs::read_to_string(folder.join("groups.csv")).unwrap();
    let other_way = table.lines().map(|line| {
        let (train, group) = line.split_once(',').unwrap();
        format!("{group},{train}\n")
    });
    std::fs::write(folder.join("swapped.csv"), other_way.collect::<String>()).unwrap();
    let words = format!("{RANK} --train-groups swapped.csv {options} --out swapped");
    run(folder, &words);
    for file in TABLES {
        let [one, other] = ["sums", "swapped"].map(|run| batches(&folder.join(run).join(file)));
        let columns = |batches: Vec<RecordBatch>| -> Vec<_> {
            let columns = batches.into_iter().map(|batch| batch.columns().to_vec());
            columns.collect()
        };
        assert_eq!(columns(one), columns(other), "{file}");
    }

    run(folder, &format!("{RANK} --out without"));
    assert_eq!(scores(folder, "without"), scores(folder, "sums"));
    assert!(
        TABLES
            .iter()
            .all(|file| !folder.join("without").join(file).exists())
    );
}

#[test]
fn a_run_with_groups_is_rerun_to_the_same_tables() {
    let place = place();
    let folder = place.path();
    write_groups(&folder.join("groups.csv"), &four_groups());
    run(
        folder,
        &format!("{RANK} --train-groups groups.csv --out sums"),
    );
    let said = run(folder, "rerun sums --out again");
    assert!(said.contains("the same as sums"), "{said}");
    same_files(folder, &TABLES, "sums", "again");

    write_groups(&folder.join("groups.csv"), &first_groups(3));
    refused(folder, "rerun sums --out other", &["groups.csv"]);
}

#[test]
fn groups_by_class_are_named_after_it_and_noted_to_be_all_of_it() {
    let place = place();
    let folder = place.path();
    let noted = both(
        folder,
        &format!("{RANK} --train-groups class --out classes"),
    )
    .1;
    let note = "3 of 3 groups hold all images of a class, the first 0";
    assert!(noted.contains(note), "{noted}");
    check_rankings(folder, "classes", &by_label(40), (3, 0));
    check_means(folder, "classes", &by_label(40), &Groups::new());

    let mut groups = four_groups();
    let mut more_than_a_class = by_label(40)["1"].clone();
    more_than_a_class.push(by_label(40)["2"][0]);
    groups.insert("origin".into(), more_than_a_class);
    write_groups(&folder.join("groups.csv"), &groups);
    let noted = both(
        folder,
        &format!("{RANK} --train-groups groups.csv --out origins"),
    )
    .1;
    let note = "1 of 5 groups hold all images of a class, the first origin";
    assert!(noted.contains(note), "{noted}");
}

/// The results of a head fitted to the other images, of which each keeps the weight that it had among all: the mean over the fewer
/// with an L2 term that is larger by as much.
fn fitted_without(folder: &Path, name: &str, members: &[usize]) -> Value {
    let (values, labels) = overlapping(40, 5, 0.0);
    let kept: Vec<usize> = (0..40).filter(|row| !members.contains(row)).collect();
    let l2 = 1e-2 * 40.0 / kept.len() as f64;
    let reduced = (values.select(Axis(0), &kept), labels.select(Axis(0), &kept));
    write(&folder.join(format!("without-{name}.npz")), &reduced);
    let words =
        format!("rank --train without-{name}.npz --test test.npz --l2 {l2} --precision f64");
    run(
        folder,
        &format!("{words} --skip-train --out without-{name}"),
    );
    results(folder, &format!("without-{name}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn assert_near(found: &Value, expected: f64, what: &str) {
    let apart = (number(found) - expected).abs();
    assert!(apart < 1e-8, "{what}: {found} and {expected}");
}

/// What was measured and predicted in the table beside the picture.
fn check_picture(folder: &Path, run: &str) {
    let found = &results(folder, run)["groups_left_out"]["groups"];
    let file = |ending: &str| folder.join(run).join(format!("leave_group_out{ending}"));
    for ending in [
        ".parquet",
        ".png",
        ".svg",
        "_subsets.parquet",
        "_measurements.parquet",
    ] {
        assert!(
            std::fs::metadata(file(ending)).unwrap().len() > 500,
            "{ending}"
        );
    }
    let table = std::fs::read_to_string(file(".csv")).unwrap();
    let (header, rows) = table.split_once('\n').unwrap();
    let columns = "group,images,predicted_rise,actual_rise,low,high,right,right_change,unit";
    assert_eq!(header.trim_end(), columns);
    assert_eq!(rows.lines().count(), found.as_array().unwrap().len());
    for (row, group) in rows.lines().zip(found.as_array().unwrap()) {
        let cells: Vec<&str> = row.split(',').collect();
        assert_eq!(
            (cells[0], cells[8]),
            (group["group"].as_str().unwrap(), "nats")
        );
        let numbers = [
            &group["images"],
            &group["predicted"]["run"],
            &group["actual"]["value"],
            &group["actual"]["low"],
            &group["actual"]["high"],
            &group["correct"]["value"],
            &group["correct_change"]["value"],
        ];
        for (cell, expected) in cells[1..8].iter().zip(numbers) {
            assert_eq!(cell.parse::<f64>().unwrap(), number(expected), "{row}");
        }
    }
}

#[test]
fn what_happens_without_a_group_is_what_a_fit_to_the_others_says() {
    let place = place();
    let folder = place.path();
    let groups = first_groups(3);
    write_groups(&folder.join("three.csv"), &groups);
    write_groups(&folder.join("two.csv"), &first_groups(2));
    run(
        folder,
        &format!("{RANK} --train-groups three.csv --out full"),
    );
    let said = run(
        folder,
        "evaluate full --leave-group-out three.csv --out evidence",
    );

    let (full, evidence) = (results(folder, "full"), results(folder, "evidence"));
    let found = &evidence["groups_left_out"];
    assert_eq!(found["queries"], 23);
    assert_near(
        &found["correct"]["value"],
        number(&full["test_accuracy"]),
        "all",
    );
    assert_eq!(found["groups"].as_array().unwrap().len(), 3);
    let mut changes = Vec::new();
    for (group, (name, members)) in found["groups"].as_array().unwrap().iter().zip(&groups) {
        let images = members.len();
        assert_eq!(
            (&group["group"], &group["images"]),
            (&name.as_str().into(), &images.into())
        );
        let without = fitted_without(folder, name, members);
        let [rise, change] = ["test_loss", "test_accuracy"]
            .map(|result| number(&without[result]) - number(&full[result]));
        assert!(rise.abs() > 1e-3, "{name}: {rise:e}");
        changes.push(change);
        assert_near(&group["actual"]["value"], rise, name);
        assert_near(
            &group["correct"]["value"],
            number(&without["test_accuracy"]),
            name,
        );
        assert_near(&group["correct_change"]["value"], change, name);
        assert_near(
            &group["predicted"]["run"],
            means(folder, "full")[name],
            name,
        );
        let line = format!("  {name} ({images} images): loss rises by {rise:.3} [");
        assert!(said.contains(&line), "{said}");
    }
    assert!(changes.iter().any(|change| *change != 0.0), "{changes:?}");

    let (sums, rounding) = sums(&scores(folder, "full"), &groups);
    let predicted = numbers(
        &folder.join("evidence/leave_group_out.parquet"),
        "predicted",
    );
    assert_eq!(predicted.len(), 3 * 23);
    for (row, predicted) in predicted.iter().enumerate() {
        let pair = [row % 23, row / 23];
        let apart = (predicted - sums[pair]).abs();
        assert!(apart <= rounding[pair], "{pair:?}: {apart:e}");
    }
    assert_eq!(evidence["leave_group_out"]["retrainings"], 3);
    assert_eq!(evidence["leave_group_out"]["queries"], 23);
    assert!(
        said.contains("leave-group-out: 3 retrainings, 23 queries"),
        "{said}"
    );
    check_picture(folder, "evidence");

    let said = run(folder, "evaluate full --leave-group-out two.csv --out pair");
    assert!(!said.contains("leave-group-out:"), "{said}");
    let pair = results(folder, "pair");
    assert!(pair["leave_group_out"].is_null());
    let first =
        |found: &Value| found["groups_left_out"]["groups"].as_array().unwrap()[..2].to_vec();
    assert_eq!(
        pair["groups_left_out"]["groups"].as_array().unwrap().len(),
        2
    );
    for (one, other) in first(&pair).iter().zip(&first(&evidence)) {
        assert_near(
            &one["actual"]["value"],
            number(&other["actual"]["value"]),
            "of two",
        );
        assert_eq!(one["predicted"], other["predicted"]);
    }
    check_picture(folder, "pair");
}

#[test]
fn groups_left_out_before_are_taken_up_without_refits() {
    let place = place();
    let folder = place.path();
    let groups = first_groups(3);
    write_groups(&folder.join("three.csv"), &groups);
    run(folder, &format!("{RANK} --out full"));
    run(
        folder,
        "evaluate full --leave-group-out three.csv --out before",
    );
    let words = "evaluate full --retrained before --leave-group-out";
    let said = run(folder, &format!("{words} three.csv --out after"));
    assert!(said.contains("leave-group-out: 3 retrainings"), "{said}");
    let (before, after) = (results(folder, "before"), results(folder, "after"));
    assert_eq!(before["leave_group_out_work"]["refits"]["refits"], 3);
    assert_eq!(after["leave_group_out_work"]["refits"]["refits"], 0);
    assert_eq!(after["leave_group_out_work"]["measurements_from"], "before");
    assert!(after["groups_left_out"]["correct"]["value"].is_number());
    assert_eq!(after["groups_left_out"], before["groups_left_out"]);
    let agreement = |results: &Value| results["leave_group_out"]["rows"][0]["agreement"].clone();
    assert!(agreement(&after)["spearman"]["value"].is_number());
    assert_eq!(agreement(&after), agreement(&before));

    let mut others = groups.clone();
    others.get_mut("odd").unwrap().pop();
    write_groups(&folder.join("others.csv"), &others);
    let parts = [
        "before: holds measurements of other groups than those of --leave-group-out",
        "leave --retrained out",
    ];
    refused(folder, &format!("{words} others.csv --out refused"), &parts);
}

#[test]
fn files_that_are_no_groups_are_one_line_with_place_and_remedy() {
    let place = place();
    let folder = place.path();
    let rank = format!("{RANK} --out refused --train-groups");
    run(folder, &format!("{RANK} --out full"));
    let evaluate = "evaluate full --out refused --leave-group-out";
    let both_refuse = |file: &str, parts: &[&str]| {
        for words in [&rank, evaluate] {
            refused(folder, &format!("{words} {file}"), parts);
            assert!(!folder.join("refused").exists(), "{words} {file}");
        }
    };
    for (table, place, found) in [
        (
            "train,group\n3,a\n40,a\n",
            "line 3",
            "40, which is no training image",
        ),
        (
            "train,group\n3,a\n3,b\n3,a\n",
            "line 4",
            "training image 3 once more",
        ),
        (
            "train,group\n3,\n",
            "line 2",
            "training image 3 without a group",
        ),
        ("train,group\nthree,a\n", "line 2", "three"),
        ("train,group\n-1,a\n", "line 2", "-1"),
        ("train,group\n", "table", "no rows"),
        ("query,group\n3,a\n", "columns", "query,group"),
        ("train,group,note\n3,a,b\n", "columns", "train,group,note"),
        ("3,a\n5,b\n", "columns", "3,a"),
        ("", "columns", ""),
    ] {
        std::fs::write(folder.join("bad.csv"), table).unwrap();
        let expected = "expected a training image's id and its group";
        let remedy = "give a CSV file with the columns train,group";
        let line = format!("bad.csv: {place}: {expected}, found {found}; {remedy}");
        refused(folder, &format!("{rank} bad.csv"), &[&line]);
        assert!(!folder.join("refused").exists(), "{line}");
    }
    std::fs::write(folder.join("bad.csv"), "train,group\n3,a\n4\n").unwrap();
    both_refuse("bad.csv", &["bad.csv: line 3: ", "found ", "train,group"]);
    both_refuse("absent.csv", &["absent.csv: cannot read", "check the path"]);
}

#[test]
fn a_group_that_leaves_no_image_is_summed_but_not_left_out() {
    let place = place();
    let folder = place.path();
    let everything = [("everything".to_owned(), (0..40).collect())].into();
    write_groups(&folder.join("groups.csv"), &everything);
    run(
        folder,
        &format!("{RANK} --train-groups groups.csv --out full"),
    );
    check_rankings(folder, "full", &everything, (1, 0));
    let words = "evaluate full --leave-group-out groups.csv --out refused";
    let parts = [
        "--leave-group-out: ",
        "everything holds all 40 training images",
    ];
    refused(folder, words, &parts);
    assert!(!folder.join("refused").exists());
}

#[test]
fn groups_that_do_not_fit_the_run_are_refused_in_one_line() {
    let place = place();
    let folder = place.path();
    write_groups(&folder.join("three.csv"), &first_groups(3));
    write_groups(&folder.join("two.csv"), &first_groups(2));
    run(folder, &format!("{RANK} --out full"));
    run(
        folder,
        "evaluate full --leave-group-out three.csv --out before",
    );
    let fewer = "evaluate full --leave-group-out two.csv --retrained before --out fewer";
    let divided = |groups: &str, other: &str| {
        let words = format!("{RANK} --train-groups {groups} {other} --out by-{groups}");
        (
            words,
            "--train-groups: adds up scores in nats: leave --normalise out",
        )
    };
    let other_groups = "holds measurements of other groups than those of --leave-group-out";
    let mut wrong = Vec::new();
    for (words, reason) in [
        (fewer.to_owned(), other_groups),
        divided("class", "--normalise l-relatif"),
        divided("three.csv", "--solver identity --normalise cosine"),
    ] {
        let output = ascribe(folder, &words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words}: {said}");
        assert!(said.contains(reason), "{words}: {said}");
        if said.lines().count() != 1 {
            wrong.push(format!("more than one line: {said}"));
        }
    }
    for left in ["by-class", "by-three.csv"] {
        if folder.join(left).exists() {
            wrong.push(format!("refused options left the folder {left}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_killed_run_goes_on_to_the_same_sums() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    write(&folder.join("train.npz"), &overlapping(1200, 60, 0.0));
    write(&folder.join("test.npz"), &overlapping(1500, 60, 0.5));
    let mut groups = Groups::new();
    for row in 0..1000 {
        groups.entry(format!("{}", row % 7)).or_default().push(row);
    }
    write_groups(&folder.join("groups.csv"), &groups);
    // So little memory that there are several blocks.
    let common = "--train train.npz --test test.npz --l2 0.01 --certify 20 --memory 0.032 --scores \
                  --train-groups groups.csv --query-groups class";
    let files = [TABLES[0], TABLES[1], "rankings.parquet", "scores.npy"];
    goes_on_to_the_same_bytes(folder, common, "groups", &files);
    check_rankings(folder, "groups-killed", &groups, (7, 0));
    check_means(folder, "groups-killed", &groups, &by_label(1500));
}

/// Positions among the images that the model was trained on, of a file that names all that there were.
fn trained_on(folder: &Path, run: &str, group_of: impl Fn(usize) -> String) -> Groups {
    let file = folder.join(run).join("examples.parquet");
    let sets = words(&file, "set").into_iter().flatten();
    let rows = sets.zip(numbers(&file, "image"));
    let rows = rows.zip(numbers(&file, "position"));
    let mut groups = Groups::new();
    for ((_, image), position) in rows.filter(|((set, _), _)| set == "train") {
        let members = groups.entry(group_of(image as usize)).or_default();
        members.push(position as usize);
    }
    groups
}

#[test]
fn groups_of_a_model_may_name_images_that_it_was_not_trained_on() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    run(
        folder,
        "transfer --source builtin:natural --train builtin:digits-train --test builtin:digits-test --images 40 --blocks 1 \
         --epochs 1 --augmentation none --out model",
    );
    let group_of = |image: usize| ["red", "green", "blue"][image % 3].to_owned();
    let mut named = Groups::new();
    for image in 0..1000 {
        named.entry(group_of(image)).or_default().push(image);
    }
    write_groups(&folder.join("groups.csv"), &named);
    std::fs::write(
        folder.join("asked.csv"),
        "query,group\n0,some\n318,some\n0,first\n",
    )
    .unwrap();
    let asked = [("some".into(), vec![0, 2]), ("first".into(), vec![0])].into();
    let words = "rank --model model --queries 5 --scores --skip-train --query-groups asked.csv --train-groups";
    for (out, options) in [("head", ""), ("blocks", "--blocks 1 --damping 1e-1")] {
        let (said, noted) = both(folder, &format!("{words} groups.csv {options} --out {out}"));
        let note = "groups.csv: 960 rows name images that the model was not trained on";
        assert!(noted.contains(note), "{noted}");
        let groups = trained_on(folder, out, group_of);
        assert_eq!(groups.values().map(Vec::len).sum::<usize>(), 40);
        let listed = |(name, members): (&String, &Vec<usize>)| {
            said.contains(&format!(" {name} ({} images)", members.len()))
        };
        assert!(groups.iter().all(listed), "{said}");
        check_rankings(folder, out, &groups, (3, 0));
        check_means(folder, out, &groups, &asked);
    }

    let trained_again = "evaluate blocks --leave-group-out groups.csv --retrain 1 --out evidence";
    run(folder, trained_again);
    let found = &results(folder, "evidence")["groups_left_out"];
    for (group, (name, mean)) in
        (found["groups"].as_array().unwrap().iter()).zip(means(folder, "blocks"))
    {
        assert_eq!(group["group"], name);
        let predicted = number(&group["predicted"]["run"]);
        assert!(
            (predicted - mean).abs() <= 1e-6 * mean.abs(),
            "{name}: {predicted} and {mean}"
        );
        assert_ne!(number(&group["actual"]["value"]), 0.0, "{name}");
    }

    let unknown = [(String::from("red"), vec![1000])].into();
    write_groups(&folder.join("unknown.csv"), &unknown);
    let options = "--blocks 1 --out refused";
    let parts = [
        "unknown.csv: line 2: ",
        "found 1000, which is no training image",
    ];
    refused(folder, &format!("{words} unknown.csv {options}"), &parts);
    std::fs::write(folder.join("asked.csv"), "query,group\n1,some\n").unwrap();
    let parts = ["asked.csv: table: ", "none of an image that is asked about"];
    refused(folder, &format!("{words} groups.csv {options}"), &parts);
}
