//! `ascribe study` and the figures of its table as a user meets them: killed, resumed, extended, mistyped.

use crate::command_line::{ascribe, both, command, refused, run};
use crate::killed::killed_at;
use crate::parquet_table::{numbers, words};
use ascribe::artefact::RunFolder;
use ascribe::study::{Row, read_results};
use std::path::Path;

/// Two sources, two numbers of images, two seeds.
const SPEC: &str = r#"
images = [20, 60]
blocks = 0
epochs = 4
seeds = 2
learning-rate = 0.05
batch-size = 20
augmentation = "none"
evaluate-every = 2

[source.natural]
model = "builtin:natural"
side = 8

[source.robust]
model = "builtin:robust"
epsilon = 0.25
norm = "l2"
side = 8

[target.digits]
train = "builtin:digits-train"
test = "builtin:digits-test"
"#;

fn with_spec(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("spec.toml"), text).unwrap();
    folder
}

/// All but the seconds, which no two runs share.
fn rows(folder: &Path, study: &str) -> Vec<Row> {
    let rows = read_results(&folder.join(study).join("results.parquet")).unwrap();
    let timeless = |row: Row| Row {
        seconds: 0.0,
        ..row
    };
    rows.into_iter().map(timeless).collect()
}

#[test]
fn a_killed_study_goes_on_to_the_same_table_and_can_be_extended() {
    let folder = with_spec(SPEC);
    let folder = folder.path();
    let plan = run(folder, "study spec.toml --plan --out whole");
    assert!(
        plan.starts_with("8 runs: ") && plan.contains("0 finished, 8 to do"),
        "{plan}"
    );
    assert!(
        plan.contains("about ") && !folder.join("whole").exists(),
        "{plan}"
    );

    run(folder, "--threads 1 study spec.toml --out whole");
    let whole = rows(folder, "whole");
    // Two sources, two numbers of images, two seeds, measured after epochs 2 and 4.
    assert_eq!(whole.len(), 16);
    assert!(
        whole
            .iter()
            .all(|row| row.test_loss.is_some_and(f64::is_finite))
    );

    let words = "--threads 2 study spec.toml --out killed";
    let table = folder.join("killed/results.parquet");
    killed_at(command(folder, words), &table);
    let runs = std::fs::read_dir(folder.join("killed/runs")).unwrap();
    let before = runs
        .filter(|run| RunFolder::read(run.as_ref().unwrap().path()).is_ok())
        .count();
    assert!((1..8).contains(&before), "{before}");
    // What is finished can be looked at.
    let part = rows(folder, "killed");
    assert!((1..16).contains(&part.len()) && part.iter().all(|row| whole.contains(row)));
    run(folder, "figure 1 killed --out figures");
    let picture = std::fs::read_to_string(folder.join("figures/figure1.svg")).unwrap();
    let found = picture.contains("is not finished") && picture.contains("of 8 runs");
    assert!(found, "{picture}");
    let (_, said) = both(folder, words);
    let left = match 8 - before {
        1 => "1 run".to_owned(),
        left => format!("{left} runs"),
    };
    assert!(
        said.contains(&format!("{left} to do, {before} finished before")),
        "{said}"
    );
    assert_eq!(rows(folder, "killed"), whole);

    // More of the grid: what is finished stays.
    std::fs::write(
        folder.join("spec.toml"),
        SPEC.replace("seeds = 2", "seeds = 3"),
    )
    .unwrap();
    let plan = run(folder, "study spec.toml --plan --out whole");
    assert!(
        plan.contains("12 runs") && plan.contains("8 finished, 4 to do"),
        "{plan}"
    );
    let (_, said) = both(folder, "study spec.toml --out whole");
    assert!(said.contains("4 runs to do, 8 finished before"), "{said}");
    let extended = rows(folder, "whole");
    assert_eq!(extended.len(), 24);
    assert!(whole.iter().all(|row| extended.contains(row)));
}

