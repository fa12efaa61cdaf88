//! `ascribe audit` from the command line: what the page says agrees with the runs, and decisions go back into a transfer.

use crate::audit::piece;
use crate::command_line::{ascribe, both, refused, run};
use crate::digit_archives::write_features;
use crate::run_record::record;
use ascribe::data::Features;
use ascribe::derivative::head::{HeadInputs, HeadOutputs, SoftmaxHead};
use ascribe::influence::{QueryRanking, read_rankings};
use ascribe::solve::Newton;
use candle_core::{DType, Device};
use image::codecs::png::PngEncoder;
use serde_json::{Value, json};
use std::path::Path;

const TRANSFER: &str = "transfer --source builtin:natural --train builtin:digits-train --test builtin:digits-test \
    --images 100 --blocks 0 --epochs 4 --batch-size 25 --augmentation none --frozen-statistics frozen";

#[test]
fn a_page_says_what_the_run_says_and_its_decisions_change_the_next_model() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let audit = folder.join("audit");
    run(folder, &format!("{TRANSFER} --flip-labels 0.1 --out model"));
    run(
        folder,
        "rank --model model --damping 1e-2 --top 20 --bottom 5 --out rank",
    );
    run(folder, "audit rank --measure 12 --out audit");
    // What the page is made of is held to what was left, in folders below too.
    run(folder, "inspect audit --check");
    let script = audit.join("data/training.js");
    let whole = std::fs::read(&script).unwrap();
    std::fs::write(&script, &whole[..whole.len() - 1]).unwrap();
    let output = ascribe(folder, "inspect audit --check");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.code() == Some(1) && said.contains("data/training.js"),
        "{said}"
    );
    std::fs::write(&script, &whole).unwrap();

    let (transfer, overview) = (record(folder, "model"), piece(&audit, "overview"));
    let flipped: Vec<u64> = (transfer["results"]["flipped"].as_array().unwrap().iter())
        .map(|id| id.as_u64().unwrap())
        .collect();
    assert_eq!(flipped.len(), 10);

    // Labels are the flipped ones.
    let training = piece(&audit, "training");
    let ids: Vec<u64> = (training["id"].as_array().unwrap().iter())
        .map(|id| id.as_u64().unwrap())
        .collect();
    for id in &flipped {
        let at = ids.iter().position(|other| other == id).unwrap();
        assert_eq!(
            training["label"][at],
            transfer["results"]["relabelled"][id.to_string()]
        );
    }

    // Scores of the first query are those of the rankings.
    let rankings = read_rankings(&folder.join("rank/rankings.parquet")).unwrap();
    let query = &piece(&audit, "query-0")[0][0];
    for (rank, image) in rankings[0].helpful.iter().enumerate() {
        let at = query["helpful"]["train"][rank].as_u64().unwrap() as usize;
        assert_eq!(ids[at], image.train as u64);
        let score = query["helpful"]["score"][rank].as_f64().unwrap();
        assert!((score - image.score).abs() <= 1e-4 * image.score.abs());
    }
    let counts: u64 = (overview["models"][0]["cells"].as_array().unwrap().iter())
        .map(|cell| cell[2].as_u64().unwrap())
        .sum();
    assert_eq!(counts, rankings.len() as u64);

    // Heads that never saw them find the flipped labels improbable; the table says what the page does.
    let held = training["models"][0]["held"].as_array().unwrap();
    let mean = |wanted: bool| {
        let of_it = ids.iter().zip(held);
        let of_it = of_it.filter(|(id, _)| flipped.contains(id) == wanted);
        let losses: Vec<f64> = of_it.map(|(_, loss)| loss.as_f64().unwrap()).collect();
        losses.iter().sum::<f64>() / losses.len() as f64
    };
    assert!(
        mean(true) > 2.0 * mean(false),
        "{} {}",
        mean(true),
        mean(false)
    );
    let table = held_out_losses(&audit);
    for (in_table, on_page) in table.iter().zip(held) {
        let (in_table, on_page) = (in_table.unwrap(), on_page.as_f64().unwrap());
        assert!((in_table - on_page).abs() <= 1e-3 * in_table);
    }

    // Twelve queries were measured, and every flip that was found is a prediction other than the present one.
    let mut measured = Vec::new();
    for number in 0..rankings.len().div_ceil(100) {
        let queries = piece(&audit, &format!("query-{number}"));
        let queries = queries.as_array().unwrap().iter().zip(100 * number..);
        let with = queries.filter(|(query, _)| !query[0]["removal"].is_null());
        measured.extend(with.map(|(_, position)| position));
    }
    assert_eq!(measured.len(), 12);
    // Half of them are wrong; the others, too, come from all over the test set.
    let is_wrong = |at: &usize| rankings[*at].query_prediction != rankings[*at].query_label;
    let wrong: Vec<usize> = (0..rankings.len()).filter(is_wrong).collect();
    let chosen: Vec<usize> = (0..6).map(|place| wrong[place * wrong.len() / 6]).collect();
    assert!(
        chosen.iter().all(|at| measured.contains(at)),
        "{measured:?}"
    );
    let others = measured.iter().filter(|at| !chosen.contains(at));
    assert!(
        *others.max().unwrap() > rankings.len() * 4 / 5,
        "{measured:?}"
    );

    // The page's decisions: correct three flips, leave out the others.
    let mut csv = String::from("train,decision,label\n");
    let original = ascribe::data::digits_train().unwrap();
    for (at, &id) in flipped.iter().enumerate() {
        match at < 3 {
            true => csv.push_str(&format!("{id},relabel,{}\n", original.label(id as usize))),
            false => csv.push_str(&format!("{id},exclude,\n")),
        }
    }
    std::fs::write(folder.join("decisions.csv"), csv).unwrap();
    run(
        folder,
        &format!(
            "{TRANSFER} --flip-labels 0.1 --exclude decisions.csv --relabel decisions.csv --out second"
        ),
    );
    let words = format!("{TRANSFER} --exclude decisions.csv --out half");
    let (_, said) = both(folder, &words);
    assert!(
        said.contains(
            "3 decisions of decisions.csv are to relabel, and no file to relabel by is given"
        ),
        "{said}"
    );
    let second = record(folder, "second");
    assert_eq!(second["results"]["train_ids"].as_array().unwrap().len(), 93);
    // The labels of the other three are the file's again.
    assert!(second["results"].get("relabelled").is_none(), "{second}");
    // And that model is ranked, drawn and audited like any other; side by side where both ranked the same test images.
    run(
        folder,
        "rank --model second --damping 1e-2 --top 20 --scores --out second-rank",
    );
    run(folder, "figure 5 second-rank --out figures");
    run(
        folder,
        "audit second-rank rank --names after,before --measure 0 --skip-sensitivity --embed --out both",
    );
    let page = std::fs::read_to_string(folder.join("both/index.html")).unwrap();
    assert!(page.contains("after and before") && page.contains("ascribe.take(\"query-7\""));
    // Look-alikes are sought among the images of the run that has most, whichever is named first.
    assert!(page.contains(r#""compared":{"images":100,"model":1}"#));
    assert!(!folder.join("both/data").exists());
    // Solves of the page's own that miss their tolerance are told.
    let hurried = "--damping 1e-6 --solver cg --iterations 1 --skip-train --out hurried";
    let exit = |words: &str| ascribe(folder, words).status.code();
    assert_eq!(exit(&format!("rank --model second {hurried}")), Some(3));
    let words = "audit hurried --measure 0 --skip-sensitivity --out doubtful";
    assert_eq!(exit(words), Some(3));
    let page = std::fs::read_to_string(folder.join("doubtful/data/overview.js")).unwrap();
    assert!(page.contains("of the solves behind them missed their tolerance"));
    // A run that ranked helpful images alone has the others in its full scores.
    run(
        folder,
        "audit second-rank --measure 0 --skip-sensitivity --out third",
    );
    let harmful = piece(&folder.join("third"), "query-0")[0][0]["harmful"]["score"].clone();
    let harmful: Vec<f64> = serde_json::from_value(harmful).unwrap();
    assert_eq!(harmful.len(), 20);
    assert!(harmful.is_sorted() && harmful[19] < 0.0, "{harmful:?}");
    // One that ranked all has them there; each is at the end that its sign says.
    run(
        folder,
        "rank --model second --damping 1e-2 --top 93 --skip-train --out whole",
    );
    run(
        folder,
        "audit whole --measure 0 --skip-sensitivity --out fourth",
    );
    let query = piece(&folder.join("fourth"), "query-0")[0][0].clone();
    let [helpful, all_harmful]: [Vec<f64>; 2] = ["helpful", "harmful"]
        .map(|end| serde_json::from_value(query[end]["score"].clone()).unwrap());
    assert_eq!(helpful.len() + all_harmful.len(), 93);
    assert!(helpful.iter().all(|score| *score > 0.0));
    assert_eq!(all_harmful[..20], harmful);
    let page = std::fs::read_to_string(folder.join("fourth/data/overview.js")).unwrap();
    assert!(!page.contains("harmful-end") && !page.contains("helpful-end"));
}

/// The column of `training_images.csv`.
fn held_out_losses(audit: &Path) -> Vec<Option<f64>> {
    let mut table = csv::Reader::from_path(audit.join("training_images.csv")).unwrap();
    let header = table.headers().unwrap().clone();
    let at = header
        .iter()
        .position(|name| name == "held_out_loss")
        .unwrap();
    let rows = table.records();
    rows.map(|row| row.unwrap()[at].parse().ok()).collect()
}

#[test]
fn runs_of_features_are_audited_without_pictures() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let audit = folder.join("audit");
    write_features(folder, 60);
    run(
        folder,
        "rank --train train.npz --test test.npz --l2 1e-2 --skip-train --out rank",
    );
    run(folder, "audit rank --measure 4 --out audit");
    let overview = piece(&audit, "overview");
    assert_eq!(overview["layouts"], json!({}));
    // Labels alone are enough for test images; self-influence was left out, which is said.
    let model = &overview["models"][0];
    assert_eq!(model["class_match"].as_array().unwrap().len(), 1);
    assert_eq!(
        model["class_match"][0]["percent"].as_array().unwrap().len(),
        60
    );
    assert_eq!(model["absences"].as_array().unwrap().len(), 1);
    assert_eq!(model["absences"][0]["what"], "self-influence");
    assert!(!folder.join("audit/images/train-0.png").exists());
    assert!(held_out_losses(&audit).iter().all(Option::is_some));
    run(folder, "audit rank --measure 0 --skip-held-out --out less");
    assert!(
        held_out_losses(&folder.join("less"))
            .iter()
            .all(Option::is_none)
    );
    let said = std::fs::read_to_string(folder.join("less/data/overview.js")).unwrap();
    assert!(said.contains("--skip-held-out"), "{said}");
    // Divided scores have no means, which is said where these would be.
    run(
        folder,
        "rank --train train.npz --test test.npz --l2 1e-2 --skip-train --solver identity --normalise cosine --out cosine",
    );
    run(
        folder,
        "audit cosine --measure 0 --skip-held-out --out divided",
    );
    let said = std::fs::read_to_string(folder.join("divided/data/overview.js")).unwrap();
    assert!(said.contains(r#""what":"mean-scores""#), "{said}");
}

#[test]
fn a_file_that_a_run_left_and_that_is_gone_is_not_taken_for_one_that_never_was() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    write_features(folder, 60);
    run(
        folder,
        "rank --train train.npz --test test.npz --l2 1e-2 --scores --out rank",
    );
    for file in [
        "self_influence.parquet",
        "train_rankings.parquet",
        "scores.npy",
    ] {
        let (own, kept) = (folder.join("rank").join(file), folder.join("kept"));
        std::fs::rename(&own, &kept).unwrap();
        let said = refused(folder, "audit rank --out audit");
        let expected = format!("rank/{file}: is gone, which ascribe rank left here; put it back");
        assert!(said.contains(&expected), "{said}");
        std::fs::rename(&kept, &own).unwrap();
    }
    assert!(!folder.join("audit").exists());
}

#[test]
fn a_file_of_groups_that_moved_is_refused_by_what_to_say() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    write_features(folder, 60);
    std::fs::write(folder.join("groups.csv"), "train,group\n0,a\n1,b\n2,b\n").unwrap();
    run(
        folder,
        "rank --train train.npz --test test.npz --l2 1e-2 --skip-train --train-groups groups.csv --out rank",
    );
    std::fs::rename(folder.join("groups.csv"), folder.join("moved.csv")).unwrap();
    let said = refused(folder, "audit rank --out audit");
    assert!(
        said.starts_with("ascribe: groups.csv: is not there any more")
            && said.contains("--moved OLD=NEW"),
        "{said}"
    );
}

