//! `ascribe rank` end to end on features files.

use crate::killed_run::goes_on_to_the_same_bytes;
use ascribe::influence::read_rankings;
use assert_cmd::Command;
use ndarray::{Array1, Array2, Axis};
use ndarray_npy::{NpzWriter, read_npy};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

fn features(count: usize, dimension: usize, phase: f64) -> (Array2<f64>, Array1<i64>) {
    let labels = Array1::from_shape_fn(count, |row| ((row * row + row / 3) % 3) as i64);
    let features = Array2::from_shape_fn((count, dimension), |(row, column)| {
        let class = labels[row] as f64;
        (1.3 * class * (column as f64 + 1.0)).cos()
            + (12.9898 * (row as f64 + phase) + 78.233 * column as f64).sin()
    });
    (features, labels)
}

fn write(path: &Path, (features, labels): &(Array2<f64>, Array1<i64>)) {
    let mut file = NpzWriter::new(File::create(path).unwrap());
    file.add_array("features", features).unwrap();
    file.add_array("labels", labels).unwrap();
    file.finish().unwrap();
}

/// A folder with `train.npz` (40 × 5) and `test.npz` (9 × 5), three classes.
fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("train.npz"), &features(40, 5, 0.0));
    write(&folder.path().join("test.npz"), &features(9, 5, 0.5));
    folder
}

fn rank(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let fixed = ["rank", "--train", "train.npz", "--test", "test.npz"];
    let mut command = Command::cargo_bin("ascribe").unwrap();
    let output = command
        .current_dir(folder)
        .args(fixed)
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn scores(folder: &Path, run: &str) -> Array2<f32> {
    read_npy(folder.join(run).join("scores.npy")).unwrap()
}

/// Large enough that products, factorisations and eigenproblems are cut into parts.
#[test]
fn threads_change_no_digit() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(&at.join("train.npz"), &features(700, 450, 0.0));
    write(&at.join("test.npz"), &features(500, 450, 0.5));
    let run = |options: &[&str], out: &str| {
        let fixed = [
            "--l2",
            "0.01",
            "--scores",
            "--skip-train",
            "--top",
            "10",
            "--out",
            out,
        ];
        let (code, _, err) = rank(at, &[options, &fixed].concat());
        assert_eq!(code, 0, "{options:?}: {err}");
        std::fs::read(at.join(out).join("scores.npy")).unwrap()
    };
    run(&["--solver", "identity"], "fitted");
    let head = ["--head", "fitted/head.safetensors"];
    let choices: [&[&str]; 6] = [
        &["--solver", "direct"],
        &["--solver", "direct", "--precision", "f64"],
        &["--solver", "direct", "--certify", "10"],
        &["--solver", "cg"],
        &["--solver", "ekfac"],
        &["--solver", "pinv", "--rcond", "1e-3"],
    ];
    for (which, options) in choices.iter().enumerate() {
        let with = |threads: &str| {
            let words = [*options, &head, &["--threads", threads]].concat();
            run(&words, &format!("{which}-{threads}"))
        };
        let one = with("1");
        for threads in ["2", "3"] {
            assert!(
                with(threads) == one,
                "{options:?}: {threads} threads give other scores"
            );
        }
    }
}

#[test]
fn a_fitted_head_is_stored_and_gives_the_same_scores_when_read_back() {
    let folder = place();
    let precise = ["--l2", "0.01", "--precision", "f64", "--scores"];
    let (code, out, err) = rank(folder.path(), &[&precise[..], &["--out", "a"]].concat());
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("positive = helpful") && out.contains("results in a"),
        "{out}"
    );
    assert!(
        err.contains("test: 360 scores") && err.contains("train: 1600 scores"),
        "{err}"
    );
    let with_head = [
        "--head",
        "a/head.safetensors",
        "--solver",
        "cg",
        "--out",
        "b",
        "--json",
    ];
    let (code, out, err) = rank(folder.path(), &[&precise[..], &with_head].concat());
    assert_eq!(code, 0, "{err}");
    let (a, b) = (scores(folder.path(), "a"), scores(folder.path(), "b"));
    assert_eq!(a.dim(), (9, 40));
    let largest = a
        .iter()
        .fold(0.0f32, |largest, score| largest.max(score.abs()));
    assert!((&a - &b).iter().all(|error| error.abs() < 1e-6 * largest));

    let printed: Value = serde_json::from_str(&out).unwrap();
    let record: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("b/run.json")).unwrap()).unwrap();
    assert_eq!(record["status"], "finished");
    assert_eq!(
        record["results"]["solves"]["train"]["outcomes"]["converged"],
        40
    );
    assert_eq!(record["options"]["tolerance"], 1e-10);
    assert!(record["results"]["gradient_norm"].as_f64().unwrap() < 1e-9);
    let mut results = record["results"].clone();
    let plan = results.as_object_mut().unwrap().remove("plan").unwrap();
    assert_eq!(plan["solves_for"], "train");
    let digests = results.as_object_mut().unwrap().remove("digests").unwrap();
    let scores = ascribe::artefact::digest_file(folder.path().join("b/scores.npy")).unwrap();
    assert_eq!(digests["scores.npy"], scores);
    assert_eq!(printed["results"], results);
    for name in [
        "rankings.parquet",
        "train_rankings.parquet",
        "self_influence.parquet",
        "solves.parquet",
    ] {
        assert!(folder.path().join("a").join(name).exists(), "{name}");
    }
}

