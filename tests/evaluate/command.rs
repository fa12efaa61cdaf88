//! The command end to end: what it leaves, killed and resumed, reused, in any number of threads, and with bad input.

use crate::command_line::{ascribe, both, command, refused, run};
use crate::feature_archive;
use crate::killed::killed_at;
use crate::parquet_table;
use crate::run_record::record;
use crate::sets::made_up;
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use ascribe::evaluate::copied;
use ndarray::{Array1, Array2};
use ndarray_npy::NpzWriter;
use serde_json::Value;
use std::cmp::Ordering;
use std::fs::File;
use std::path::Path;

fn write(folder: &Path, name: &str, count: usize, phase: f64) {
    write_of_classes(folder, name, (count, 4), phase);
}

fn write_of_classes(folder: &Path, name: &str, (count, classes): (usize, usize), phase: f64) {
    let set = made_up(count, 12, classes, phase);
    let labels = set.labels.iter().map(|&label| label as i64).collect();
    feature_archive::write(&folder.join(name), &(set.features, labels));
}

/// A folder with a finished run `run` of 60 training images and 20 queries.
pub fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "train.npz", 60, 0.0);
    write(folder.path(), "test.npz", 20, 0.31);
    let words =
        "rank --train train.npz --test test.npz --l2 1e-2 --damping 0 --precision f64 --out run";
    run(folder.path(), words);
    folder
}

pub fn results(folder: &Path, out: &str) -> Value {
    record(folder, out)["results"].clone()
}

pub fn bytes(folder: &Path, out: &str, file: &str) -> Vec<u8> {
    std::fs::read(folder.join(out).join(file)).unwrap()
}

const TABLES: [&str; 4] = [
    "leave_one_out_measurements.parquet",
    "leave_one_out_subsets.parquet",
    "lds_measurements.parquet",
    "lds_subsets.parquet",
];

#[test]
fn everything_at_once_leaves_numbers_with_intervals_and_the_retrainings_behind_them() {
    let place = place();
    let folder = place.path();
    let all = "evaluate run --leave-one-out 40 --lds 20 --removal 5 --mislabels 0.1 --duplicates 5 --randomise --classes \
               --compare direct,cg,leverage,ekfac,arnoldi,lissa,pinv,identity,gradient-cosine,theta-relatif,l-relatif,feature-cosine,knn,representer,trak \
               --draws 100 --certify 3 --style screen --out evidence";
    let said = run(folder, all);
    assert!(
        said.contains("leave-one-out: 40 retrainings, 20 queries"),
        "{said}"
    );
    assert!(!said.contains('–'), "a number is missing: {said}");
    let found = results(folder, "evidence");
    for (name, retrainings) in [("leave_one_out", 40), ("lds", 20)] {
        // Ids are whole numbers, as in all other tables.
        let file = folder.join(format!("evidence/{name}.parquet"));
        let table = parquet_table::table(&file);
        let ids = table.schema().field_with_name("train").unwrap();
        assert_eq!(ids.data_type(), &arrow::datatypes::DataType::Int64);
        let comparison = &found[name];
        assert_eq!(comparison["retrainings"], retrainings);
        let rows = comparison["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 16);
        for row in rows {
            let spearman = &row["agreement"]["spearman"];
            let [value, low, high] =
                ["value", "low", "high"].map(|key| spearman[key].as_f64().unwrap());
            assert!(
                low <= value && value <= high && (-1.0..=1.0).contains(&value),
                "{row}"
            );
            assert!(row["seconds"].as_f64().unwrap() >= 0.0);
        }
        let of = |name: &str| {
            let row = rows.iter().find(|row| row["name"] == name).unwrap();
            row["agreement"]["spearman"]["value"].as_f64().unwrap()
        };
        assert!(
            of("run") > 0.9 && of("run") > of("feature-cosine") + 0.3,
            "{said}"
        );
        assert!((of("run") - of("cg")).abs() < 1e-3, "{said}");
        let row = rows.iter().find(|row| row["name"] == "direct").unwrap();
        assert!(row["certified"].as_f64().unwrap() > 0.5, "{row}");
        assert!(row["minus_first"]["p"].as_f64().unwrap() > 0.5, "{row}");
    }
    assert_eq!(found["removal"].as_array().unwrap().len(), 2 * 17);
    assert!(found["mislabels"].as_array().unwrap().len() >= 8);
    // A copy helps its own query; a method that ignores the model keeps its ranking whatever the head.
    assert!(
        found["duplicates"]["run"]["first_ten"]["value"]
            .as_f64()
            .unwrap()
            > 0.5,
        "{found}"
    );
    // Of one draw each: numbers without intervals.
    let same = |check: &str, name: &str| found["randomise"][check][name].as_f64().unwrap();
    let line = format!("  run: {:.3}\n", same("random head", "run"));
    assert!(said.contains(&line), "{said}");
    assert!(same("random head", "feature-cosine") > 1.0 - 1e-12);
    assert!(same("random head", "run") < 0.7 && same("shuffled labels", "run") < 0.7);
    assert!(found["classes"]["own_class"]["run"]["first"]["value"].is_number());
    assert!(
        found["class_match"]["knn"]["first_ten"]["value"]
            .as_f64()
            .unwrap()
            > 0.5,
        "{found}"
    );
    for figure in ["leave_one_out", "quality_and_cost", "removal"] {
        for format in ["svg", "png", "csv"] {
            assert!(
                folder.join(format!("evidence/{figure}.{format}")).exists(),
                "{figure}.{format}"
            );
        }
    }
    // A page's pixels, not millimetres.
    let removal = String::from_utf8(bytes(folder, "evidence", "removal.svg")).unwrap();
    assert!(removal.contains("width=\"1280\""));
    let hidden = std::fs::read_dir(folder.join("evidence")).unwrap();
    let hidden = hidden.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with('.')
    });
    assert_eq!(hidden.count(), 0);
}

