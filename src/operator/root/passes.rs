//! How the root gradients of all images are taken: pass by pass, some of which stay.

use super::{MOST_ROWS, SquareMatrix, root_rows};
use crate::derivative::network::{Beside, Network};

/// Images of the smallest passes: as many as of a block of the matrix between rows.
const FEWEST: usize = 16;
/// The pass that comes and goes takes no more than this part of what passes may take, if it is not one of the smallest.
const PART: usize = 8;

/// Passes that hold root gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootPasses {
    /// Images of a pass.
    pub images: usize,
    /// Images that stay between products, in whole passes or all there are; the others come and go, a pass at a time.
    pub held: usize,
}

impl RootPasses {
    /// Over `images` of which all stay.
    pub fn whole(network: &Network, images: usize) -> Self {
        Self {
            images: network.pass_images_beside(Beside::RootGradients),
            held: images,
        }
    }

    /// The smallest, of which one stays.
    pub fn fewest(network: &Network) -> Self {
        let images = network
            .pass_images_beside(Beside::RootGradients)
            .min(FEWEST);
        Self {
            images,
            held: images,
        }
    }

    /// For solves by rows within `memory` bytes; none where they have no room for the matrix between all rows and two passes, or
    /// [`RootPasses::serve`] not.
    pub fn within(network: &Network, images: usize, memory: u64) -> Option<Self> {
        if !Self::serve(network, images) {
            return None;
        }
        let matrix = SquareMatrix::<f64>::bytes(root_rows(images, network.class_count()));
        let image = network.linearisation_bytes(Beside::RootGradients) as u64;
        let fitting = (memory.checked_sub(matrix)? / image.max(1)) as usize;
        let whole = Self::whole(network, images);
        if fitting >= images {
            return Some(whole);
        }
        let at_once = whole.images.min((fitting / PART).max(FEWEST));
        let held = (fitting / at_once).checked_sub(1)? * at_once;
        (held > 0).then_some(Self {
            images: at_once,
            held,
        })
    }

    /// The least memory that [`RootPasses::within`] has room in.
    pub fn least_bytes(network: &Network, images: usize) -> u64 {
        let matrix = SquareMatrix::<f64>::bytes(root_rows(images, network.class_count()));
        let passes = images.min(2 * Self::fewest(network).images);
        matrix + (passes * network.linearisation_bytes(Beside::RootGradients)) as u64
    }

    /// Whether solves can go by root gradients of so many images: their rows are no more than can be inverted.
    pub fn serve(network: &Network, images: usize) -> bool {
        network.root_gradients_pay(1, true) && root_rows(images, network.class_count()) <= MOST_ROWS
    }
}