/// Features whose head is fitted here once more, by the exact Newton's method from zero.
struct Fits {
    training: Features,
    queries: HeadInputs,
    l2: f64,
}

impl Fits {
    fn open(folder: &Path, l2: f64) -> Self {
        let open = |name: &str| Features::open(&folder.join(name)).unwrap();
        let (training, test) = (open("train.npz"), open("test.npz"));
        Self {
            queries: HeadInputs::new(&test.values, &test.labels, DType::F64).unwrap(),
            training,
            l2,
        }
    }

    /// What a head says of the queries that is fitted to all images but those `left_out`, whose weight no other takes over.
    fn without(&self, left_out: &[usize]) -> HeadOutputs {
        let training = &self.training;
        let is_kept = |row: &usize| !left_out.contains(row);
        let kept: Vec<usize> = (0..training.len()).filter(is_kept).collect();
        let labels: Vec<usize> = kept.iter().map(|&row| training.labels[row]).collect();
        let rows: Vec<u32> = kept.iter().map(|&row| row as u32).collect();
        let features = training.values.select(&rows).unwrap();
        let inputs = HeadInputs::new(&features, &labels, DType::F64).unwrap();
        let (classes, columns) = (training.class_count(), training.dimension());
        let start = SoftmaxHead::zeros(classes, columns, DType::F64, &Device::Cpu).unwrap();
        // The mean over fewer images has the same minimum beside a larger L2 term.
        let l2 = self.l2 * training.len() as f64 / kept.len() as f64;
        let head = Newton::new(l2).fit(&inputs, start).unwrap().head;
        head.outputs(&self.queries).unwrap()
    }

