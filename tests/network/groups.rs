//! Groups of queries through the blocks: with a ranking of each query, and alone.

use crate::command_line::{refused, run};
use crate::killed_run::record;
use crate::network::resumption::transferred;
use crate::network::small_network::labels;
use crate::network::through_blocks::{Problem, TRAIN, options, problem};
use crate::parquet_table::{numbers, words};
use ascribe::derivative::network::Curvature;
use ascribe::influence::{Grouping, Groups, NetworkOptions, RankSummary, read_rankings};
use ascribe::model::Blocks;
use ascribe::solve::Method;
use ndarray::{Array2, Axis};
use std::collections::BTreeMap;
use std::path::Path;

/// Members by name.
type Members = BTreeMap<String, Vec<usize>>;

/// The members that groups of a run's queries should have.
fn expected_members(grouping: &Grouping, folder: &Path) -> Members {
    let mut members = Members::new();
    for query in read_rankings(&folder.join("rankings.parquet")).unwrap() {
        let (label, prediction) = (query.query_label, query.query_prediction);
        let names = match grouping {
            Grouping::All => vec!["all".into()],
            Grouping::Class => vec![label.to_string()],
            Grouping::Confusion => vec![format!("{label} → {prediction}")],
            Grouping::File(_) => match query.query {
                4 => vec!["even".into(), "last".into()],
                even if even % 2 == 0 => vec!["even".into()],
                _ => Vec::new(),
            },
        };
        for name in names {
            members.entry(name).or_default().push(query.query);
        }
    }
    members
}

fn run_part(
    problem: &Problem,
    on_device: bool,
    options: &NetworkOptions,
    folder: &Path,
) -> RankSummary {
    std::fs::create_dir(folder).unwrap();
    let run = match on_device {
        true => Problem::run_on_device,
        false => Problem::run_into,
    };
    run(problem, options.clone(), folder).unwrap()
}

/// By the mean of the oracle's scores, on the processor and by graphs of tensors, from all training images to the two most harmful:
/// from the scores of each query, and from solves for the groups alone.
#[test]
fn groups_of_queries_are_ranked_by_the_means_of_their_scores() {
    let problem = problem(Blocks::Last(1));
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("groups.csv");
    std::fs::write(&file, "query,group\n0,even\n2,even\n4,even\n4,last\n").unwrap();
    let oracle = problem.oracle(Curvature::GaussNewton);
    let groupings = [
        Grouping::File(file),
        Grouping::All,
        Grouping::Class,
        Grouping::Confusion,
    ];
    for (at, grouping) in groupings.into_iter().enumerate() {
        let folder = |name: &str| place.path().join(format!("{name}{at}"));
        let mut options = options(Method::Cg, Curvature::GaussNewton);
        (options.bottom, options.query_groups) = (2, Some(grouping.clone()));
        let by_queries = folder("queries");
        run_part(&problem, at == 0, &options, &by_queries);
        let members = expected_members(&grouping, &by_queries);
        check_rankings(&by_queries, &oracle, &members);

        options.groups_only = true;
        options.train_groups = Some(Groups::by_class(&labels(TRAIN), &[]));
        let alone = folder("alone");
        let summary = run_part(&problem, at == 0, &options, &alone);
        check_rankings(&alone, &oracle, &members);
        check_between_groups(&alone, &oracle, &members);
        assert_eq!(summary.solves[0].reports.len(), members.len());
        let solves = alone.join("solves.parquet");
        let named: Vec<String> = words(&solves, "group").into_iter().flatten().collect();
        assert!(named.iter().eq(members.keys()), "{named:?}");
        assert!(!alone.join("rankings.parquet").exists());
    }
}

fn means(oracle: &Array2<f64>, members: &[usize]) -> Vec<f64> {
    let rows = oracle.select(Axis(0), members);
    rows.mean_axis(Axis(0)).unwrap().to_vec()
}

