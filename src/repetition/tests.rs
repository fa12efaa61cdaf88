use super::*;
use crate::artefact::{Options, RunFolder};
use serde_json::json;
use std::fs;

/// What is found in a file of that name and those contents.
fn found(name: &str, before: &[u8], after: &[u8]) -> Found {
    let place = tempfile::tempdir().unwrap();
    let folders = ["before", "after"].map(|folder| place.path().join(folder));
    for (folder, content) in folders.iter().zip([before, after]) {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join(name), content).unwrap();
    }
    let compared = compare(&folders[0], &folders[1], None).unwrap();
    assert_eq!(compared.len(), 1);
    assert_eq!(compared[0].file, name);
    compared[0].found.clone()
}

#[test]
fn bytes_of_one_length_or_another() {
    let long = vec![7; (1 << 20) + 3];
    let mut other = long.clone();
    other[1 << 20] = 8;
    assert_eq!(found("page.html", &long, &long), Found::Same);
    assert_eq!(found("page.html", b"", b""), Found::Same);
    for after in [
        &other[..],
        &long[..1 << 20],
        &[&long[..], b"x"].concat(),
        b"",
    ] {
        assert_eq!(found("page.html", &long, after), Found::Differs);
    }
}

#[test]
fn differences_of_tables_have_a_size_and_costs_do_not_count() {
    let table = b"rank,share,seconds\n1,0.5,3.2\n2,0.25,1.0\n";
    let slower = b"rank,share,seconds\n1,0.5,9.2\n2,0.25,8.0\n";
    let other = b"rank,share,seconds\n1,0.5,3.2\n2,0.375,1.0\n";
    assert_eq!(found("curve.csv", table, slower), Found::SameButCosts);
    let differing = found("curve.csv", table, other);
    assert_eq!(
        differing.to_string(),
        "1 of 4 values differ, by 1.2e-1 at most"
    );
    assert_eq!(
        found("curve.csv", table, b"rank,share,seconds\n1,0.5,1\n"),
        Found::Differs
    );
    assert_eq!(
        found("curve.csv", table, b"rank,part,seconds\n1,0.5,1\n2,1,1\n"),
        Found::Differs
    );
}

#[test]
fn a_picture_of_costs_may_look_another_way() {
    let place = tempfile::tempdir().unwrap();
    let folders = ["before", "after"].map(|folder| place.path().join(folder));
    for (folder, seconds) in folders.iter().zip(["1", "2"]) {
        fs::create_dir(folder).unwrap();
        fs::write(
            folder.join("cost.csv"),
            format!("name,seconds\ncg,{seconds}\n"),
        )
        .unwrap();
        fs::write(folder.join("curve.csv"), "rank,share\n1,0.5\n").unwrap();
        fs::write(folder.join("cost.svg"), seconds).unwrap();
        fs::write(folder.join("curve.svg"), seconds).unwrap();
        fs::write(folder.join(format!("only-{seconds}")), "").unwrap();
        fs::write(folder.join(".hidden"), seconds).unwrap();
    }
    let compared = compare(&folders[0], &folders[1], None).unwrap();
    let lines: Vec<String> = (compared.iter())
        .map(|one| format!("{}: {}", one.file, one.found))
        .collect();
    assert_eq!(
        lines,
        [
            "cost.csv: the same but for times and memory",
            "cost.svg: the same but for times and memory",
            "curve.csv: the same",
            "curve.svg: differs",
            "only-1: was not made again",
            "only-2: was not there before"
        ]
    );
}

#[test]
fn arrays_and_weights_are_compared_by_their_numbers() {
    use candle_core::{Device, Tensor};
    use ndarray::{Array2, arr2};
    use ndarray_npy::WriteNpyExt;
    fn array<T: ndarray_npy::WritableElement>(values: &Array2<T>) -> Vec<u8> {
        let mut bytes = Vec::new();
        values.write_npy(&mut bytes).unwrap();
        bytes
    }
    let differing = Found::Values {
        differing: 1,
        of: 4,
        largest: Some(0.5),
    };
    let (one, other) = (
        arr2(&[[1f32, 2.0], [3.0, f32::NAN]]),
        arr2(&[[1f32, 2.5], [3.0, f32::NAN]]),
    );
    assert_eq!(found("scores.npy", &array(&one), &array(&other)), differing);
    let flat = one.to_shape((1, 4)).unwrap().to_owned();
    assert_eq!(
        found("scores.npy", &array(&one), &array(&flat)),
        Found::Differs
    );
    let (one, other) = (one.mapv(f64::from), other.mapv(f64::from));
    assert_eq!(found("scores.npy", &array(&one), &array(&other)), differing);
    let weights = |value: f32| {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("model.safetensors");
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let tensors = [("a", tensor(&[1.0])), ("b", tensor(&[2.0, value, 4.0]))];
        candle_core::safetensors::save(&std::collections::HashMap::from(tensors), &file).unwrap();
        fs::read(file).unwrap()
    };
    assert_eq!(
        found("model.safetensors", &weights(3.0), &weights(3.5)),
        differing
    );
}