    /// The page keeps five digits.
    fn check_removal(
        &self,
        full: &HeadOutputs,
        removal: &Value,
        query: usize,
        ranking: &QueryRanking,
    ) {
        let helpful = ranking.helpful.iter().filter(|image| image.score > 0.0);
        let taken: Vec<_> = helpful.take(10).collect();
        let images: Vec<usize> = taken.iter().map(|image| image.train).collect();
        assert_eq!(removal["images"], images.len());
        let rise = self.without(&images).losses[query] - full.losses[query];
        let predicted: f64 = taken.iter().map(|image| image.score).sum();
        for (name, expected) in [("measured", rise), ("predicted", predicted)] {
            let shown = removal[name].as_f64().unwrap();
            let apart = (shown - expected).abs();
            assert!(
                apart < 1e-4 * expected.abs() + 1e-6,
                "{name} of {query}: {shown} {expected}"
            );
        }
    }

    /// Without the images the prediction is another, and without one fewer of them it is not yet.
    fn check_flip(&self, full: &HeadOutputs, flip: &Value, query: usize) {
        let images: Vec<usize> = serde_json::from_value(flip["images"].clone()).unwrap();
        let (before, after) = (&flip["before"], &flip["prediction"]);
        assert_ne!(before, after);
        assert_eq!(*before, full.predictions[query]);
        let predicted = |images: &[usize]| self.without(images).predictions[query];
        assert_eq!(*after, predicted(&images), "{query}: {flip}");
        let fewer = &images[..images.len() - 1];
        assert_eq!(*before, predicted(fewer), "{query}: {flip}");
    }
}