#[test]
fn a_seed_reproduces_bitwise_in_any_number_of_threads_and_another_does_not() {
    let place = place();
    let folder = place.path();
    let common = "evaluate run --leave-one-out 30 --lds 20 --draws 50";
    run(folder, &format!("{common} --out a"));
    run(folder, &format!("{common} --threads 1 --out b"));
    run(folder, &format!("{common} --threads 3 --out c"));
    run(folder, &format!("{common} --seed 1 --out d"));
    for file in TABLES {
        assert!(
            bytes(folder, "a", file) == bytes(folder, "b", file),
            "{file}"
        );
        assert!(
            bytes(folder, "a", file) == bytes(folder, "c", file),
            "{file}"
        );
        assert!(
            bytes(folder, "a", file) != bytes(folder, "d", file),
            "{file}"
        );
    }
}

/// Two models of the same images: the heads fitted to the features of one say nothing of the other's scores.
#[test]
fn measurements_of_another_model_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    for name in ["natural", "robust"] {
        let options = "--train builtin:digits-train --test builtin:digits-test --images 40 --blocks 0 --epochs 1 --l2 1e-2 --side 8 --augmentation none";
        run(
            folder,
            &format!("transfer --source builtin:{name} {options} --out {name}"),
        );
        let rank = format!("rank --model {name} --queries 12 --skip-train --out {name}-rank");
        run(folder, &rank);
    }
    // Sorted or not, queries are taken from all over them.
    let words = "evaluate natural-rank --lds 4 --removal 4 --draws 20 --out measured";
    let (_, noted) = both(folder, words);
    let trained = "at that minimum; ascribe rank --damping trained (";
    assert!(noted.contains(trained), "{noted}");
    let ids = results(folder, "measured")["removal_queries"].clone();
    let ids: Vec<u64> = serde_json::from_value(ids).unwrap();
    let count = ascribe::data::digits_test().unwrap().len() as u64;
    assert!(ids.len() == 4 && ids[3] > count / 2, "{ids:?} of {count}");
    let again = "--lds 4 --draws 20 --retrained measured";
    run(
        folder,
        &format!("evaluate natural-rank {again} --out again"),
    );
    let message = refused(folder, &format!("evaluate robust-rank {again} --out other"));
    assert!(message.contains("was made with digest.model"), "{message}");

    // Nor do losses at labels say anything of what a prediction rests on.
    let rank = "rank --model natural --queries 12 --skip-train --measurement prediction";
    run(folder, &format!("{rank} --out predicted"));
    let message = refused(
        folder,
        &format!("evaluate predicted {again} --out of-labels"),
    );
    let reason = "was made with measurement label, not prediction ";
    assert!(message.contains(reason), "{message}");
    let first = "evaluate predicted --lds 4 --draws 20 --out at-predictions";
    run(folder, first);
    let again = "--lds 4 --draws 20 --retrained at-predictions";
    let message = refused(
        folder,
        &format!("evaluate natural-rank {again} --out of-predictions"),
    );
    let reason = "was made with measurement prediction ";
    assert!(message.contains(reason), "{message}");
    let fewer = format!("evaluate predicted {again} --queries 5 --out fewer");
    run(folder, &fewer);
}

