//! `ascribe figure` on small finished runs.

use crate::command_line::{ascribe, both, command, refused, run};
use crate::feature_archive;
use crate::figures::texts;
use ascribe::artefact::{Input, Options, RunFolder, digest_file, read_json, write_json};
use ascribe::data::Dataset;
use ascribe::influence::{Provenance, QueryRanking, RankedImage, write_rankings};
use ndarray::{Array1, Array2};
use ndarray_npy::write_npy;
use std::path::{Path, PathBuf};

const TRAIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/digits/train.parquet");
const TEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/digits/test.parquet");

/// Every query's six images: its own class except where (query + rank) is a multiple of `period`.
fn rankings(queries: &Dataset, train: &Dataset, period: usize) -> Vec<QueryRanking> {
    let of_class: Vec<Vec<usize>> = (0..10)
        .map(|class| {
            (0..train.len())
                .filter(|id| train.label(*id) == class)
                .collect()
        })
        .collect();
    let query = |query: usize| {
        let query_label = queries.label(query);
        let image = |rank: usize| {
            let train_label = if (query + rank).is_multiple_of(period) {
                (query_label + 1) % 10
            } else {
                query_label
            };
            let train = of_class[train_label][(query + 11 * rank) % 80];
            RankedImage {
                train,
                train_label,
                score: 0.1 / rank as f64,
                certificate: None,
            }
        };
        let helpful = (1..=6).map(image).collect();
        QueryRanking {
            query,
            query_label,
            query_prediction: query_label,
            helpful,
            harmful: Vec::new(),
        }
    };
    (0..queries.len()).map(query).collect()
}

fn input(role: &str, set: &Dataset) -> Input {
    let (path, digest) = (set.path().to_path_buf(), set.digest().to_owned());
    Input {
        role: role.into(),
        path,
        digest,
        rows: Some(set.len()),
    }
}

/// A finished run as `ascribe rank` leaves it.
fn ranked(place: &Path, name: &str, period: usize, inputs: Option<Vec<Input>>) -> PathBuf {
    let ranked = |queries: &Dataset, train: &Dataset| rankings(queries, train, period);
    finished(place, name, inputs, ranked)
}

/// The same with rankings as `ranked` makes them of queries and training images.
fn finished(
    place: &Path,
    name: &str,
    inputs: Option<Vec<Input>>,
    ranked: impl Fn(&Dataset, &Dataset) -> Vec<QueryRanking>,
) -> PathBuf {
    let (train, test) = (
        Dataset::open(Path::new(TRAIN)).unwrap(),
        Dataset::open(Path::new(TEST)).unwrap(),
    );
    let inputs = inputs.unwrap_or_else(|| vec![input("train", &train), input("test", &test)]);
    let folder = place.join(name);
    let run =
        RunFolder::open_or_create(&folder, "rank", Vec::new(), Options::new(), inputs).unwrap();
    let write = |file, queries| {
        write_rankings(
            &run.file(file),
            ranked(queries, &train),
            &Provenance::default(),
        )
    };
    write("rankings.parquet", &test).unwrap();
    write("train_rankings.parquet", &train).unwrap();
    run.finish().unwrap();
    folder
}