fn check_rankings(folder: &Path, oracle: &Array2<f64>, members: &Members) {
    let rows = group_rows(&folder.join("group_rankings.parquet"));
    let mut rows = rows.iter();
    for (name, members) in members {
        let means = means(oracle, members);
        let mut sorted = means.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let ranks = (1..=TRAIN as i32).chain([-1, -2]);
        let scores = sorted.iter().chain(sorted.iter().rev());
        for (rank, score) in ranks.zip(scores) {
            let row = rows.next().unwrap();
            assert_eq!((&row.group, row.queries), (name, members.len()));
            assert_eq!(row.rank, rank);
            let scale = sorted[0].abs().max(sorted[TRAIN - 1].abs());
            for expected in [*score, means[row.train]] {
                assert!((row.score - expected).abs() <= 1e-8 * scale, "{row:?}");
            }
        }
    }
    assert!(rows.next().is_none());
}

/// Groups of training images, by label, for each group of queries.
fn check_between_groups(folder: &Path, oracle: &Array2<f64>, members: &Members) {
    let file = folder.join("train_groups.parquet");
    let (scores, queries) = (numbers(&file, "score"), numbers(&file, "queries"));
    let [asked, trained] = ["query_group", "group"].map(|name| words(&file, name).into_iter());
    let mut rows = trained.zip(asked).zip(scores.iter().zip(&queries));
    let trained = Groups::by_class(&labels(TRAIN), &[]);
    for (name, images) in trained.iter() {
        for (asked, members) in members {
            let means = means(oracle, members);
            let sum: f64 = images.iter().map(|&image| means[image]).sum();
            let size: f64 = images.iter().map(|&image| means[image].abs()).sum();
            let ((found, of), (score, queries)) = rows.next().unwrap();
            assert_eq!((found.as_deref(), of.as_ref()), (Some(name), Some(asked)));
            assert_eq!(*queries, members.len() as f64);
            assert!((score - sum).abs() <= 1e-8 * size, "{score} {sum}");
        }
    }
    assert!(rows.next().is_none());
}

#[derive(Debug)]
struct GroupRow {
    group: String,
    queries: usize,
    rank: i32,
    train: usize,
    score: f64,
}

fn group_rows(file: &Path) -> Vec<GroupRow> {
    let numbers = |name: &str| numbers(file, name);
    let (queries, ranks) = (numbers("queries"), numbers("rank"));
    let (images, scores) = (numbers("train"), numbers("score"));
    let groups = words(file, "group").into_iter().enumerate();
    let row = |(row, group): (usize, Option<String>)| GroupRow {
        group: group.unwrap(),
        queries: queries[row] as usize,
        rank: ranks[row] as i32,
        train: images[row] as usize,
        score: scores[row],
    };
    groups.map(row).collect()
}

#[test]
fn the_command_ranks_for_groups_alone_and_others_refuse_such_a_run() {
    let place = transferred();
    let folder = place.path();
    let rank = "rank --model model --blocks 1 --queries 60 --damping 1e-1 --top 5 --bottom 1";
    let alone = "--groups-only --query-groups";
    let plan = run(folder, &format!("{rank} {alone} class --dry-run --out g"));
    assert!(
        plan.contains("at most 10 groups of 60 queries, each a solve"),
        "{plan}"
    );
    let said = run(
        folder,
        &format!("{rank} {alone} all --train-groups class --out g"),
    );
    assert!(!said.contains("groups of training images"), "{said}");
    let found = record(folder, "g");
    assert_eq!(
        found["results"]["solves"]["group"]["outcomes"]
            .as_object()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        group_rows(&folder.join("g/group_rankings.parquet")).len(),
        6
    );
    assert_eq!(
        numbers(&folder.join("g/train_groups.parquet"), "score").len(),
        10
    );
    assert_eq!(found["results"]["train_groups"], 10);
    run(folder, "rerun g --out again");

    let alone = "ranks for groups of queries alone, and not for each query; give a run of ascribe rank without --groups-only";
    for (words, expected) in [
        ("figure 6 g --out picture", alone),
        ("audit g --out page", alone),
        ("evaluate g --retrain 3 --out evidence", alone),
        (
            "rank --model model --query-groups class --groups-only --out no",
            "--groups-only: needs --blocks 1 or more",
        ),
        (
            &format!("{rank} --query-groups class --groups-only --scores --out no"),
            "--scores: are those of queries",
        ),
        (
            &format!("{rank} --query-groups class --groups-only --shares --out no"),
            "--shares: are of ranked scores of queries",
        ),
    ] {
        let message = refused(folder, words);
        assert!(message.contains(expected), "{words}: {message}");
    }
}
