//! The shapes of the ResNet family (He et al. 2015), and how its residual blocks are counted.
//!
//! | name | stem | stages of blocks |
//! |---|---|---|
//! | `cifar-resnet{8,14,20}-w{W}` | 3×3 | three of 1, 2 or 3 basic blocks; widths W, 2W, 4W (W = 16 if left out) |
//! | `cifar-resnet18-w{W}` | 3×3 | 2, 2, 2, 2 basic blocks; widths W … 8W (W = 64 if left out) |
//! | `resnet18`, `resnet34` | 7×7/2, max pool | 2, 2, 2, 2 and 3, 4, 6, 3 basic blocks |
//! | `resnet50` | 7×7/2, max pool | 3, 4, 6, 3 bottleneck blocks |
//!
//! A model is a row of *segments*: 0 is the stem, 1 … B the residual blocks, B + 1 the classifier head. The paper's
//! "k unfrozen blocks" are the head and the last k blocks: segments B + 1 − k onwards.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How an image enters the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stem {
    /// One 3×3 convolution with stride 1, for images of about 32×32.
    Cifar,
    /// A 7×7 convolution with stride 2 and a 3×3 max pool with stride 2, for images of about 224×224.
    ImageNet,
}

/// The kind of residual block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3 (which carries the stride, as in torchvision), 1×1 with four times the channels.
    Bottleneck,
}

/// One residual block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// torchvision's name, such as `layer3.0`.
    pub name: String,
    /// Channels in.
    pub c_in: usize,
    /// Channels of the inner convolutions.
    pub width: usize,
    /// Channels out.
    pub c_out: usize,
    /// Stride of the block's spatial convolution.
    pub stride: usize,
}

impl Block {
    /// Whether the shortcut is a 1×1 convolution with batch norm rather than the identity.
    #[must_use]
    pub fn projects(&self) -> bool {
        self.stride != 1 || self.c_in != self.c_out
    }
}

/// One member of the family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Architecture {
    stem: Stem,
    kind: BlockKind,
    depth: usize,
    width: usize,
    stages: Vec<usize>,
}

impl Architecture {
    /// The stem.
    #[must_use]
    pub fn stem(&self) -> Stem {
        self.stem
    }

    /// The kind of all residual blocks.
    #[must_use]
    pub fn kind(&self) -> BlockKind {
        self.kind
    }

    /// Channels after the stem.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The image side the family was made for: 32 or 224.
    #[must_use]
    pub fn usual_side(&self) -> usize {
        match self.stem {
            Stem::Cifar => 32,
            Stem::ImageNet => 224,
        }
    }

    /// All residual blocks, from the image to the head.
    #[must_use]
    pub fn blocks(&self) -> Vec<Block> {
        let expansion = if self.kind == BlockKind::Bottleneck {
            4
        } else {
            1
        };
        let mut c_in = self.width;
        let mut blocks = Vec::new();
        for (stage, &count) in self.stages.iter().enumerate() {
            let width = self.width << stage;
            for index in 0..count {
                let stride = if index == 0 && stage > 0 { 2 } else { 1 };
                let name = format!("layer{}.{index}", stage + 1);
                blocks.push(Block {
                    name,
                    c_in,
                    width,
                    c_out: width * expansion,
                    stride,
                });
                c_in = width * expansion;
            }
        }
        blocks
    }

    /// Number of residual blocks, B.
    #[must_use]
    pub fn block_count(&self) -> usize {
        self.stages.iter().sum()
    }

    /// Length of the feature vector that enters the head, d.
    #[must_use]
    pub fn feature_dimension(&self) -> usize {
        let widest = self.width << (self.stages.len() - 1);
        if self.kind == BlockKind::Bottleneck {
            4 * widest
        } else {
            widest
        }
    }

    /// The segment a parameter belongs to, by its torchvision name.
    #[must_use]
    pub fn segment_of(&self, parameter: &str) -> usize {
        if parameter.starts_with("fc.") {
            return self.block_count() + 1;
        }
        let block = parameter.strip_prefix("layer").and_then(|rest| {
            let mut numbers = rest.split('.').map(str::parse::<usize>);
            let (stage, index) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
            let before = self.stages.iter().take(stage.checked_sub(1)?);
            Some(before.sum::<usize>() + index + 1)
        });
        block.unwrap_or(0)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stem {
            Stem::Cifar => write!(f, "cifar-resnet{}-w{}", self.depth, self.width),
            Stem::ImageNet => write!(f, "resnet{}", self.depth),
        }
    }
}

