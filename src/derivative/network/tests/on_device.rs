//! The graph of tensors against the program of the processor, which the other tests hold against oracles: every product, both
//! precisions, uneven passes, activations on the host.

use super::*;

const ALL: [u32; 5] = [0, 1, 2, 3, 4];
const KINDS: [Curvature; 2] = [Curvature::GaussNewton, Curvature::Hessian];
/// With the stem of ImageNet models and its pool.
pub(super) const POOLED: (&str, Blocks, usize) = ("resnet18", Blocks::All, 20);

struct Both {
    examples: Examples,
    network: Network,
    device_examples: DeviceExamples,
    device: DeviceNetwork,
}

impl Both {
    fn new(model: &ResNet, blocks: Blocks, side: usize) -> Self {
        let examples = examples(model, blocks, side);
        let device_examples = on_device(model, blocks, side, &Keeping::default());
        Self {
            network: Network::new(model, blocks, &examples).unwrap(),
            device: DeviceNetwork::new(model, blocks, &device_examples).unwrap(),
            examples,
            device_examples,
        }
    }

    fn vectors(&self, count: usize) -> Tensor {
        let vectors = numbers(0.9, &[count, self.network.size()]);
        vectors.to_dtype(self.network.dtype()).unwrap()
    }

    fn products(&self, kind: Curvature, vectors: &Tensor) -> Vec<f64> {
        let of = (&self.device_examples, &ALL[..]);
        row(&self.device.curvature_products(kind, of, vectors).unwrap())
    }

    /// By the program, one vector at a time.
    fn expected(&self, kind: Curvature, vectors: &Tensor) -> Vec<f64> {
        let rows = 0..vectors.dims()[0];
        rows.flat_map(|row| {
            let vector = vectors.get(row).unwrap();
            product(&self.network, &self.examples, kind, &vector)
        })
        .collect()
    }

    /// Everything there is, named.
    #[track_caller]
    fn compare(&self, what: &str, tolerance: f64) {
        let (gradient, _) = self.network.gradient(&self.examples, &ALL).unwrap();
        let found = self.device.gradient(&self.device_examples, &ALL).unwrap();
        assert_close(what, &row(&found), &row(&gradient), tolerance);

        let positions = [4, 0, 2];
        let expected = (self.network).example_gradients(&self.examples, &positions);
        let found = (self.device).example_gradients(&self.device_examples, &positions);
        assert_close(
            what,
            &row(&found.unwrap()),
            &row(&expected.unwrap()),
            tolerance,
        );

        let vectors = self.vectors(2);
        for kind in KINDS {
            let expected = self.expected(kind, &vectors);
            let what = format!("{what} {kind:?}");
            assert_close(&what, &self.products(kind, &vectors), &expected, tolerance);
        }
        let pairs = self.network.pair(&vectors, None).unwrap();
        let expected = pairs.products(&self.examples, &positions).unwrap();
        let of = (&self.device_examples, &positions[..]);
        let found = self.device.segment_products(of.0, of.1, &vectors).unwrap();
        assert_eq!(found.dims(), expected.dims());
        assert_close(what, &row(&found), &row(&expected), tolerance);

        let outputs = self.network.outputs(&self.examples, &ALL).unwrap();
        let found = self.device.outputs(&self.device_examples, &ALL).unwrap();
        let losses = |outputs: Vec<HeadOutputs>| -> Vec<f64> {
            outputs.into_iter().flat_map(|part| part.losses).collect()
        };
        assert_close(what, &losses(found), &losses(outputs), tolerance);
    }
}

/// Kronecker factors, and gradients of roots: those of two images with several rows and of one with fewer.
#[test]
fn what_kronecker_forms_are_made_of_is_that_of_the_program() {
    for (architecture, blocks) in CHOICES {
        let mut both = Both::new(&model(architecture, SIDE), blocks, SIDE);
        let outputs = both.network.outputs(&both.examples, &ALL).unwrap();
        let roots = CurvatureRoots::of(&outputs, &ALL, RootKind::Exact { share: 0.9 }).unwrap();
        both.compare_forms(architecture, &roots);
        both.device = both.device.with_pass_images(2);
        both.compare_forms(architecture, &roots);
    }
}

impl Both {
    fn compare_forms(&self, what: &str, roots: &CurvatureRoots) {
        let (here, there) = (&self.examples, &self.device_examples);
        let expected = self.network.kronecker_factors(here, &ALL, roots).unwrap();
        let found = self.device.kronecker_factors(there, &ALL, roots).unwrap();
        assert_eq!(found.len(), expected.len());
        for expected in expected {
            let found = found.iter().find(|found| found.layer == expected.layer);
            let found = found.unwrap_or_else(|| panic!("{what}: {:?}", expected.layer));
            for (found, expected) in [
                (&found.inputs, &expected.inputs),
                (&found.outputs, &expected.outputs),
            ] {
                let values = |matrix: &faer::Mat<f64>| -> Vec<f64> {
                    matrix
                        .col_iter()
                        .flat_map(|column| column.iter().copied())
                        .collect()
                };
                assert_close(what, &values(found), &values(expected), 1e-10);
            }
        }
        for images in [0..5, 1..3, 4..5] {
            let expected = self
                .network
                .root_gradients(here, &ALL, roots, images.clone());
            let found = self.device.root_gradients(there, &ALL, roots, images);
            let (found, expected) = (found.unwrap(), expected.unwrap());
            assert_eq!(found.dims(), expected.dims());
            assert_close(what, &row(&found), &row(&expected), 1e-10);
        }
    }
}