#[test]
fn a_solver_that_stops_early_exits_with_3_and_says_what_to_do() {
    let folder = place();
    let hurried = [
        "--l2",
        "1e-4",
        "--damping",
        "0",
        "--solver",
        "cg",
        "--iterations",
        "1",
        "--skip-train",
        "--out",
        "a",
    ];
    let (code, _, err) = rank(folder.path(), &hurried);
    assert_eq!(code, 3, "{err}");
    assert!(
        err.contains("test set: 9 of 9 solves missed the tolerance")
            && err.contains("raise --iterations"),
        "{err}"
    );
    assert!(
        folder.path().join("a/rankings.parquet").exists()
            && !folder.path().join("a/self_influence.parquet").exists()
    );
}

#[test]
fn a_damping_path_is_written_drawn_and_suggests_a_damping() {
    let folder = place();
    let options = ["--l2", "0.01", "--skip-train", "--damping-path"];
    let more = ["--damping", "0.01", "--path-queries", "4", "--out", "a"];
    let (code, out, err) = rank(folder.path(), &[&options[..], &more].concat());
    assert_eq!((code, err.as_str()), (0, "test: 360 scores\n"), "{err}");
    let run = folder.path().join("a");
    let record: Value =
        serde_json::from_slice(&std::fs::read(run.join("run.json")).unwrap()).unwrap();
    let path = &record["results"]["damping_path"];
    assert_eq!(
        (&path["query_count"], &path["ranks"]),
        (&4.into(), &10.into())
    );
    assert_eq!(record["options"]["path-queries"], 4);
    let points = path["points"].as_array().unwrap();
    assert_eq!((points.len(), &points[6]["rbo_chosen"]), (13, &1.0.into()));
    for (at, point) in points.iter().enumerate() {
        for name in [
            "jaccard_next",
            "rbo_next",
            "jaccard_chosen",
            "rbo_chosen",
            "rbo_smallest",
        ] {
            let is_last = at == 12 && name.ends_with("next");
            let sound = |value: f64| (0.0..=1.0).contains(&value);
            assert!(point[name].as_f64().map_or(is_last, sound), "{point}");
        }
        assert_eq!(point["converged"], 1.0);
    }
    let sizes: Vec<f64> = points
        .iter()
        .map(|point| point["median_top_score_nats"].as_f64().unwrap())
        .collect();
    assert!(sizes.windows(2).all(|pair| pair[0] > pair[1]), "{sizes:?}");
    let suggested = path["suggestion"]["damping"].as_f64().unwrap();
    assert!(
        points
            .iter()
            .any(|point| point["damping"].as_f64() == Some(suggested))
    );
    let line = out
        .lines()
        .find(|line| line.starts_with("suggested --damping "))
        .unwrap();
    assert!(
        line.ends_with(path["suggestion"]["reason"].as_str().unwrap()),
        "{line}"
    );
    for ending in ["parquet", "csv", "svg", "png"] {
        let file = run.join(format!("damping_path.{ending}"));
        assert!(std::fs::metadata(file).unwrap().len() > 500, "{ending}");
    }
    let again = ["--damping", "0.01", "--path-queries", "4", "--out", "b"];
    let again = [&options[..], &again, &["--style", "screen"]].concat();
    assert_eq!(rank(folder.path(), &again).0, 0);
    let read = |run: &str, ending: &str| {
        let file = folder
            .path()
            .join(run)
            .join(format!("damping_path.{ending}"));
        std::fs::read_to_string(file).unwrap()
    };
    assert_eq!(read("a", "csv"), read("b", "csv"));
    assert!(read("a", "svg").contains("mm\"") && !read("b", "svg").contains("mm\""));
}

/// A head fitted with an L2 term is ranked by its own loss; one without has a damping that bounds the inverse.
#[test]
fn the_usual_damping_is_none_where_the_loss_has_an_l2_term() {
    let folder = place();
    let ranked = |words: &str, out: &str| {
        let words =
            format!("{words} --scores --skip-train --damping-path --path-queries 3 --out {out}");
        let (code, said, err) = rank(folder.path(), &words.split(' ').collect::<Vec<_>>());
        assert_eq!(code, 0, "{err}");
        let file = folder.path().join(out).join("run.json");
        let record: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        (record, said)
    };
    let (fitted, said) = ranked("--l2 1e-2", "fitted");
    ranked("--l2 1e-2 --damping 0", "undamped");
    assert_eq!(fitted["options"]["damping"], 0.0);
    assert_eq!(
        scores(folder.path(), "fitted"),
        scores(folder.path(), "undamped")
    );
    let path = &fitted["results"]["damping_path"];
    let points = path["points"].as_array().unwrap();
    assert_eq!((path["damping"].as_f64(), points.len()), (Some(0.0), 14));
    assert_eq!(
        (&points[0]["damping"], &points[7]["damping"]),
        (&0.0.into(), &1e-2.into())
    );
    assert_eq!(
        (&points[0]["rbo_chosen"], &points[0]["rbo_smallest"]),
        (&1.0.into(), &1.0.into())
    );
    assert_eq!(points[7]["rbo_chosen"], points[7]["rbo_smallest"]);
    assert!(
        said.contains("\nsuggested --damping 0: from 0 to "),
        "{said}"
    );
    let picture = std::fs::read_to_string(folder.path().join("fitted/damping_path.svg")).unwrap();
    assert!(picture.contains("in use 0\n") && picture.contains("left end"));

    let given = "--head fitted/head.safetensors --l2 0";
    let (without, _) = ranked(given, "without");
    ranked(&format!("{given} --damping 1e-3"), "damped");
    assert_eq!(without["options"]["damping"], 1e-3);
    assert_eq!(
        scores(folder.path(), "without"),
        scores(folder.path(), "damped")
    );
    assert_ne!(
        scores(folder.path(), "without"),
        scores(folder.path(), "fitted")
    );
}

