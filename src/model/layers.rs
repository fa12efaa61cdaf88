//! The layers of a ResNet, segment by segment, under torchvision's names: what its tensors, its passes and the programs of its
//! derivatives are made from.

use super::architecture::{Architecture, Block, BlockKind, Stem};
use super::op::channels_last::{Form, Geometry, Shape};
use super::op::{Convolution, Window};

/// The pool after the stem's convolution for large images.
const STEM_POOL: Window = Window {
    size: 3,
    stride: 2,
    padding: 1,
};

/// A convolution without bias, and the batch norm after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NormedConvolution {
    /// Name of the convolution, such as `layer3.0.conv1`.
    pub(crate) name: String,
    /// Name of the batch norm.
    pub(crate) norm: String,
    /// Channels in.
    pub(crate) c_in: usize,
    /// Channels out.
    pub(crate) c_out: usize,
    /// Side of the kernel.
    pub(crate) kernel: usize,
    /// Stride and padding.
    pub(crate) step: Convolution,
}

impl NormedConvolution {
    /// Padded so that a stride of 1 keeps an image's size.
    fn new(
        [name, norm]: [String; 2],
        [c_in, c_out]: [usize; 2],
        (kernel, stride): (usize, usize),
    ) -> Self {
        let step = Convolution {
            stride,
            padding: kernel / 2,
        };
        Self {
            name,
            norm,
            c_in,
            c_out,
            kernel,
            step,
        }
    }

    /// Its convolution's sizes over images of the shape `input`.
    pub(crate) fn geometry(&self, input: Shape) -> Geometry {
        Geometry {
            input,
            c_out: self.c_out,
            kernel: self.kernel,
            stride: self.step.stride,
            padding: self.step.padding,
        }
    }

    /// How its kernel is stored in a computation.
    pub(crate) fn form(&self) -> Form {
        Form::of(self.kernel, self.step.stride, self.step.padding)
    }
}

/// A segment before the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// A layer with a rectifier, and a pool where there is one.
    Stem {
        layer: NormedConvolution,
        pool: Option<Window>,
    },
    /// The positive part of a sum: what comes of the layers of the way, with rectifiers between them, and the input, as it is or
    /// projected.
    Block {
        way: Vec<NormedConvolution>,
        projection: Option<NormedConvolution>,
    },
}

impl Segment {
    /// All layers, the projection last.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &NormedConvolution> {
        let (way, projection) = match self {
            Self::Stem { layer, .. } => (std::slice::from_ref(layer), None),
            Self::Block { way, projection } => (&way[..], projection.as_ref()),
        };
        way.iter().chain(projection)
    }

    fn stem(stem: Stem, width: usize) -> Self {
        let (kernel, stride, pool) = match stem {
            Stem::Cifar => (3, 1, None),
            Stem::ImageNet => (7, 2, Some(STEM_POOL)),
        };
        let names = ["conv1", "bn1"].map(str::to_owned);
        Self::Stem {
            layer: NormedConvolution::new(names, [3, width], (kernel, stride)),
            pool,
        }
    }

    fn block(kind: BlockKind, block: &Block) -> Self {
        let (width, c_out, stride) = (block.width, block.c_out, block.stride);
        // (channels out, kernel, stride) of the layers in turn.
        let way: &[(usize, usize, usize)] = match kind {
            BlockKind::Basic => &[(width, 3, stride), (c_out, 3, 1)],
            BlockKind::Bottleneck => &[(width, 1, 1), (width, 3, stride), (c_out, 1, 1)],
        };
        let mut c_in = block.c_in;
        let layer = |(index, &(c_out, kernel, stride)): (usize, &(usize, usize, usize))| {
            let names = ["conv", "bn"].map(|part| format!("{}.{part}{index}", block.name));
            let channels = [std::mem::replace(&mut c_in, c_out), c_out];
            NormedConvolution::new(names, channels, (kernel, stride))
        };
        let way = (1..).zip(way).map(layer).collect();
        let projection = block.projects().then(|| {
            let names = [0, 1].map(|part| format!("{}.downsample.{part}", block.name));
            NormedConvolution::new(names, [block.c_in, c_out], (1, stride))
        });
        Self::Block { way, projection }
    }
}

impl Architecture {
    /// The stem and the residual blocks.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        let blocks = self.blocks();
        let blocks = (blocks.iter()).map(|block| Segment::block(self.kind(), block));
        std::iter::once(Segment::stem(self.stem(), self.width()))
            .chain(blocks)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As torchvision has them: name, channels in and out, kernel, stride, padding.
    #[test]
    fn layers_are_those_of_torchvision() {
        let all = |architecture: &str, segment: usize| -> Vec<String> {
            let architecture: Architecture = architecture.parse().unwrap();
            let segment = &architecture.segments()[segment];
            let text = |layer: &NormedConvolution| {
                let Convolution { stride, padding } = layer.step;
                format!(
                    "{} {} {}→{} {}/{stride}+{padding}",
                    layer.name, layer.norm, layer.c_in, layer.c_out, layer.kernel
                )
            };
            segment.layers().map(text).collect()
        };
        assert_eq!(all("resnet50", 0), ["conv1 bn1 3→64 7/2+3"]);
        assert_eq!(all("cifar-resnet8-w4", 0), ["conv1 bn1 3→4 3/1+1"]);
        assert_eq!(
            all("resnet50", 4),
            [
                "layer2.0.conv1 layer2.0.bn1 256→128 1/1+0",
                "layer2.0.conv2 layer2.0.bn2 128→128 3/2+1",
                "layer2.0.conv3 layer2.0.bn3 128→512 1/1+0",
                "layer2.0.downsample.0 layer2.0.downsample.1 256→512 1/2+0",
            ]
        );
        assert_eq!(
            all("cifar-resnet14-w4", 3),
            [
                "layer2.0.conv1 layer2.0.bn1 4→8 3/2+1",
                "layer2.0.conv2 layer2.0.bn2 8→8 3/1+1",
                "layer2.0.downsample.0 layer2.0.downsample.1 4→8 1/2+0",
            ]
        );
        let identity = all("cifar-resnet14-w4", 4);
        assert_eq!(identity[0], "layer2.1.conv1 layer2.1.bn1 8→8 3/1+1");
        assert_eq!(identity.len(), 2);
        assert_eq!(
            all("wide_resnet50_2", 1)[1],
            "layer1.0.conv2 layer1.0.bn2 128→128 3/1+1"
        );
    }
}