/// Sums of cosines are no nats, and an image's cosine with itself is that of any other.
#[test]
fn scores_in_another_unit_are_not_taken_for_nats() {
    let place = place();
    let folder = place.path();
    let rank = "rank --train train.npz --test test.npz --l2 1e-2 --solver identity --normalise cosine --out cosine";
    run(folder, rank);
    let words = "evaluate cosine --leave-one-out 5 --leave-group-out class --mislabels 0.1 --compare direct,trak --draws 20 --out evidence";
    let (said, noted) = both(folder, words);
    assert!(said.contains("] nats, predicted –; right "), "{said}");
    let note = "ascribe: --mislabels: run is left out, since ";
    assert!(noted.contains(note), "{noted}");
    let found = results(folder, "evidence");
    let rankers = found["mislabels"].as_array().unwrap().iter();
    let rankers: Vec<&str> = rankers.map(|row| row["ranker"].as_str().unwrap()).collect();
    let expected = [
        "held-out loss",
        "loss",
        "gradient norm",
        "self-influence: direct",
    ];
    assert_eq!(rankers, expected);
    let predicted = &found["groups_left_out"]["groups"][0]["predicted"];
    let names: Vec<&String> = predicted.as_object().unwrap().keys().collect();
    assert_eq!(names, ["direct"]);
    let groups = bytes(folder, "evidence", "leave_group_out.csv");
    let groups = String::from_utf8(groups).unwrap();
    assert!(groups.contains(",,"), "{groups}");
    let alone = String::from_utf8(bytes(folder, "evidence", "leave_one_out.csv")).unwrap();
    let rows = alone.lines().skip(1);
    assert!(rows.clone().count() > 0 && rows.clone().all(|row| row.ends_with(",nats,cosine")));
    let drawn = String::from_utf8(bytes(folder, "evidence", "leave_one_out.svg")).unwrap();
    assert!(drawn.contains("another unit (cosine)") && !drawn.contains("Predicted (nats)"));
    for name in ["leave_one_out", "leave_group_out"] {
        let rows = found[name]["rows"].as_array().unwrap().iter();
        let units: Vec<&str> = rows.map(|row| row["unit"].as_str().unwrap()).collect();
        assert_eq!(units, ["cosine", "nats", "margin"]);
        let file = folder.join(format!("evidence/{name}.parquet"));
        let mut units = parquet_table::words(&file, "predicted_unit");
        units.dedup();
        assert_eq!(
            units,
            ["cosine", "nats", "margin"].map(|unit| Some(unit.to_owned()))
        );
    }
}

