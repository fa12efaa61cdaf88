//! `ascribe audit` of runs through residual blocks: mean scores are those of the run's own matrix, and what the run does not
//! hold is said, not guessed.

use crate::audit::piece;
use crate::command_line::{ascribe, refused};
use ascribe::artefact::RunFolder;
use ascribe::influence::{read_helpful_shares, read_rankings};
use ndarray::{Array2, Axis};
use ndarray_npy::{read_npy, write_npy};
use serde_json::Value;
use std::path::Path;

const QUERIES: usize = 14;
const IMAGES: usize = 60;

/// Solves that miss their tolerance are no failure here.
fn run(folder: &Path, words: &str) {
    let output = ascribe(folder, words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        matches!(output.status.code(), Some(0 | 3)),
        "ascribe {words}: {said}"
    );
}

fn transfer(folder: &Path, source: &str) {
    run(
        folder,
        &format!(
            "transfer --source builtin:{source} --train builtin:digits-train --test builtin:digits-test --images {IMAGES} \
             --blocks 1 --epochs 2 --batch-size 20 --augmentation none --out {source}"
        ),
    );
}

fn rank(folder: &Path, words: &str) {
    run(folder, &format!("rank --damping 1e-1 {words}"));
}

fn positions(value: &Value) -> Vec<usize> {
    let list = value.as_array().unwrap().iter();
    list.map(|at| at.as_u64().unwrap() as usize).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap().iter();
    list.map(|number| number.as_f64().unwrap()).collect()
}

/// Of five digits.
fn assert_near(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() <= 1e-4 * expected.abs() + 1e-12,
        "{found} {expected}"
    );
}