#[test]
fn what_the_page_measured_is_what_heads_fitted_without_the_images_say() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let audit = folder.join("audit");
    write_features(folder, 60);
    run(
        folder,
        "rank --train train.npz --test test.npz --l2 1e-2 --skip-train --out rank",
    );
    run(folder, "audit rank --measure 5 --skip-held-out --out audit");
    let fits = Fits::open(folder, 1e-2);
    let rankings = read_rankings(&folder.join("rank/rankings.parquet")).unwrap();
    let full = fits.without(&[]);
    let queries = piece(&audit, "query-0");
    let (mut measured, mut flipped) = (0, 0);
    for (at, models) in queries.as_array().unwrap().iter().enumerate() {
        let query = &models[0];
        if !query["removal"].is_null() {
            fits.check_removal(&full, &query["removal"], at, &rankings[at]);
            measured += 1;
        }
        if query["flip"]["images"].get(0).is_some() {
            fits.check_flip(&full, &query["flip"], at);
            flipped += 1;
        }
    }
    assert!(measured == 5 && flipped > 2, "{measured} {flipped}");
}

/// Means, confusions and flips are of the scores that the lists show.
#[test]
fn a_run_with_leverage_has_means_with_leverage() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let audit = folder.join("audit");
    write_features(folder, 60);
    let rank = "rank --train train.npz --test test.npz --l2 1e-2 --scores --skip-train";
    run(folder, &format!("{rank} --out plain"));
    run(
        folder,
        &format!("{rank} --correction leverage --out corrected"),
    );
    run(folder, "audit corrected --measure 0 --out audit");
    let means = |name: &str| -> Vec<f64> {
        let scores: ndarray::Array2<f32> =
            ndarray_npy::read_npy(folder.join(name).join("scores.npy")).unwrap();
        let scores = scores.mapv(f64::from);
        scores.mean_axis(ndarray::Axis(0)).unwrap().to_vec()
    };
    let shown = piece(&audit, "training")["models"][0]["mean"].clone();
    let shown: Vec<f64> = serde_json::from_value(shown).unwrap();
    let apart = |means: &[f64]| {
        let largest = means
            .iter()
            .fold(0.0, |most, mean| f64::max(most, mean.abs()));
        let apart = shown.iter().zip(means).map(|(a, b)| (a - b).abs());
        apart.fold(0.0, f64::max) / largest
    };
    assert!(apart(&means("corrected")) < 1e-3);
    assert!(apart(&means("plain")) > 1e-2);
    let solves = &record(folder, "corrected")["results"]["solves"];
    assert_eq!(
        solves["leverage"]["outcomes"]["direct"],
        json!(60 * 9),
        "{solves}"
    );
}

