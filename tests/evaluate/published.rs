//! Numbers of an independent computation with NumPy and scikit-learn. Its random subsets and flips are not ours, so that LDS and AUC agree
//! within their noise; rankings and losses to the digits given.

use crate::evaluate::setting;
use crate::sets::{Set, digits, table};
use ascribe::derivative::head::SoftmaxHead;
use ascribe::evaluate::{
    Agreement, Bootstrap, Detection, Estimator, FullFit, Kept, Planted, Ranked, RefitOptions,
    Retrainer, flipped, random_subsets, self_influence,
};
use ascribe::influence::{Normalise, RankOptions};
use ascribe::solve::{Method, Settings};
use candle_core::DType;
use ndarray::{Array2, ArrayView1, s};

const BOOTSTRAP: Bootstrap = Bootstrap {
    seed: 0,
    draws: 200,
};

fn options(method: Method) -> RankOptions {
    RankOptions {
        damping: 0.0,
        precision: DType::F64,
        solver: Settings {
            method,
            ..Settings::default()
        },
        ..RankOptions::default()
    }
}

fn scores(
    options: RankOptions,
    train: &Set,
    queries: &Set,
    head: &SoftmaxHead,
    l2: f64,
) -> Array2<f64> {
    let folder = tempfile::tempdir().unwrap();
    let estimator = Ranked {
        name: "influence".into(),
        options,
    };
    let setting = setting(train, queries, head, l2, folder.path());
    estimator.estimate(&setting).unwrap().scores
}

/// LDS of the exact inverse, gradient dot products, and the truncated pseudo-inverse, with the interval's half widths.
fn lds(train: &Set, queries: &Set, classes: usize, l2: f64, subsets: usize) -> [(f64, f64); 3] {
    let fit = FullFit::new(
        &train.inputs(),
        train.zeros(classes),
        l2,
        RefitOptions::default(),
    )
    .unwrap();
    let kept = random_subsets(train.labels.len(), subsets, 0.5, 0).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let inputs = queries.inputs();
    let retrainer = Retrainer::new(&fit, &inputs, folder.path());
    let retrained = retrainer.table("lds", &kept, |_, _| {}).unwrap();
    assert_eq!(retrained.work.not_converged, 0);
    [Method::Direct, Method::Identity, Method::Pinv].map(|method| {
        let scores = scores(options(method), train, queries, &fit.head, l2);
        let agreement = Agreement::of(
            &retrained.predicted(&scores),
            &retrained.rises(),
            &BOOTSTRAP,
        );
        let spearman = agreement.unwrap().spearman;
        (spearman.value, 0.5 * (spearman.high - spearman.low))
    })
}

fn check_lds(name: &str, found: [(f64, f64); 3], published: [f64; 3]) {
    println!("{name}: exact, gradient dot, pinv {found:?}, published {published:?}");
    for ((found, width), published) in found.into_iter().zip(published) {
        // Two computations with subsets of their own: the difference has both one's noise.
        let noise = (1.5 * width).max(0.01);
        assert!(
            (found - published).abs() < noise,
            "{name}: {found} ± {width}, published {published}"
        );
    }
}

#[test]
fn lds_of_breast_cancer_is_the_published_one() {
    let (train, test) = table("breast_cancer.npz");
    check_lds(
        "l2 0.01",
        lds(&train, &test, 2, 0.01, 100),
        [0.937, 0.746, 0.827],
    );
    check_lds(
        "l2 0.1",
        lds(&train, &test, 2, 0.1, 100),
        [0.984, 0.855, 0.893],
    );
}

#[test]
fn lds_of_digits_is_the_published_one() {
    let (train, test) = digits();
    let queries = test.part(&(0..200).collect::<Vec<_>>());
    check_lds(
        "digits",
        lds(&train, &queries, 10, 0.01, 50),
        [0.990, 0.585, 0.558],
    );
}

fn digits_head(train: &Set) -> SoftmaxHead {
    let (inputs, start) = (train.inputs(), train.zeros(10));
    FullFit::new(&inputs, start, 0.01, RefitOptions::default())
        .unwrap()
        .head
}

