//! Max pooling. At fixed images it picks: value and tangent come from the first largest pixel of each window, gradients go
//! there.

use super::super::planes::{Planes, Scalar, Shape};
use super::{Along, Layer, Site, Slot};
use crate::in_parallel::for_each_row;
use crate::model::op::Window;

/// The largest value of each window.
#[derive(Debug)]
pub(crate) struct MaxPool(pub(crate) Window);

impl MaxPool {
    pub(crate) fn out(&self, shape: Shape) -> Shape {
        let side = |side: usize| (side + 2 * self.0.padding - self.0.size) / self.0.stride + 1;
        Shape {
            height: side(shape.height),
            width: side(shape.width),
            ..shape
        }
    }

    /// Rows or columns of the image in window `o`.
    fn span(&self, o: usize, side: usize) -> std::ops::Range<usize> {
        let (start, end) = (o * self.0.stride, o * self.0.stride + self.0.size);
        start.saturating_sub(self.0.padding)..end.saturating_sub(self.0.padding).min(side)
    }

    /// Calls `visit(element of y, element of x that wins)` for one image.
    fn winners<T: Scalar>(&self, x: &[T], shape: Shape, mut visit: impl FnMut(usize, usize)) {
        let out = self.out(shape);
        let mut best = vec![0; shape.channels];
        for position in 0..out.positions() {
            let rows = self.span(position / out.width, shape.height);
            let columns = self.span(position % out.width, shape.width);
            let first = (rows.start * shape.width + columns.start) * shape.channels;
            best.iter_mut()
                .enumerate()
                .for_each(|(c, best)| *best = first + c);
            for row in rows {
                for column in columns.clone() {
                    let pixel = (row * shape.width + column) * shape.channels;
                    for (c, best) in best.iter_mut().enumerate() {
                        let value = x[pixel + c];
                        // NaN wins and stays, so that it is not hidden.
                        if value > x[*best] || value.partial_cmp(&value).is_none() {
                            *best = pixel + c;
                        }
                    }
                }
            }
            for (c, &winner) in best.iter().enumerate() {
                visit(position * shape.channels + c, winner);
            }
        }
    }

    /// The elements of `from` where `x` is largest.
    fn pick<T: Scalar>(&self, x: &Planes<T>, from: &Planes<T>) -> Planes<T> {
        let shape = self.out(x.shape);
        let mut y = Planes::zeros(x.images(), shape);
        for_each_row(&mut y.values, shape.elements(), &|image, y| {
            let (values, from) = (x.of_image(image), from.of_image(image));
            self.winners(values, x.shape, |to, winner| y[to] = from[winner]);
        });
        y
    }

    /// The adjoint of `pick`.
    fn put<T: Scalar>(&self, x: &Planes<T>, gradient: &Planes<T>, slot: &mut Slot<T>) {
        if !slot.wanted {
            return;
        }
        let mut out = Planes::zeros(x.images(), x.shape);
        for_each_row(&mut out.values, x.shape.elements(), &|image, out| {
            let (values, gradient) = (x.of_image(image), gradient.of_image(image));
            self.winners(values, x.shape, |from, winner| {
                out[winner] += gradient[from]
            });
        });
        slot.add(out);
    }
}

impl<T: Scalar> Layer<T> for MaxPool {
    fn shape(&self, inputs: &[Shape]) -> Shape {
        self.out(inputs[0])
    }

    fn value(&self, _weights: &[T], inputs: &[&Planes<T>]) -> Planes<T> {
        self.pick(inputs[0], inputs[0])
    }

    fn tangent(&self, site: &Site<T>, along: &Along<T>) -> Planes<T> {
        match along.tangents[0] {
            Some(tangent) => self.pick(site.inputs[0], tangent),
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
        self.put(site.inputs[0], gradient, &mut slots[0]);
    }

    fn backward_tangent(
        &self,
        site: &Site<T>,
        _along: &Along<T>,
        (_, tangent): (&Planes<T>, &Planes<T>),
        _into: &mut [T],
        slots: &mut [Slot<T>],
    ) {
        self.put(site.inputs[0], tangent, &mut slots[0]);
    }
}