fn on_device(model: &ResNet, blocks: Blocks, side: usize, keeping: &Keeping) -> DeviceExamples {
    let of = (model, blocks, &Device::Cpu);
    DeviceExamples::of_images(of, &images(side), &LABELS, keeping).unwrap()
}

#[test]
fn every_product_is_that_of_the_program() {
    let small = CHOICES.map(|(architecture, blocks)| (architecture, blocks, SIDE));
    for (architecture, blocks, side) in small.into_iter().chain([POOLED]) {
        let model = model(architecture, side);
        let both = Both::new(&model, blocks, side);
        assert_eq!(both.device.space(), both.network.space());
        let parameters = both.network.parameters().unwrap();
        assert_eq!(row(both.device.parameters()), row(&parameters));
        both.compare(&format!("{architecture} {blocks}"), 1e-10);
    }
}

#[test]
fn single_precision_is_close() {
    for (architecture, blocks) in CHOICES {
        let model = model(architecture, SIDE).to_dtype(DType::F32).unwrap();
        let both = Both::new(&model, blocks, SIDE);
        both.compare(&format!("{architecture} {blocks}"), 2e-5);
    }
}

#[test]
fn neither_passes_nor_blocks_nor_places_change_a_product() {
    let model = model("cifar-resnet8-w2", SIDE);
    let blocks = Blocks::Last(2);
    let mut both = Both::new(&model, blocks, SIDE);
    assert!(both.device.pass_images() > 5 && both.device_examples.is_on_device());
    let vectors = both.vectors(3);
    let whole = KINDS.map(|kind| both.products(kind, &vectors));
    both.device = both.device.with_pass_images(2);
    both.compare("passes of 2", 1e-10);
    for (kind, whole) in KINDS.into_iter().zip(&whole) {
        assert_close("passes", &both.products(kind, &vectors), whole, 1e-13);
        let alone = both.products(kind, &vectors.narrow(0, 1, 1).unwrap());
        let size = both.network.size();
        assert_close("alone", &alone, &whole[size..2 * size], 1e-13);
    }
    let keeping = Keeping {
        memory: 0,
        ..Keeping::default()
    };
    both.device_examples = on_device(&model, blocks, SIDE, &keeping);
    assert!(!both.device_examples.is_on_device());
    both.compare("rows on the host", 1e-10);
}

/// A network so sure of its labels that 1 − π is lost in f32.
#[test]
fn residuals_of_sure_images_keep_their_digits() {
    let mut tensors = model("cifar-resnet8-w2", SIDE).tensors().clone();
    let sure = Tensor::new(&[0f64, 40.0, 0.0, 0.0], &Device::Cpu).unwrap();
    tensors.insert("fc.bias".into(), sure);
    let like = model("cifar-resnet8-w2", SIDE);
    let model = ResNet::new(
        like.architecture().clone(),
        like.classes().to_vec(),
        like.normalisation(),
        SIDE,
        tensors,
    )
    .unwrap();
    let single = model.to_dtype(DType::F32).unwrap();
    let [double, single] = [&model, &single].map(|model| Both::new(model, Blocks::Last(1), SIDE));
    // Image 0 has label 1.
    let gradients = |both: &Both| row(&both.device.gradient(&both.device_examples, &[0]).unwrap());
    let expected = gradients(&double);
    assert!(expected.iter().any(|&value| value != 0.0));
    assert_close("a sure image", &gradients(&single), &expected, 1e-4);
    let of = |both: &Both| {
        let examples = &both.device_examples;
        let vectors = both.vectors(1);
        let kind = Curvature::GaussNewton;
        let products = both
            .device
            .curvature_products(kind, (examples, &[0]), &vectors);
        let slopes = both.device.segment_products(examples, &[0], &vectors);
        [row(&products.unwrap()), row(&slopes.unwrap())]
    };
    for (found, expected) in of(&single).iter().zip(&of(&double)) {
        assert!(expected.iter().any(|&value| value != 0.0));
        assert_close("a sure image", found, expected, 1e-4);
    }
}

#[test]
fn input_that_does_not_fit_is_refused() {
    let (model, blocks) = (model("cifar-resnet8-w2", SIDE), Blocks::Last(1));
    let Both {
        device,
        device_examples: examples,
        ..
    } = Both::new(&model, blocks, SIDE);
    #[track_caller]
    fn refused<T>(result: crate::Result<T>, part: &str) {
        let message = result.err().unwrap().to_string();
        assert!(message.contains(part), "{message}");
    }
    refused(device.gradient(&examples, &[5]), "below 5, found 5");
    refused(device.gradient(&examples, &[]), "at least one");
    let short = Tensor::zeros((1, 3), DType::F64, &Device::Cpu).unwrap();
    refused(
        device.segment_products(&examples, &[0], &short),
        "found 3 of",
    );
    let other = on_device(&model, Blocks::All, SIDE, &Keeping::default());
    refused(device.gradient(&other, &[0]), "same model and blocks");

    let keeping = Keeping::default();
    let of = |images: &Tensor, labels: &[usize]| {
        DeviceExamples::of_images((&model, blocks, &Device::Cpu), images, labels, &keeping)
    };
    refused(of(&images(SIDE), &[0, 1]), "labels");
    let none = Tensor::zeros((0, 3, SIDE, SIDE), DType::F64, &Device::Cpu).unwrap();
    refused(of(&none, &[]), "at least one");
    let broken = Tensor::cat(&[images(SIDE), (images(SIDE) * f64::NAN).unwrap()], 0).unwrap();
    refused(of(&broken, &[0; 10]), "image 5");
    let unknown = of(&images(SIDE), &[0, 1, 2, 4, 0]).unwrap();
    refused(device.gradient(&unknown, &[2, 3]), "label of image 3");
}