#[test]
fn finished_runs_that_were_altered_are_refused() {
    let spec = SPEC.replace("seeds = 2", "seeds = 1");
    let folder = with_spec(&spec);
    let folder = folder.path();
    run(folder, "study spec.toml --out whole");
    let run = std::fs::read_dir(folder.join("whole/runs")).unwrap().next();
    let run = run.unwrap().unwrap().path();
    let (record, table) = (run.join("run.json"), run.join("training.csv"));
    let [kept_record, kept_table] = [&record, &table].map(|file| std::fs::read(file).unwrap());
    let name = run.file_name().unwrap().to_str().unwrap();
    let altered = |reason: &str| {
        for words in [
            "study spec.toml --out whole",
            "study spec.toml --plan --out whole",
        ] {
            let message = refused(folder, words);
            let expected = format!(
                "runs/{name}: {reason}; put back what was there, or remove the folder: its run is then done again"
            );
            assert!(message.contains(&expected), "{message}");
        }
    };
    // Of a finished study every run has a record; of one at work it may still be to come.
    std::fs::remove_file(&record).unwrap();
    let output = ascribe(folder, "inspect whole --check");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.code() == Some(1) && told.contains(&format!("runs/{name}/run.json is gone")),
        "{told}"
    );
    std::fs::write(&record, &kept_record).unwrap();

    // What is refused leaves the table.
    std::fs::write(&table, "epoch\n1\n").unwrap();
    altered("training.csv is not what its run left");
    std::fs::write(&table, &kept_table).unwrap();
    self::run(folder, "figure 1 whole --out drawn");

    std::fs::remove_file(folder.join("whole/results.parquet")).unwrap();
    let message = refused(folder, "figure 1 whole --out figures");
    assert!(
        message.contains("results.parquet is gone; run ascribe study again"),
        "{message}"
    );
    std::fs::write(&table, "epoch\n1\n").unwrap();
    altered("training.csv is not what its run left");
    std::fs::remove_file(&table).unwrap();
    altered("training.csv is gone");
    // Which run it is can be asked, though the study is no longer finished.
    let output = ascribe(folder, "inspect whole --check");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.code() == Some(1) && told.contains("training.csv is gone"),
        "{told}"
    );
    std::fs::write(&table, &kept_table).unwrap();

    let mut told: serde_json::Value = serde_json::from_slice(&kept_record).unwrap();
    told["results"]["history"][0]["train_loss"] = 0.5.into();
    std::fs::write(&record, told.to_string()).unwrap();
    altered("run.json and training.csv tell different histories");
    std::fs::write(&record, &kept_record[..90]).unwrap();
    altered("holds a run.json that is damaged");
    std::fs::remove_file(&record).unwrap();
    altered("holds training.csv and no run.json");

    std::fs::remove_dir_all(&run).unwrap();
    let (_, said) = both(folder, "study spec.toml --out whole");
    assert!(said.contains("1 run to do, 3 finished before"), "{said}");
}

#[test]
fn a_run_is_the_transfer_with_the_same_options() {
    let spec = SPEC.replace("seeds = 2", "seeds = [1]\nkeep-models = true");
    let folder = with_spec(&spec);
    let folder = folder.path();
    run(folder, "study spec.toml --out study");
    let rows = rows(folder, "study");
    for (source, images) in [("natural", 60), ("robust", 20)] {
        let out = format!("{source}-transfer");
        run(
            folder,
            &format!(
                "transfer --source builtin:{source} --side 8 --train builtin:digits-train --test builtin:digits-test \
                 --images {images} --blocks 0 --epochs 4 --seed 1 --learning-rate 0.05 --batch-size 20 \
                 --augmentation none --evaluate-every 2 --out {out}"
            ),
        );
        let of_it = |row: &&Row| row.source == source && row.images == images && row.epoch == 4;
        let row = rows.iter().find(of_it).unwrap();
        let own = format!("study/runs/{}", row.run);
        let model = |run: &str| std::fs::read(folder.join(run).join("model.safetensors")).unwrap();
        assert!(model(&out) == model(&own), "{source}");
        let record = RunFolder::read(folder.join(&out)).unwrap();
        let test: ascribe::train::Performance = record.result("test").unwrap();
        assert_eq!(
            (Some(test.accuracy), Some(test.loss)),
            (row.test_accuracy, row.test_loss)
        );
        let options = |run: &str| {
            let mut options = RunFolder::read(folder.join(run)).unwrap().options;
            options.remove("out");
            options
        };
        assert_eq!(options(&own), options(&out));
        // Other commands take it up as the transfer it is.
        run(
            folder,
            &format!("rank --model {own} --queries 3 --top 2 --precision f64 --out {source}-rank"),
        );
        let words = "--lds 3 --retrain 1 --draws 20 --out";
        run(
            folder,
            &format!("evaluate {source}-rank {words} {source}-evidence"),
        );
    }
}

