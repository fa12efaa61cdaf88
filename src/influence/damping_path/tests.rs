//! The record by hand, the sweep against a factorisation for each damping, and the suggestion on made-up curves.

use super::sweep::Sweep;
use super::*;
use crate::derivative::head::SoftmaxHead;
use crate::influence::{Examples, FeatureSet};
use crate::operator::{Damped, HeadHessian, Vectors};
use crate::solve::Method;
use crate::solve::{Cg, Direct, Settings, Solver};
use candle_core::{DType, Device, Tensor};

fn top(ids: &[usize], score: f64) -> TopImages {
    TopImages {
        ids: ids.to_vec(),
        score,
        converged: true,
        iterations: 4,
    }
}

#[test]
fn the_record_by_hand() {
    let tops = vec![
        vec![top(&[1, 2], 4.0), top(&[7, 8], 2.0)],
        vec![top(&[2, 1], 3.0), top(&[7, 9], 1.0)],
        vec![top(&[2, 3], 2.0), top(&[7, 9], 0.5)],
    ];
    let rows = compare(&[40, 30], &[0.1, 1.0, 10.0], 1, &tops);
    assert_eq!(rows.len(), 6);
    assert_eq!(
        (rows[3].query, rows[3].damping, rows[3].top_train),
        (30, 1.0, Some(7))
    );
    assert_eq!(
        (rows[3].jaccard_next, rows[5].jaccard_next),
        (Some(1.0), None)
    );
    // Query 40: swapped, one of three shared; query 30: one of three shared, equal. Agreements by depth in `overlap`.
    let path = DampingPath::of(1.0, 2, 2, &rows);
    let (swapped, second_differs, last_differs) = (0.9 / 1.9, 1.45 / 1.9, 1.45 / 1.9);
    let close =
        |found: f64, by_hand: f64| assert!((found - by_hand).abs() < 1e-15, "{found} {by_hand}");
    let [first, second, third] = [0, 1, 2].map(|at| path.points[at]);
    close(first.jaccard_next.unwrap(), (1.0 + 1.0 / 3.0) / 2.0);
    close(first.rbo_next.unwrap(), (swapped + last_differs) / 2.0);
    close(second.jaccard_next.unwrap(), (1.0 / 3.0 + 1.0) / 2.0);
    close(second.rbo_next.unwrap(), (second_differs + 1.0) / 2.0);
    assert_eq!((third.jaccard_next, third.rbo_next), (None, None));
    assert_eq!((second.jaccard_chosen, second.rbo_chosen), (1.0, 1.0));
    close(third.rbo_chosen, (second_differs + 1.0) / 2.0);
    assert_eq!(
        path.points
            .iter()
            .map(|point| point.median_top_score)
            .collect::<Vec<_>>(),
        [3.0, 2.0, 1.25]
    );
    assert_eq!((first.converged, first.iterations), (1.0, 4.0));
    // (1 + 0.7632)/2 = 0.88 is below the threshold.
    assert_eq!(
        (path.suggestion.damping, path.suggestion.stretch),
        (1.0, None)
    );
    assert!(
        path.suggestion.reason.starts_with("no value is stable"),
        "{}",
        path.suggestion.reason
    );
}

/// Dampings 1, 10, 100 … whose neighbours overlap as given.
fn suggested(overlaps: &[f64], converged: impl Fn(usize) -> f64) -> Suggestion {
    let point = |at: usize| DampingPoint {
        damping: 10f64.powi(at as i32),
        jaccard_next: overlaps.get(at).copied(),
        rbo_next: overlaps.get(at).copied(),
        jaccard_chosen: 1.0,
        rbo_chosen: 1.0,
        median_top_score: 1.0,
        converged: converged(at),
        iterations: 1.0,
    };
    Suggestion::of(7.0, &(0..=overlaps.len()).map(point).collect::<Vec<_>>())
}

fn all(_: usize) -> f64 {
    1.0
}

#[test]
fn the_suggestion_is_the_smallest_damping_of_the_longest_stretch_inside() {
    let found = suggested(&[0.95, 0.3, 0.9, 0.91, 0.2], all);
    assert_eq!((found.damping, found.stretch), (100.0, Some((100.0, 1e4))));
    assert!(
        found.reason.contains("from 1e2 to 1e4") && found.reason.contains("ends do not count"),
        "{}",
        found.reason
    );
    // However long the stretches at the ends are; of two equally long ones the first.
    let found = suggested(
        &[0.99, 0.99, 0.99, 0.1, 0.9, 0.2, 0.9, 0.3, 0.99, 0.99],
        all,
    );
    assert_eq!((found.damping, found.stretch), (1e4, Some((1e4, 1e5))));
}

#[test]
fn an_end_of_the_grid_is_not_suggested_for_being_one() {
    // Gradient products at large dampings agree with each other: no reason to choose them.
    let found = suggested(&[0.2, 0.6, 0.5, 0.95, 0.99], all);
    assert_eq!((found.damping, found.stretch), (7.0, None));
    assert!(
        found.reason.contains("in use is kept") && found.reason.contains("outweighs"),
        "{}",
        found.reason
    );
    let found = suggested(&[0.2, 0.95, 0.99], all);
    assert_eq!((found.damping, found.stretch), (7.0, None));
    // The undamped limit up to where it ends.
    let found = suggested(&[0.95, 0.95, 0.1, 0.95, 0.95], all);
    assert_eq!((found.damping, found.stretch), (100.0, Some((1.0, 100.0))));
    assert!(
        found.reason.contains("begins to matter"),
        "{}",
        found.reason
    );
    // Nothing changes anywhere.
    let found = suggested(&[0.95, 0.95, 0.95], all);
    assert_eq!((found.damping, found.stretch), (7.0, Some((1.0, 1e3))));
    assert!(found.reason.contains("in use is kept"), "{}", found.reason);
    // What could not be compared moves the end.
    let late = |at: usize| f64::from(u8::from(at > 0));
    let found = suggested(&[0.95, 0.95, 0.95, 0.1, 0.95], late);
    assert_eq!((found.damping, found.stretch), (1e3, Some((10.0, 1e3))));
    let found = suggested(&[0.95, 0.95, 0.95], late);
    assert_eq!((found.damping, found.stretch), (10.0, Some((10.0, 1e3))));
}