#[test]
fn a_damping_path_that_cannot_be_computed_is_refused() {
    let folder = place();
    let path = ["--l2", "0.01", "--damping-path"];
    let refused = |more: &[&str], parts: &[&str]| {
        refused(folder.path(), &[&path[..], more].concat(), parts);
    };
    refused(
        &["--path-queries", "0"],
        &["--path-queries: 0", "1 or more"],
    );
    refused(&["--solver", "ekfac"], &["--damping-path:", "direct or cg"]);
    refused(
        &["--normalise", "l-relatif"],
        &["--damping-path:", "--normalise"],
    );
    refused(
        &["--correction", "leverage"],
        &["--damping-path:", "--correction"],
    );
    let fitted = ["--l2", "0.01", "--skip-train", "--out", "fitted"];
    assert_eq!(rank(folder.path(), &fitted).0, 0);
    self::refused(
        folder.path(),
        &[
            "--head",
            "fitted/head.safetensors",
            "--l2",
            "0",
            "--damping",
            "0",
            "--damping-path",
        ],
        &["--damping-path:", "above 0"],
    );
    let (code, _, err) = rank(
        folder.path(),
        &["--l2", "0.01", "--path-queries", "3", "--out", "b"],
    );
    assert!(code == 2 && err.contains("--damping-path"), "{err}");
    let slides = [&path[..], &["--style", "slides", "--out", "b"]].concat();
    let (code, _, err) = rank(folder.path(), &slides);
    assert!(code == 2 && err.contains("paper or screen"), "{err}");
}

fn refused(folder: &Path, arguments: &[&str], parts: &[&str]) {
    let (code, out, err) = rank(folder, &[arguments, &["--out", "refused"]].concat());
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(!folder.join("refused").exists());
    assert!(parts.iter().all(|part| err.contains(part)), "{err}");
}

#[test]
fn some_queries_have_the_scores_that_they_have_among_all() {
    let folder = place();
    for (out, options) in [("all", &[][..]), ("some", &["--queries", "3"])] {
        let words = [
            "--l2",
            "0.01",
            "--precision",
            "f64",
            "--top",
            "2",
            "--out",
            out,
        ];
        let (code, _, err) = rank(folder.path(), &[&words[..], options].concat());
        assert_eq!(code, 0, "{err}");
    }
    let of = |run: &str, name: &str| {
        let file = format!("{run}/rankings.parquet");
        column(folder.path(), &file, name)
    };
    let (query, score) = (of("some", "query"), of("some", "score"));
    assert_eq!(query, [0.0, 0.0, 3.0, 3.0, 6.0, 6.0]);
    for (row, query) in query.iter().enumerate() {
        let among_all = of("all", "score")[2 * *query as usize + row % 2];
        assert!((score[row] - among_all).abs() < 1e-9 * among_all.abs());
    }
    let few = ["--l2", "0.01", "--queries", "10"];
    refused(
        folder.path(),
        &few,
        &["--queries: 10 is not between 1 and the 9 test images"],
    );
}

/// Classes of which the training images have none are nothing to refuse where the head has them.
#[test]
fn queries_may_be_of_any_class_of_the_head() {
    let folder = place();
    let (code, _, err) = rank(folder.path(), &["--l2", "0.01", "--out", "fitted"]);
    assert_eq!(code, 0, "{err}");
    let (few, labels) = features(40, 5, 0.0);
    let known: Vec<usize> = (0..40).filter(|&row| labels[row] < 2).collect();
    let part = (
        few.select(ndarray::Axis(0), &known),
        labels.select(ndarray::Axis(0), &known),
    );
    write(&folder.path().join("train.npz"), &part);
    let head = ["--l2", "0.01", "--head", "fitted/head.safetensors"];
    let (code, out, err) = rank(folder.path(), &[&head[..], &["--out", "given"]].concat());
    assert_eq!(code, 0, "{out}{err}");
    refused(
        folder.path(),
        &["--l2", "0.01"],
        &["test.npz: row", "expected a label below 2"],
    );
}

#[test]
fn scores_beyond_f32_are_not_written_as_infinite() {
    let folder = place();
    let path = folder.path();
    for name in ["train.npz", "test.npz"] {
        let (values, labels) = features(9, 5, 0.5);
        write(&path.join(name), &(values * 1e20, labels));
    }
    let mut head = NpzWriter::new(File::create(path.join("head.npz")).unwrap());
    head.add_array("weight", &Array2::<f64>::zeros((3, 5)))
        .unwrap();
    head.add_array("bias", &Array1::<f64>::zeros(3)).unwrap();
    head.finish().unwrap();
    let plain = [
        "--head",
        "head.npz",
        "--precision",
        "f64",
        "--solver",
        "identity",
    ];
    let found = [
        "refused/scores.npy: a score in f32: not a finite number at row 0",
        "leave out --scores",
    ];
    let scores = ["--scores", "--out", "refused"];
    let (code, _, err) = rank(path, &[&plain[..], &scores].concat());
    let line = err.lines().last().unwrap_or_default();
    assert!(
        code == 1 && found.iter().all(|part| line.contains(part)),
        "{err}"
    );
    assert!(!path.join("refused").exists());
    let (code, _, err) = rank(path, &[&plain[..], &["--out", "ranked"]].concat());
    assert_eq!(code, 0, "{err}");
}