/// The options of the rows of a search's table that say they were chosen.
fn chosen(file: &Path) -> Vec<String> {
    let rows = words(file, "options")
        .into_iter()
        .zip(numbers(file, "chosen"));
    let chosen = rows.filter(|(_, chosen)| *chosen == 1.0);
    chosen.map(|(options, _)| options.unwrap()).collect()
}

#[test]
fn a_search_chooses_on_images_held_back() {
    let search = "\n[search]\nlearning-rate = [1e-9, 0.05]\nvalidation = 0.25\n";
    let folder = with_spec(
        &format!("{SPEC}{search}")
            .replace("learning-rate = 0.05\n", "")
            .replace("images = [20, 60]", "images = 200")
            .replace("blocks = 0", "blocks = 1"),
    );
    let folder = folder.path();
    let plan = run(folder, "study spec.toml --plan --out study");
    assert!(
        plan.contains("4 runs") && plan.contains("8 more that judge 2 candidates"),
        "{plan}"
    );
    let (_, noted) = both(folder, "study spec.toml --out study");
    for judged in ["learning-rate 1e-9", "learning-rate 0.05"] {
        let told = format!("seed 0, {judged}: validation accuracy ");
        assert_eq!(noted.matches(&told).count(), 2, "{noted}");
    }
    // A rate at which nothing is learnt is never taken.
    assert!(
        rows(folder, "study")
            .iter()
            .all(|row| row.learning_rate == 0.05)
    );
    let record = RunFolder::read(folder.join("study")).unwrap();
    assert_eq!(record.result::<usize>("judging_runs").unwrap(), 8);
    let rate = r#"{"learning-rate":0.05}"#;
    assert_eq!(chosen(&folder.join("study/search.parquet")), [rate; 4]);
    let runs = std::fs::read_dir(folder.join("study/runs")).unwrap();
    let mut judging = 0;
    for run in runs {
        let record = RunFolder::read(run.unwrap().path()).unwrap();
        let trained: Vec<usize> = record.result("train_ids").unwrap();
        // A run that judges nothing is a transfer, which has no such option.
        if record.options.contains_key("validation") {
            judging += 1;
            assert_eq!((record.command.as_str(), trained.len()), ("study", 150));
        } else {
            assert_eq!(trained.len(), 200);
        }
    }
    assert_eq!(judging, 8);

    // Without the search nothing of it stays.
    std::fs::write(folder.join("spec.toml"), SPEC.replace("[20, 60]", "20")).unwrap();
    run(folder, "study spec.toml --out study");
    assert!(!folder.join("study/search.parquet").exists());
}

/// The classes' shares are those of the target set, whatever their sizes.
#[test]
fn a_search_judges_by_images_of_every_class() {
    let search = "\n[search]\nlearning-rate = [0.01, 0.05]\nvalidation = 0.25\n";
    let spec = format!("{SPEC}relabel = \"unequal.csv\"\n{search}");
    let spec = (spec.replace("learning-rate = 0.05\n", ""))
        .replace("images = [20, 60]", "images = \"all\"")
        .replace("epochs = 4", "epochs = 1")
        .replace("seeds = 2", "seeds = 1");
    let folder = with_spec(&spec);
    let folder = folder.path();
    // Every image but some eight of each class becomes a 0.
    let digits = ascribe::data::digits_train().unwrap();
    let mut rows = "train,decision,label\n".to_owned();
    let mut seen = [0usize; 10];
    for id in 0..digits.len() {
        let label = digits.label(id);
        seen[label] += 1;
        if label > 0 && seen[label] > 8 {
            rows.push_str(&format!("{id},relabel,0\n"));
        }
    }
    std::fs::write(folder.join("unequal.csv"), rows).unwrap();
    run(folder, "study spec.toml --out study");
    let mut judged = 0;
    for run in std::fs::read_dir(folder.join("study/runs")).unwrap() {
        let record = RunFolder::read(run.unwrap().path()).unwrap();
        if !record.options.contains_key("validation") {
            continue;
        }
        judged += 1;
        let trained: Vec<usize> = record.result("train_ids").unwrap();
        assert_eq!(trained.len(), 750);
        let mut seen = [0usize; 10];
        let mut kept = [0usize; 10];
        for id in 0..digits.len() {
            let label = digits.label(id);
            seen[label] += 1;
            kept[label] += usize::from(seen[label] <= 8 && trained.contains(&id));
        }
        assert!(kept[1..].iter().all(|&kept| kept == 6), "{kept:?}");
    }
    assert_eq!(judged, 4);
}

