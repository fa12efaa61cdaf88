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
    let path = DampingPath::of(1.0, 2, &rows, &tops);
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
    // [1, 2] and [2, 3] share 0 and 1 of 2.
    close(third.rbo_smallest, (0.45 / 1.9 + last_differs) / 2.0);
    assert_eq!(first.rbo_smallest, 1.0);
    let overlaps = suggestion::overlaps(&tops);
    let rows: [[f64; 3]; 3] = [
        [first, second, third].map(|point| point.rbo_smallest),
        [first, second, third].map(|point| point.rbo_chosen),
        [third.rbo_smallest, third.rbo_chosen, 1.0],
    ];
    assert_eq!(overlaps, rows);
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

/// Dampings 1, 10, 100 … whose rankings overlap the less, the further apart these places are.
fn suggested(places: &[f64], converged: impl Fn(usize) -> f64) -> Suggestion {
    let point = |at: usize| DampingPoint {
        damping: 10f64.powi(at as i32),
        jaccard_next: None,
        rbo_next: None,
        jaccard_chosen: 1.0,
        rbo_chosen: 1.0,
        rbo_smallest: 1.0,
        median_top_score: 1.0,
        converged: converged(at),
        iterations: 1.0,
    };
    let overlaps: Vec<Vec<f64>> = (places.iter())
        .map(|one| {
            places
                .iter()
                .map(|other| 1.0 - (one - other).abs())
                .collect()
        })
        .collect();
    let points: Vec<_> = (0..places.len()).map(point).collect();
    Suggestion::of(7.0, &points, &overlaps)
}

fn all(_: usize) -> f64 {
    1.0
}

#[test]
fn where_rankings_are_those_of_the_undamped_inverse_none_is_needed() {
    // Each agrees with its neighbours; with the smallest only the first three do.
    let drifting: Vec<f64> = (0..10).map(|at| 0.04 * f64::from(at)).collect();
    let found = suggested(&drifting, all);
    assert_eq!((found.damping, found.stretch), (1.0, Some((1.0, 100.0))));
    assert!(
        found
            .reason
            .contains("from 1e0 to 1e2 rankings are those of the undamped inverse"),
        "{}",
        found.reason
    );
    // However long the plateaus between the ends are.
    let found = suggested(&[0.0, 0.01, 0.5, 0.51, 0.52, 0.9, 1.5], all);
    assert_eq!((found.damping, found.stretch), (1.0, Some((1.0, 10.0))));
    // What could not be compared moves the end.
    let late = |at: usize| f64::from(u8::from(at > 0));
    let found = suggested(&[0.0, 0.01, 0.02, 0.5, 0.9], late);
    assert_eq!((found.damping, found.stretch), (10.0, Some((10.0, 100.0))));
}

#[test]
fn between_the_ends_it_is_the_smallest_of_the_longest_plateau() {
    let found = suggested(&[0.0, 0.5, 1.0, 1.02, 1.05, 1.6, 2.2], all);
    assert_eq!((found.damping, found.stretch), (100.0, Some((100.0, 1e4))));
    assert!(
        found.reason.contains("to 1e4") && found.reason.contains("does not count"),
        "{}",
        found.reason
    );
    // Of two equally long ones the first, and not that of gradient products, however long.
    let found = suggested(&[0.0, 0.5, 0.51, 1.0, 1.01, 1.5, 1.51, 1.52, 1.53], all);
    assert_eq!((found.damping, found.stretch), (10.0, Some((10.0, 100.0))));
    // What leads to it is cut off where that begins.
    let found = suggested(&[0.0, 0.5, 0.55, 0.6, 0.68, 0.7], all);
    assert_eq!((found.damping, found.stretch), (10.0, Some((10.0, 100.0))));
}

#[test]
fn gradient_products_are_not_suggested_for_agreeing_with_each_other() {
    for places in [&[0.0, 0.8, 1.4, 2.0, 2.01, 2.02][..], &[0.0, 0.5, 0.51]] {
        let found = suggested(places, all);
        assert_eq!((found.damping, found.stretch), (7.0, None));
        assert!(
            found.reason.contains("in use is kept") && found.reason.contains("outweighs"),
            "{}",
            found.reason
        );
    }
}

#[test]
fn without_a_reason_to_choose_the_damping_in_use_is_kept() {
    let found = suggested(&[0.0, 0.05, 0.0, 0.05], all);
    assert_eq!((found.damping, found.stretch), (7.0, Some((1.0, 1e3))));
    assert!(found.reason.contains("in use is kept"), "{}", found.reason);
    let late = |at: usize| f64::from(u8::from(at > 0));
    let found = suggested(&[0.5, 0.0, 0.0, 0.0], late);
    assert_eq!((found.damping, found.stretch), (10.0, Some((10.0, 1e3))));
    for places in [&[0.0, 0.8, 1.6, 2.4, 3.2][..], &[0.0, 0.5, 1.0, 1.5]] {
        let found = suggested(places, all);
        assert_eq!((found.damping, found.stretch), (7.0, None));
        assert!(found.reason.contains("in use is kept"), "{}", found.reason);
    }
    // What did not converge does not count, nor one alone.
    for places in [&[0.0, 0.0, 0.5, 1.0][..], &[0.0, 0.0, 0.0, 0.0]] {
        let found = suggested(places, |at| f64::from(u8::from(at == 0)));
        assert_eq!((found.damping, found.stretch), (7.0, None));
    }
    let found = suggested(&[0.0, 0.0], |_| 0.0);
    assert_eq!((found.damping, found.stretch), (7.0, None));
}

#[test]
fn the_grid_holds_the_damping_in_use_and_the_sample_is_even() {
    let (dampings, in_use) = grid(2e-3, 1e-2);
    assert_eq!((dampings.len(), in_use, dampings[6]), (13, 6, 2e-3));
    assert!((dampings[0] - 2e-6).abs() < 1e-18 && (dampings[12] - 2.0).abs() < 1e-12);
    assert!(
        dampings
            .windows(2)
            .all(|pair| (pair[1] / pair[0] - 10f64.sqrt()).abs() < 1e-9)
    );
    let (undamped, in_use) = grid(0.0, 2e-3);
    assert_eq!((undamped[in_use], in_use), (0.0, 0));
    assert_eq!(undamped[1..], dampings);
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
    let (dampings, _) = grid(0.0, 1e-4);
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
