//! The mean over all pixels: `[H, W, C]` → `[C]`.

use super::super::planes::{Planes, Scalar, Shape};
use super::{Along, Layer, Site, Slot};
use crate::in_parallel::for_each_row;

/// y_c = (1/HW) Σ x_c.
#[derive(Debug)]
pub(crate) struct GlobalMean;

fn share<T: Scalar>(shape: Shape) -> T {
    <T as candle_core::WithDType>::from_f64(1.0 / shape.positions() as f64)
}

fn mean<T: Scalar>(x: &Planes<T>) -> Planes<T> {
    let channels = x.shape.channels;
    let shape = Shape {
        height: 1,
        width: 1,
        channels,
    };
    let share: T = share(x.shape);
    let mut out = Planes::zeros(x.images(), shape);
    for_each_row(&mut out.values, channels, &|image, out| {
        for pixel in x.of_image(image).chunks_exact(channels) {
            out.iter_mut().zip(pixel).for_each(|(sum, &x)| *sum += x);
        }
        out.iter_mut().for_each(|sum: &mut T| *sum *= share);
    });
    out
}

/// The adjoint: every pixel gets 1/HW of the gradient.
fn spread<T: Scalar>(gradient: &Planes<T>, shape: Shape, slot: &mut Slot<T>) {
    if !slot.wanted {
        return;
    }
    let share: T = share(shape);
    let mut out = Planes::zeros(gradient.images(), shape);
    for_each_row(&mut out.values, shape.elements(), &|image, out| {
        for pixel in out.chunks_exact_mut(shape.channels) {
            let pairs = pixel.iter_mut().zip(gradient.of_image(image));
            pairs.for_each(|(out, &g)| *out = share * g);
        }
    });
    slot.add(out);
}

impl<T: Scalar> Layer<T> for GlobalMean {
    fn shape(&self, inputs: &[Shape]) -> Shape {
        Shape {
            height: 1,
            width: 1,
            ..inputs[0]
        }
    }

    fn value(&self, _weights: &[T], inputs: &[&Planes<T>]) -> Planes<T> {
        mean(inputs[0])
    }

    fn tangent(&self, site: &Site<T>, along: &Along<T>) -> Planes<T> {
        match along.tangents[0] {
            Some(tangent) => mean(tangent),
            None => Planes::zeros(site.output.images(), site.output.shape),
        }
    }

    fn backward(
        &self,
        site: &Site<T>,
        gradient: &Planes<T>,
        _into: Option<&mut [T]>,
        slots: &mut [Slot<T>],
    ) {
        spread(gradient, site.inputs[0].shape, &mut slots[0]);
    }

    fn backward_tangent(
        &self,
        site: &Site<T>,
        _along: &Along<T>,
        (_, tangent): (&Planes<T>, &Planes<T>),
        _into: &mut [T],
        slots: &mut [Slot<T>],
    ) {
        spread(tangent, site.inputs[0].shape, &mut slots[0]);
    }
}