#[test]
fn a_loss_that_is_not_finite_is_a_row_and_an_exit_code() {
    let spec = SPEC.replace("learning-rate = 0.05", "learning-rate = 1e30");
    let folder = with_spec(&spec.replace("images = [20, 60]", "images = 60"));
    let folder = folder.path();
    let output = ascribe(folder, "study spec.toml --out study");
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("4 runs stopped"), "{message}");
    assert!(!message.contains("-0.0 s"), "{message}");
    let rows = read_results(&folder.join("study/results.parquet")).unwrap();
    assert_eq!(rows.len(), 4);
    // That of the whole run: no epoch came to its end.
    assert!(rows.iter().all(|row| row.seconds > 0.0));
    assert!(
        rows.iter()
            .all(|row| row.diverged && row.test_accuracy.is_none())
    );
    let message = refused(folder, "figure 1 study --out figures");
    let expected = "study/results.parquet: column test_accuracy: expected a number in";
    assert!(message.contains(expected), "{message}");
    assert!(
        message.contains("the loss of all runs stopped being finite"),
        "{message}"
    );
}

/// Of one image whose channels come down to one pixel there are no statistics.
#[test]
fn a_last_batch_of_one_image_is_refused_before_any_run() {
    let small = SPEC.replace("side = 8", "side = 4");
    let searched = format!("{small}[search]\nl2 = [0.01, 0.02]\nvalidation = 0.2375\n");
    for (spec, found) in [
        (small.replace("[20, 60]", "[20, 41]"), "20 for 41"),
        // By an option of the set, and by what a search leaves of 80.
        (format!("{small}batch-size = 59\n"), "59 for 60"),
        (searched.replace("[20, 60]", "80"), "20 for 61"),
    ] {
        let folder = with_spec(&spec);
        let message = refused(folder.path(), "study spec.toml --out study");
        let expected = "spec.toml: batch-size for target.digits: expected a size that leaves no";
        assert!(message.contains(expected), "{message}");
        let found = format!("found {found} training images");
        assert!(message.contains(&found), "{message}");
        assert!(!folder.path().join("study").exists());
    }
    // Frozen blocks take none; nor does a plan time such a batch where no run has one.
    let frozen = small.replace("[20, 60]", "21\nfrozen-statistics = \"frozen\"");
    let many = small.replace("[20, 60]", "300");
    for spec in [frozen, many.replace("batch-size = 20", "batch-size = 85")] {
        run(
            with_spec(&spec).path(),
            "study spec.toml --plan --out study",
        );
    }
}

#[test]
fn variants_of_a_target_set_differ() {
    let variants = r#"
[target.coarse]
train = "builtin:digits-train"
test = "builtin:digits-test"
transform = { downscale = 3 }
test-images = 100
"#;
    let folder =
        with_spec(&format!("{SPEC}{variants}").replace("images = [20, 60]", "images = 60"));
    let folder = folder.path();
    run(folder, "study spec.toml --out study");
    let rows = rows(folder, "study");
    let of = |name: &str| -> Vec<(String, f64)> {
        let of_it = rows.iter().filter(|row| row.target == name);
        of_it
            .map(|row| (row.transform.clone(), row.test_accuracy.unwrap()))
            .collect()
    };
    let (coarse, fine) = (of("coarse"), of("digits"));
    assert_eq!((coarse.len(), fine.len()), (8, 8));
    assert!(
        coarse
            .iter()
            .all(|(transform, _)| transform == "downscale 3")
    );
    // Shares of 100 images are whole percents.
    assert!(
        coarse
            .iter()
            .all(|(_, share)| (share * 100.0 - (share * 100.0).round()).abs() < 1e-9)
    );
    assert_ne!(coarse, fine);
}