#[test]
fn what_cannot_be_audited_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    write_features(folder, 60);
    run(
        folder,
        "rank --train train.npz --test test.npz --l2 1e-2 --skip-train --out rank",
    );
    assert!(refused(folder, "audit nowhere --out audit").contains("nowhere"));
    assert!(refused(folder, "audit rank --alike 2 --out audit").contains("--alike"));
    assert!(refused(folder, "audit rank rank --out audit").contains("--names"));
    assert!(!folder.join("audit").exists());
    std::fs::write(folder.join("rank/rankings.parquet"), b"PAR1").unwrap();
    assert!(refused(folder, "audit rank --out audit").contains("rankings.parquet"));
    for (text, said) in [
        ("", "columns"),
        ("train,decision,label\n900000,exclude,\n", "line 2"),
    ] {
        std::fs::write(folder.join("decisions.csv"), text).unwrap();
        let reason = refused(
            folder,
            &format!("{TRANSFER} --exclude decisions.csv --out model"),
        );
        assert!(
            reason.contains("decisions.csv") && reason.contains(said),
            "{reason}"
        );
    }
    assert!(
        refused(folder, &format!("{TRANSFER} --flip-labels 1.5 --out model"))
            .contains("--flip-labels")
    );
    assert!(!folder.join("model").exists());
}

/// A folder of two class folders, each with six digits of its own, the first ones from the image `first` on.
fn write_digits(folder: &Path, classes: [&str; 2], first: usize) {
    let set = ascribe::data::digits_train().unwrap();
    for (label, class) in classes.iter().enumerate() {
        let class = folder.join(class);
        std::fs::create_dir_all(&class).unwrap();
        let images = (first..set.len()).filter(|&id| set.label(id) == label);
        for id in images.take(6) {
            let pixels = set.get(id).unwrap().image.pixels;
            let picture = image::GrayImage::from_raw(8, 8, pixels).unwrap();
            let file = std::fs::File::create(class.join(format!("{id}.png"))).unwrap();
            picture.write_with_encoder(PngEncoder::new(file)).unwrap();
        }
    }
}

