//! The shapes of the ResNet family (He et al. 2015), and how its residual blocks are counted.
//!
//! | name | stem | stages of blocks |
//! |---|---|---|
//! | `cifar-resnet{8,14,20}-w{W}` | 3×3 | three of 1, 2 or 3 basic blocks; widths W, 2W, 4W (W = 16 if left out) |
//! | `cifar-resnet{18,34}-w{W}` | 3×3 | as `resnet{18,34}`; widths W … 8W (W = 64 if left out) |
//! | `cifar-resnet{50,101,152}-w{W}` | 3×3 | as `resnet{50,101,152}`; widths W … 8W (W = 64 if left out) |
//! | `resnet18`, `resnet34` | 7×7/2, max pool | 2, 2, 2, 2 and 3, 4, 6, 3 basic blocks |
//! | `resnet50`, `-101`, `-152` | 7×7/2, max pool | 3, 4, 6, 3; 3, 4, 23, 3; 3, 8, 36, 3 bottleneck blocks |
//! | `wide_resnet50_2`, `_4`, `wide_resnet101_2` | 7×7/2, max pool | the same, bottlenecks 2 or 4 times as wide inside |
//!
//! The wide ones are those of Zagoruyko and Komodakis (2016) as torchvision has them, and the ×4 of Salman et al. (2020).
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
    /// How many times as wide as usual the inner convolutions of a bottleneck are.
    widening: usize,
}

/// Blocks a stage of the deep members, by depth.
fn deep_stages(depth: usize) -> Option<(BlockKind, Vec<usize>)> {
    Some(match depth {
        18 => (BlockKind::Basic, vec![2; 4]),
        34 => (BlockKind::Basic, vec![3, 4, 6, 3]),
        50 => (BlockKind::Bottleneck, vec![3, 4, 6, 3]),
        101 => (BlockKind::Bottleneck, vec![3, 4, 23, 3]),
        152 => (BlockKind::Bottleneck, vec![3, 8, 36, 3]),
        _ => return None,
    })
}

/// The width of the deep members unless said otherwise.
const DEEP_WIDTH: usize = 64;
/// (depth, widening) of the wide members.
const WIDE: [(usize, usize); 3] = [(50, 2), (50, 4), (101, 2)];
const DEEP: [usize; 5] = [18, 34, 50, 101, 152];

impl Architecture {
    /// Every member with this stem and so many channels after it.
    #[must_use]
    pub fn family(stem: Stem, width: usize) -> Vec<Self> {
        let names: Vec<String> = match stem {
            Stem::Cifar => ([8, 14, 20].iter().chain(&DEEP))
                .map(|depth| format!("cifar-resnet{depth}-w{width}"))
                .collect(),
            Stem::ImageNet if width == DEEP_WIDTH => (DEEP.iter())
                .map(|depth| format!("resnet{depth}"))
                .chain(WIDE.map(|(depth, widening)| format!("wide_resnet{depth}_{widening}")))
                .collect(),
            Stem::ImageNet => Vec::new(),
        };
        names.iter().filter_map(|name| name.parse().ok()).collect()
    }

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
            let narrow = self.width << stage;
            for index in 0..count {
                let stride = if index == 0 && stage > 0 { 2 } else { 1 };
                let name = format!("layer{}.{index}", stage + 1);
                blocks.push(Block {
                    name,
                    c_in,
                    width: narrow * self.widening,
                    c_out: narrow * expansion,
                    stride,
                });
                c_in = narrow * expansion;
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
            Stem::ImageNet if self.widening > 1 => {
                write!(f, "wide_resnet{}_{}", self.depth, self.widening)
            }
            Stem::ImageNet => write!(f, "resnet{}", self.depth),
        }
    }
}

impl FromStr for Architecture {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        parse(name).ok_or_else(|| {
            Error::config(
                "architecture",
                format!(
                    "{name} is not known; choose cifar-resnet8, -14, -20, -18, -34, -50, -101 or -152 (with -w16 for another width), resnet18, resnet34, resnet50, resnet101, resnet152, wide_resnet50_2, wide_resnet50_4 or wide_resnet101_2"
                ),
            )
        })
    }
}

fn parse(name: &str) -> Option<Architecture> {
    let architecture = |stem, depth, (kind, stages), width, widening| Architecture {
        stem,
        kind,
        depth,
        width,
        stages,
        widening,
    };
    if let Some(rest) = name.strip_prefix("wide_resnet") {
        let (depth, widening) = rest.split_once('_')?;
        let found = (depth.parse().ok()?, widening.parse().ok()?);
        let (depth, widening) = WIDE.into_iter().find(|&wide| wide == found)?;
        let stages = deep_stages(depth)?;
        return Some(architecture(
            Stem::ImageNet,
            depth,
            stages,
            DEEP_WIDTH,
            widening,
        ));
    }
    let Some(rest) = name.strip_prefix("cifar-resnet") else {
        let depth = name.strip_prefix("resnet")?.parse().ok()?;
        let stages = deep_stages(depth)?;
        return Some(architecture(Stem::ImageNet, depth, stages, DEEP_WIDTH, 1));
    };
    let (depth, width) = match rest.split_once("-w") {
        Some((depth, width)) => (depth, Some(width.parse().ok()?)),
        None => (rest, None),
    };
    let depth: usize = depth.parse().ok()?;
    let (stages, usual_width) = match depth {
        8 | 14 | 20 => ((BlockKind::Basic, vec![(depth - 2) / 6; 3]), 16),
        _ => (deep_stages(depth)?, DEEP_WIDTH),
    };
    let width = width.unwrap_or(usual_width);
    (1..=512)
        .contains(&width)
        .then(|| architecture(Stem::Cifar, depth, stages, width, 1))
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

#[cfg(test)]
mod tests;