#[test]
fn mean_scores_are_those_of_the_runs_matrix() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    transfer(folder, "natural");
    rank(
        folder,
        &format!(
            "--model natural --blocks 1 --queries {QUERIES} --scores --shares --bottom 5 --out blocks"
        ),
    );
    // What auto stood for is recorded, and the page says it.
    let record = RunFolder::read(folder.join("blocks")).unwrap();
    let [plan, solver]: [Value; 2] =
        ["plan", "solver"].map(|result| record.result(result).unwrap());
    let method = plan["method"].as_str().unwrap();
    let has_rows = solver.get("curvature_rows").is_some();
    assert_eq!(method, if has_rows { "direct" } else { "cg" });
    run(folder, "audit blocks --skip-sensitivity --out page");
    let page = folder.join("page");
    let overview = piece(&page, "overview").to_string();
    assert!(
        overview.contains(&format!("systems were solved ({method})")),
        "{overview}"
    );
    let scores: Array2<f32> = read_npy(folder.join("blocks/scores.npy")).unwrap();
    let scores = scores.mapv(f64::from);
    assert_eq!(scores.dim(), (QUERIES, IMAGES));
    // Columns lie as the transfer drew its images, the page's list by id; queries are in order of ids in both.
    let drawn: Vec<usize> = RunFolder::read(folder.join("natural"))
        .unwrap()
        .result("train_ids")
        .unwrap();
    let training = piece(&page, "training");
    let column = |at: usize| {
        let id = training["id"][at].as_u64().unwrap() as usize;
        drawn.iter().position(|&other| other == id).unwrap()
    };
    let means = scores.mean_axis(Axis(0)).unwrap();
    for (at, &found) in numbers(&training["models"][0]["mean"]).iter().enumerate() {
        assert_near(found, means[column(at)]);
    }
    let mut counted = 0;
    for cell in piece(&page, "confusions")[0].as_array().unwrap() {
        let rows = positions(&cell["queries"]);
        counted += rows.len();
        let means = scores.select(Axis(0), &rows).mean_axis(Axis(0)).unwrap();
        let mut sorted = means.to_vec();
        sorted.sort_by(f64::total_cmp);
        let signed = |positive: bool| -> Vec<f64> {
            let own = sorted.iter().copied();
            own.filter(|mean| *mean != 0.0 && (*mean > 0.0) == positive)
                .collect()
        };
        let mut helpful = signed(true);
        helpful.reverse();
        for (side, sorted) in [("harmful", signed(false)), ("helpful", helpful)] {
            let found = numbers(&cell[side]["score"]);
            assert_eq!(found.len(), sorted.len().min(24));
            for ((at, found), expected) in
                (positions(&cell[side]["train"]).into_iter().zip(found)).zip(sorted)
            {
                assert_near(found, expected);
                assert_near(found, means[column(at)]);
            }
        }
    }
    assert_eq!(counted, QUERIES);
    // What is predicted is what the run saw, by the head on the features of the whole model.
    let rankings = read_rankings(&folder.join("blocks/rankings.parquet")).unwrap();
    let queries = piece(&page, "queries");
    let predicted = positions(&queries["models"][0]["prediction"]);
    for (at, ranking) in rankings.iter().enumerate() {
        assert_eq!(queries["id"][at], ranking.query as u64);
        assert_eq!(predicted[at], ranking.query_prediction);
    }
    let record = RunFolder::read(folder.join("blocks")).unwrap();
    let losses = numbers(&queries["models"][0]["loss"]);
    let loss: f64 = record.result("test_loss").unwrap();
    assert!((losses.iter().sum::<f64>() / QUERIES as f64 - loss).abs() < 1e-3 * loss);
    // Shares add up to the scores that they are shares of.
    let shares = read_helpful_shares(&folder.join("blocks/shares.parquet")).unwrap();
    let shares: f64 = shares.iter().map(|(_, share)| share).sum();
    let ranked = rankings.iter().flat_map(|ranking| &ranking.helpful);
    let helpful = ranked.map(|image| image.score).filter(|score| *score > 0.0);
    assert_near(shares, helpful.sum());
    let model = &piece(&page, "overview")["models"][0];
    let text = format!("{} {}", model["facts"], model["statements"]);
    for part in [
        "the last block and the head",
        "gauss-newton",
        "net shares of helpful scores",
        "--retrain SEEDS",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Of test images alone; a random ranking would meet a tenth or so.
    let curves = model["class_match"].as_array().unwrap();
    assert_eq!(curves.len(), 1);
    let chance = curves[0]["chance"].as_f64().unwrap();
    assert!((5.0..20.0).contains(&chance), "{chance}");
    assert!(queries["models"][0]["flip"][0].is_null());

    // What is not this run's matrix is refused by name.
    let file = folder.join("blocks/scores.npy");
    let whole = std::fs::read(&file).unwrap();
    let narrow = Array2::<f32>::zeros((QUERIES, IMAGES - 1));
    let mut spoilt = scores.mapv(|score| score as f32);
    spoilt[[3, 7]] = f32::INFINITY;
    type Spoil<'a> = &'a dyn Fn();
    let cases: [(Spoil, &str); 3] = [
        (
            &|| std::fs::write(&file, &whole[..whole.len() - 5]).unwrap(),
            "as its header says",
        ),
        (&|| write_npy(&file, &narrow).unwrap(), "14 × 59"),
        (&|| write_npy(&file, &spoilt).unwrap(), "row 3, column 7"),
    ];
    (cases[1].0)();
    let said = refused(folder, "audit blocks --skip-sensitivity --out other");
    assert!(
        said.contains("blocks/scores.npy: is not what ascribe rank left here"),
        "{said}"
    );
    std::fs::remove_file(&file).unwrap();
    let said = refused(folder, "audit blocks --skip-sensitivity --out other");
    assert!(said.contains("blocks/scores.npy: is gone"), "{said}");
    forget_digests(&folder.join("blocks"));
    for (at, (spoil, part)) in cases.iter().enumerate() {
        spoil();
        let words = format!("audit blocks --skip-sensitivity --out spoilt-{at}");
        let said = refused(folder, &words);
        let names = said.contains("blocks/scores.npy") && said.contains("--scores");
        assert!(names && said.contains(part), "{said}");
    }
}

