//! Results do not depend on the number of threads, bit by bit.

use crate::model::{normal, output_and_gradients, variables};
use ascribe::derivative::gradient;
use ascribe::model::op::{
    Convolution, Window, add_rectify, batch_moments, batch_norm, channel_affine, convolve,
    max_pool, rectify,
};
use ascribe::model::{Pass, ResNet};
use candle_core::{DType, Result, Tensor};
use rayon::ThreadPoolBuilder;

/// Runs the same computation on pools of one, two and three threads; all bits must agree.
#[track_caller]
fn same_on_any_pool(what: &str, compute: impl Fn() -> Vec<Tensor> + Sync) {
    let bits = |threads: usize| -> Vec<Vec<u32>> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let tensors = pool.install(&compute);
        let bits = |tensor: &Tensor| {
            let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
            values.into_iter().map(f32::to_bits).collect()
        };
        tensors.iter().map(bits).collect()
    };
    let one = bits(1);
    for threads in [2, 3] {
        assert!(one == bits(threads), "{what} differs on {threads} threads");
    }
}

fn layer_on_any_pool(
    what: &str,
    shapes: &[&[usize]],
    layer: impl Fn(&[Tensor]) -> Result<Tensor> + Sync,
) {
    let inputs: Vec<Tensor> = (1..)
        .zip(shapes)
        .map(|(seed, shape)| normal(seed, shape).to_dtype(DType::F32).unwrap())
        .collect();
    same_on_any_pool(what, || {
        let (output, _, gradients) = output_and_gradients(&inputs, &layer);
        [vec![output], gradients].concat()
    });
}

#[test]
fn every_layer() {
    let x: &[usize] = &[21, 8, 13, 11];
    for (kernel, stride, padding) in [(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1), (7, 2, 3)] {
        let options = Convolution { stride, padding };
        layer_on_any_pool("convolution", &[x, &[12, 8, kernel, kernel]], |x| {
            convolve(&x[0], &x[1], options)
        });
    }
    let window = Window {
        size: 3,
        stride: 2,
        padding: 1,
    };
    layer_on_any_pool("max pool", &[x], |x| max_pool(&x[0], window));
    layer_on_any_pool("rectifier", &[x], |x| rectify(&x[0]));
    layer_on_any_pool("residual sum", &[x, x], |x| add_rectify(&x[0], &x[1]));
    layer_on_any_pool("channel affine", &[x, &[8], &[8]], |x| {
        channel_affine(&x[0], &x[1], &x[2])
    });
    layer_on_any_pool("batch norm", &[x, &[8], &[8]], |x| {
        batch_norm(&x[0], &x[1], &x[2], batch_moments(&x[0])?, 1e-5)
    });
}

#[test]
fn a_training_pass_of_a_network() {
    let model = crate::model::resnet::network("cifar-resnet8-w8", 10);
    let images = normal(1, &[21, 3, 16, 16]).to_dtype(DType::F32).unwrap();
    same_on_any_pool("network", || {
        let mut model: ResNet = model.clone();
        let parameters: Vec<Tensor> = model
            .make_trainable(0)
            .unwrap()
            .values()
            .map(|v| v.as_tensor().clone())
            .collect();
        let images = variables(std::slice::from_ref(&images)).remove(0);
        let mut pass = Pass::training_from(0);
        let logits = model.forward(&images, &mut pass).unwrap();
        let with_respect_to: Vec<&Tensor> = parameters.iter().chain([&images]).collect();
        let loss = logits.sqr().unwrap().mean_all().unwrap();
        let mut results = gradient(&loss, &with_respect_to).unwrap();
        model.absorb(pass).unwrap();
        results.extend(model.tensors().values().map(Tensor::detach));
        results.push(logits);
        results
    });
}