/// Two names of one model, two measurements of one set: what comes to the same run is done once.
#[test]
fn names_of_the_same_thing_share_a_run() {
    let spec = SPEC.replace("images = [20, 60]", "images = 40");
    let spec = spec.replace("learning-rate = 0.05\n", "").replace(
        "[target.digits]",
        "[source.again]\nmodel = \"builtin:natural\"\nside = 8\n\n[target.few]\ntrain = \"builtin:digits-train\"\n\
         test = \"builtin:digits-test\"\ntest-images = 50\n\n[target.digits]",
    );
    let search = "[search]\nlearning-rate = [0.05, 0.01]\n";
    let folder = with_spec(&format!("{spec}{search}"));
    run(folder.path(), "study spec.toml --out study");
    let rows = rows(folder.path(), "study");
    let of = |source: &str| {
        let rows = rows.iter().filter(|row| row.source == source);
        rows.map(|row| (row.target.clone(), row.seed, row.test_accuracy))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("again").len(), of("natural").len());
    assert_eq!(of("again"), of("natural"));
    // Five images are not enough for ten classes, which is said before any run is done.
    let message = with_spec(&format!(
        "{spec}[search]\nlearning-rate = [0.05, 0.01]\nvalidation = 0.9\n"
    ));
    let message = refused(message.path(), "study spec.toml --out study");
    assert!(message.contains("search.validation"), "{message}");
    let message = with_spec(&format!("{spec}[search]\nevaluate-every = [1, 2]\n"));
    let message = refused(message.path(), "study spec.toml --out study");
    assert!(message.contains("search.evaluate-every"), "{message}");
    // A value that would never be tried.
    let both = format!("learning-rate = 0.1\n{spec}{search}");
    let message = refused(with_spec(&both).path(), "study spec.toml --out study");
    let expected =
        "learning-rate: expected one or the other, found a value, and search.learning-rate";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn a_plan_touches_no_finished_run() {
    let spec = SPEC.replace("images = [20, 60]", "images = 20");
    let folder = with_spec(&spec);
    run(folder.path(), "study spec.toml --out study");
    let runs = || {
        let runs = std::fs::read_dir(folder.path().join("study/runs")).unwrap();
        let with_model = |run: &std::path::PathBuf| run.join("model.safetensors").exists();
        let runs: Vec<_> = runs.map(|run| run.unwrap().path()).collect();
        (
            runs.len(),
            runs.iter().filter(|run| with_model(run)).count(),
        )
    };
    assert_eq!(runs(), (4, 0));
    std::fs::write(
        folder.path().join("spec.toml"),
        format!("keep-models = true\n{spec}"),
    )
    .unwrap();
    run(folder.path(), "study spec.toml --plan --out study");
    assert_eq!(runs(), (4, 0));
    run(folder.path(), "study spec.toml --out study");
    assert_eq!(runs(), (4, 4));
}

#[test]
fn figures_are_drawn_from_the_table() {
    let folder = with_spec(&SPEC.replace("blocks = 0", "blocks = [0, 1]"));
    let folder = folder.path();
    run(folder, "study spec.toml --out study");
    let table = rows(folder, "study");
    for (figure, stem) in [
        ("1", "figure1"),
        ("2", "figure2"),
        ("blocks", "blocks"),
        ("epsilon", "epsilon"),
    ] {
        let printed = run(
            folder,
            &format!("figure {figure} study --blocks 0 --out figures"),
        );
        let names: Vec<String> = ["svg", "png", "csv", "json"]
            .map(|it| format!("figures/{stem}.{it}"))
            .to_vec();
        assert_eq!(printed.lines().collect::<Vec<_>>(), names);
    }
    // The mean over seeds, and the mean of the differences of equal seeds.
    let share = |source: &str, images: usize, seed: u64| {
        let of_it = |row: &&Row| {
            (row.source == source && row.images == images && row.seed == seed)
                && (row.epoch == 4 && row.blocks.to_string() == "0")
        };
        100.0 * table.iter().find(of_it).unwrap().test_accuracy.unwrap()
    };
    let mut csv = csv::Reader::from_path(folder.join("figures/figure1.csv")).unwrap();
    let drawn: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    assert_eq!(drawn.len(), 6);
    for row in drawn {
        let (source, images, value) = (
            &row[2],
            row[5].parse().unwrap(),
            row[7].parse::<f64>().unwrap(),
        );
        let natural = |seed| {
            if &row[0] == "b" {
                share("natural", images, seed)
            } else {
                0.0
            }
        };
        let of = |seed| share(source, images, seed) - natural(seed);
        assert!((value - (of(0) + of(1)) / 2.0).abs() < 1e-9, "{row:?}");
        let (low, high) = (
            row[8].parse::<f64>().unwrap(),
            row[9].parse::<f64>().unwrap(),
        );
        assert!(low <= value + 1e-9 && value <= high + 1e-9, "{row:?}");
    }
    let (_, said) = both(folder, "figure blocks study --blocks 0 --out figures");
    assert!(said.contains("--blocks fixes nothing"), "{said}");
    for (words, part) in [
        ("figure 1 study --epochs 5 --out x", "--epochs"),
        ("figure 2 study --images 33 --out x", "20, 60"),
        ("figure 1 study --sources robot --out x", "natural, robust"),
        ("figure 1 nowhere --out x", "nowhere"),
    ] {
        let message = refused(folder, words);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn wrong_specs_are_refused_in_one_line() {
    for (from, to, parts) in [
        (
            "seeds",
            "sedes",
            &["spec.toml", "sedes", "did you mean seeds?"][..],
        ),
        (
            "learning-rate = 0.05",
            "learning-rate = -1",
            &["learning-rate", "-1", "positive"],
        ),
        (
            "images = [20, 60]",
            "images = [20, 9999]",
            &["target.digits", "9999"],
        ),
        (
            "images = [20, 60]",
            "images = [5, 60]",
            &["target.digits", "found 5"],
        ),
        (
            "blocks = 0",
            "blocks = 70",
            &["spec.toml: blocks for source.", "found 70 blocks", "has 6"],
        ),
        (
            "images = [20, 60]",
            "images = [0]",
            &["images: expected a number above 0", "found [0]"],
        ),
        (
            "seeds = 2",
            "seeds = [1, 1]",
            &["different seeds, found [1, 1]"],
        ),
        (
            "builtin:digits-train",
            "nowhere.parquet",
            &["nowhere.parquet", "check the path"],
        ),
        ("builtin:robust", "nowhere.pt", &["nowhere.pt"]),
        (
            "builtin:digits-test\"",
            "builtin:digits-test\"\ntransform = { downscale = 8 }",
            &["downscale", "below 8"],
        ),
        (
            "builtin:digits-test\"",
            "builtin:digits-test\"\ntest-images = 798",
            &["at most 797"],
        ),
        (
            "builtin:digits-test\"",
            "builtin:digits-test\"\nflip-labels = 2",
            &["flip-labels", "found 2"],
        ),
        (
            "builtin:digits-test\"",
            "builtin:digits-test\"\nexclude = \"nowhere.csv\"",
            &["nowhere.csv", "check the path"],
        ),
    ] {
        assert!(SPEC.contains(from), "{from}");
        let folder = with_spec(&SPEC.replacen(from, to, 1));
        let message = refused(folder.path(), "study spec.toml --out study");
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        assert!(!folder.path().join("study").exists());
    }
    // Other classes, and a folder that is something else.
    let folder = with_spec(SPEC);
    std::fs::create_dir(folder.path().join("study")).unwrap();
    std::fs::write(folder.path().join("study/notes.txt"), "mine").unwrap();
    let message = refused(folder.path(), "study spec.toml --out study");
    assert!(message.contains("notes.txt"), "{message}");
}

#[test]
fn what_changes_nothing_in_a_spec_is_noted() {
    let folder = with_spec(&format!("{SPEC}flip-labels = 0.01\n"));
    let (_, noted) = both(folder.path(), "study spec.toml --plan --out study");
    let idle = |images: usize| format!("flip-labels 0.01 of {images} training images is none");
    let expected = format!("ascribe: target.digits.{}: no label is flipped\n", idle(20));
    // Of 60 images it is one.
    assert!(
        noted.contains(&expected) && !noted.contains(&idle(60)),
        "{noted}"
    );
    // Once of a number that is all there are.
    let all = ascribe::data::digits_train().unwrap().len();
    let spec = SPEC.replace("[20, 60]", &format!("[{all}, \"all\"]"));
    let folder = with_spec(&format!("{spec}flip-labels = 0.0001\n"));
    let (_, noted) = both(folder.path(), "study spec.toml --plan --out study");
    assert_eq!(noted.matches("no label is flipped").count(), 1, "{noted}");
}

/// A set with flipped labels, and the same after decisions, beside each other.
#[test]
fn a_cleaned_set_is_held_against_the_set_as_it_was() {
    let targets = r#"flip-labels = 0.4

[target.cleaned]
train = "builtin:digits-train"
test = "builtin:digits-test"
exclude = "decisions.csv"
relabel = "decisions.csv"
"#;
    let spec = SPEC.replace("images = [20, 60]", "images = 60\nkeep-models = true");
    let folder = with_spec(&format!("{spec}{targets}"));
    let folder = folder.path();
    // Decisions on images that the second run takes, so that they count.
    let transfer = "transfer --source builtin:robust --side 8 --train builtin:digits-train --test builtin:digits-test \
         --images 60 --blocks 0 --epochs 4 --seed 1 --learning-rate 0.05 --batch-size 20 --augmentation none \
         --evaluate-every 2";
    run(folder, &format!("{transfer} --flip-labels 0.4 --out noisy"));
    let noisy = RunFolder::read(folder.join("noisy")).unwrap();
    let ids: Vec<usize> = noisy.result("train_ids").unwrap();
    let decisions = format!(
        "train,decision,label\n{},exclude,\n{},relabel,3\n{},relabel,4\n",
        ids[5], ids[11], ids[23]
    );
    std::fs::write(folder.join("decisions.csv"), &decisions).unwrap();
    let decided = "--exclude decisions.csv --relabel decisions.csv";
    run(folder, &format!("{transfer} {decided} --out clean"));

    run(folder, "study spec.toml --out study");
    for (target, transfer) in [("digits", "noisy"), ("cleaned", "clean")] {
        let rows = rows(folder, "study");
        let of_it = |row: &&Row| (&*row.target, &*row.source, row.seed) == (target, "robust", 1);
        let own = format!("study/runs/{}", rows.iter().find(of_it).unwrap().run);
        let model = |run: &str| std::fs::read(folder.join(run).join("model.safetensors")).unwrap();
        assert!(model(transfer) == model(&own), "{target}");
        let result = |run: &str, name: &str| {
            let record = RunFolder::read(folder.join(run)).unwrap();
            record.results.get(name).cloned()
        };
        for name in ["train_ids", "relabelled", "flipped", "excluded"] {
            assert_eq!(result(&own, name), result(transfer, name), "{name}");
        }
        run(
            folder,
            &format!("rank --model {own} --queries 2 --skip-train --out {target}-rank"),
        );
    }
    assert_eq!(
        rows(folder, "study")
            .iter()
            .filter(|row| row.epoch == 4)
            .count(),
        8
    );
    run(folder, "figure 1 study --against digits --out figures");
    let table = std::fs::read_to_string(folder.join("figures/figure1.csv")).unwrap();
    let differences: Vec<&str> = table.lines().filter(|row| row.starts_with("b,")).collect();
    assert_eq!(differences.len(), 2, "{table}");
    assert!(
        differences
            .iter()
            .all(|row| row.starts_with("b,cleaned,") && row.contains(",digits,")),
        "{table}"
    );
    // One decision more, on an image that neither seed takes.
    let runs = std::fs::read_dir(folder.join("study/runs")).unwrap();
    let taken: Vec<usize> = runs
        .flat_map(|run| {
            let record = RunFolder::read(run.unwrap().path()).unwrap();
            record.result::<Vec<usize>>("train_ids").unwrap()
        })
        .chain([ids[5]])
        .collect();
    let outside = (0..1000).find(|id| !taken.contains(id)).unwrap();
    let more = format!("{decisions}{outside},exclude,\n");
    std::fs::write(folder.join("decisions.csv"), more).unwrap();
    let (_, said) = both(folder, "study spec.toml --plan --out study");
    assert!(
        said.contains("1 of 4 decisions are on images that no run takes"),
        "{said}"
    );
    std::fs::write(
        folder.join("decisions.csv"),
        "train,decision,label\n9999,exclude,\n",
    )
    .unwrap();
    let message = refused(folder, "study spec.toml --out study");
    assert!(
        message.contains("decisions.csv") && message.contains("9999"),
        "{message}"
    );
}

#[test]
fn a_source_is_taken_for_what_it_was_trained_to_be() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    run(
        folder,
        "train --train builtin:digits-train --test builtin:digits-test --images 40 --architecture cifar-resnet8-w8 --side 8 \
         --epochs 1 --batch-size 20 --augmentation none --adversary l2 --epsilon 0.25 --steps 1 --out trained",
    );
    let spec = |said: &str| {
        let robust = "model = \"builtin:robust\"\nepsilon = 0.25\nnorm = \"l2\"";
        let text = SPEC.replace(robust, &format!("model = \"trained\"\n{said}"));
        std::fs::write(folder.join("spec.toml"), text).unwrap();
    };
    for (said, found) in [
        ("", "found epsilon 0, natural"),
        ("epsilon = 0.5\nnorm = \"l2\"", "found epsilon 0.5 in L2"),
        (
            "epsilon = 0.25\nnorm = \"linf\"",
            "found epsilon 0.25 in L∞",
        ),
    ] {
        spec(said);
        let message = refused(folder, "study spec.toml --plan --out study");
        let parts = [
            "source.robust.epsilon",
            "expected epsilon 0.25 in L2, as in",
            found,
        ];
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    spec("epsilon = 0.25\nnorm = \"l2\"");
    run(folder, "study spec.toml --plan --out study");
    // Of models that the training did not leave its folder says nothing.
    std::fs::write(folder.join("spec.toml"), SPEC).unwrap();
    run(
        &folder.join("trained"),
        "study ../spec.toml --plan --out ../study",
    );
    let message = refused(folder, "study spec.toml --jobs 0 --out study");
    assert!(message.contains("--jobs: expected at least 1"), "{message}");
}

#[test]
fn scripts_are_told_of_plans_and_of_what_was_done() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let sources_and_target = &SPEC[SPEC.find("[source").unwrap()..];
    let spec = format!(
        "images = 100\nblocks = 0\nepochs = 1\nseeds = 2\naugmentation = \"none\"\n{sources_and_target}\n\
         [search]\nlearning-rate = [0.01, 0.05]\n"
    );
    std::fs::write(folder.join("spec.toml"), spec).unwrap();
    let told =
        |words: &str| -> serde_json::Value { serde_json::from_str(&run(folder, words)).unwrap() };
    // Two sources and two seeds, each judged for two candidates first.
    let plan = told("study spec.toml --plan --out study --json");
    for (key, count) in [
        ("runs", 4),
        ("judging_runs", 8),
        ("finished", 0),
        ("to_do", 12),
    ] {
        assert_eq!(plan[key], count, "{key}: {plan}");
    }
    assert_eq!(plan["timings"].as_array().unwrap().len(), 2);
    assert_eq!(plan["timings"][0]["source"], "natural");
    let timed = ["seconds_an_image_trained_on", "seconds_an_image_measured"];
    for seconds in timed.map(|key| plan["timings"][0][key].as_f64().unwrap()) {
        assert!(seconds > 0.0, "{plan}");
    }
    assert!(plan["seconds"].as_f64().unwrap() > 0.0);

    let mut seconds = 0.0;
    for (done, before) in [(12, 0), (0, 12)] {
        let study = told("study spec.toml --out study --json");
        // What the calls took adds up, but for the opening of the record.
        let [all, here] = ["seconds", "seconds_of_this_call"].map(|it| study[it].as_f64().unwrap());
        assert!(here > 0.0 && seconds + here <= all + 1e-9, "{study}");
        seconds = all;
        let record = RunFolder::read(folder.join("study")).unwrap();
        assert_eq!(record.seconds, all);
        assert_eq!(study["out"], "study");
        assert_eq!(
            (&study["done"], &study["finished_before"]),
            (&done.into(), &before.into())
        );
        let results = serde_json::json!({ "runs": 4, "judging_runs": 8, "rows": 4, "diverged": 0 });
        assert_eq!(study["results"], results);
        for key in ["table", "search"] {
            assert!(
                folder.join(study[key].as_str().unwrap()).exists(),
                "{study}"
            );
        }
    }
    let figure = told("figure 1 study --out figures --json");
    let files = ["svg", "png", "csv", "json"].map(|ending| format!("figures/figure1.{ending}"));
    assert_eq!(figure["figure"], "figure1");
    assert_eq!(figure["files"], serde_json::json!(files));
}