#[test]
fn bad_input_is_one_line_with_file_and_remedy() {
    let folder = place();
    let path = folder.path();
    refused(path, &[], &["--l2:", "1e-3"]);
    refused(path, &["--l2", "0"], &["--l2:"]);
    refused(path, &["--l2", "0.1", "--damping=-1"], &["--damping: -1"]);
    refused(
        path,
        &["--l2", "0.1", "--head", "absent.safetensors"],
        &["absent.safetensors", "check the path"],
    );
    refused(path, &["--l2", "0.1", "--top", "0"], &["--top:"]);
    write(&path.join("test.npz"), &features(9, 4, 0.5));
    refused(
        path,
        &["--l2", "0.1"],
        &["test.npz: features: expected 5 columns (as in train.npz), found 4"],
    );
    let (values, mut labels) = features(9, 5, 0.5);
    labels[7] = 3;
    write(&path.join("test.npz"), &(values, labels));
    refused(
        path,
        &["--l2", "0.1"],
        &["test.npz: row 7: expected a label below 3", "found 3"],
    );
}

#[test]
fn what_is_hardly_meant_is_told() {
    let folder = place();
    let at = folder.path();
    let fixed = ["--l2", "0.01", "--top", "3", "--skip-train"];
    let (code, _, err) = rank(at, &[&fixed[..], &["--out", "usual"]].concat());
    assert_eq!((code, err.contains("ascribe: ")), (0, false), "{err}");

    // A label that stands for none makes classes up to it.
    let (values, mut labels) = features(40, 5, 0.0);
    labels[7] = 20;
    write(&at.join("train.npz"), &(values, labels));
    let (code, _, err) = rank(at, &[&fixed[..], &["--out", "gaps"]].concat());
    assert_eq!(code, 0, "{err}");
    let said = "train.npz: 17 of 21 classes have no image";
    assert!(err.contains(said), "{err}");

    std::fs::copy(at.join("test.npz"), at.join("train.npz")).unwrap();
    let (code, _, err) = rank(at, &[&fixed[..], &["--out", "same"]].concat());
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains("--train and --test are the same images"),
        "{err}"
    );
}

#[test]
fn a_finished_run_is_not_overwritten() {
    let folder = place();
    let arguments = ["--l2", "0.01", "--out", "a"];
    assert_eq!(rank(folder.path(), &arguments).0, 0);
    let (code, _, err) = rank(folder.path(), &arguments);
    assert_eq!((code, err.lines().count()), (1, 1), "{err}");
    let other = ["--l2", "0.02", "--out", "a"];
    assert!(rank(folder.path(), &other).2.contains("l2"));
}

fn table(folder: &Path, file: &str) -> ParquetRecordBatchReaderBuilder<File> {
    let file = File::open(folder.join(file)).unwrap();
    ParquetRecordBatchReaderBuilder::try_new(file).unwrap()
}

/// One column of words of a table.
fn words(folder: &Path, file: &str, name: &str) -> Vec<String> {
    let mut values = Vec::new();
    for batch in table(folder, file).build().unwrap() {
        let batch = batch.unwrap();
        let column = batch.column_by_name(name).unwrap();
        let column = arrow::array::AsArray::as_string::<i32>(column);
        values.extend(column.iter().map(|value| value.unwrap().to_owned()));
    }
    values
}

/// The unit that a table says its scores have.
fn unit(folder: &Path, file: &str) -> String {
    let table = table(folder, file);
    let stored = table.metadata().file_metadata().key_value_metadata();
    let mut stored = stored.unwrap().iter();
    let unit = stored.find(|pair| pair.key == "ascribe.unit").unwrap();
    unit.value.clone().unwrap()
}

/// One column of a table as f64; null as NaN.
fn column(folder: &Path, file: &str, name: &str) -> Vec<f64> {
    use arrow::array::Array;
    use arrow::compute::cast;
    use arrow::datatypes::{DataType, Float64Type};
    let reader = table(folder, file).build().unwrap();
    let mut values = Vec::new();
    for batch in reader {
        let column = cast(
            batch.unwrap().column_by_name(name).unwrap(),
            &DataType::Float64,
        )
        .unwrap();
        let column = arrow::array::AsArray::as_primitive::<Float64Type>(&column);
        values.extend((0..column.len()).map(|row| {
            if column.is_valid(row) {
                column.value(row)
            } else {
                f64::NAN
            }
        }));
    }
    values
}

