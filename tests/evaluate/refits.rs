//! Refits from the factorised curvature against cold fits by Newton's method, which share neither start nor steps.

use crate::sets::{Set, made_up, table};
use ascribe::evaluate::{FullFit, Kept, RefitOptions, random_subsets};
use ascribe::solve::Newton;

/// The largest difference of a query's loss, and of all gradient norms.
fn against_cold_fits(
    train: &Set,
    queries: &Set,
    classes: usize,
    l2: f64,
    kept: &[Kept],
    options: RefitOptions,
) -> (f64, f64, usize) {
    let fit = FullFit::new(&train.inputs(), train.zeros(classes), l2, options).unwrap();
    let refitting = fit.refitting(&queries.inputs()).unwrap();
    let (refits, work) = refitting.refit(kept).unwrap();
    assert_eq!(
        (work.refits, work.not_converged),
        (kept.len(), 0),
        "{work:?}"
    );
    assert!(work.operations >= work.floor && work.gradients >= kept.len());
    let mut worst = 0.0f64;
    for (kept, refit) in kept.iter().zip(&refits) {
        let rows: Vec<usize> = (0..train.labels.len())
            .filter(|&row| kept.images[row])
            .collect();
        // Another divisor is the same minimiser at another L2 term.
        let scaled = l2 * kept.divisor as f64 / rows.len() as f64;
        let newton = Newton {
            gradient_norm: 1e-12,
            ..Newton::new(scaled)
        };
        let part = train.part(&rows);
        let cold = newton
            .fit(&part.inputs(), train.zeros(classes))
            .unwrap()
            .head;
        let outputs = cold.outputs(&queries.inputs()).unwrap();
        for (query, (found, expected)) in refit.losses.iter().zip(&outputs.losses).enumerate() {
            worst = worst.max((found - expected).abs());
            let right = outputs.predictions[query] == queries.labels[query];
            assert_eq!(refit.hits[query], right, "query {query}");
        }
    }
    (worst, work.largest_gradient, work.most_steps)
}

#[test]
fn single_images_left_out() {
    let (train, test) = table("iris.npz");
    let count = train.labels.len();
    let kept: Vec<Kept> = (0..count)
        .step_by(5)
        .map(|at| Kept::without(count, &[at]))
        .collect();
    let (worst, gradient, steps) =
        against_cold_fits(&train, &test, 3, 1e-3, &kept, RefitOptions::default());
    println!("iris: {worst:e}, gradient {gradient:e}, {steps} steps");
    // l2 1e-3 turns a gradient of 1e-10 into parameters within 1e-7.
    assert!(worst < 1e-7 && gradient <= 1e-10 && steps < 40);
}

#[test]
fn subsets_with_their_own_mean_and_few_images_of_few_classes() {
    let (train, test) = table("breast_cancer.npz");
    let count = train.labels.len();
    let mut kept = random_subsets(count, 6, 0.5, 3).unwrap();
    kept.push(Kept::subset(count, &[0, 1, 2, 3, 4]));
    kept.push(Kept::subset(count, &[7]));
    kept.push(Kept::without(count, &(0..200).collect::<Vec<_>>()));
    let (worst, gradient, steps) =
        against_cold_fits(&train, &test, 2, 1e-2, &kept, RefitOptions::default());
    println!("breast cancer: {worst:e}, gradient {gradient:e}, {steps} steps");
    assert!(worst < 1e-6 && gradient <= 1e-9 && steps < 200);
}

#[test]
fn a_factor_in_f32_and_none_at_all_lead_to_the_same_heads() {
    // 7 · 601 parameters: above the size from which factors are f32.
    let (train, test) = (made_up(160, 600, 8, 0.0), made_up(30, 600, 8, 0.31));
    let mut kept = random_subsets(160, 2, 0.5, 0).unwrap();
    kept.extend([3, 77, 150].map(|at| Kept::without(160, &[at])));
    for factorised in [usize::MAX, 0] {
        let options = RefitOptions {
            factorised,
            ..RefitOptions::default()
        };
        let (worst, gradient, steps) = against_cold_fits(&train, &test, 8, 1e-2, &kept, options);
        println!("made up, factorised up to {factorised}: {worst:e}, {gradient:e}, {steps} steps");
        assert!(worst < 1e-6, "{worst:e}");
    }
}

/// Twenty-five steps by the curvature of all images are too few at such an l2; of the images alone they are enough.
#[test]
fn few_images_arrive_whatever_the_curvature_of_all_says() {
    let (train, test) = (made_up(160, 600, 8, 0.0), made_up(30, 600, 8, 0.31));
    let few = |count: usize| Kept::subset(160, &(0..count).collect::<Vec<_>>());
    let mut kept: Vec<Kept> = [10, 40, 110].map(few).to_vec();
    kept.push(Kept::without(160, &(20..140).collect::<Vec<_>>()));
    kept.extend([3, 77].map(|at| Kept::without(160, &[at])));
    for factorised in [usize::MAX, 0] {
        let options = RefitOptions {
            factorised,
            steps: 25,
            ..RefitOptions::default()
        };
        let (worst, gradient, steps) = against_cold_fits(&train, &test, 8, 1e-6, &kept, options);
        println!(
            "few images, factorised up to {factorised}: {worst:e}, {gradient:e}, {steps} steps"
        );
        assert!(worst < 1e-5, "{worst:e}");
    }
}

#[test]
fn a_refit_that_stops_short_says_so() {
    let (train, test) = table("iris.npz");
    let options = RefitOptions {
        steps: 1,
        ..RefitOptions::default()
    };
    let fit = FullFit::new(&train.inputs(), train.zeros(3), 1e-3, options).unwrap();
    let kept = random_subsets(train.labels.len(), 4, 0.5, 0).unwrap();
    let (refits, work) = fit.refitting(&test.inputs()).unwrap().refit(&kept).unwrap();
    assert_eq!(work.not_converged, 4);
    assert!(
        refits
            .iter()
            .all(|refit| !refit.converged && refit.gradient_norm > 1e-10)
    );
}