#[test]
fn without_a_stable_stretch_the_damping_in_use_is_kept() {
    for overlaps in [&[0.2, 0.8, 0.7, 0.1][..], &[0.5, 0.6, 0.7, 0.8, 0.89]] {
        let found = suggested(overlaps, all);
        assert_eq!((found.damping, found.stretch), (7.0, None));
        assert!(found.reason.contains("in use is kept"), "{}", found.reason);
    }
    // What did not converge does not count.
    let found = suggested(&[0.95, 0.8, 0.7], |at| f64::from(u8::from(at > 1)));
    assert_eq!((found.damping, found.stretch), (7.0, None));
    let found = suggested(&[0.95, 0.95], |_| 0.0);
    assert_eq!((found.damping, found.stretch), (7.0, None));
}

#[test]
fn the_grid_holds_the_damping_in_use_and_the_sample_is_even() {
    let dampings = grid(2e-3);
    assert_eq!((dampings.len(), dampings[6]), (13, 2e-3));
    assert!((dampings[0] - 2e-6).abs() < 1e-18 && (dampings[12] - 2.0).abs() < 1e-12);
    assert!(
        dampings
            .windows(2)
            .all(|pair| (pair[1] / pair[0] - 10f64.sqrt()).abs() < 1e-9)
    );
}

fn wave(rows: usize, columns: usize, frequency: f64) -> Tensor {
    let values = (0..rows * columns).map(|i| (frequency * (i as f64 + 0.4)).sin());
    Tensor::from_vec(values.collect(), (rows, columns), &Device::Cpu).unwrap()
}

fn examples(count: usize, frequency: f64, head: &SoftmaxHead) -> Examples {
    let labels: Vec<usize> = (0..count).map(|row| row * row % 3).collect();
    let ids: Vec<usize> = (0..count).map(|row| 100 + row).collect();
    let set = FeatureSet {
        features: &wave(count, 4, frequency).into(),
        labels: &labels,
        ids: &ids,
    };
    Examples::new(&set, head, DType::F64).unwrap()
}

#[test]
fn both_ways_equal_a_solve_of_each_damping_by_itself() {
    let head = SoftmaxHead::from_parameters(&wave(3, 5, 1.3)).unwrap();
    let (training, queries) = (examples(30, 0.9, &head), examples(6, 2.3, &head));
    let hessian = HeadHessian::new(&head, training.inputs(), 1e-4).unwrap();
    let dampings = grid(1e-2);
    let sweep = |factorised| Sweep {
        systems: Systems {
            factorised,
            solved: 2,
            gradients: 7,
            bytes: 0.0,
        },
        operator: &hessian,
        solver: Cg {
            tolerance: 1e-11,
            iterations: 500,
            preconditioned: true,
        },
        training: &training,
        queries: &queries,
        dampings: &dampings,
        ranks: 5,
    };
    let positions = [4, 0, 5];
    let by_factors = sweep(true).tops(&positions).unwrap();
    let by_iterations = sweep(false).tops(&positions).unwrap();
    assert!(by_factors.iter().flatten().all(|top| top.iterations == 0));
    assert!(by_iterations.iter().flatten().all(|top| top.iterations > 0));
    let gradients = training.gradients(0..30).unwrap();
    let both = by_factors.iter().chain(&by_iterations);
    for (tops, &damping) in both.zip(dampings.iter().chain(&dampings)) {
        let damped = Damped::new(&hessian, damping).unwrap();
        let sources = Vectors::new(queries.gradients_at(&[4, 0, 5]).unwrap()).unwrap();
        let solved = Direct
            .prepare(&damped)
            .unwrap()
            .solve(&sources)
            .unwrap()
            .value;
        let scores = solved.tensor().matmul(&gradients.t().unwrap()).unwrap();
        for (top, scores) in tops.iter().zip(scores.to_vec2::<f64>().unwrap()) {
            let mut order: Vec<usize> = (0..30).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let ids: Vec<usize> = order.iter().take(5).map(|at| 100 + at).collect();
            assert_eq!((&top.ids, top.converged), (&ids, true), "{damping}");
            let exact = scores[order[0]] / 30.0;
            assert!((top.score - exact).abs() < 1e-8 * exact.abs(), "{damping}");
        }
    }
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let refused = |options: RankOptions, queries: usize| {
        let path = PathOptions {
            queries,
            ..PathOptions::default()
        };
        let reason = path.check(&options).err();
        reason.map(|reason| reason.to_string()).unwrap_or_default()
    };
    assert_eq!(refused(RankOptions::default(), 1), "");
    assert!(refused(RankOptions::default(), 0).starts_with("--path-queries: 0"));
    let undamped = RankOptions {
        damping: 0.0,
        ..RankOptions::default()
    };
    assert!(refused(undamped, 1).contains("--damping above 0"));
    let normalised = RankOptions {
        normalise: Normalise::Cosine,
        ..RankOptions::default()
    };
    assert!(refused(normalised, 1).contains("--normalise"));
    let approximate = RankOptions {
        solver: Settings {
            method: Method::Identity,
            ..Settings::default()
        },
        ..RankOptions::default()
    };
    assert!(refused(approximate, 1).contains("--solver direct or cg"));
}