#[test]
fn normalised_scores_are_the_plain_ones_divided() {
    let folder = place();
    let fixed = [
        "--l2",
        "0.01",
        "--precision",
        "f64",
        "--scores",
        "--damping",
        "0",
    ];
    let run = |out: &str, extra: &[&str]| {
        let (code, _, err) = rank(
            folder.path(),
            &[&fixed[..], extra, &["--out", out]].concat(),
        );
        assert_eq!(code, 0, "{err}");
        scores(folder.path(), out)
    };
    let plain = run("plain", &[]);
    let own = column(
        folder.path(),
        "plain/self_influence.parquet",
        "self_influence",
    );
    let relative = run("l", &["--normalise", "l-relatif"]);
    for ((query, train), score) in relative.indexed_iter() {
        let expected = f64::from(plain[[query, train]]) / (40.0 * own[train]).sqrt();
        assert!((f64::from(*score) - expected).abs() < 1e-5 * expected.abs().max(1e-3));
    }
    let theta = run("theta", &["--normalise", "theta-relatif"]);
    let ratio = |row: usize, train: usize| plain[[row, train]] / theta[[row, train]];
    // The divisor is the training image's alone, and not the same for all.
    assert!((0..40).all(|train| (ratio(0, train) / ratio(5, train) - 1.0).abs() < 1e-3));
    assert!((0..40).any(|train| (ratio(0, train) / ratio(0, 0) - 1.0).abs() > 0.1));
    // Without curvature an image's own score is the length of its gradient; without division, the square of that by n.
    let self_influence = |options: &[&str], out: &str| {
        run(out, &[&["--solver", "identity"], options].concat());
        let file = format!("{out}/self_influence.parquet");
        column(folder.path(), &file, "self_influence")
    };
    let squares = self_influence(&[], "squares");
    let lengths = self_influence(&["--normalise", "theta-relatif"], "lengths");
    for (square, length) in squares.iter().zip(&lengths) {
        assert!((length - (40.0 * square).sqrt()).abs() < 1e-5 * length);
    }
    let cosine = run("cosine", &["--solver", "identity", "--normalise", "cosine"]);
    assert!(cosine.iter().all(|score| score.abs() <= 1.0 + 1e-6));
    let own = column(
        folder.path(),
        "cosine/self_influence.parquet",
        "self_influence",
    );
    assert!(
        own.iter().all(|score| (score - 1.0).abs() < 1e-6),
        "an image with itself"
    );
    refused(
        folder.path(),
        &["--l2", "0.01", "--normalise", "cosine"],
        &["--normalise", "identity"],
    );
}

/// What divides is the training images' own, so that these are solved for even where the queries are fewer.
#[test]
fn divided_scores_are_the_same_where_training_images_are_no_queries() {
    let folder = place();
    for how in ["l-relatif", "theta-relatif"] {
        let run = |name: &str, extra: &[&str]| {
            let out = format!("{how}-{name}");
            let fixed = ["--l2", "0.01", "--precision", "f64", "--scores"];
            let words = ["--normalise", how, "--out", out.as_str()];
            let (code, _, err) = rank(folder.path(), &[&fixed[..], &words, extra].concat());
            assert_eq!(code, 0, "{err}");
            scores(folder.path(), &out)
        };
        assert_eq!(run("all", &[]), run("alone", &["--skip-train"]), "{how}");
    }
}

#[test]
fn groups_have_the_mean_scores_of_the_queries_that_they_are_named_after() {
    let folder = place();
    let at = folder.path();
    // The head is right about all queries as they were.
    let (values, mut labels) = features(9, 5, 0.5);
    for row in [1, 4, 5] {
        labels[row] = (labels[row] + 1) % 3;
    }
    write(&at.join("test.npz"), &(values, labels));
    let run = |out: &str, options: &[&str]| {
        let fixed = ["--l2", "0.01", "--precision", "f64", "--scores"];
        let ranks = ["--top", "40", "--bottom", "3", "--out", out];
        let (code, _, err) = rank(at, &[&fixed[..], &ranks, options].concat());
        assert_eq!(code, 0, "{err}");
        scores(at, out)
    };
    let plain = run("plain", &[]);
    let rankings = read_rankings(&at.join("plain/rankings.parquet")).unwrap();
    let wrong = (rankings.iter()).filter(|query| query.query_label != query.query_prediction);
    assert_eq!(wrong.count(), 3);
    for by in ["class", "confusion"] {
        let (corrected, divided) = (format!("corrected-{by}"), format!("divided-{by}"));
        let groups = ["--query-groups", by];
        let own = run(
            &corrected,
            &[&groups[..], &["--correction", "leverage"]].concat(),
        );
        assert!(apart(&own, &plain) > 0.01);
        check_groups(at, &corrected, by, &own);
        // Groups have plain scores, whatever those of queries are divided by.
        let own = run(
            &divided,
            &[&groups[..], &["--normalise", "l-relatif"]].concat(),
        );
        assert!(apart(&own, &plain) > 0.01);
        check_groups(at, &divided, by, &plain);
    }
}

/// The largest difference, relative to the largest of `plain`.
fn apart(scores: &Array2<f32>, plain: &Array2<f32>) -> f32 {
    let largest = |values: &Array2<f32>| values.iter().fold(0.0, |most, v| f32::max(most, v.abs()));
    largest(&(scores - plain)) / largest(plain)
}