/// From the table and `run.json` what was found can be worked out again.
#[test]
fn what_was_planted_is_left_image_by_image() {
    let place = place();
    let folder = place.path();
    let words = "evaluate run --mislabels 0.1 --duplicates 3 --query 3,5,8,13 --compare identity --draws 20 --out planted";
    run(folder, words);
    let found = results(folder, "planted");
    let copies = copied(4, 3, 0).into_iter().map(|at| [3, 5, 8, 13][at]);
    let copies: Vec<u64> = copies.collect();
    assert_eq!(found["duplicate_queries"], serde_json::json!(copies));

    let file = folder.join("planted/mislabels.parquet");
    let [train, label, suspicion] =
        ["train", "label", "suspicion"].map(|name| parquet_table::numbers(&file, name));
    let rankers = parquet_table::words(&file, "ranker");
    let mut planted: Vec<Option<i64>> = Vec::new();
    for batch in parquet_table::batches(&file) {
        let column = batch.column_by_name("planted").unwrap();
        planted.extend(column.as_primitive::<Int64Type>());
    }
    let labels = made_up(60, 12, 4, 0.0).labels;
    let rows = found["mislabels"].as_array().unwrap();
    assert_eq!((rows.len(), planted.len()), (5, 5 * 60));
    for (place, row) in rows.iter().enumerate() {
        let images = place * 60..(place + 1) * 60;
        for at in images.clone() {
            let image = at - images.start;
            assert_eq!((train[at], label[at]), (image as f64, labels[image] as f64));
            assert_eq!(rankers[at].as_deref(), row["ranker"].as_str());
            assert_ne!(planted[at], Some(labels[image] as i64));
        }
        let (flipped, others): (Vec<usize>, Vec<usize>) =
            images.partition(|&at| planted[at].is_some());
        assert_eq!(flipped.len(), 6);
        let above = |one: usize, other: usize| match suspicion[one].total_cmp(&suspicion[other]) {
            Ordering::Greater => 1.0,
            Ordering::Equal => 0.5,
            Ordering::Less => 0.0,
        };
        let of = |&one: &usize| others.iter().map(|&other| above(one, other)).sum::<f64>();
        let area = flipped.iter().map(of).sum::<f64>() / (6.0 * 54.0);
        let apart = area - row["auc"]["value"].as_f64().unwrap();
        assert!(apart.abs() < 1e-12, "{row}: {area}");
    }
}

#[test]
fn groups_that_are_left_out_are_named_in_the_table() {
    let place = place();
    let folder = place.path();
    let words = "evaluate run --leave-group-out class --draws 20";
    run(folder, &format!("{words} --out first"));
    run(folder, &format!("{words} --retrained first --out again"));
    for out in ["first", "again"] {
        let found = &results(folder, out)["groups_left_out"]["groups"];
        let file = folder.join(out).join("leave_group_out.parquet");
        let groups = parquet_table::words(&file, "group");
        assert_eq!(groups.len(), 4 * 20);
        for (subset, group) in parquet_table::numbers(&file, "subset").iter().zip(groups) {
            assert_eq!(group.as_deref(), found[*subset as usize]["group"].as_str());
        }
    }
}

/// Refits are of heads at their minimum, which those of planted sets are whatever the run's.
#[test]
fn scores_at_a_head_that_is_not_at_its_minimum_are_noted() {
    let place = place();
    let folder = place.path();
    for (at, (options, is_noted)) in [
        ("--lds 3", false),
        ("--lds 3 --l2 1", true),
        ("--removal 1 --l2 1", true),
        ("--lds 3 --l2 1 --at fitted", false),
        ("--duplicates 2 --l2 1", false),
    ]
    .into_iter()
    .enumerate()
    {
        let words = format!("evaluate run {options} --draws 20 --out at-{at}");
        let (_, noted) = both(folder, &words);
        let note = noted.contains("refits go on to (gradient norm ")
            && noted.contains("): --at fitted has them at that minimum\n");
        assert_eq!(note, is_noted, "{options}: {noted}");
    }
}

/// A mean of one query has no interval; and where more are asked for than there are, that is said.
#[test]
fn one_query_has_no_intervals_and_is_said_to_be_all() {
    let place = place();
    let folder = place.path();
    let words = "evaluate run --query 3 --removal 4 --duplicates 5 --leave-group-out class --draws 20 --out one";
    let (said, noted) = both(folder, words);
    for check in [
        "removal: all 1 queries, not 4",
        "duplicates: all 1 queries, not 5",
    ] {
        assert!(noted.contains(&format!("ascribe: {check}\n")), "{noted}");
    }
    // Four groups, and removal and support by three rankings.
    assert_eq!(said.matches(" [–] nats, ").count(), 4 + 6, "{said}");
    for (file, columns) in [
        ("leave_group_out", ["low", "high"]),
        ("removal", ["rise_low", "rise_high"]),
    ] {
        let path = folder.join(format!("one/{file}.csv"));
        let mut table = csv::Reader::from_path(path).unwrap();
        let header = table.headers().unwrap().clone();
        let places = columns.map(|name| header.iter().position(|it| it == name).unwrap());
        for row in table.records() {
            let row = row.unwrap();
            assert!(places.iter().all(|&at| row[at].is_empty()), "{row:?}");
        }
        let drawn = String::from_utf8(bytes(folder, "one", &format!("{file}.svg"))).unwrap();
        assert!(!drawn.contains("95 %"), "{file}");
    }
}

