//! Kronecker factors and gradients of the rows of a root, batch by batch.
//!
//! An image that has several rows goes forward once for all of a pass, and back once for each. Moments are products of the network's
//! precision within a tile of places, and sums of f64 over tiles, as on the processor.

use super::layer::Layer;
use super::program::{Site, Trace};
use super::written_out::by_place;
use super::{DeviceExamples, DeviceNetwork};
use crate::Result;
use crate::derivative::head::HeadOutputs;
use crate::derivative::network::{
    CurvatureRoots, KroneckerFactors, KroneckerLayer, WrittenGradients,
};
use crate::device::room;
use candle_core::{DType, Device, Tensor};
use faer::Mat;
use std::ops::Range;

/// Places whose moment is taken by one product.
const TILE: usize = 4096;
/// Bytes of gradients that are held at once, if an eighth of a device's free memory allows it: it has room for a few copies.
const GRADIENT_BYTES: usize = 2 << 30;

/// A row of a root and the place of its image among the images asked for.
type Item<'a> = (usize, &'a [f64]);

impl WrittenGradients for DeviceNetwork {
    type Examples = DeviceExamples;

    fn size(&self) -> usize {
        self.size()
    }

    fn dtype(&self) -> DType {
        self.dtype()
    }

    fn class_count(&self) -> usize {
        self.class_count()
    }

    fn device(&self) -> Device {
        self.device().clone()
    }

    fn gradient_bytes(&self, _: usize) -> Result<usize> {
        room(self.device(), GRADIENT_BYTES, 8)
    }

    fn outputs(&self, examples: &DeviceExamples, positions: &[u32]) -> Result<Vec<HeadOutputs>> {
        self.outputs(examples, positions)
    }

    fn kronecker_layers(&self) -> Vec<KroneckerLayer> {
        let layers = self.program.nodes.iter();
        layers
            .filter_map(|node| self.kronecker_layer(node.layer))
            .collect()
    }

    fn kronecker_factors(
        &self,
        examples: &DeviceExamples,
        positions: &[u32],
        roots: &CurvatureRoots,
    ) -> Result<Vec<KroneckerFactors>> {
        let mut inputs = self.moments_of(|layer| layer.inputs)?;
        for positions in positions.chunks(self.images_written(0)) {
            let (input, _) = self.read(examples, positions)?;
            let trace = self.program.trace(&input, &self.inner)?;
            let sites = self.program.sites(&trace);
            let sites = sites.filter(|site| site.layer.multiplies_patches());
            for (moment, site) in inputs.iter_mut().zip(sites) {
                if let Some(patches) = self.patches_and_one(site)? {
                    moment.add(&patches)?;
                }
            }
        }
        let mut outputs = self.moments_of(|layer| layer.outputs)?;
        let items = items(roots, 0..positions.len());
        for items in items.chunks(self.images_written(0)) {
            let (trace, rows) = self.rooted(examples, positions, items)?;
            let gradients = self.program.gradients(&trace, &self.inner, &rows)?;
            let gradients = self.program.nodes.iter().zip(gradients.of_layers());
            let gradients = gradients.filter(|(node, _)| node.layer.multiplies_patches());
            for (moment, (_, gradient)) in outputs.iter_mut().zip(gradients) {
                moment.add(&by_place(gradient)?)?;
            }
        }
        let images = positions.len() as f64;
        let layers = self
            .kronecker_layers()
            .into_iter()
            .zip(inputs.iter().zip(&outputs));
        let finish = |(layer, (inputs, outputs)): (KroneckerLayer, (&Moment, &Moment))| {
            Ok(KroneckerFactors {
                layer,
                inputs: inputs.mean(images)?,
                outputs: outputs.mean(images * inputs.places as f64)?,
            })
        };
        layers.map(finish).collect()
    }

    fn root_gradients(
        &self,
        examples: &DeviceExamples,
        positions: &[u32],
        roots: &CurvatureRoots,
        images: Range<usize>,
    ) -> Result<Tensor> {
        let items = items(roots, images);
        if items.is_empty() {
            return Ok(Tensor::zeros((0, self.size()), self.dtype, &self.device)?);
        }
        let passes = items.chunks(self.images_written(3 * self.size()));
        let parts = passes.map(|items| {
            let (trace, rows) = self.rooted(examples, positions, items)?;
            self.written_out(&trace, &rows)
        });
        Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?)
    }
}