#[test]
fn runs_of_other_images_or_other_classes_are_not_shown_side_by_side() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let (shapes, numbers) = (["circle", "line"], ["nought", "one"]);
    for (name, classes, first) in [
        ("train", shapes, 0),
        ("other-train", shapes, 300),
        ("named-train", numbers, 0),
        ("test", shapes, 600),
        ("other-test", shapes, 800),
        ("named-test", numbers, 600),
    ] {
        write_digits(&folder.join(name), classes, first);
    }
    let ranked = |name: &str, train: &str, test: &str, queries: &str| {
        let fixed = "transfer --source builtin:natural --blocks 0 --epochs 1 --batch-size 6 \
                     --augmentation none --frozen-statistics frozen";
        let model = format!("{name}-model");
        run(
            folder,
            &format!("{fixed} --train {train} --test {test} --out {model}"),
        );
        run(
            folder,
            &format!("rank --model {model} --test {queries} --skip-train --out {name}"),
        );
    };
    ranked("first", "train", "test", "test");
    for (name, train, test, queries, said) in [
        (
            "trained",
            "other-train",
            "test",
            "test",
            "training images of trained: expected the file that first has",
        ),
        (
            "asked",
            "train",
            "test",
            "other-test",
            "test images of asked: expected the file that first has",
        ),
        (
            "named",
            "named-train",
            "named-test",
            "named-test",
            "class 0 of named: expected circle, as in first, found nought",
        ),
    ] {
        ranked(name, train, test, queries);
        let reason = refused(folder, &format!("audit first {name} --out audit"));
        assert!(reason.contains(said), "{reason}");
        assert!(!folder.join("audit").exists());
    }
}

#[test]
fn that_two_runs_ask_about_the_images_trained_on_is_said_once() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    write_features(folder, 60);
    std::fs::copy(folder.join("train.npz"), folder.join("test.npz")).unwrap();
    let rank = "rank --train train.npz --test test.npz --l2 1e-2 --skip-train";
    run(folder, &format!("{rank} --out one"));
    run(folder, &format!("{rank} --out other"));
    let words = "audit one other --measure 0 --skip-held-out --out audit";
    let said = String::from_utf8(ascribe(folder, words).stderr).unwrap();
    assert_eq!(said.matches("are the same images").count(), 1, "{said}");
}

/// The page has the test images that both runs predict alike, says how many it has not, and its means are over these.
#[test]
fn runs_that_predict_differently_stand_side_by_side_where_they_agree() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let audit = folder.join("audit");
    write_features(folder, 60);
    let rank = "rank --train train.npz --test test.npz --scores --skip-train";
    run(folder, &format!("{rank} --l2 1 --out labelled"));
    let rank = format!("{rank} --measurement prediction");
    run(folder, &format!("{rank} --l2 1e-2 --out low"));
    run(folder, &format!("{rank} --l2 1 --out high"));
    run(
        folder,
        "audit low high --measure 2 --skip-held-out --out audit",
    );
    let [low, high] = ["low", "high"]
        .map(|name| read_rankings(&folder.join(name).join("rankings.parquet")).unwrap());
    let agrees = |row: &usize| low[*row].query_label == high[*row].query_label;
    let alike: Vec<usize> = (0..60).filter(agrees).collect();
    assert!((1..60).contains(&alike.len()), "{alike:?}");
    assert_eq!(piece(&audit, "queries")["id"], json!(alike));
    let overview = piece(&audit, "overview");
    assert_eq!(overview["left_out"], json!(60 - alike.len()));
    let training = piece(&audit, "training");
    for (at, name) in ["low", "high"].into_iter().enumerate() {
        let cells = overview["models"][at]["cells"].as_array().unwrap();
        let count: u64 = cells.iter().map(|cell| cell[2].as_u64().unwrap()).sum();
        assert_eq!(count, alike.len() as u64);
        let own = [&low, &high][at];
        let first = |row: &&usize| own[**row].helpful[0].train_label == own[**row].query_label;
        let percent = 100.0 * alike.iter().filter(first).count() as f64 / alike.len() as f64;
        let shown = &overview["models"][at]["class_match"][0]["percent"][0];
        assert!(
            (shown.as_f64().unwrap() - percent).abs() < 0.01,
            "{shown} {percent}"
        );
        let scores: ndarray::Array2<f32> =
            ndarray_npy::read_npy(folder.join(name).join("scores.npy")).unwrap();
        let scores = scores.select(ndarray::Axis(0), &alike).mapv(f64::from);
        let means = scores.mean_axis(ndarray::Axis(0)).unwrap();
        let shown: Vec<f64> =
            serde_json::from_value(training["models"][at]["mean"].clone()).unwrap();
        let largest = means
            .iter()
            .fold(0.0, |most, mean| f64::max(most, mean.abs()));
        for (shown, mean) in shown.iter().zip(&means) {
            assert!((shown - mean).abs() < 1e-3 * largest, "{shown} {mean}");
        }
    }
    let said = refused(folder, "audit low labelled --measure 0 --out other");
    assert!(said.contains("test images of labelled"), "{said}");
}