/// Where measurements are given and no question is, those are the questions.
#[test]
fn what_is_not_asked_is_asked_of_the_measurements_that_are_there() {
    let place = place();
    let folder = place.path();
    for (asked, out) in [("--lds 3", "halves"), ("--leave-group-out class", "groups")] {
        run(
            folder,
            &format!("evaluate run {asked} --draws 20 --out {out}"),
        );
    }
    run(
        folder,
        "evaluate run --retrained halves --draws 20 --out again",
    );
    let found = results(folder, "again");
    assert!(found["lds"].is_object() && found["leave_one_out"].is_null());
    // As many as there are, not as many as are usual.
    assert_eq!(record(folder, "again")["options"]["lds"], 3);
    // No head was fitted.
    assert!(found["fit"]["gradient_norm"].is_null(), "{found}");
    let message = refused(folder, "evaluate run --retrained groups --out x");
    let reason =
        "--retrained: groups holds measurements of leave-group-out alone: name their groups with";
    assert!(message.contains(reason), "{message}");
}

#[test]
fn measurements_are_used_again_and_checked() {
    let place = place();
    let folder = place.path();
    run(folder, "evaluate run --lds 20 --draws 50 --out first");
    let again = "evaluate run --lds 20 --draws 50 --retrained first --compare identity";
    run(folder, &format!("{again} --out second"));
    let (first, second) = (results(folder, "first"), results(folder, "second"));
    let agreement = |results: &Value| results["lds"]["rows"][0]["agreement"].clone();
    assert_eq!(agreement(&first), agreement(&second));
    assert_eq!(second["lds_work"]["refits"]["refits"], 0);
    assert_eq!(
        bytes(folder, "first", "lds_subsets.parquet"),
        bytes(folder, "second", "lds_subsets.parquet")
    );
    let message = refused(folder, &format!("{again} --l2 2e-2 --out third"));
    assert!(
        message.contains("was made with l2 0.01, not 0.02"),
        "{message}"
    );
    let own = folder.join("first/lds_measurements.parquet");
    let whole = std::fs::read(&own).unwrap();
    std::fs::write(&own, &whole[..whole.len() / 2]).unwrap();
    let message = refused(folder, &format!("{again} --out fourth"));
    assert!(
        message.contains("lds_measurements.parquet: is not what ascribe evaluate left here"),
        "{message}"
    );
    // Measurements that were made elsewhere, of which nothing is known.
    let elsewhere = folder.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::copy(
        folder.join("first/lds_subsets.parquet"),
        elsewhere.join("lds_subsets.parquet"),
    )
    .unwrap();
    let file = elsewhere.join("lds_measurements.parquet");
    let again = again.replace("first", "elsewhere");
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let message = refused(folder, &format!("{again} --out fourth"));
    assert!(
        message.contains("lds_measurements.parquet: table: expected a Parquet table"),
        "{message}"
    );
    // A table of other columns.
    std::fs::copy(folder.join("run/solves.parquet"), &file).unwrap();
    let message = refused(folder, &format!("{again} --out fifth"));
    assert!(message.contains("column subset"), "{message}");
}

