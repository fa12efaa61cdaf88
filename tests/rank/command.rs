//! `ascribe rank` end to end on features files.

use crate::command_line::{self, ascribe, both, run};
use crate::killed_run::{goes_on_to_the_same_bytes, record};
use crate::parquet_table::{numbers, table, words};
use crate::rank::archives::{overlapping, waves, write};
use crate::rank::scores;
use ascribe::influence::read_rankings;
use ndarray::{Array1, Array2, Axis};
use ndarray_npy::NpzWriter;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

const RANK: &str = "rank --train train.npz --test test.npz";

/// A folder with `train.npz` (40 × 5) and `test.npz` (9 × 5), three classes.
fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("train.npz"), &waves(40, 5, 0.0));
    write(&folder.path().join("test.npz"), &waves(9, 5, 0.5));
    folder
}

/// The exit code, and what is said on standard error.
fn failed(folder: &Path, words: &str) -> (Option<i32>, String) {
    let output = ascribe(folder, &format!("{RANK} {words}"));
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

/// What a run that succeeds says on standard output and on standard error.
fn rank(folder: &Path, words: &str) -> (String, String) {
    both(folder, &format!("{RANK} {words}"))
}

fn refused(folder: &Path, words: &str, parts: &[&str]) {
    let output = ascribe(folder, &format!("{RANK} {words} --out refused"));
    let [out, said] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    assert_eq!((output.status.code(), &*out), (Some(1), ""), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!folder.join("refused").exists());
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
}

/// Large enough that products, factorisations and eigenproblems are cut into parts.
#[test]
fn threads_change_no_digit() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(&at.join("train.npz"), &waves(700, 450, 0.0));
    write(&at.join("test.npz"), &waves(500, 450, 0.5));
    let run = |options: &str, out: &str| {
        let fixed = "--l2 0.01 --scores --skip-train --top 10";
        rank(at, &format!("{options} {fixed} --out {out}"));
        std::fs::read(at.join(out).join("scores.npy")).unwrap()
    };
    run("--solver identity", "fitted");
    let choices = [
        "--solver direct",
        "--solver direct --precision f64",
        "--solver direct --certify 10",
        "--solver cg",
        "--solver ekfac",
        "--solver pinv --rcond 1e-3",
    ];
    for (which, options) in choices.iter().enumerate() {
        let with = |threads: &str| {
            let words = format!("{options} --head fitted/head.safetensors --threads {threads}");
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
    let place = place();
    let folder = place.path();
    let precise = "--l2 0.01 --precision f64 --scores";
    let (out, err) = rank(folder, &format!("{precise} --out a"));
    assert!(
        out.contains("positive = helpful") && out.contains("results in a"),
        "{out}"
    );
    assert!(
        err.contains("test: 360 scores") && err.contains("train: 1600 scores"),
        "{err}"
    );
    let with_head = "--head a/head.safetensors --solver cg --out b --json";
    let (out, _) = rank(folder, &format!("{precise} {with_head}"));
    let (a, b) = (scores(folder, "a"), scores(folder, "b"));
    assert_eq!(a.dim(), (9, 40));
    let largest = a
        .iter()
        .fold(0.0f64, |largest, score| largest.max(score.abs()));
    assert!((&a - &b).iter().all(|error| error.abs() < 1e-6 * largest));

    let printed: Value = serde_json::from_str(&out).unwrap();
    let record = record(folder, "b");
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
    let scores = ascribe::artefact::digest_file(folder.join("b/scores.npy")).unwrap();
    assert_eq!(digests["scores.npy"], scores);
    assert_eq!(printed["results"], results);
    for name in [
        "rankings.parquet",
        "train_rankings.parquet",
        "self_influence.parquet",
        "solves.parquet",
    ] {
        assert!(folder.join("a").join(name).exists(), "{name}");
    }
}

#[test]
fn a_solver_that_stops_early_exits_with_3_and_says_what_to_do() {
    let place = place();
    let folder = place.path();
    let hurried = "--l2 1e-4 --damping 0 --solver cg --iterations 1 --skip-train --out a";
    let (code, err) = failed(folder, hurried);
    assert_eq!(code, Some(3), "{err}");
    assert!(
        err.contains("test set: 9 of 9 solves missed the tolerance")
            && err.contains("raise --iterations"),
        "{err}"
    );
    assert!(
        folder.join("a/rankings.parquet").exists()
            && !folder.join("a/self_influence.parquet").exists()
    );
}

#[test]
fn a_damping_path_is_written_drawn_and_suggests_a_damping() {
    let folder = place();
    let words = "--l2 0.01 --skip-train --damping-path --damping 0.01 --path-queries 4";
    let (out, err) = rank(folder.path(), &format!("{words} --out a"));
    assert_eq!(err, "test: 360 scores\n");
    let run = folder.path().join("a");
    let record = record(folder.path(), "a");
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
    rank(folder.path(), &format!("{words} --out b --style screen"));
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
        let path = "--damping-path --path-queries 3";
        let words = format!("{words} --scores --skip-train {path} --out {out}");
        let (said, _) = rank(folder.path(), &words);
        (record(folder.path(), out), said)
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
    let place = place();
    let folder = place.path();
    let path = "--l2 0.01 --damping-path";
    let refuse = |more: &str, parts: &[&str]| refused(folder, &format!("{path} {more}"), parts);
    refuse("--path-queries 0", &["--path-queries: 0", "1 or more"]);
    refuse("--solver ekfac", &["--damping-path:", "direct or cg"]);
    let divided = ["--damping-path:", "--normalise"];
    refuse("--normalise l-relatif", &divided);
    let corrected = ["--damping-path:", "--correction"];
    refuse("--correction leverage", &corrected);
    rank(folder, "--l2 0.01 --skip-train --out fitted");
    let undamped = "--head fitted/head.safetensors --l2 0 --damping 0 --damping-path";
    refused(folder, undamped, &["--damping-path:", "above 0"]);
    let (code, err) = failed(folder, "--l2 0.01 --path-queries 3 --out b");
    assert!(code == Some(2) && err.contains("--damping-path"), "{err}");
    let (code, err) = failed(folder, &format!("{path} --style slides --out b"));
    assert!(code == Some(2) && err.contains("paper or screen"), "{err}");
}

#[test]
fn some_queries_have_the_scores_that_they_have_among_all() {
    let place = place();
    let folder = place.path();
    let words = "--l2 0.01 --precision f64 --top 2";
    rank(folder, &format!("{words} --out all"));
    rank(folder, &format!("{words} --queries 3 --out some"));
    let of = |run: &str, name: &str| numbers(&folder.join(run).join("rankings.parquet"), name);
    let (query, score) = (of("some", "query"), of("some", "score"));
    assert_eq!(query, [0.0, 0.0, 3.0, 3.0, 6.0, 6.0]);
    for (row, query) in query.iter().enumerate() {
        let among_all = of("all", "score")[2 * *query as usize + row % 2];
        assert!((score[row] - among_all).abs() < 1e-9 * among_all.abs());
    }
    let line = "--queries: 10 is not between 1 and the 9 test images";
    refused(folder, "--l2 0.01 --queries 10", &[line]);
}

/// Classes of which the training images have none are nothing to refuse where the head has them.
#[test]
fn queries_may_be_of_any_class_of_the_head() {
    let place = place();
    let folder = place.path();
    rank(folder, "--l2 0.01 --out fitted");
    let (few, labels) = waves(40, 5, 0.0);
    let known: Vec<usize> = (0..40).filter(|&row| labels[row] < 2).collect();
    let part = (few.select(Axis(0), &known), labels.select(Axis(0), &known));
    write(&folder.join("train.npz"), &part);
    rank(
        folder,
        "--l2 0.01 --head fitted/head.safetensors --out given",
    );
    let parts = ["test.npz: row", "expected a label below 2"];
    refused(folder, "--l2 0.01", &parts);
}

#[test]
fn scores_beyond_f32_are_written_in_f64() {
    let folder = place();
    let path = folder.path();
    for name in ["train.npz", "test.npz"] {
        let (values, labels) = waves(9, 5, 0.5);
        write(&path.join(name), &(values * 1e20, labels));
    }
    let mut head = NpzWriter::new(File::create(path.join("head.npz")).unwrap());
    head.add_array("weight", &Array2::<f64>::zeros((3, 5)))
        .unwrap();
    head.add_array("bias", &Array1::<f64>::zeros(3)).unwrap();
    head.finish().unwrap();
    let plain = "--head head.npz --precision f64 --solver identity";
    rank(path, &format!("{plain} --scores --out ranked"));
    let scores = scores(path, "ranked");
    assert!(scores.iter().any(|score| score.abs() > 1e39));
    for ranking in read_rankings(&path.join("ranked/rankings.parquet")).unwrap() {
        let first = ranking.helpful[0];
        assert_eq!(scores[[ranking.query, first.train]], first.score);
    }
}

#[test]
fn bad_input_is_one_line_with_file_and_remedy() {
    let folder = place();
    let path = folder.path();
    refused(path, "", &["--l2:", "1e-3"]);
    refused(path, "--l2 0", &["--l2:"]);
    refused(path, "--l2 -1e-3", &["--l2: -0.001 is not above 0"]);
    let line = "--damping: -0.001 is not a number of 0 or more";
    refused(path, "--l2 0.1 --damping -1e-3", &[line]);
    for (option, line) in [
        (
            "pinv --rcond -1e-3",
            "--rcond: -0.001 is not between 0 and 1",
        ),
        ("lissa --scale 0", "--scale: 0 is not a number above 0"),
        ("lissa --depth 0", "--depth: at least 1 is needed"),
    ] {
        refused(path, &format!("--l2 0.1 --solver {option}"), &[line]);
    }
    let line = "--tolerance: -0.5 is not between 0 and 1";
    refused(path, "--l2 0.1 --tolerance -.5", &[line]);
    let absent = ["absent.safetensors", "check the path"];
    refused(path, "--l2 0.1 --head absent.safetensors", &absent);
    refused(path, "--l2 0.1 --top 0", &["--top:"]);
    write(&path.join("test.npz"), &waves(9, 4, 0.5));
    let line = "test.npz: features: expected 5 columns (as in train.npz), found 4";
    refused(path, "--l2 0.1", &[line]);
    let (values, mut labels) = waves(9, 5, 0.5);
    labels[7] = 3;
    write(&path.join("test.npz"), &(values, labels));
    let parts = ["test.npz: row 7: expected a label below 3", "found 3"];
    refused(path, "--l2 0.1", &parts);
}

#[test]
fn what_is_hardly_meant_is_told() {
    let folder = place();
    let at = folder.path();
    let told = |out: &str| {
        let words = format!("--l2 0.01 --top 3 --skip-train --out {out}");
        rank(at, &words).1
    };
    let err = told("usual");
    assert!(!err.contains("ascribe: "), "{err}");

    // A label that stands for none makes classes up to it.
    let (values, mut labels) = waves(40, 5, 0.0);
    labels[7] = 20;
    write(&at.join("train.npz"), &(values, labels));
    let (err, said) = (told("gaps"), "train.npz: 17 of 21 classes have no image");
    assert!(err.contains(said), "{err}");

    std::fs::copy(at.join("test.npz"), at.join("train.npz")).unwrap();
    let (err, said) = (told("same"), "--train and --test are the same images");
    assert!(err.contains(said), "{err}");
}

#[test]
fn a_tolerance_counts_for_a_factorisation_too() {
    let folder = place();
    let at = folder.path();
    for solver in ["auto", "direct"] {
        let words = format!("--l2 0.01 --solver {solver} --tolerance 1e-9 --skip-train");
        let (code, err) = failed(at, &format!("{words} --out {solver}"));
        assert_eq!(code, Some(3), "{err}");
        let parts = ["stalled by rounding", "--precision f64"];
        assert!(parts.iter().all(|part| err.contains(part)), "{err}");
        rank(at, &format!("{words} --precision f64 --out {solver}-64"));
    }
    for solver in ["ekfac", "identity", "arnoldi", "pinv"] {
        let words = format!("--l2 0.01 --solver {solver} --tolerance 1e-9 --skip-train");
        let (_, err) = rank(at, &format!("{words} --out {solver}"));
        let note = format!("ascribe: --solver {solver} takes no --tolerance");
        assert!(err.contains(&note), "{err}");
        // Of the nine solves the first eight are measured.
        let solves = &record(at, solver)["results"]["solves"]["test"];
        assert_eq!(solves["unmeasured"], 1, "{solver}: {solves}");
        assert!(solves["largest_residual"].as_f64().unwrap() > 0.0);
    }
}

/// Six images say something along six of the 13 axes, for two of three classes each.
#[test]
fn a_threshold_below_rounding_keeps_no_rounding() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(&at.join("train.npz"), &overlapping(6, 12, 0.0));
    write(&at.join("test.npz"), &overlapping(9, 12, 0.5));
    for (precision, least) in [("f32", "1.9e-6"), ("f64", "3.6e-15")] {
        let words = "--l2 0.01 --solver pinv --rcond 1e-20 --skip-train --precision";
        let (_, err) = rank(at, &format!("{words} {precision} --out {precision}"));
        let note = format!("ascribe: --rcond 1e-20: eigenvalues below {least} of the largest");
        assert!(err.contains(&note), "{err}");
        assert_eq!(err.contains("--precision f64"), precision == "f32");
        let solver = record(at, precision)["results"]["solver"].clone();
        assert_eq!(solver["eigenpairs kept"], 12.0);
    }
}

#[test]
fn a_finished_run_is_not_overwritten() {
    let folder = place();
    rank(folder.path(), "--l2 0.01 --out a");
    let (code, err) = failed(folder.path(), "--l2 0.01 --out a");
    assert_eq!((code, err.lines().count()), (Some(1), 1), "{err}");
    let (_, err) = failed(folder.path(), "--l2 0.02 --out a");
    assert!(err.contains("l2"), "{err}");
}

/// The unit that a table says its scores have.
fn unit(file: &Path) -> String {
    let table = table(file);
    let stored = table.metadata().file_metadata().key_value_metadata();
    let mut stored = stored.unwrap().iter();
    let unit = stored.find(|pair| pair.key == "ascribe.unit").unwrap();
    unit.value.clone().unwrap()
}

#[test]
fn normalised_scores_are_the_plain_ones_divided() {
    let place = place();
    let folder = place.path();
    let run = |out: &str, extra: &str| {
        let fixed = "--l2 0.01 --precision f64 --scores --damping 0";
        rank(folder, &format!("{fixed} {extra} --out {out}"));
        scores(folder, out)
    };
    let own = |out: &str| {
        let file = folder.join(out).join("self_influence.parquet");
        numbers(&file, "self_influence")
    };
    let plain = run("plain", "");
    let of_plain = own("plain");
    let relative = run("l", "--normalise l-relatif");
    for ((query, train), score) in relative.indexed_iter() {
        let expected = plain[[query, train]] / (40.0 * of_plain[train]).sqrt();
        assert!((score - expected).abs() < 1e-5 * expected.abs().max(1e-3));
    }
    let theta = run("theta", "--normalise theta-relatif");
    let ratio = |row: usize, train: usize| plain[[row, train]] / theta[[row, train]];
    // The divisor is the training image's alone, and not the same for all.
    assert!((0..40).all(|train| (ratio(0, train) / ratio(5, train) - 1.0).abs() < 1e-3));
    assert!((0..40).any(|train| (ratio(0, train) / ratio(0, 0) - 1.0).abs() > 0.1));
    // Without curvature an image's own score is the length of its gradient; without division, the square of that by n.
    run("squares", "--solver identity");
    run("lengths", "--solver identity --normalise theta-relatif");
    for (square, length) in own("squares").iter().zip(&own("lengths")) {
        assert!((length - (40.0 * square).sqrt()).abs() < 1e-5 * length);
    }
    let cosine = run("cosine", "--solver identity --normalise cosine");
    assert!(cosine.iter().all(|score| score.abs() <= 1.0 + 1e-6));
    let with_itself = own("cosine");
    assert!(with_itself.iter().all(|score| (score - 1.0).abs() < 1e-6));
    let parts = ["--normalise", "identity"];
    refused(folder, "--l2 0.01 --normalise cosine", &parts);
}

/// What divides is the training images' own, so that these are solved for even where the queries are fewer.
#[test]
fn divided_scores_are_the_same_where_training_images_are_no_queries() {
    let folder = place();
    for how in ["l-relatif", "theta-relatif"] {
        let run = |name: &str, extra: &str| {
            let out = format!("{how}-{name}");
            let fixed = "--l2 0.01 --precision f64 --scores";
            let words = format!("{fixed} --normalise {how} {extra} --out {out}");
            rank(folder.path(), &words);
            scores(folder.path(), &out)
        };
        assert_eq!(run("all", ""), run("alone", "--skip-train"), "{how}");
    }
}

#[test]
fn groups_have_the_mean_scores_of_the_queries_that_they_are_named_after() {
    let folder = place();
    let at = folder.path();
    // The head is right about all queries as they were.
    let (values, mut labels) = waves(9, 5, 0.5);
    for row in [1, 4, 5] {
        labels[row] = (labels[row] + 1) % 3;
    }
    write(&at.join("test.npz"), &(values, labels));
    let run = |out: &str, options: &str| {
        let fixed = "--l2 0.01 --precision f64 --scores --top 40 --bottom 3";
        rank(at, &format!("{fixed} {options} --out {out}"));
        scores(at, out)
    };
    let plain = run("plain", "");
    let rankings = read_rankings(&at.join("plain/rankings.parquet")).unwrap();
    let wrong = (rankings.iter()).filter(|query| query.query_label != query.query_prediction);
    assert_eq!(wrong.count(), 3);
    for by in ["class", "confusion"] {
        let (corrected, divided) = (format!("corrected-{by}"), format!("divided-{by}"));
        let groups = format!("--query-groups {by}");
        let own = run(&corrected, &format!("{groups} --correction leverage"));
        assert!(apart(&own, &plain) > 0.01);
        check_groups(at, &corrected, by, &own);
        // Groups have plain scores, whatever those of queries are divided by.
        let own = run(&divided, &format!("{groups} --normalise l-relatif"));
        assert!(apart(&own, &plain) > 0.01);
        check_groups(at, &divided, by, &plain);
    }
}

/// The largest difference, relative to the largest of `plain`.
fn apart(scores: &Array2<f64>, plain: &Array2<f64>) -> f64 {
    let largest = |values: &Array2<f64>| values.iter().fold(0.0, |most, v| f64::max(most, v.abs()));
    largest(&(scores - plain)) / largest(plain)
}

/// The groups of a run with 40 helpful and 3 harmful images each, against `scores` of its queries.
fn check_groups(folder: &Path, run: &str, by: &str, scores: &Array2<f64>) {
    let file = folder.join(run).join("group_rankings.parquet");
    assert_eq!(unit(&file), "nats");
    let names = words(&file, "group");
    let of = |name: &str| numbers(&file, name);
    let (queries, ranks, trains, found) = (of("queries"), of("rank"), of("train"), of("score"));
    let groups = named_groups(folder, run, by);
    assert_eq!(names.len(), 43 * groups.len());
    for (group, (name, members)) in groups.iter().enumerate() {
        let of_members = scores.select(Axis(0), members);
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
            assert_eq!((names[row].as_ref(), ranks[row]), (Some(name), rank));
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
    let place = place();
    let folder = place.path();
    let write = |name: &str, table: &str| std::fs::write(folder.join(name), table).unwrap();
    write("groups.csv", "query,group\n0,a\n3,a\n8,b\n");
    let run = |groups: &str, out: &str| {
        let fixed = "--l2 0.01 --precision f64 --scores --top 40";
        rank(
            folder,
            &format!("{fixed} --query-groups {groups} --out {out}"),
        );
    };
    run("groups.csv", "g");
    let plain = scores(folder, "g");
    let of =
        |run: &str, name: &str| numbers(&folder.join(run).join("group_rankings.parquet"), name);
    let table = |name| of("g", name);
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
        assert!((score - expected).abs() < 1e-6);
        assert_eq!(ranks[row] as usize, row % 40 + 1);
    }
    for by in ["class", "confusion"] {
        run(by, by);
    }
    // The columns may stand in either order.
    write("other.csv", "group,query\na,0\na,3\nb,8\n");
    run("other.csv", "h");
    for name in ["queries", "rank", "train", "score"] {
        assert_eq!(of("g", name), of("h", name));
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
        write("bad.csv", table);
        let words = "--l2 0.01 --query-groups bad.csv";
        refused(folder, words, &["bad.csv: ", found]);
    }
}

#[test]
fn certified_ranks_carry_bounds_and_the_share_is_told() {
    let place = place();
    let folder = place.path();
    let fixed = "--l2 0.01 --top 10 --certify 5";
    let few = "--l2 0.01 --top 0 --certify 2 --skip-train --out few";
    rank(folder, few);
    let rankings = read_rankings(&folder.join("few/rankings.parquet")).unwrap();
    assert!(rankings.iter().all(|query| query.helpful.len() == 2));
    for (out, extra) in [("direct", ""), ("cg", "--solver cg --skip-train")] {
        let (text, _) = rank(folder, &format!("{fixed} {extra} --out {out}"));
        assert!(
            text.contains("certified: 100.00 % of the first 5 ranks"),
            "{text}"
        );
        let file = folder.join(out).join("rankings.parquet");
        let bounds = numbers(&file, "bound");
        let scores = numbers(&file, "score");
        assert!(
            bounds
                .iter()
                .zip(&scores)
                .all(|(bound, score)| *bound < 1e-2 * score.abs().max(1e-2))
        );
    }
    for (words, why) in [
        ("--solver ekfac", "exact scores"),
        ("--normalise l-relatif", "plain scores"),
        ("--correction leverage", "plain scores"),
    ] {
        refused(folder, &format!("{fixed} {words}"), &[why]);
    }
    let undamped = "--certify 5 --damping 0 --head direct/head.safetensors --l2 0";
    refused(folder, undamped, &["--damping"]);
    let line = "--certify: 0 ranks need no proof";
    refused(folder, "--l2 0.01 --certify 0", &[line]);
}

#[test]
fn the_device_is_named_in_the_plan_and_in_the_record_and_a_wrong_one_is_refused() {
    let place = place();
    let folder = place.path();
    let words = "--l2 0.01 --skip-train --device cpu";
    let (out, _) = rank(folder, &format!("{words} --dry-run --out r"));
    assert!(out.contains("GFLOP/s on cpu"), "{out}");
    rank(folder, &format!("{words} --out run"));
    let record = record(folder, "run");
    assert_eq!(record["device"], "cpu");
    assert_eq!(record["options"]["device"], "cpu");
    assert_eq!(record["results"]["plan"]["device"], "cpu");
    let (code, err) = failed(folder, "--l2 0.01 --device gpu --out never");
    assert!(
        code == Some(2) && err.contains("cpu, cuda or cuda:N, found gpu"),
        "{err}"
    );
    #[cfg(not(feature = "cuda"))]
    refused(
        folder,
        "--l2 0.01 --device cuda",
        &["--device: cuda:0: this ascribe was built for the processor alone"],
    );
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let place = place();
    let folder = place.path();
    let words = "--l2 0.01 --dry-run --out never";
    let (out, _) = rank(folder, words);
    for part in [
        "solver direct: for 40 solves",
        "solves for the train images",
        "GFLOP/s",
        " s besides fitting the head\n",
        "GiB",
    ] {
        assert!(out.contains(part), "{out}");
    }
    assert!(!folder.join("never").exists());
    let (out, _) = rank(folder, &format!("{words} --json --solver cg"));
    let plan: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&plan["method"], &plan["reason"]),
        (&"cg".into(), &"as asked for".into())
    );
    assert_eq!(plan["fits_head"], true);
    rank(folder, "--l2 0.01 --out fitted");
    let with_head = format!("{words} --head fitted/head.safetensors");
    assert!(!rank(folder, &with_head).0.contains("besides"));
    let plan = rank(folder, &format!("{with_head} --json")).0;
    assert!(plan.contains(r#""fits_head":false"#), "{plan}");
    // The place is looked at before anything is read.
    let file = "rank --train absent.npz --test absent.npz --l2 1 --out train.npz/run";
    let said = command_line::refused(folder, file);
    assert!(
        said.contains("train.npz: is no folder; choose another --out"),
        "{said}"
    );
    let parts = ["--memory: ", "too little"];
    refused(folder, "--l2 0.01 --memory 1e-7", &parts);
    refused(folder, "--l2 0.01 --memory -1", &["--memory: -1"]);
    // Little memory: the same scores in smaller blocks.
    let run = |out: &str, extra: &str| {
        let fixed = "--l2 0.01 --precision f64 --scores --solver direct";
        rank(folder, &format!("{fixed} {extra} --out {out}"));
        scores(folder, out)
    };
    let (wide, narrow) = (run("wide", ""), run("narrow", "--memory 1.03e-4"));
    assert!((&wide - &narrow).iter().all(|error| error.abs() < 1e-6));
}

#[test]
fn training_images_of_one_class_without_a_head_are_refused_by_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let (features, _) = waves(6, 2, 0.0);
    for name in ["train.npz", "test.npz"] {
        let set = (features.clone(), Array1::zeros(6));
        write(&folder.path().join(name), &set);
    }
    let parts = ["train.npz: labels: expected at least two", "--head"];
    refused(folder.path(), "--l2 0.01", &parts);
}