/// The groups of a run with 40 helpful and 3 harmful images each, against `scores` of its queries.
fn check_groups(folder: &Path, run: &str, by: &str, scores: &Array2<f32>) {
    let file = format!("{run}/group_rankings.parquet");
    assert_eq!(unit(folder, &file), "nats");
    let names = words(folder, &file, "group");
    let of = |name: &str| column(folder, &file, name);
    let (queries, ranks, trains, found) = (of("queries"), of("rank"), of("train"), of("score"));
    let groups = named_groups(folder, run, by);
    assert_eq!(names.len(), 43 * groups.len());
    for (group, (name, members)) in groups.iter().enumerate() {
        let of_members = scores.select(Axis(0), members).mapv(f64::from);
        let means = of_members.mean_axis(Axis(0)).unwrap();
        let mut sorted = means.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let largest = sorted[0].abs().max(sorted[39].abs());
        for place in 0..43 {
            let row = 43 * group + place;
            let (rank, position) = match place {
                0..40 => (place as f64 + 1.0, place),
                _ => (39.0 - place as f64, 79 - place),
            };
            assert_eq!((&names[row], ranks[row]), (name, rank));
            assert_eq!(queries[row], members.len() as f64);
            for expected in [means[trains[row] as usize], sorted[position]] {
                let apart = (found[row] - expected).abs();
                assert!(apart < 1e-6 * largest, "{name}, rank {rank}: {apart:e}");
            }
        }
    }
}

/// The queries of a run, by position, under the names that their groups should have.
fn named_groups(folder: &Path, run: &str, by: &str) -> BTreeMap<String, Vec<usize>> {
    let rankings = read_rankings(&folder.join(run).join("rankings.parquet")).unwrap();
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (position, query) in rankings.iter().enumerate() {
        let (label, prediction) = (query.query_label, query.query_prediction);
        let name = match by {
            "class" => label.to_string(),
            _ => format!("{label} → {prediction}"),
        };
        groups.entry(name).or_default().push(position);
    }
    groups
}

#[test]
fn a_group_is_ranked_by_the_mean_of_its_queries() {
    let folder = place();
    std::fs::write(
        folder.path().join("groups.csv"),
        "query,group\n0,a\n3,a\n8,b\n",
    )
    .unwrap();
    let fixed = [
        "--l2",
        "0.01",
        "--precision",
        "f64",
        "--scores",
        "--top",
        "40",
    ];
    let groups = ["--query-groups", "groups.csv", "--out", "g"];
    let (code, _, err) = rank(folder.path(), &[&fixed[..], &groups].concat());
    assert_eq!(code, 0, "{err}");
    let plain = scores(folder.path(), "g");
    let table = |name| column(folder.path(), "g/group_rankings.parquet", name);
    let (trains, found, ranks) = (table("train"), table("score"), table("rank"));
    assert_eq!(
        (found.len(), table("queries")[0], table("queries")[40]),
        (80, 2.0, 1.0)
    );
    for (row, score) in found.iter().enumerate() {
        let train = trains[row] as usize;
        let expected = if row < 40 {
            0.5 * (plain[[0, train]] + plain[[3, train]])
        } else {
            plain[[8, train]]
        };
        assert!((score - f64::from(expected)).abs() < 1e-6);
        assert_eq!(ranks[row] as usize, row % 40 + 1);
    }
    for by in ["class", "confusion"] {
        let words = ["--query-groups", by, "--out", by];
        let (code, _, err) = rank(folder.path(), &[&fixed[..], &words].concat());
        assert_eq!(code, 0, "{err}");
    }
    // The columns may stand in either order.
    std::fs::write(
        folder.path().join("other.csv"),
        "group,query\na,0\na,3\nb,8\n",
    )
    .unwrap();
    let groups = ["--query-groups", "other.csv", "--out", "h"];
    let (code, _, err) = rank(folder.path(), &[&fixed[..], &groups].concat());
    assert_eq!(code, 0, "{err}");
    for name in ["queries", "rank", "train", "score"] {
        let of = |run: &str| column(&folder.path().join(run), "group_rankings.parquet", name);
        assert_eq!(of("g"), of("h"));
    }
    for (table, found) in [
        (
            "query,group\n77,a\n",
            "line 2: expected a query's id and its group, found 77, which is no query",
        ),
        (
            "query,group\n3,a\n3,a\n",
            "line 3: expected a query's id and its group, found query 3 once more",
        ),
        (
            "query,group\n3,\n",
            "line 2: expected a query's id and its group, found query 3 without a group",
        ),
        (
            "3,a\n5,b\n",
            "columns: expected a query's id and its group, found 3,a; give a CSV file",
        ),
        (
            "n,query,group\n1,0,a\n",
            "columns: expected a query's id and its group, found n,query,group",
        ),
        ("", "columns: expected a query's id and its group, found ;"),
    ] {
        std::fs::write(folder.path().join("bad.csv"), table).unwrap();
        let words = ["--l2", "0.01", "--query-groups", "bad.csv"];
        refused(folder.path(), &words, &["bad.csv: ", found]);
    }
}