/// Training images, the most helpful first.
fn order(row: ArrayView1<f64>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
    order
}

/// How often the training image at rank 1, 10 and 100 has the query's label.
fn class_match(scores: &Array2<f64>, train: &Set, queries: &Set) -> [f64; 3] {
    let mut found = [0.0; 3];
    for (row, &label) in scores.rows().into_iter().zip(&queries.labels) {
        let order = order(row);
        for (found, rank) in found.iter_mut().zip([1, 10, 100]) {
            *found += f64::from(u8::from(train.labels[order[rank - 1]] == label));
        }
    }
    found.map(|count| count / queries.labels.len() as f64)
}

/// Class match ranks the truncated pseudo-inverse, whose LDS is 0.558, above the exact inverse with 0.990.
#[test]
fn class_match_of_digits_is_the_published_one() {
    let (train, test) = digits();
    let head = digits_head(&train);
    let matches = |options: RankOptions| {
        let scores = scores(options, &train, &test, &head, 0.01);
        class_match(&scores, &train, &test)
    };
    let truncated = |rcond: f64| {
        let mut options = options(Method::Pinv);
        options.solver.rcond = rcond;
        options
    };
    for (name, how, published) in [
        ("exact", options(Method::Direct), [1.000, 0.996, 0.235]),
        ("pinv at 0.05", truncated(0.05), [1.000, 1.000, 0.577]),
        ("pinv at 0.001", truncated(0.001), [0.995, 0.935, 0.153]),
    ] {
        let found = matches(how);
        println!("{name}: {found:?}");
        for (found, published) in found.into_iter().zip(published) {
            assert!(
                (found - published).abs() < 6e-4,
                "{name}: {found} {published}"
            );
        }
    }
    for (method, normalise) in [
        (Method::Identity, Normalise::None),
        (Method::Identity, Normalise::Cosine),
        (Method::Direct, Normalise::ThetaRelatif),
        (Method::Direct, Normalise::LRelatif),
    ] {
        let how = RankOptions {
            normalise,
            ..options(method)
        };
        assert_eq!(matches(how)[0], 1.0, "{method:?} {normalise:?}");
    }
}

#[test]
fn a_training_digit_has_its_own_class_on_top_and_seldom_itself() {
    let (train, _) = digits();
    let head = digits_head(&train);
    let scores = scores(options(Method::Direct), &train, &train, &head, 0.01);
    assert_eq!(class_match(&scores, &train, &train)[0], 1.0);
    let tops = scores.rows().into_iter().map(|row| order(row)[0]);
    let themselves = tops.enumerate().filter(|(row, top)| row == top).count();
    assert_eq!(themselves, 326);
}

/// Self-influence does not beat the loss.
#[test]
fn mislabels_are_found_as_published() {
    let check =
        |name: &str, train: &Set, classes: usize, published: [f64; 3], recall: Option<[f64; 2]>| {
            let folder = tempfile::tempdir().unwrap();
            let head = train.zeros(classes);
            let clean = setting(train, train, &head, 0.01, folder.path());
            let (labels, flips) = flipped(&train.labels, 0.1, 1).unwrap();
            let planted =
                Planted::relabelled(&clean, labels, train.labels.clone(), classes).unwrap();
            let (own, failures) =
                self_influence(&planted.setting(folder.path()), &options(Method::Direct)).unwrap();
            assert_eq!(failures, 0, "{name}");
            let changed = Set::new(train.features.clone(), planted.labels().to_vec());
            let inputs = changed.inputs();
            let outputs = planted.head().outputs(&inputs).unwrap();
            let lengths = inputs.rows().all().unwrap().sqr().unwrap().sum(1).unwrap();
            let norms = (outputs.residuals.sqr().unwrap().sum(1).unwrap() * lengths).unwrap();
            let norms: Vec<f64> = norms.sqrt().unwrap().to_vec1().unwrap();
            let of = |suspicion: &[f64]| Detection::of("", suspicion, &flips, &BOOTSTRAP);
            let found = [of(&own), of(&outputs.losses), of(&norms)];
            let areas = found.each_ref().map(|found| found.auc.value);
            println!("{name}: AUC of self-influence, loss, gradient norm {areas:?}");
            for (found, published) in found.iter().zip(published) {
                // The flips are others: two intervals' worth of noise.
                let noise = (found.auc.high - found.auc.low).max(0.004);
                assert!(
                    (found.auc.value - published).abs() < noise,
                    "{name}: {found:?} {published}"
                );
            }
            if let Some(recall) = recall {
                for (found, published) in found[0].recall.iter().zip(recall) {
                    assert!(
                        (found.value - published).abs() < 0.05,
                        "{name}: {found:?} {published}"
                    );
                }
            }
        };
    let (digits, _) = digits();
    check(
        "digits",
        &digits,
        10,
        [0.9963, 0.9966, 0.9957],
        Some([0.92, 1.0]),
    );
    let (breast, _) = table("breast_cancer.npz");
    check("breast cancer", &breast, 2, [0.9893, 0.9979, 0.9862], None);
}