impl DeviceNetwork {
    /// Where a layer's matrix is, if it has one.
    fn kronecker_layer(&self, layer: Layer) -> Option<KroneckerLayer> {
        let (weight, bias) = match layer {
            Layer::Convolution { weight, .. } => (weight, None),
            Layer::Head { weight, bias } => (weight, Some(bias)),
            _ => return None,
        };
        let blocks = self.space.blocks();
        let outputs = blocks[weight].shape[0];
        Some(KroneckerLayer {
            weight: blocks[weight].range.clone(),
            bias: bias.map(|bias| blocks[bias].range.clone()),
            outputs,
            inputs: blocks[weight].range.len() / outputs + usize::from(bias.is_some()),
        })
    }

    /// Nothing summed yet, one for each Kronecker layer.
    fn moments_of(&self, size: fn(&KroneckerLayer) -> usize) -> Result<Vec<Moment>> {
        let moment = |layer| Moment::zeros(size(&layer), &self.device);
        self.kronecker_layers().into_iter().map(moment).collect()
    }

    /// A layer's patches, with a 1 where it has a bias.
    fn patches_and_one(&self, site: Site) -> candle_core::Result<Option<Tensor>> {
        match (site.layer, site.patches(&self.inner)?) {
            (Layer::Head { .. }, Some(patches)) => {
                let one = patches.narrow(1, 0, 1)?.ones_like()?;
                Tensor::cat(&[&patches, &one], 1).map(Some)
            }
            (_, patches) => Ok(patches),
        }
    }

    /// A trace of each item's image, and their rows `[B, C]`.
    fn rooted(
        &self,
        examples: &DeviceExamples,
        positions: &[u32],
        items: &[Item],
    ) -> Result<(Trace, Tensor)> {
        let (mut images, mut places) = (Vec::new(), Vec::new());
        for rows in items.chunk_by(|(image, _), (next, _)| image == next) {
            places.extend(vec![images.len() as u32; rows.len()]);
            images.push(positions[rows[0].0]);
        }
        let (input, _) = self.read(examples, &images)?;
        let rows: Vec<f64> = items.iter().flat_map(|&(_, row)| row).copied().collect();
        let rows = Tensor::from_vec(rows, (items.len(), self.classes), &self.device)?;
        let mut trace = self.program.trace(&input, &self.inner)?;
        if images.len() < items.len() {
            trace = trace.at(&Tensor::new(places, &self.device)?)?;
        }
        Ok((trace, rows.to_dtype(self.dtype)?))
    }
}

/// The rows of the images `images`, image by image.
fn items(roots: &CurvatureRoots, images: Range<usize>) -> Vec<Item<'_>> {
    let rows = |image| {
        roots
            .of_image(image)
            .iter()
            .map(move |row| (image, &row[..]))
    };
    images.flat_map(rows).collect()
}

/// Σ x xᵀ over vectors x.
struct Moment {
    /// f64
    sum: Tensor,
    /// Vectors of an image.
    places: usize,
}

impl Moment {
    fn zeros(size: usize, device: &Device) -> Result<Self> {
        Ok(Self {
            sum: Tensor::zeros((size, size), DType::F64, device)?,
            places: 0,
        })
    }

    /// Adds those of all images and places of `values` `[B, C, T]`.
    fn add(&mut self, values: &Tensor) -> Result<()> {
        self.places = values.dim(2)?;
        let rows = values.transpose(1, 2)?.flatten(0, 1)?;
        let count = rows.dim(0)?;
        for start in (0..count).step_by(TILE) {
            let tile = rows.narrow(0, start, TILE.min(count - start))?;
            let product = tile.t()?.matmul(&tile)?.to_dtype(DType::F64)?;
            self.sum = (&self.sum + product)?;
        }
        Ok(())
    }

    /// A `count`-th of it, on the host.
    fn mean(&self, count: f64) -> Result<Mat<f64>> {
        let (rows, columns) = self.sum.dims2()?;
        let values = self.sum.flatten_all()?.to_vec1::<f64>()?;
        // Not all products are symmetric to the last bit.
        let value = |row, column| values[row * columns + column] / count;
        Ok(Mat::from_fn(rows, columns, |i, j| {
            value(i.max(j), i.min(j))
        }))
    }
}