/// Measurements that are taken up are inputs: others in their place are neither gone on with nor repeated from.
#[test]
fn measurements_that_have_changed_are_refused() {
    let place = place();
    let folder = place.path();
    for (seed, out) in [(0, "first"), (1, "others")] {
        let words = format!("evaluate run --lds 5 --draws 20 --seed {seed} --out {out}");
        run(folder, &words);
    }
    let elsewhere = folder.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let take = |from: &str| {
        for file in ["lds_subsets.parquet", "lds_measurements.parquet"] {
            std::fs::copy(folder.join(from).join(file), elsewhere.join(file)).unwrap();
        }
    };
    take("first");
    // Leave-one-out is not there, and is measured here.
    let words =
        "evaluate run --leave-one-out 3 --lds 5 --draws 20 --retrained elsewhere --out taken";
    run(folder, words);
    run(folder, "rerun taken --out same");
    take("others");
    let changed = "input was elsewhere/lds_subsets.parquet (retrained, digest ";
    let message = refused(folder, "rerun taken --out x");
    let expected = format!("taken: cannot be repeated: {changed}");
    assert!(message.contains(&expected), "{message}");
    // As if it had been killed.
    let file = folder.join("taken/run.json");
    let record = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, record.replace("\"finished\"", "\"running\"")).unwrap();
    let message = refused(folder, words);
    let expected = format!("taken: holds another run: {changed}");
    assert!(message.contains(&expected), "{message}");
}