#[test]
fn both_figures_come_from_finished_runs() {
    let place = tempfile::tempdir().unwrap();
    ranked(place.path(), "natural", 2, None);
    ranked(place.path(), "robust", 5, None);
    let out = place.path().join("figures");
    let printed = run(place.path(), "figure 6 natural robust --out figures");
    assert_eq!(
        printed,
        "figures/figure6.svg\nfigures/figure6.png\nfigures/figure6.csv\nfigures/figure6.json\n"
    );
    let mut table = csv::Reader::from_path(out.join("figure6.csv")).unwrap();
    let matches = |row: &csv::StringRecord| row[5].parse::<f64>().unwrap();
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    let test: Vec<(&str, f64)> = rows
        .iter()
        .filter(|row| &row[0] == "b" && &row[4] == "1")
        .map(|row| (&row[2], matches(row)))
        .collect();
    // Of 797 queries 399 are even and 159 leave 4 after division by 5.
    assert_eq!(
        test,
        [
            ("natural", 100.0 * 399.0 / 797.0),
            ("robust", 100.0 * 638.0 / 797.0)
        ]
    );

    let named = |seed: &str| {
        let words = format!("figure 5 robust natural --format svg --seed {seed} --out figures");
        let mut command = command(place.path(), &words);
        let output = command.args(["--names", "L2 robust,plain"]).output();
        let printed = String::from_utf8(output.unwrap().stdout).unwrap();
        assert_eq!(
            printed,
            "figures/figure5.svg\nfigures/figure5.csv\nfigures/figure5.json\n"
        );
        std::fs::read_to_string(out.join("figure5.csv")).unwrap()
    };
    let first = named("3");
    assert_eq!(first.lines().count(), 21);
    assert!(
        first.lines().nth(1).unwrap().contains("L2 robust")
            && first.lines().nth(2).unwrap().contains("plain")
    );
    assert_eq!(named("3"), first);
    assert_ne!(named("4"), first);
    let asked = "figure 5 robust --images 14,3 --format svg --out figures";
    run(place.path(), asked);
    let table = std::fs::read_to_string(out.join("figure5.csv")).unwrap();
    let ids = (table.lines().skip(1)).map(|row| row.split(',').nth(1).unwrap());
    assert_eq!(ids.collect::<Vec<_>>(), ["14", "3"]);
    let svg = std::fs::read_to_string(out.join("figure5.svg")).unwrap();
    assert!(svg.contains("Top: test images. Below:"), "{svg}");
}

#[test]
fn a_format_that_is_asked_for_twice_is_drawn_once() {
    let place = tempfile::tempdir().unwrap();
    ranked(place.path(), "natural", 2, None);
    let words = "figure 6 natural --format svg,png,svg --out figures";
    assert_eq!(
        run(place.path(), words),
        "figures/figure6.svg\nfigures/figure6.png\nfigures/figure6.csv\nfigures/figure6.json\n"
    );
    let record = place.path().join("figures/figure6.json");
    let record: serde_json::Value = read_json(record).unwrap();
    assert_eq!(
        record["options"]["format"],
        serde_json::json!(["svg", "png"])
    );
}

#[test]
fn predicted_classes_are_called_so_and_names_stay_whole() {
    let place = tempfile::tempdir().unwrap();
    ranked(place.path(), "labelled", 2, None);
    // As if each prediction were the label.
    let path = ranked(place.path(), "unl-rank", 2, None).join("run.json");
    let mut record: serde_json::Value = read_json(&path).unwrap();
    record["options"]["measurement"] = "prediction".into();
    record["results"]["query_labels"] = serde_json::json!({});
    write_json(&path, &record).unwrap();
    let drawn = |number: &str, runs: &str| {
        let words = format!("figure {number} {runs} --format svg --out figures");
        run(place.path(), &words);
        [".svg", ".csv"].map(|ending| {
            let path = format!("figures/figure{number}{ending}");
            std::fs::read_to_string(place.path().join(path)).unwrap()
        })
    };
    for (number, runs, said, columns) in [
        (
            "5",
            "unl-rank",
            &[
                "one random test image of each predicted class.",
                "Frame and tick: the test image’s predicted class;",
                "of the query’s predicted class.",
            ][..],
            10,
        ),
        (
            "5",
            "labelled unl-rank",
            &[" Test images of unl-rank count as images of their predicted class."],
            10,
        ),
        (
            "6",
            "labelled unl-rank",
            &["true class (test images of unl-rank: predicted class)"],
            11,
        ),
        (
            "6",
            "unl-rank",
            &["true class (test images: predicted class)"],
            11,
        ),
        ("5", "labelled", &["same class as the test image;"], 9),
        ("6", "labelled", &["has the query’s true class."], 10),
    ] {
        let [svg, table] = drawn(number, runs);
        let missing = said.iter().find(|said| !svg.contains(**said));
        assert_eq!(missing, None, "figure {number} {runs}");
        assert_eq!(svg.contains("predicted class"), runs != "labelled");
        for name in runs.split(' ') {
            assert!(texts(&svg).contains(&name), "figure {number}: {name}");
        }
        let header = table.lines().next().unwrap();
        assert_eq!(header.split(',').count(), columns, "{header}");
    }
}

#[test]
fn a_run_without_helpful_images_is_named_by_its_folder() {
    let place = tempfile::tempdir().unwrap();
    finished(place.path(), "harmful", None, |queries, train| {
        let mut rankings = rankings(queries, train, 2);
        for ranking in &mut rankings {
            ranking.harmful = std::mem::take(&mut ranking.helpful);
        }
        rankings
    });
    for number in ["5", "6"] {
        let words = format!("figure {number} harmful --names plain --out figures");
        let message = refused(place.path(), &words);
        let expected = "ascribe: harmful: ranks no helpful images (--top 0); give a run of ascribe rank with a larger --top";
        assert_eq!(message.trim_end(), expected);
    }
}