#[test]
fn damaged_files_differ_and_damaged_records_are_named() {
    let place = tempfile::tempdir().unwrap();
    let [before, after] = ["before", "after"].map(|folder| place.path().join(folder));
    for name in ["a.npy", "a.parquet", "a.safetensors", "run.json"] {
        for (folder, content) in [(&before, "1"), (&after, "2")] {
            let _ = fs::remove_dir_all(folder);
            fs::create_dir(folder).unwrap();
            fs::write(folder.join(name), content).unwrap();
        }
        let compared = compare(&before, &after, None);
        if name != "run.json" {
            assert_eq!(compared.unwrap()[0].found, Found::Differs);
            continue;
        }
        let message = compared.unwrap_err().to_string();
        let start = format!("{}/run.json", before.display());
        assert!(message.starts_with(&start), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn runs_that_an_earlier_spec_left_in_a_study_do_not_count() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for (folder, runs) in folders.iter().zip([&["a", "b"][..], &["a"]]) {
        for run in runs {
            let run = folder.path().join("runs").join(run);
            std::fs::create_dir_all(&run).unwrap();
            std::fs::write(run.join("training.csv"), "epoch\n1\n").unwrap();
        }
    }
    let found = compare(folders[0].path(), folders[1].path(), None).unwrap();
    let names: Vec<&str> = found.iter().map(|it| &*it.file).collect();
    assert_eq!(names, ["runs/a/training.csv"]);
    // One that was not there before is told.
    let found = compare(folders[1].path(), folders[0].path(), None).unwrap();
    assert_eq!(found[1].found, Found::Added);
}

fn begun(folder: &Path, command: &str) -> RunFolder {
    let (words, options) = (Vec::<String>::new(), Options::new());
    RunFolder::open_or_create(folder, command, words, options, Vec::new()).unwrap()
}

#[test]
fn a_run_that_was_resumed_is_the_same() {
    let place = tempfile::tempdir().unwrap();
    let folders = ["before", "after", "other"].map(|name| place.path().join(name));
    let [before, after, other] = &folders;
    let runs = [(before, 3, 0.0, 5), (after, 0, 7.0, 5), (other, 3, 0.0, 6)];
    for (folder, resumed, operations, refits) in runs {
        let mut run = begun(folder, "evaluate");
        run.set_result("resumed", resumed).unwrap();
        let work = json!({ "refits": refits, "factor_operations": operations });
        run.set_result("leave_one_out_work", work).unwrap();
        run.finish().unwrap();
    }
    let found = |after: &Path| compare(before, after, None).unwrap()[0].found.clone();
    assert_eq!(found(after), Found::SameButCosts);
    assert!(!found(other).is_same());
}

/// But for those of the runs of a study, which note their own.
#[test]
fn what_was_put_in_a_folder_of_a_run_does_not_count() {
    for (command, name, counts) in [
        ("audit", "mine/notes.txt", false),
        ("audit", "data/notes.txt", false),
        ("audit", "runs/a/notes.txt", false),
        ("study", "mine/notes.txt", false),
        ("study", "runs/a/training.csv", true),
    ] {
        let place = tempfile::tempdir().unwrap();
        let [before, after] = ["before", "after"].map(|name| place.path().join(name));
        for folder in [&before, &after] {
            let run = begun(folder, command);
            for made in ["data", "runs/a"] {
                fs::create_dir_all(run.file(made)).unwrap();
            }
            fs::write(run.file("data/overview.js"), "page").unwrap();
            run.finish().unwrap();
        }
        let file = before.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "more").unwrap();
        let compared = compare(&before, &after, None).unwrap();
        let found = compared.iter().find(|it| it.file == name);
        let expected = counts.then_some(&Found::Missing);
        assert_eq!(found.map(|it| &it.found), expected, "{command} {name}");
        assert!(compared.iter().any(|it| it.file == "data/overview.js"));
    }
}
