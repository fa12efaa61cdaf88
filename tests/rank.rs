//! `ascribe rank` end to end on features files.

use assert_cmd::Command;
use ndarray::{Array1, Array2};
use ndarray_npy::{NpzWriter, read_npy};
use serde_json::Value;
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
    assert_eq!(printed["results"], record["results"]);
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
        "3",
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
        for name in ["jaccard_next", "rbo_next", "jaccard_chosen", "rbo_chosen"] {
            let is_last = at == 12 && name.ends_with("next");
            let sound = |value: f64| (0.0..=1.0).contains(&value);
            assert!(point[name].as_f64().map_or(is_last, sound), "{point}");
        }
        assert_eq!(point["converged"], 1.0);
    }
    let sizes: Vec<f64> = points
        .iter()
        .map(|point| point["median_top_score"].as_f64().unwrap())
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
    refused(&["--damping", "0"], &["--damping-path:", "above 0"]);
    refused(&["--solver", "ekfac"], &["--damping-path:", "direct or cg"]);
    refused(
        &["--normalise", "l-relatif"],
        &["--damping-path:", "--normalise"],
    );
    let (code, _, err) = rank(
        folder.path(),
        &["--l2", "0.01", "--path-queries", "3", "--out", "b"],
    );
    assert!(code == 2 && err.contains("--damping-path"), "{err}");
}

fn refused(folder: &Path, arguments: &[&str], parts: &[&str]) {
    let (code, out, err) = rank(folder, &[arguments, &["--out", "refused"]].concat());
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(!folder.join("refused").exists());
    assert!(parts.iter().all(|part| err.contains(part)), "{err}");
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
fn a_finished_run_is_not_overwritten() {
    let folder = place();
    let arguments = ["--l2", "0.01", "--out", "a"];
    assert_eq!(rank(folder.path(), &arguments).0, 0);
    let (code, _, err) = rank(folder.path(), &arguments);
    assert_eq!((code, err.lines().count()), (1, 1), "{err}");
    let other = ["--l2", "0.02", "--out", "a"];
    assert!(rank(folder.path(), &other).2.contains("l2"));
}