#[test]
fn more_test_images_than_a_figure_holds_are_refused_by_option() {
    let place = tempfile::tempdir().unwrap();
    ranked(place.path(), "natural", 2, None);
    let many = (0..201)
        .map(|id| id.to_string())
        .collect::<Vec<_>>()
        .join(",");
    let words = format!("figure 5 natural --images {many} --out figures");
    let message = refused(place.path(), &words);
    let expected = "--images: expected at most 200 test images in a figure, found 201, give fewer";
    assert!(message.contains(expected), "{message}");
    assert!(!place.path().join("figures").exists());
}

#[test]
fn a_run_whose_solves_missed_their_tolerance_is_told() {
    let place = tempfile::tempdir().unwrap();
    let folder = ranked(place.path(), "natural", 2, None);
    let path = folder.join("run.json");
    let mut record: serde_json::Value = read_json(&path).unwrap();
    record["results"]["solves"] = serde_json::json!({
        "test": { "outcomes": { "converged": 5, "limit reached": 2 }, "largest_residual": 0.1 },
    });
    write_json(&path, &record).unwrap();
    let (_, told) = both(place.path(), "figure 6 natural --out figures");
    assert!(
        told.starts_with("ascribe: natural: 2 of 7 solves missed their tolerance"),
        "{told}"
    );
}

#[test]
fn a_figure_for_screens_has_the_same_data_and_another_look() {
    let place = tempfile::tempdir().unwrap();
    ranked(place.path(), "natural", 2, None);
    let drawn = |number: &str, style: &str, out: &str| {
        let words = format!("figure {number} natural --format svg --out {out} {style}");
        run(place.path(), &words);
        ["svg", "csv"].map(|extension| {
            let path = format!("{out}/figure{number}.{extension}");
            std::fs::read_to_string(place.path().join(path)).unwrap()
        })
    };
    for number in ["5", "6"] {
        let [default, paper, screen] = [
            drawn(number, "", "default"),
            drawn(number, "--style paper", "paper"),
            drawn(number, "--style screen", "screen"),
        ];
        assert_eq!(default, paper);
        assert_eq!(paper[1], screen[1]);
        let width = |svg: &str| svg.split_once("width=\"").unwrap().1[..12].to_owned();
        assert!(width(&paper[0]).contains("mm\"") && !width(&screen[0]).contains("mm"));
    }
    let output = ascribe(place.path(), "figure 6 natural --style slides --out other");
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        message.contains("--style") && message.contains("expected paper or screen, found slides"),
        "{message}"
    );
    assert!(!place.path().join("other").exists());
}

#[test]
fn runs_that_do_not_do_are_refused_in_one_line() {
    let place = tempfile::tempdir().unwrap();
    let natural = ranked(place.path(), "natural", 2, None);
    let refused = |words: &str| {
        let message = refused(place.path(), &format!("figure {words} --out figures"));
        assert!(!place.path().join("figures").exists());
        message
    };
    let absent = refused("6 natural robust");
    assert!(
        absent.starts_with("ascribe: robust: cannot read"),
        "{absent}"
    );
    assert!(refused("6 natural natural").contains("two runs are called natural"));
    assert!(refused("6 natural --names a,b").contains("2 names for 1 runs"));

    std::fs::remove_file(natural.join("train_rankings.parquet")).unwrap();
    let skipped = refused("6 natural");
    assert!(
        skipped.contains("holds no examples.parquet") && skipped.contains("run ascribe rank again"),
        "{skipped}"
    );
    run(place.path(), "figure 5 natural --out fifth");
}