/// One Newton step without the image, and the loss evaluated there: relative errors 0.045 at l2 0.01 and 0.011 at 0.1.
#[test]
fn the_loss_at_a_newton_step_predicts_the_rise_best() {
    let (train, test) = table("breast_cancer.npz");
    let count = train.labels.len();
    for (l2, published) in [(0.01, 0.045), (0.1, 0.011)] {
        let kept: Vec<Kept> = (0..count).map(|at| Kept::without(count, &[at])).collect();
        let options = RefitOptions {
            gradient_norm: 1e-12,
            ..RefitOptions::default()
        };
        let fit = FullFit::new(&train.inputs(), train.zeros(2), l2, options).unwrap();
        let (folder, inputs) = (tempfile::tempdir().unwrap(), test.inputs());
        let retrainer = Retrainer::new(&fit, &inputs, folder.path());
        let actual = retrainer.table("loo", &kept, |_, _| {}).unwrap().rises();
        let head = fit.head.clone();
        let before = head.outputs(&test.inputs()).unwrap().losses;
        let stepped = newton_steps(&train, &test, &head, l2);
        let predicted =
            &stepped - &Array2::from_shape_fn(stepped.dim(), |(query, _)| before[query]);
        let norm =
            |matrix: &Array2<f64>| matrix.iter().map(|value| value * value).sum::<f64>().sqrt();
        let error = norm(&(&predicted - &actual)) / norm(&actual);
        println!("l2 {l2}: {error}");
        assert!((error - published).abs() < 6e-4, "{error}");
    }
}

/// Each query's loss after one exact Newton step without each image, in plain dense algebra, `[query, image]`.
fn newton_steps(train: &Set, test: &Set, head: &SoftmaxHead, l2: f64) -> Array2<f64> {
    use ascribe::operator::{HeadHessian, LinearOperator, Vectors};
    use ascribe::solve::{Direct, Solver};
    let count = train.labels.len();
    let mut losses = Array2::zeros((test.labels.len(), count));
    for left_out in 0..count {
        let rows: Vec<usize> = (0..count).filter(|&row| row != left_out).collect();
        let part = train.part(&rows).inputs();
        // The divisor n kept: the same step at an L2 term larger by n / (n − 1).
        let scaled = l2 * count as f64 / (count - 1) as f64;
        let hessian = HeadHessian::new(head, &part, scaled).unwrap();
        let gradient = head.objective(&part, scaled).unwrap().1;
        let right = Vectors::new(gradient.reshape((1, hessian.size())).unwrap()).unwrap();
        let step = Direct
            .prepare(&hessian)
            .unwrap()
            .solve(&right)
            .unwrap()
            .value;
        let step = step.tensor().reshape(head.parameters().shape()).unwrap();
        let stepped = SoftmaxHead::from_parameters(&(head.parameters() - step).unwrap()).unwrap();
        let found = stepped.outputs(&test.inputs()).unwrap().losses;
        losses
            .slice_mut(s![.., left_out])
            .assign(&ndarray::Array1::from(found));
    }
    losses
}