impl FromStr for Architecture {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let unknown = || {
            Error::config(
                "architecture",
                format!(
                    "{name} is not known; choose cifar-resnet8, -14, -20 or -18 (with -w16 for another width), resnet18, resnet34 or resnet50"
                ),
            )
        };
        let (base, width) = match name.rsplit_once("-w") {
            Some((base, width)) => (
                base,
                Some(
                    width
                        .parse()
                        .ok()
                        .filter(|&w| (1..=512).contains(&w))
                        .ok_or_else(unknown)?,
                ),
            ),
            None => (name, None),
        };
        let (stem, depth) = match (
            base.strip_prefix("cifar-resnet"),
            base.strip_prefix("resnet"),
        ) {
            (Some(depth), _) => (Stem::Cifar, depth),
            (None, Some(depth)) => (Stem::ImageNet, depth),
            (None, None) => return Err(unknown()),
        };
        let depth: usize = depth.parse().map_err(|_| unknown())?;
        let (kind, stages, usual_width) = match (stem, depth) {
            (Stem::Cifar, 8 | 14 | 20) => (BlockKind::Basic, vec![(depth - 2) / 6; 3], 16),
            (_, 18) => (BlockKind::Basic, vec![2; 4], 64),
            (Stem::ImageNet, 34) => (BlockKind::Basic, vec![3, 4, 6, 3], 64),
            (Stem::ImageNet, 50) => (BlockKind::Bottleneck, vec![3, 4, 6, 3], 64),
            _ => return Err(unknown()),
        };
        if stem == Stem::ImageNet && width.is_some() {
            return Err(unknown());
        }
        Ok(Self {
            stem,
            kind,
            depth,
            width: width.unwrap_or(usual_width),
            stages,
        })
    }
}

impl TryFrom<String> for Architecture {
    type Error = Error;
    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Architecture> for String {
    fn from(architecture: Architecture) -> Self {
        architecture.to_string()
    }
}

/// How many residual blocks before the head are fine-tuned: the paper's "unfrozen blocks".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Blocks {
    /// The head and this many blocks; 0 is the head alone.
    Last(usize),
    /// Everything, the stem included.
    All,
}

impl Blocks {
    /// The first segment that is trained.
    ///
    /// # Errors
    /// Where the architecture has fewer blocks.
    pub fn first_segment(self, architecture: &Architecture) -> Result<usize> {
        let count = architecture.block_count();
        match self {
            Self::All => Ok(0),
            Self::Last(blocks) if blocks <= count => Ok(count + 1 - blocks),
            Self::Last(blocks) => Err(Error::config(
                "blocks",
                format!(
                    "{blocks} blocks asked for, but {architecture} has {count}; choose 0 to {count}, or all"
                ),
            )),
        }
    }
}

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last(blocks) => blocks.fmt(f),
            Self::All => f.write_str("all"),
        }
    }
}

impl FromStr for Blocks {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "all" => Ok(Self::All),
            _ => text.parse().map(Self::Last).map_err(|_| {
                Error::config("blocks", format!("expected a number of residual blocks (0 is the head alone) or all, found {text}"))
            }),
        }
    }
}

impl TryFrom<String> for Blocks {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Blocks> for String {
    fn from(blocks: Blocks) -> Self {
        blocks.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_a_round_trip() {
        for name in [
            "cifar-resnet8-w4",
            "cifar-resnet14-w16",
            "cifar-resnet20-w24",
            "cifar-resnet18-w64",
            "resnet18",
            "resnet34",
            "resnet50",
        ] {
            assert_eq!(name.parse::<Architecture>().unwrap().to_string(), name);
        }
        assert_eq!(
            "cifar-resnet14"
                .parse::<Architecture>()
                .unwrap()
                .to_string(),
            "cifar-resnet14-w16"
        );
        for name in [
            "vgg16",
            "cifar-resnet9",
            "resnet18-w32",
            "cifar-resnet8-w0",
            "resnet",
        ] {
            assert!(name.parse::<Architecture>().is_err(), "{name}");
        }
    }

    #[test]
    fn blocks_are_counted_from_the_head_as_in_the_paper() {
        let resnet50: Architecture = "resnet50".parse().unwrap();
        assert_eq!(
            (resnet50.block_count(), resnet50.feature_dimension()),
            (16, 2048)
        );
        let first_trained = |blocks: usize| {
            let segment = Blocks::Last(blocks).first_segment(&resnet50).unwrap();
            resnet50.blocks()[segment - 1].name.clone()
        };
        // METHODS A2: 1 = layer4.2, 3 = all of layer4, 9 = layer3.0 onwards.
        assert_eq!(first_trained(1), "layer4.2");
        assert_eq!(first_trained(3), "layer4.0");
        assert_eq!(first_trained(9), "layer3.0");
        assert_eq!(resnet50.segment_of("layer3.0.conv1.weight"), 8);
        assert_eq!(resnet50.segment_of("fc.bias"), 17);
        assert_eq!(resnet50.segment_of("bn1.weight"), 0);
        let message = Blocks::Last(17)
            .first_segment(&resnet50)
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("--blocks:") && message.contains("has 16"),
            "{message}"
        );
    }
}