#[test]
fn numbers_that_f32_has_no_room_for_ask_for_the_other_precision() {
    let place = place();
    let (mut features, labels) = waves(9, 5, 0.5);
    features[[3, 2]] = 1e39;
    write(&place.path().join("test.npz"), &(features, labels));
    for solver in ["direct", "cg", "identity"] {
        let words = format!("--l2 0.01 --solver {solver} --out {solver}");
        let (code, said) = failed(place.path(), &words);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("test.npz: features: row 3: "), "{said}");
        assert!(said.contains("--precision f64"), "{said}");
    }
    // Of the rows 0, 3 and 6 that are kept it is the second.
    let (code, said) = failed(place.path(), "--l2 0.01 --queries 3 --out few");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("test.npz: features: row 3: "), "{said}");
}

#[test]
fn a_killed_run_goes_on_in_its_folder_to_the_same_result() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("train.npz"), &waves(1200, 60, 0.0));
    write(&folder.path().join("test.npz"), &waves(1500, 60, 0.5));
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
        rank(
            at,
            &format!("--l2 1e-2 --certify 5 --top {top} --out {run}"),
        );
    }
    for file in ["rankings.parquet", "train_rankings.parquet"] {
        let read = |run: &str| read_rankings(&at.join(run).join(file)).unwrap();
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
    let scored = |words: &str, run: &str| {
        let fixed = "--scores --skip-train --damping 0";
        let (_, said) = rank(at, &format!("{words} {fixed} --out {run}"));
        (scores(at, run), said)
    };
    let (fitted, _) = scored("--l2 1e-2", "fitted");
    let (again, said) = scored("--head fitted/head.safetensors", "again");
    assert!(!said.contains("--l2"), "{said}");
    for (again, fitted) in again.iter().zip(&fitted) {
        assert!((again - fitted).abs() <= 1e-4 * fitted.abs().max(1e-3));
    }
    let head = ascribe::data::HeadFile::open(&at.join("fitted/head.safetensors")).unwrap();
    assert_eq!(head.l2, Some(1e-2));
    let tensors = [("weight", head.weight), ("bias", head.bias)];
    let silent = safetensors::serialize(tensors, None).unwrap();
    std::fs::write(at.join("silent.safetensors"), silent).unwrap();
    let (_, said) = rank(at, "--head silent.safetensors --out silent");
    assert!(said.contains("taken as 0"), "{said}");
}