#[test]
fn certified_ranks_carry_bounds_and_the_share_is_told() {
    let folder = place();
    let fixed = ["--l2", "0.01", "--top", "10", "--certify", "5"];
    for (out, extra) in [
        ("direct", &[][..]),
        ("cg", &["--solver", "cg", "--skip-train"][..]),
    ] {
        let (code, text, err) = rank(
            folder.path(),
            &[&fixed[..], extra, &["--out", out]].concat(),
        );
        assert_eq!(code, 0, "{err}");
        assert!(
            text.contains("certified: 100.00 % of the first 5 ranks"),
            "{text}"
        );
        let file = format!("{out}/rankings.parquet");
        let bounds = column(folder.path(), &file, "bound");
        let scores = column(folder.path(), &file, "score");
        assert!(
            bounds
                .iter()
                .zip(&scores)
                .all(|(bound, score)| *bound < 1e-2 * score.abs().max(1e-2))
        );
    }
    for (words, why) in [
        (&["--solver", "ekfac"][..], "exact scores"),
        (&["--normalise", "l-relatif"][..], "plain scores"),
        (&["--correction", "leverage"][..], "plain scores"),
        (
            &[
                "--damping",
                "0",
                "--head",
                "direct/head.safetensors",
                "--l2",
                "0",
            ][..],
            "--damping",
        ),
    ] {
        let certify: &[&str] = if why == "--damping" {
            &["--certify", "5"]
        } else {
            &fixed
        };
        refused(folder.path(), &[certify, words].concat(), &[why]);
    }
    refused(
        folder.path(),
        &["--l2", "0.01", "--certify", "0"],
        &["--certify: 0 ranks need no proof"],
    );
}

#[test]
fn the_device_is_named_in_the_plan_and_in_the_record_and_a_wrong_one_is_refused() {
    let folder = place();
    let words = ["--l2", "0.01", "--skip-train", "--device", "cpu"];
    let (code, out, err) = rank(
        folder.path(),
        &[&words[..], &["--dry-run", "--out", "r"]].concat(),
    );
    assert!(code == 0 && out.contains("GFLOP/s on cpu"), "{out}{err}");
    let (code, _, err) = rank(folder.path(), &[&words[..], &["--out", "run"]].concat());
    assert_eq!(code, 0, "{err}");
    let record = std::fs::read(folder.path().join("run/run.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["device"], "cpu");
    assert_eq!(record["options"]["device"], "cpu");
    assert_eq!(record["results"]["plan"]["device"], "cpu");
    let wrong = ["--l2", "0.01", "--device", "gpu", "--out", "never"];
    let (code, _, err) = rank(folder.path(), &wrong);
    assert!(
        code == 2 && err.contains("cpu, cuda or cuda:N, found gpu"),
        "{err}"
    );
    #[cfg(not(feature = "cuda"))]
    refused(
        folder.path(),
        &["--l2", "0.01", "--device", "cuda"],
        &["--device: cuda:0: this ascribe was built for the processor alone"],
    );
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let folder = place();
    let words = ["--l2", "0.01", "--dry-run", "--out", "never"];
    let (code, out, err) = rank(folder.path(), &words);
    assert_eq!(code, 0, "{err}");
    for part in [
        "solver direct: for 40 solves",
        "solves for the train images",
        "GFLOP/s",
        "GiB",
    ] {
        assert!(out.contains(part), "{out}");
    }
    assert!(!folder.path().join("never").exists());
    let (_, out, _) = rank(
        folder.path(),
        &[&words[..], &["--json", "--solver", "cg"]].concat(),
    );
    let plan: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&plan["method"], &plan["reason"]),
        (&"cg".into(), &"as asked for".into())
    );
    refused(
        folder.path(),
        &["--l2", "0.01", "--memory", "1e-7"],
        &["--memory: ", "too little"],
    );
    refused(
        folder.path(),
        &["--l2", "0.01", "--memory", "-1"],
        &["--memory: -1"],
    );
    // Little memory: the same scores in smaller blocks.
    let run = |out: &str, extra: &[&str]| {
        let fixed = [
            "--l2",
            "0.01",
            "--precision",
            "f64",
            "--scores",
            "--solver",
            "direct",
        ];
        let (code, _, err) = rank(
            folder.path(),
            &[&fixed[..], extra, &["--out", out]].concat(),
        );
        assert_eq!(code, 0, "{err}");
        scores(folder.path(), out)
    };
    let (wide, narrow) = (run("wide", &[]), run("narrow", &["--memory", "1.03e-4"]));
    assert!((&wide - &narrow).iter().all(|error| error.abs() < 1e-6));
}

#[test]
fn a_killed_run_goes_on_in_its_folder_to_the_same_result() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("train.npz"), &features(1200, 60, 0.0));
    write(&folder.path().join("test.npz"), &features(1500, 60, 0.5));
    // So little memory that there are several blocks.
    let common = "--train train.npz --test test.npz --l2 0.01 --certify 20 --memory 0.032";
    let files = [
        "rankings.parquet",
        "train_rankings.parquet",
        "self_influence.parquet",
    ];
    goes_on_to_the_same_bytes(folder.path(), common, "certified", &files);
}

#[test]
fn any_number_of_ranks_may_be_asked_for() {
    let folder = place();
    let at = folder.path();
    for (run, top) in [("all", "40"), ("more", "18446744073709551615")] {
        let words = ["--l2", "1e-2", "--certify", "5", "--top", top, "--out", run];
        let (code, _, error) = rank(at, &words);
        assert_eq!(code, 0, "{error}");
    }
    for file in ["rankings.parquet", "train_rankings.parquet"] {
        let read = |run: &str| ascribe::influence::read_rankings(&at.join(run).join(file)).unwrap();
        let (all, more) = (read("all"), read("more"));
        assert_eq!(all.len(), more.len());
        for (all, more) in all.iter().zip(&more) {
            assert_eq!(all.helpful, more.helpful);
            assert!(all.helpful.len() >= 39);
        }
    }
}

