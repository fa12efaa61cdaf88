//! Every way against gradients written out image by image, for every kind of kernel.

use super::super::planes::{Shape, dot};
use super::*;
use crate::model::op::channels_last::add_weight_gradient;

const IMAGES: usize = 5;
const VECTORS: usize = 3;

fn wave(phase: f64, count: usize) -> Vec<f64> {
    let number = |i: usize| (phase + 1.7 * i as f64 + 0.003 * ((i * i) % 7919) as f64).sin();
    (0..count).map(number).collect()
}

fn geometry(
    side: usize,
    channels: (usize, usize),
    (kernel, stride, padding): (usize, usize, usize),
) -> Geometry {
    Geometry {
        input: Shape {
            height: side,
            width: side + usize::from(side > 1),
            channels: channels.0,
        },
        c_out: channels.1,
        kernel,
        stride,
        padding,
    }
}

/// Winograd's, unfolded with a stride, pointwise, and a head; one larger than a block of rows.
fn geometries() -> [Geometry; 6] {
    [
        geometry(5, (7, 4), (3, 1, 1)),
        geometry(4, (3, 20), (3, 1, 1)),
        geometry(7, (3, 6), (3, 2, 1)),
        geometry(4, (5, 9), (1, 1, 0)),
        geometry(1, (33, 3), (1, 1, 0)),
        geometry(3, (40, 120), (3, 1, 1)),
    ]
}

/// One convolution with made-up vectors, input and output gradient.
struct Case {
    geometry: Geometry,
    space: ParameterSpace,
    vectors: Vec<f64>,
    x: Planes<f64>,
    y: Planes<f64>,
}

impl Case {
    fn new(geometry: Geometry) -> Self {
        let g = geometry;
        let shape = vec![g.c_out, g.input.channels, g.kernel, g.kernel];
        let space = ParameterSpace::new([("c.weight".to_owned(), shape, 1, g.form())]);
        let planes = |phase: f64, shape: Shape| Planes {
            shape,
            values: wave(phase, IMAGES * shape.elements()).into(),
        };
        Self {
            vectors: wave(0.3, VECTORS * space.size()),
            space,
            x: planes(0.9, g.input),
            y: planes(1.9, g.output()),
            geometry,
        }
    }

    fn pairing(&self, way: Way) -> Box<dyn Pairing<f64>> {
        let rows = Rows {
            space: &self.space,
            values: &self.vectors,
        };
        of_convolution(self.geometry, &(0..self.space.inner_size()), &rows, way)
    }

    fn products(&self, pairing: &dyn Pairing<f64>) -> Vec<f64> {
        let site = Site {
            inputs: vec![&self.x],
            output: &self.y,
            weights: &[],
        };
        let mut sums = vec![0.0; VECTORS * IMAGES];
        pairing.add(&site, &self.y, &mut sums);
        sums
    }

    /// One gradient after the other.
    fn expected(&self) -> Vec<f64> {
        let g = &self.geometry;
        let gradient = |image: usize| {
            let x = &self.x.values[image * g.input.elements()..][..g.input.elements()];
            let y = &self.y.values[image * g.output().elements()..][..g.output().elements()];
            let mut sum = Buffer::zeros(self.space.inner_size());
            add_weight_gradient(g, 1, &[(x, y)], &mut sum);
            self.space.outward(&sum)
        };
        let gradients: Vec<_> = (0..IMAGES).map(gradient).collect();
        let vectors = self.vectors.chunks_exact(self.space.size());
        vectors
            .flat_map(|vector| gradients.iter().map(|g| dot(vector, g)))
            .collect()
    }
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs();
        assert!(error <= tolerance * largest, "{found} {expected}");
    }
}

#[test]
fn every_way_gives_the_products_with_gradients_written_out() {
    for g in geometries() {
        let case = Case::new(g);
        let expected = case.expected();
        let full = g.columns().min(g.c_out);
        let mut ways = vec![Way::Products, Way::Gradients, Way::LowRank(full)];
        if g.form() == Form::Winograd {
            ways.push(Way::Tiles);
        }
        for way in ways {
            let pairing = case.pairing(way);
            assert_close(&case.products(&*pairing), &expected, 1e-12);
            let norm = dot(&case.vectors, &case.vectors);
            assert!(pairing.squared_errors().iter().all(|e| *e < 1e-24 * norm));
        }
    }
}

#[test]
fn low_rank_is_the_truncated_singular_value_decomposition() {
    use ndarray_linalg::SVD;
    for g in geometries() {
        let case = Case::new(g);
        let (height, width) = (g.c_out, g.columns());
        for rank in [1, 2] {
            let pairing = case.pairing(Way::LowRank(rank));
            let mut near = Case::new(g);
            for (index, vector) in near.vectors.chunks_exact_mut(height * width).enumerate() {
                let matrix = ndarray::Array2::from_shape_vec((height, width), vector.to_vec());
                let (u, values, vt) = matrix.unwrap().svd(true, true).unwrap();
                let (u, vt) = (u.unwrap(), vt.unwrap());
                let term =
                    |r: usize, row: usize, column: usize| u[[row, r]] * values[r] * vt[[r, column]];
                for (at, value) in vector.iter_mut().enumerate() {
                    let sum = (0..rank).map(|r| term(r, at / width, at % width));
                    *value = sum.sum();
                }
                let left_out: f64 = values.iter().skip(rank).map(|value| value * value).sum();
                let error = pairing.squared_errors()[index];
                assert!(
                    (error - left_out).abs() < 1e-10 * left_out,
                    "{error} {left_out}"
                );
            }
            assert_close(&case.products(&*pairing), &near.expected(), 1e-10);
        }
    }
}

#[test]
fn the_way_is_the_one_with_fewest_multiplications() {
    let last = geometry(4, (512, 512), (3, 1, 1));
    let first = |g: &Geometry, count, rank| convolution_ways(g, count, rank)[0].0;
    assert_eq!(first(&last, 1, None), Way::Products);
    // 6 tiles of 16 places, in units of 512²: 3·6·16 against (20 + 3 + 24)·9, and 14·6·16 against (20 + 14 + 24)·9.
    assert_eq!(first(&last, 3, None), Way::Products);
    assert_eq!(first(&last, 14, None), Way::Gradients);
    // 14·20·8·5,121 + 24·20·4,608 for 20 places are less than 58·9·512², for sixteen times the rank they are not.
    assert_eq!(first(&last, 14, Some(8)), Way::LowRank(8));
    assert_eq!(first(&last, 14, Some(128)), Way::Gradients);
    // Many places, few channels: approximating would take longer.
    let early = geometry(32, (64, 64), (3, 1, 1));
    assert_eq!(first(&early, 14, Some(8)), Way::Tiles);
    assert_eq!(first(&early, 2, None), Way::Tiles);
    // A head: no rank below its own is cheaper than it is where there is one place.
    let head = geometry(1, (512, 10), (1, 1, 0));
    assert_eq!(first(&head, 14, Some(16)), Way::Products);
    assert_eq!(first(&head, 14, Some(2)), Way::LowRank(2));
}
