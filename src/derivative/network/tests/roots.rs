//! Gradients of all rows of the softmax's root: products with vectors and with each other.

use super::*;
use faer::Mat;

/// With every row of the softmax's root, by gradients instead of tangents, in both precisions.
#[test]
fn products_by_root_gradients_are_those_by_tangents() {
    for (architecture, blocks) in CHOICES {
        for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 2e-5)] {
            let model = model(architecture, SIDE).to_dtype(dtype).unwrap();
            let examples = examples(&model, blocks, SIDE);
            let network = Network::new(&model, blocks, &examples).unwrap();
            let vector = numbers(0.9, &[network.size()]).to_dtype(dtype).unwrap();
            let [expected, found] = [Beside::Nothing, Beside::RootGradients].map(|beside| {
                let kind = (Curvature::GaussNewton, beside);
                product_beside((&network, &examples), kind, &vector)
            });
            let what = format!("{architecture} {blocks:?} {dtype:?}");
            assert_close(&what, &found, &expected, tolerance);
        }
    }
}

fn each(parts: &[Arc<Linearisation>]) -> impl Iterator<Item = Result<Arc<Linearisation>>> {
    parts.iter().map(|part| Ok(Arc::clone(part)))
}

/// The rows of all images themselves, made one by one, are the oracle; 17 images are more than one block of the matrix between them.
#[test]
fn products_of_roots_with_each_other_and_with_vectors_are_those_of_their_gradients() {
    const IMAGES: usize = 17;
    for (architecture, blocks) in CHOICES {
        let model = model(architecture, SIDE);
        let wave = numbers(0.4, &[IMAGES, 3, SIDE, SIDE]);
        let images = ((wave + 1.0).unwrap() * 0.5).unwrap();
        let labels: Vec<usize> = (0..IMAGES).map(|image| image % 4).collect();
        let keeping = Keeping::default();
        let examples = Examples::of_images((&model, blocks), &images, &labels, &keeping).unwrap();
        let network = Network::new(&model, blocks, &examples).unwrap();
        let positions: Vec<u32> = (0..IMAGES as u32).collect();
        let parts: Vec<_> = [&positions[..5], &positions[5..]]
            .map(|part| {
                let beside = Beside::RootGradients;
                Arc::new(network.linearise(&examples, part, beside).unwrap())
            })
            .into();
        let outputs = network.outputs(&examples, &positions).unwrap();
        let kind = RootKind::Exact { share: 1.0 };
        let roots = CurvatureRoots::of(&outputs, &positions, kind).unwrap();
        let rows = network.root_gradients(&examples, &positions, &roots, 0..IMAGES);
        let rows = rows.unwrap();
        let count = 3 * IMAGES;

        let mut gram = Mat::<f64>::zeros(count, count);
        network.add_root_gram(&parts, gram.as_mut()).unwrap();
        let mut between = Mat::<f64>::zeros(36, 15);
        let of = (&parts[1..], &parts[..1]);
        network.add_root_gram_with(of, between.as_mut()).unwrap();
        assert!((between - gram.submatrix(15, 0, 36, 15)).norm_max() < 1e-13 * gram.norm_max());
        let expected = rows.matmul(&rows.t().unwrap()).unwrap();
        let expected = expected.to_vec2::<f64>().unwrap();
        let lower = (0..count).flat_map(|row| (0..=row).map(move |column| (row, column)));
        let pairs = lower.map(|at| (gram[at], expected[at.0][at.1]));
        let (found, expected): (Vec<f64>, Vec<f64>) = pairs.unzip();
        let what = format!("{architecture} {blocks:?}");
        assert_close(&what, &found, &expected, 1e-12);

        let vectors = numbers(0.2, &[2, network.size()]);
        let found = network.root_products(&vectors, &mut each(&parts)).unwrap();
        let expected = vectors.matmul(&rows.t().unwrap()).unwrap();
        assert_close(&what, &row(&found), &row(&expected), 1e-11);
        // A row too few, and linearisations that hold none.
        let fewer = expected.narrow(1, 1, count - 1).unwrap();
        let message = network
            .root_sums(&fewer, &mut each(&parts))
            .unwrap_err()
            .to_string();
        assert!(message.contains("rows of a root"), "{message}");
        let message = network.add_root_gram(&parts[..1], gram.as_mut());
        let message = message.unwrap_err().to_string();
        assert!(message.contains("rows of a root"), "{message}");
        let none = network.linearise(&examples, &positions, Beside::Nothing);
        let message = network.root_products(&vectors, &mut each(&[Arc::new(none.unwrap())]));
        let message = message.unwrap_err().to_string();
        assert!(message.contains("root gradients"), "{message}");
        let found = network.root_sums(&expected, &mut each(&parts)).unwrap();
        let expected = expected.matmul(&rows).unwrap();
        assert_close(&what, &row(&found), &row(&expected), 1e-11);
    }
}