#[test]
fn a_head_says_what_it_was_trained_with() {
    let folder = place();
    let at = folder.path();
    let fixed = ["--scores", "--skip-train", "--damping", "0"];
    let scored = |words: &[&str], run: &str| {
        let (code, _, error) = rank(at, &[words, &fixed, &["--out", run]].concat());
        assert_eq!(code, 0, "{error}");
        (scores(at, run), error)
    };
    let (fitted, _) = scored(&["--l2", "1e-2"], "fitted");
    let (again, said) = scored(&["--head", "fitted/head.safetensors"], "again");
    assert!(!said.contains("--l2"), "{said}");
    for (again, fitted) in again.iter().zip(&fitted) {
        assert!((again - fitted).abs() <= 1e-4 * fitted.abs().max(1e-3));
    }
    let head = ascribe::data::HeadFile::open(&at.join("fitted/head.safetensors")).unwrap();
    assert_eq!(head.l2, Some(1e-2));
    let tensors = [("weight", head.weight), ("bias", head.bias)];
    let silent = safetensors::serialize(tensors, None).unwrap();
    std::fs::write(at.join("silent.safetensors"), silent).unwrap();
    let (code, _, said) = rank(at, &["--head", "silent.safetensors", "--out", "silent"]);
    assert!(code == 0 && said.contains("taken as 0"), "{said}");
}

#[test]
fn examples_say_which_rows_and_columns_are_which_images() {
    let folder = place();
    let at = folder.path();
    let words = [
        "--l2",
        "1e-2",
        "--queries",
        "3",
        "--scores",
        "--skip-train",
        "--out",
        "run",
    ];
    let (code, _, error) = rank(at, &words);
    assert_eq!(code, 0, "{error}");
    let of = |name: &str| column(&at.join("run"), "examples.parquet", name);
    let (positions, images) = (of("position"), of("image"));
    assert_eq!(positions.len(), 3 + 40);
    assert_eq!(positions[..4], [0.0, 1.0, 2.0, 0.0]);
    assert_eq!(images[3..], positions[3..]);
    let scores = scores(at, "run");
    let rankings = ascribe::influence::read_rankings(&at.join("run/rankings.parquet")).unwrap();
    for (row, ranking) in rankings.iter().enumerate() {
        assert_eq!(images[row], ranking.query as f64);
        let first = &ranking.helpful[0];
        assert!((f64::from(scores[[row, first.train]]) - first.score).abs() < 1e-7);
    }
}

#[test]
fn features_that_are_kept_give_the_same_scores() {
    let place = tempfile::tempdir().unwrap();
    let run = |words: &str| {
        let mut command = Command::cargo_bin("ascribe").unwrap();
        let output = command
            .current_dir(place.path())
            .args(words.split_whitespace())
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), error)
    };
    let transfer = "transfer --source builtin:robust --train builtin:digits-train --test builtin:digits-test --images 60 \
                    --blocks 1 --epochs 2 --batch-size 20 --augmentation none --out model";
    assert_eq!(run(transfer).0, Some(0));
    let ranked = "rank --model model --queries 40 --scores --keep-features --out own";
    assert_eq!(run(ranked).0, Some(0));
    let again = "rank --train own/train_features.safetensors --test own/test_features.safetensors \
                 --head own/head.safetensors --scores --out again";
    assert_eq!(run(again).0, Some(0));
    for file in ["scores.npy", "train_scores.npy"] {
        let [own, again] =
            ["own", "again"].map(|run| std::fs::read(place.path().join(run).join(file)).unwrap());
        assert!(own == again, "{file}");
    }
    let classes =
        ascribe::data::Features::open(&place.path().join("own/train_features.safetensors"));
    assert_eq!(classes.unwrap().classes.unwrap().len(), 10);
    let (code, error) = run("rank --model model --blocks 1 --keep-features --out blocks");
    assert!(
        code == Some(1) && error.contains("--keep-features: is for scores through the head"),
        "{error}"
    );
    // 540 rows: 2.2 MiB between them.
    let little =
        "rank --model model --blocks 1 --queries 2 --solver direct --memory 0.001 --out little";
    let (code, error) = run(little);
    let expected =
        "--memory: direct with the products of 540 gradients with each other takes at least ";
    assert!(code == Some(1) && error.contains(expected), "{error}");
    assert!(error.contains("choose --solver cg"), "{error}");
    let (code, error) = run("rank --out little");
    assert!(
        code == Some(1) && error.contains("or --train and --test with features"),
        "{error}"
    );
    let (code, error) = run("rank --model model --record-every -1 --out little");
    assert!(
        code == Some(1) && error.contains("expected seconds, 0 or more, found -1"),
        "{error}"
    );
}

#[test]
fn features_too_large_for_the_l2_term_of_a_head_are_told_as_such() {
    let folder = place();
    let folder = folder.path();
    let (mut large, labels) = features(60, 5, 0.3);
    large *= 1e9;
    write(&folder.join("train.npz"), &(large, labels));
    let parts = [
        "--l2: 0.01 is too small beside features of this size",
        "scale the features",
    ];
    refused(folder, &["--l2", "1e-2"], &parts);
}