#[test]
fn a_table_with_a_label_of_no_class_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let path = ranked(place.path(), "natural", 2, None).join("run.json");
    let mut record: serde_json::Value = read_json(&path).unwrap();
    record["classes"] = serde_json::json!(["nought", "one"]);
    write_json(&path, &record).unwrap();
    for (figure, table) in [
        ("5", "rankings"),
        ("6", "train_rankings"),
        ("matrix", "train_rankings"),
    ] {
        let message = refused(place.path(), &format!("figure {figure} natural --out out"));
        let expected = format!("natural/{table}.parquet: table: expected labels below 2, found 9");
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn data_that_changed_or_differs_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (train, test) = (
        Dataset::open(Path::new(TRAIN)).unwrap(),
        Dataset::open(Path::new(TEST)).unwrap(),
    );
    let changed = Input {
        digest: "0".repeat(64),
        ..input("train", &train)
    };
    ranked(
        place.path(),
        "changed",
        2,
        Some(vec![changed, input("test", &test)]),
    );
    let message = refused(place.path(), "figure 5 changed --out figures");
    assert!(
        message.contains("train.parquet: has changed since changed was made"),
        "{message}"
    );

    ranked(
        place.path(),
        "without",
        2,
        Some(vec![input("train", &train)]),
    );
    let message = refused(place.path(), "figure 5 without --out figures");
    assert!(message.contains("run.json: inputs, role test"), "{message}");

    ranked(place.path(), "natural", 2, None);
    ranked(
        place.path(),
        "other",
        2,
        Some(vec![input("train", &train), input("test", &train)]),
    );
    let message = refused(place.path(), "figure 5 natural other --out figures");
    assert!(
        message.contains("test images of other") && message.contains("the same test images"),
        "{message}"
    );
}

#[test]
fn the_influence_matrix_comes_from_full_scores() {
    let place = tempfile::tempdir().unwrap();
    let own = ranked(place.path(), "natural", 3, None);
    let message = refused(place.path(), "figure matrix natural --out out");
    assert!(
        message.contains("holds no scores.npy") && message.contains("--scores"),
        "{message}"
    );
    let open = |path| Dataset::open(Path::new(path)).unwrap();
    let (train, test) = (open(TRAIN), open(TEST));
    // 3 within a class, −1 from each class to the next, 0 elsewhere: the root mean square is 1.
    let score = |query: usize, image: usize| match (10 + image - query) % 10 {
        0 => 3.0_f32,
        1 => -1.0,
        _ => 0.0,
    };
    for (file, queries) in [("scores.npy", &test), ("train_scores.npy", &train)] {
        let shape = (queries.len(), train.len());
        let scores = Array2::from_shape_fn(shape, |(query, image)| {
            score(queries.label(query), train.label(image))
        });
        write_npy(own.join(file), &scores).unwrap();
    }
    run(place.path(), "figure matrix natural --out out");
    let table = std::fs::read_to_string(place.path().join("out/influence_matrix.csv")).unwrap();
    let mut cells = 0;
    for row in table.lines().skip(1) {
        let columns: Vec<&str> = row.split(',').collect();
        let [query, image] = [4, 6].map(|at: usize| columns[at].parse::<usize>().unwrap());
        let unit: f64 = columns[2].parse().unwrap();
        let mean: f64 = columns[8].parse().unwrap();
        assert_eq!(columns[3], "nats");
        let expected = f64::from(score(query, image));
        assert!((mean * unit - expected).abs() < 1e-9, "{row}");
        cells += 1;
    }
    assert_eq!(cells, 2 * 120 * 120);
    // Classes of other names are not those of the first run.
    let other = ranked(place.path(), "other", 3, None);
    for (folder, kind) in [(&own, "digit"), (&other, "kind")] {
        let path = folder.join("run.json");
        let mut record: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let named = (0..10).map(|class| format!("{kind} {class}"));
        record["classes"] = serde_json::json!(named.collect::<Vec<_>>());
        std::fs::write(path, record.to_string()).unwrap();
    }
    for file in ["scores.npy", "train_scores.npy"] {
        std::fs::copy(own.join(file), other.join(file)).unwrap();
    }
    let message = refused(place.path(), "figure matrix natural other --out out");
    assert!(
        message.contains("class 0 of other") && message.contains("kind 0"),
        "{message}"
    );
    // Cut off in the middle.
    let whole = std::fs::read(own.join("scores.npy")).unwrap();
    std::fs::write(own.join("scores.npy"), &whole[..whole.len() / 2]).unwrap();
    let message = refused(place.path(), "figure matrix natural --out out");
    assert!(message.contains("scores.npy"), "{message}");
}