/// Makes a run one from before digests of its files were noted.
fn forget_digests(run: &Path) {
    let file = run.join("run.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    record["results"]
        .as_object_mut()
        .unwrap()
        .remove("digests")
        .unwrap();
    std::fs::write(&file, record.to_string()).unwrap();
}

#[test]
fn without_a_matrix_the_page_says_so_and_runs_stand_side_by_side() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    transfer(folder, "natural");
    transfer(folder, "robust");
    for (words, out) in [
        ("--model natural --blocks 1 --query-rank 2", "blocks"),
        ("--model robust --blocks 1 --scores", "robust-blocks"),
        (
            "--model natural --blocks 1 --curvature hessian --solver identity",
            "hessian",
        ),
        ("--model natural", "head"),
    ] {
        rank(folder, &format!("{words} --queries {QUERIES} --out {out}"));
    }
    rank(folder, "--model natural --queries 5 --out fewer");
    let audit = |words: &str, out: &str| {
        run(
            folder,
            &format!("audit {words} --skip-sensitivity --measure 4 --out {out}"),
        );
        let page = folder.join(out);
        (piece(&page, "overview")["models"].clone(), page)
    };

    let (models, page) = audit("blocks hessian", "alone");
    assert!(page.join("index.html").exists());
    for model in models.as_array().unwrap() {
        assert_eq!(model["absences"][0]["what"], "mean-scores");
        assert_eq!(model["absences"][1]["what"], "self-influence");
        let said = model["statements"].to_string();
        assert!(said.contains("rank again with --scores"), "{said}");
        // Predictions are known without any score.
        let cells = model["cells"].as_array().unwrap();
        let count: u64 = cells.iter().map(|cell| cell[2].as_u64().unwrap()).sum();
        assert_eq!(count, QUERIES as u64);
    }
    let said = |at: usize| models[at]["statements"].to_string();
    assert!(said(0).contains("--query-rank"), "{}", said(0));
    assert!(said(1).contains("damped Hessian"), "{}", said(1));
    let training = piece(&page, "training");
    assert!(
        training["models"][0]["mean"]
            .as_array()
            .unwrap()
            .iter()
            .all(Value::is_null)
    );
    for cell in piece(&page, "confusions")[0].as_array().unwrap() {
        assert_eq!(cell["harmful"]["train"].as_array().unwrap().len(), 0);
    }

    // The head beside the blocks of the same model: one is fitted again, the other trained again, and the first alone has means.
    let (models, page) = audit("head blocks", "both");
    assert_eq!(models[0]["absences"].as_array().unwrap().len(), 0);
    assert_eq!(models[1]["absences"].as_array().unwrap().len(), 2);
    let queries = piece(&page, "query-0");
    let measured = |model: usize| {
        let queries = queries.as_array().unwrap().iter();
        queries
            .filter(|query| !query[model]["removal"].is_null())
            .count()
    };
    assert_eq!((measured(0), measured(1)), (4, 4));
    for query in queries.as_array().unwrap() {
        let trained = |model: usize| {
            let removal = &query[model]["removal"];
            (!removal.is_null()).then(|| removal["converged"].is_null())
        };
        assert_eq!(trained(0), trained(1).map(|trained| !trained));
    }
    let columns = piece(&page, "queries")["models"].clone();
    assert_eq!(columns[0]["prediction"], columns[1]["prediction"]);
    assert_ne!(
        queries[0][0]["helpful"]["score"],
        queries[0][1]["helpful"]["score"]
    );

    let (models, _) = audit("blocks robust-blocks", "sources");
    assert_eq!(models[1]["absences"].as_array().unwrap().len(), 1);

    let said = refused(folder, "audit fewer blocks --out other");
    assert!(said.contains("test images of blocks"), "{said}");
    // Rankings of another model are not this one's.
    std::fs::copy(
        folder.join("robust-blocks/rankings.parquet"),
        folder.join("blocks/rankings.parquet"),
    )
    .unwrap();
    let said = refused(folder, "audit blocks --skip-sensitivity --out mixed");
    assert!(
        said.contains("blocks/rankings.parquet: is not what ascribe rank left here"),
        "{said}"
    );
    forget_digests(&folder.join("blocks"));
    let said = refused(folder, "audit blocks --skip-sensitivity --out mixed");
    assert!(
        said.contains("rankings of blocks: prediction for query"),
        "{said}"
    );
}