#[test]
fn examples_say_which_rows_and_columns_are_which_images() {
    let folder = place();
    let at = folder.path();
    rank(at, "--l2 1e-2 --queries 3 --scores --skip-train --out run");
    let of = |name: &str| numbers(&at.join("run/examples.parquet"), name);
    let (positions, images) = (of("position"), of("image"));
    assert_eq!(positions.len(), 3 + 40);
    assert_eq!(positions[..4], [0.0, 1.0, 2.0, 0.0]);
    assert_eq!(images[3..], positions[3..]);
    let scores = scores(at, "run");
    let rankings = read_rankings(&at.join("run/rankings.parquet")).unwrap();
    for (row, ranking) in rankings.iter().enumerate() {
        assert_eq!(images[row], ranking.query as f64);
        let first = &ranking.helpful[0];
        assert!((scores[[row, first.train]] - first.score).abs() < 1e-7);
    }
}

#[test]
fn features_that_are_kept_give_the_same_scores() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    run(
        folder,
        "transfer --source builtin:robust --train builtin:digits-train --test builtin:digits-test --images 60 \
         --blocks 1 --epochs 2 --batch-size 20 --augmentation none --out model",
    );
    run(
        folder,
        "rank --model model --queries 40 --scores --keep-features --out own",
    );
    run(
        folder,
        "rank --train own/train_features.safetensors --test own/test_features.safetensors \
         --head own/head.safetensors --scores --out again",
    );
    for file in ["scores.npy", "train_scores.npy"] {
        let [own, again] =
            ["own", "again"].map(|run| std::fs::read(folder.join(run).join(file)).unwrap());
        assert!(own == again, "{file}");
    }
    run(
        folder,
        "rank --model model --queries 40 --precision f64 --keep-features --out double",
    );
    let kept = std::fs::read(folder.join("double/train_features.safetensors")).unwrap();
    let kept = SafeTensors::deserialize(&kept).unwrap();
    let kept = kept.tensor("features").unwrap();
    assert_eq!(kept.dtype(), Dtype::F64);
    let number = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().unwrap());
    let mut numbers = kept.data().chunks_exact(8).map(number);
    assert!(numbers.any(|number| f64::from(number as f32) != number));
    let features = folder.join("own/train_features.safetensors");
    let classes = ascribe::data::Features::open(&features).unwrap().classes;
    assert_eq!(classes.unwrap().len(), 10);
    // 540 rows: 2.2 MiB between them.
    let expected =
        "--memory: direct with the products of 540 gradients with each other takes at least ";
    let cases: [(&str, &[&str]); 4] = [
        (
            "rank --model model --blocks 1 --keep-features --out blocks",
            &["--keep-features: is for scores through the head"],
        ),
        (
            "rank --model model --blocks 1 --queries 2 --solver direct --memory 0.001 --out little",
            &[expected, "choose --solver cg"],
        ),
        (
            "rank --out little",
            &["or --train and --test with features"],
        ),
        (
            "rank --model model --record-every -1 --out little",
            &["expected seconds, 0 or more, found -1"],
        ),
    ];
    for (words, parts) in cases {
        let output = ascribe(folder, words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
    // No check of the numbers themselves would tell.
    for file in ["head.safetensors", "test_features.safetensors"] {
        let path = folder.join("own").join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let words = "rank --train own/train_features.safetensors --test own/test_features.safetensors \
                     --head own/head.safetensors --out other";
        let said = command_line::refused(folder, words);
        let expected = format!("ascribe: own/{file}: is not what ascribe rank left here");
        assert!(said.starts_with(&expected), "{said}");
    }
}

#[test]
fn features_too_large_for_the_l2_term_of_a_head_are_told_as_such() {
    let folder = place();
    let folder = folder.path();
    let (mut large, labels) = waves(60, 5, 0.3);
    large *= 1e9;
    write(&folder.join("train.npz"), &(large, labels));
    let parts = [
        "--l2: 0.01 is too small beside features of this size",
        "scale the features",
    ];
    refused(folder, "--l2 1e-2", &parts);
}