#[test]
fn a_fitted_head_that_is_not_as_it_was_left_is_refused() {
    let place = place();
    let folder = place.path();
    run(
        folder,
        "rank --train train.npz --test test.npz --l2 1e-1 --out other",
    );
    let [other, own] = ["other", "run"].map(|run| folder.join(run).join("head.safetensors"));
    std::fs::copy(other, own).unwrap();
    let message = refused(folder, "evaluate run --lds 5 --out x");
    let expected =
        "run/head.safetensors: is not what ascribe rank left here; put the original back";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn a_killed_evaluation_goes_on_to_the_same_bytes() {
    let place = place();
    let folder = place.path();
    let common = "evaluate run --leave-one-out 60 --choose all --lds 2000 --draws 20";
    run(folder, &format!("{common} --out whole"));
    let words = format!("{common} --out killed");
    let part = folder.join("killed/.lds-00001.json");
    killed_at(command(folder, &words), &part);
    let kept = std::fs::metadata(&part).unwrap().modified().unwrap();
    let message = refused(folder, &format!("{common} --seed 4 --out killed"));
    assert!(message.contains("seed"), "{message}");
    assert_eq!(std::fs::metadata(&part).unwrap().modified().unwrap(), kept);
    run(folder, &words);
    for file in TABLES {
        assert!(
            bytes(folder, "whole", file) == bytes(folder, "killed", file),
            "{file}"
        );
    }
    let message = refused(folder, &words);
    assert!(
        message.contains("already holds this finished run"),
        "{message}"
    );
}

#[test]
fn what_a_run_proved_is_told_of_the_scores_that_it_proved_alone() {
    let place = place();
    let folder = place.path();
    let words = "rank --train train.npz --test test.npz --l2 1e-2 --certify 3 --out proven";
    run(folder, words);
    for (options, out, proven) in [
        ("", "same", true),
        ("--damping 1", "damped", false),
        ("--at fitted", "fitted", false),
    ] {
        let words = format!("evaluate proven --lds 5 --draws 20 {options} --out {out}");
        run(folder, &words);
        let row = &results(folder, out)["lds"]["rows"][0];
        assert_eq!(row["name"], "run");
        assert_eq!(row["certified"].is_number(), proven, "{options}: {row}");
    }
}

#[test]
fn bad_input_gets_one_line() {
    let place = place();
    let folder = place.path();
    run(
        folder,
        "evaluate run --leave-one-out 5 --draws 20 --out done",
    );
    run(folder, "evaluate run --lds 3 --draws 20 --out halves");
    let mut head = NpzWriter::new(File::create(folder.join("other.npz")).unwrap());
    head.add_array("weight", &Array2::<f64>::zeros((3, 12)))
        .unwrap();
    head.add_array("bias", &Array1::<f64>::zeros(3)).unwrap();
    head.finish().unwrap();
    for (words, part) in [
        ("evaluate absent --out x", "check the path"),
        (
            "evaluate done --out x",
            "give a folder left by ascribe rank",
        ),
        (
            "evaluate run --leave-one-out 61 --out x",
            "more than the 60 training images",
        ),
        ("evaluate run --lds 2 --out x", "too few for a correlation"),
        (
            "evaluate run --removal 3 --retrain 2 --out x",
            "--retrain: is for what --leave-one-out, --lds and --leave-group-out leave out",
        ),
        (
            "evaluate run --classes --retrained elsewhere --out x",
            "--retrained: is for what --leave-one-out",
        ),
        (
            "evaluate run --lds 20 --share 0.3 --retrained halves --out x",
            "--share: the images that are left out are those of halves: leave it out, or --retrained",
        ),
        (
            "evaluate run --leave-one-out 5 --choose influential --retrained done --out x",
            "--choose: the images that are left out are those of done",
        ),
        (
            "evaluate run --lds 5 --certify 3 --compare ekfac --out x",
            "--certify: is for --compare direct or cg",
        ),
        (
            "evaluate run --lds 5 --checkpoints run/head.safetensors --out x",
            "--checkpoints: is for --compare tracin",
        ),
        (
            "evaluate run --lds 20 --retrained nowhere --out x",
            "--retrained: nowhere holds no retrained measurements",
        ),
        (
            "evaluate run --lds 5 --share 1.0 --out x",
            "that leaves some of",
        ),
        (
            "evaluate run --mislabels -0.1 --out x",
            "that flips some of",
        ),
        (
            "evaluate run --query 999 --out x",
            "the run has no query 999",
        ),
        (
            "evaluate run --query 3,4,3 --out x",
            "--query: names query 3 twice; name each once",
        ),
        (
            "evaluate run --lds 5 --compare knn,knn --out x",
            "--compare: names knn twice; name each once",
        ),
        (
            "evaluate run --lds 5 --compare tracin --checkpoints other.npz --out x",
            "--checkpoints: a head: expected 4 classes and 12 features, as the run's head has, found 3 and 12; give",
        ),
        (
            "evaluate run --leave-one-out 5 --share 0.5 --out x",
            "--share: is for the subsets of --lds",
        ),
        ("evaluate run --l2 0 --out x", "--l2: 0 is not above 0"),
        (
            "evaluate run --lds 5 --retrain 1 --l2 2e-2 --out x",
            "--l2: is of heads that are fitted again, and --retrain trains by the transfer's recipe",
        ),
        ("evaluate run --damping -1 --out x", "--damping: -1"),
        (
            "evaluate run --lds 5 --compare tracin --out x",
            "--checkpoints",
        ),
        ("evaluate run --lds 5 --out done", "holds another run"),
    ] {
        let message = refused(folder, words);
        assert!(message.contains(part), "{words}: {message}");
    }
    for (name, count) in [("few-train.npz", 30), ("few-test.npz", 10)] {
        write_of_classes(folder, name, (count, 3), 0.0);
    }
    run(
        folder,
        "rank --train few-train.npz --test few-test.npz --l2 1e-2 --out few",
    );
    let message = refused(folder, "evaluate few --classes --out x");
    assert!(
        message.contains("needs training images of 4 or more, found 3"),
        "{message}"
    );
    write(folder, "test.npz", 20, 0.5);
    let message = refused(folder, "evaluate run --out x");
    assert!(message.contains("has changed since"), "{message}");
}

/// What lies elsewhere now is found there, and held to what it was.
#[test]
fn files_that_moved_are_looked_for_where_they_are_said_to_be() {
    let place = place();
    let folder = place.path();
    let elsewhere = folder.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::rename(folder.join("train.npz"), elsewhere.join("train.npz")).unwrap();
    let words = "evaluate run --leave-one-out 3 --out moved";
    let message = refused(folder, words);
    let expected = "ascribe: train.npz: is not there any more: run was made from it";
    assert!(
        message.starts_with(expected) && message.contains("--moved OLD=NEW"),
        "{message}"
    );
    let message = refused(folder, &format!("{words} --moved train.npz=nowhere"));
    assert!(
        message.starts_with("ascribe: --moved: nowhere is not there"),
        "{message}"
    );
    let there = "--moved ./train.npz=elsewhere/train.npz";
    run(folder, &format!("{words} {there}"));
    write(&elsewhere, "train.npz", 40, 0.5);
    let message = refused(
        folder,
        &format!("evaluate run --leave-one-out 3 --out other {there}"),
    );
    assert!(message.contains("has changed since"), "{message}");
}

/// TracIn at one checkpoint, the run's own head, is the gradient dot product but for the factor 1/n.
#[test]
fn tracin_sums_over_checkpoints() {
    let place = place();
    let folder = place.path();
    let words = "evaluate run --lds 20 --draws 50 --compare identity,tracin --checkpoints run/head.safetensors --out tracin";
    run(folder, words);
    let rows = results(folder, "tracin")["lds"]["rows"].clone();
    let [identity, tracin] =
        [1, 2].map(|at| rows[at]["agreement"]["spearman"]["value"].as_f64().unwrap());
    assert!((identity - tracin).abs() < 1e-6, "{identity} {tracin}");
    // With another head it would still speak of that of its checkpoints.
    run(
        folder,
        &words
            .replace("--lds 20", "--randomise --classes")
            .replace("--out tracin", "--out heads"),
    );
    let found = results(folder, "heads");
    for check in [
        &found["randomise"]["random head"],
        &found["classes"]["own_class"],
    ] {
        let names: Vec<&String> = check.as_object().unwrap().keys().collect();
        assert_eq!(names, ["identity", "run"]);
    }
}

/// A run records the tolerance that took effect; it is a demand where someone typed it.
#[test]
fn a_recorded_tolerance_that_nobody_asked_for_is_none() {
    let place = place();
    let folder = place.path();
    run(
        folder,
        "rank --train train.npz --test test.npz --l2 1e-2 --solver direct --out single",
    );
    let path = folder.join("single/run.json");
    let mut record = record(folder, "single");
    assert_eq!(record["options"]["tolerance"], 1e-5);
    record["options"]["tolerance"] = 1e-14.into();
    std::fs::write(&path, record.to_string()).unwrap();
    run(folder, "evaluate single --leave-one-out 3 --out usual");
    let words = record["arguments"].as_array_mut().unwrap();
    words.extend(["--tolerance".into(), "1e-14".into()]);
    std::fs::write(&path, record.to_string()).unwrap();
    let output = ascribe(folder, "evaluate single --leave-one-out 3 --out strict");
    assert_eq!(output.status.code(), Some(3));
}

/// A refit that does not converge is counted, said, and makes exit code 3.
#[test]
fn a_gradient_norm_out_of_reach_is_exit_code_3() {
    let place = place();
    let output = ascribe(
        place.path(),
        "evaluate run --leave-one-out 5 --draws 20 --gradient-norm 1e-30 --out x",
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(3) && said.contains("refits missed"),
        "{said}"
    );
}

/// Solves that fall short on what was planted count like those of the run: here a series too short for another curvature.
#[test]
fn a_solve_out_of_reach_on_what_was_planted_is_exit_code_3() {
    let place = place();
    let folder = place.path();
    let series = |depth: usize| {
        let words = format!(
            "rank --train train.npz --test test.npz --l2 1e-2 --damping 0 --precision f64 --solver lissa --depth {depth} --out depth-{depth}"
        );
        ascribe(folder, &words).status.code()
    };
    // The run's own curvature takes fewer than 200 terms, that at flipped labels or at a random head more than 300.
    assert_eq!([20, 250].map(series), [Some(3), Some(0)]);
    for (depth, checks, missed) in [
        (
            250,
            "--mislabels 0.1 --randomise",
            ["mislabels: run: 60 ", "random head: run: 20 "],
        ),
        (
            20,
            "--duplicates 3 --classes",
            ["duplicates: run: 3 ", "classes: run: 20 "],
        ),
    ] {
        let out = format!("checks-{depth}");
        let words = format!("evaluate depth-{depth} {checks} --draws 20 --out {out}");
        let output = ascribe(folder, &words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        for start in missed {
            assert!(said.contains(&format!("ascribe: {start}")), "{said}");
        }
        let counts = said.lines().filter_map(|line| {
            let (before, _) = line.split_once(" solves missed their tolerance")?;
            before.rsplit(' ').next()?.parse::<u64>().ok()
        });
        let counted = results(folder, &out)["shortfalls"].as_u64();
        assert_eq!(counted, Some(counts.sum::<u64>()), "{said}");
    }
}