/// Such a run has labels in its list of images alone.
#[test]
fn a_run_that_kept_scores_and_no_ranks_has_an_influence_matrix() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    for (name, count) in [("train.npz", 12), ("test.npz", 6)] {
        let features = Array2::from_shape_fn((count, 3), |(row, column)| {
            ((7 * row + 5 * column) % 11) as f32
        });
        let labels = Array1::from_shape_fn(count, |row| (row % 3) as i64);
        feature_archive::write(&folder.join(name), &(features, labels));
    }
    let table = |out: &str, options: &str| {
        let rank = "rank --train train.npz --test test.npz --l2 1e-2 --scores";
        run(folder, &format!("{rank} {options} --out {out}"));
        let words = format!("figure matrix {out} --names run --format svg --out {out}-figure");
        run(folder, &words);
        std::fs::read(folder.join(format!("{out}-figure/influence_matrix.csv"))).unwrap()
    };
    assert!(table("ranked", "") == table("scored", "--top 0"));
}

#[test]
fn a_picture_that_is_not_drawn_again_is_told() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    ranked(folder, "natural", 2, None);
    ranked(folder, "robust", 5, None);
    run(folder, "figure 5 natural --format png --out out");
    run(folder, "figure 6 natural --out out");
    assert!(folder.join("out/figure6.png").exists());
    let (_, told) = both(folder, "figure 6 robust --format svg --out out");
    let expected = "out/figure6.png is from before, and was not drawn again";
    assert!(told.contains(expected), "{told}");
    assert!(folder.join("out/figure6.png").exists());
}

#[test]
fn letters_that_a_png_has_boxes_for_are_told() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    ranked(folder, "natural", 2, None);
    let told = |name: &str, format: &str| {
        let words = format!("figure 6 natural --names {name} --format {format} --out {format}");
        both(folder, &words).1
    };
    let lacking = |out: &str, text: &str| {
        format!(
            "ascribe: {out}/figure6.png: its font lacks letters of 柴犬, and has boxes for them; {text} has them as text\n"
        )
    };
    let both = told("柴犬", "svg,png");
    assert_eq!(both, lacking("svg,png", "svg,png/figure6.svg"));
    assert_eq!(told("柴犬", "png"), lacking("png", "an SVG (--format svg)"));
    assert_eq!(told("柴犬", "svg") + &told("naïve", "svg,png"), "");
}

/// A model by which images of any size have a loss.
fn natural() -> Input {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/source/natural.safetensors"
    );
    Input {
        role: "model".into(),
        path: path.into(),
        digest: digest_file(path).unwrap(),
        rows: None,
    }
}

#[test]
fn the_loss_of_other_test_images_is_not_shown_beside_that_of_the_first_run() {
    let place = tempfile::tempdir().unwrap();
    let open = |path| Dataset::open(Path::new(path)).unwrap();
    let (train, test) = (open(TRAIN), open(TEST));
    for (name, tested) in [("natural", &test), ("twin", &test), ("other", &train)] {
        let inputs = vec![input("train", &train), input("test", tested), natural()];
        ranked(place.path(), name, 2, Some(inputs));
    }
    let drawn =
        |second: &str| format!("figure 4 natural {second} --images 3 --format svg --out figures");
    let message = refused(place.path(), &drawn("other"));
    assert!(
        message.contains("test images of other: expected those of natural, ")
            && message.contains("give runs with the same test images"),
        "{message}"
    );
    assert!(!place.path().join("figures").exists());
    run(place.path(), &drawn("twin"));
}

#[test]
fn a_figure_states_the_unit_of_each_runs_scores() {
    let place = tempfile::tempdir().unwrap();
    for (name, normalise) in [
        ("plain", "none"),
        ("cosine", "cosine"),
        ("relative", "l-relatif"),
    ] {
        let record = ranked(place.path(), name, 2, None).join("run.json");
        let mut changed: serde_json::Value = read_json(&record).unwrap();
        changed["options"]["normalise"] = normalise.into();
        write_json(&record, &changed).unwrap();
    }
    run(
        place.path(),
        "figure 5 plain cosine relative --format svg --out figures",
    );
    let svg = std::fs::read_to_string(place.path().join("figures/figure5.svg")).unwrap();
    assert!(!svg.contains("loss predicted if"), "{svg}");
    let mut table = csv::Reader::from_path(place.path().join("figures/figure5.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 3 * 10);
    for row in rows {
        let unit = match &row[3] {
            "plain" => "nats",
            "cosine" => "cosine",
            _ => "root nats",
        };
        assert_eq!(&row[7], unit);
    }
}
