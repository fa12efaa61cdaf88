//! Orthogonal axes of a parameter vector, layer by layer: columns of Q_S ⊗ Q_A where a layer is a matrix, of one matrix Q for
//! other parameters together, the parameters themselves elsewhere.
//!
//! A layer's matrix V `[outputs, inputs]`, its bias the last column, has the coordinates Q_Sᵀ V Q_A; they take V's places
//! in the vector.

use crate::Result;
use crate::derivative::network::KroneckerLayer;
use candle_core::{DType, Device, Tensor};
use faer::Mat;
use std::ops::Range;

/// Q.
#[derive(Debug, Clone)]
pub struct KroneckerAxes {
    size: usize,
    device: Device,
    blocks: Vec<Block>,
}

#[derive(Debug, Clone)]
enum Block {
    Layer {
        layer: KroneckerLayer,
        /// Q_S and Q_A, columns are axes.
        outputs: Tensor,
        inputs: Tensor,
    },
    Joint {
        ranges: Vec<Range<usize>>,
        axes: Tensor,
    },
}

/// To coordinates or back from them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

/// A part of a vector that has been rotated, and where it belongs.
type Piece = (usize, Tensor);

impl KroneckerAxes {
    /// The parameters themselves, `size` of them, for vectors on `device`.
    pub(super) fn new(size: usize, device: &Device) -> Self {
        Self {
            size,
            device: device.clone(),
            blocks: Vec::new(),
        }
    }

    /// Where they are, and vectors are turned.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// p.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Turns those of a layer.
    pub(super) fn turn_layer(
        &mut self,
        layer: KroneckerLayer,
        (outputs, inputs): (&Mat<f64>, &Mat<f64>),
        dtype: DType,
    ) -> Result<()> {
        self.blocks.push(Block::Layer {
            layer,
            outputs: tensor(outputs, dtype, &self.device)?,
            inputs: tensor(inputs, dtype, &self.device)?,
        });
        Ok(())
    }

    /// Turns those of the parameters in `ranges`, one after the other.
    pub(super) fn turn_jointly(
        &mut self,
        ranges: Vec<Range<usize>>,
        axes: &Mat<f64>,
        dtype: DType,
    ) -> Result<()> {
        let axes = tensor(axes, dtype, &self.device)?;
        self.blocks.push(Block::Joint { ranges, axes });
        Ok(())
    }

    /// QᵀV of every row of `rows` `[k, p]`.
    ///
    /// # Errors
    /// Another size or precision, or a tensor operation failed.
    pub fn coordinates(&self, rows: &Tensor) -> Result<Tensor> {
        self.turn(rows, Way::There)
    }

    /// Q times every row, the inverse of [`KroneckerAxes::coordinates`].
    ///
    /// # Errors
    /// As there.
    pub fn vectors(&self, coordinates: &Tensor) -> Result<Tensor> {
        self.turn(coordinates, Way::Back)
    }

    fn turn(&self, rows: &Tensor, way: Way) -> Result<Tensor> {
        let mut pieces: Vec<Piece> = Vec::new();
        for block in &self.blocks {
            pieces.extend(block.turn(rows, way)?);
        }
        pieces.sort_by_key(|(start, _)| *start);
        let (mut whole, mut end) = (Vec::new(), 0);
        for (start, piece) in pieces {
            if start > end {
                whole.push(rows.narrow(1, end, start - end)?);
            }
            end = start + piece.dims()[1];
            whole.push(piece);
        }
        if end < self.size {
            whole.push(rows.narrow(1, end, self.size - end)?);
        }
        // Contiguous pieces are copied row by row, others element by element.
        let whole = whole.iter().map(Tensor::contiguous);
        Ok(Tensor::cat(
            &whole.collect::<candle_core::Result<Vec<_>>>()?,
            1,
        )?)
    }
}

impl Block {
    fn turn(&self, rows: &Tensor, way: Way) -> Result<Vec<Piece>> {
        match self {
            Self::Layer {
                layer,
                outputs,
                inputs,
            } => {
                let matrix = layer_matrix(rows, layer)?;
                let (count, height, width) = matrix.dims3()?;
                let (left, right) = match way {
                    Way::There => (outputs.t()?, inputs.clone()),
                    Way::Back => (outputs.clone(), inputs.t()?),
                };
                let flat = matrix.reshape((count * height, width))?;
                let turned = flat.matmul(&right)?.reshape((count, height, width))?;
                let left = left.contiguous()?.unsqueeze(0)?;
                let left = left.expand((count, height, height))?.contiguous()?;
                layer_pieces(&left.matmul(&turned)?, layer)
            }
            Self::Joint { ranges, axes } => {
                let joint = columns(rows, ranges)?;
                let turned = match way {
                    Way::There => joint.matmul(axes)?,
                    Way::Back => joint.matmul(&axes.t()?)?,
                };
                let mut place = 0;
                let piece = |range: &Range<usize>| {
                    let piece = turned.narrow(1, place, range.len())?;
                    place += range.len();
                    Ok((range.start, piece))
                };
                ranges.iter().map(piece).collect()
            }
        }
    }
}

/// The columns in `ranges`, one range after the other. Of a single range candle's `cat` gives a view, which a device's product
/// refuses.
pub(super) fn columns(rows: &Tensor, ranges: &[Range<usize>]) -> Result<Tensor> {
    let parts = (ranges.iter()).map(|range| rows.narrow(1, range.start, range.len()));
    let parts = parts.collect::<candle_core::Result<Vec<_>>>()?;
    Ok(Tensor::cat(&parts, 1)?.contiguous()?)
}

/// A layer's matrices, `[k, outputs, inputs]`.
fn layer_matrix(rows: &Tensor, layer: &KroneckerLayer) -> Result<Tensor> {
    let count = rows.dims()[0];
    let weight = rows.narrow(1, layer.weight.start, layer.weight.len())?;
    let width = layer.weight.len() / layer.outputs;
    let weight = weight
        .contiguous()?
        .reshape((count, layer.outputs, width))?;
    Ok(match &layer.bias {
        None => weight,
        Some(range) => {
            let bias = rows.narrow(1, range.start, range.len())?.unsqueeze(2)?;
            Tensor::cat(&[&weight, &bias], 2)?
        }
    })
}

/// The inverse.
fn layer_pieces(matrix: &Tensor, layer: &KroneckerLayer) -> Result<Vec<Piece>> {
    let width = layer.weight.len() / layer.outputs;
    let weight = matrix.narrow(2, 0, width)?.contiguous()?.flatten_from(1)?;
    let mut pieces = vec![(layer.weight.start, weight)];
    if let Some(bias) = &layer.bias {
        pieces.push((bias.start, matrix.narrow(2, width, 1)?.squeeze(2)?));
    }
    Ok(pieces)
}

fn tensor(matrix: &Mat<f64>, dtype: DType, device: &Device) -> Result<Tensor> {
    let (rows, columns) = matrix.shape();
    let values: Vec<f64> = (0..rows)
        .flat_map(|row| (0..columns).map(move |column| matrix[(row, column)]))
        .collect();
    Ok(Tensor::from_vec(values, (rows, columns), device)?.to_dtype(dtype)?)
}