#[test]
fn scripts_are_told_what_the_page_lists() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let told = |words: &str, code: i32| -> Value {
        let output = ascribe(folder, words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words}: {said}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let transfer = "transfer --source builtin:natural --train builtin:digits-train --test builtin:digits-test \
                    --images 40 --blocks 0 --epochs 2 --augmentation none --out model --json";
    told(transfer, 0);
    let rank = told(
        "rank --model model --damping 1e-2 --skip-train --out rank --json",
        0,
    );
    let audit = "audit --measure 0 --skip-sensitivity --skip-held-out";
    let found = told(&format!("{audit} rank --alike 0.5 --out audit --json"), 0);
    assert_eq!(
        (&found["out"], &found["missed"]),
        (&"audit".into(), &0.into())
    );
    assert_eq!(found["page"], "audit/index.html");
    assert!(folder.join("audit/index.html").exists());

    let results = &found["results"];
    assert_eq!(
        (&results["queries"], &results["training"]),
        (&797.into(), &40.into())
    );
    let rows = |table: &str| -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(folder.join("audit").join(table)).unwrap();
        let cells = |line: &str| line.split(',').map(str::to_owned).collect();
        text.lines().skip(1).map(cells).collect()
    };
    let groups = |is_listed: &dyn Fn(&Vec<String>) -> bool| {
        let rows = rows("duplicates.csv")
            .into_iter()
            .filter(|row| is_listed(row));
        let groups: std::collections::BTreeSet<String> = rows.map(|row| row[0].clone()).collect();
        groups.len()
    };
    assert!(groups(&|_| true) > 0);
    assert_eq!(results["duplicates"], groups(&|_| true));
    assert_eq!(results["leaks"], groups(&|row| row[3] == "test"));
    let model = &results["models"][0];
    assert_eq!(
        (&model["name"], &model["run"]),
        (&"rank".into(), &"rank".into())
    );
    let suspects = rows("training_images.csv").into_iter();
    assert_eq!(
        model["suspects"],
        suspects.filter(|row| row[3] != row[5]).count()
    );
    let accuracy = rank["results"]["test_accuracy"].as_f64().unwrap();
    let wrong = (797.0 * (1.0 - accuracy)).round() as u64;
    assert!(wrong > 0);
    assert_eq!(model["confused"], wrong);
    let kinds = model["confusions"].as_u64().unwrap();
    assert!((1..=wrong.min(90)).contains(&kinds), "{model}");
    let sets = rank["results"]["solves"].as_object().unwrap().values();
    let outcomes = sets.flat_map(|set| set["outcomes"].as_object().unwrap().values());
    let solves: u64 = outcomes.map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(solves, 40, "{rank}");
    assert_eq!(
        (&model["solves"], &model["missed"]),
        (&solves.into(), &0.into())
    );

    let figure = told("figure 6 rank --format svg --out figures --json", 0);
    let files = ["svg", "csv", "json"].map(|ending| format!("figures/figure6.{ending}"));
    assert_eq!(figure["files"], json!(files));

    let hurried = "rank --model model --damping 1e-6 --solver cg --iterations 1 --skip-train";
    told(&format!("{hurried} --out hurried --json"), 3);
    let found = told(&format!("{audit} hurried --out doubtful --json"), 3);
    let model = &found["results"]["models"][0];
    for missed in [&found["missed"], &model["missed"]] {
        assert!(missed.as_u64().unwrap() > 0, "{found}");
    }
}
