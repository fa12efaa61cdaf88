//! The parameters of every step of a training, kept all, or at every k-th step alone, from where those between are had again.
//!
//! With S steps and p parameters all of them are S rows of p numbers: of 15,000 steps through three blocks of a ResNet-18 half a
//! terabyte. Kept at every k-th step, with the velocities without which training does not go on from there, and for the k steps of one
//! stretch at a time, they are 2S/k + k rows, the fewest at k = √(2S): 350 in place of 15,000. Training is repeated once more for every
//! way back, stretch by stretch, the last one first: one training beside the two that each query on that way takes (the two-level case
//! of the schedules of Griewank & Walther 2000). What comes of it are the same bytes, which is checked.

use crate::derivative::network::{Keeping, Storage};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::ops::Range;

/// At which steps parameters are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waypoints {
    /// S.
    steps: usize,
    /// k; 1 where all are kept.
    stride: usize,
    /// p.
    size: usize,
}

impl Waypoints {
    /// At all of `steps` if `memory` holds them, or else at so many that they take the least.
    pub(crate) fn within(memory: u64, steps: usize, size: usize) -> Self {
        let all = Self {
            steps,
            stride: 1,
            size,
        };
        let stride = ((2 * steps) as f64).sqrt().ceil() as usize;
        match all.bytes() > memory && stride < steps {
            true => Self { stride, ..all },
            false => all,
        }
    }

    /// k.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// What is kept of the training as a whole.
    fn lasting_bytes(&self) -> u64 {
        let rows = match self.stride {
            1 => self.steps,
            stride => 2 * self.steps.div_ceil(stride),
        };
        self.rows_bytes(rows)
    }

    /// What a stretch takes beside; nothing where all steps are kept.
    fn stretch_bytes(&self) -> u64 {
        match self.stride {
            1 => 0,
            stride => self.rows_bytes(stride),
        }
    }

    /// Everything that is kept at once.
    pub(crate) fn bytes(&self) -> u64 {
        self.lasting_bytes() + self.stretch_bytes()
    }

    fn rows_bytes(&self, rows: usize) -> u64 {
        (rows * self.size * DType::F32.size_in_bytes()) as u64
    }

    /// The steps of the stretch that holds the one at `index`.
    fn stretch(&self, index: usize) -> Range<usize> {
        let start = index / self.stride * self.stride;
        start..(start + self.stride).min(self.steps)
    }
}

/// What is kept at them.
#[derive(Debug)]
pub(super) struct KeptSteps {
    waypoints: Waypoints,
    /// Parameters of all steps; or parameters and velocities, in turn, of each waypoint.
    rows: Storage,
    keeping: Keeping,
    /// Steps that were pushed.
    pushed: usize,
}

/// Parameters of the steps of one stretch.
#[derive(Debug)]
pub(super) struct Stretch {
    steps: Range<usize>,
    rows: Storage,
}

/// Where training is taken up again.
pub(super) struct Waypoint {
    /// The steps from there to the next.
    pub(super) steps: Range<usize>,
    /// θ `[p]`.
    pub(super) parameters: Tensor,
    /// Velocities `[p]`; none at the start.
    pub(super) velocities: Option<Tensor>,
}

impl KeptSteps {
    /// None yet; `keeping` is for all that is kept.
    pub(super) fn new(waypoints: Waypoints, keeping: &Keeping) -> Result<Self> {
        Ok(Self {
            waypoints,
            rows: Storage::new(DType::F32, waypoints.lasting_bytes(), keeping)?,
            keeping: keeping.clone(),
            pushed: 0,
        })
    }

    /// Takes in the next step: the parameters before it, `[p]` on the processor, and the velocities with which it is taken.
    pub(super) fn push(
        &mut self,
        parameters: &Tensor,
        velocities: impl FnOnce() -> Result<Option<Tensor>>,
    ) -> Result<()> {
        let is_kept = self.pushed.is_multiple_of(self.waypoints.stride);
        if is_kept {
            self.rows.push(parameters, |_| 0)?;
        }
        if is_kept && self.waypoints.stride > 1 {
            let velocities = match velocities()? {
                Some(velocities) => velocities,
                None => parameters.zeros_like()?,
            };
            self.rows.push(&velocities, |_| 0)?;
        }
        self.pushed += 1;
        Ok(())
    }

    /// θ before the step at `index`, `[p]`, where all are kept, or else of `stretch`, if it is the right one.
    pub(super) fn parameters(
        &self,
        index: usize,
        stretch: Option<&Stretch>,
    ) -> Result<Option<Tensor>> {
        if self.waypoints.stride == 1 {
            return self.row(&self.rows, index).map(Some);
        }
        let held = stretch.filter(|stretch| stretch.steps.contains(&index));
        held.map(|stretch| self.row(&stretch.rows, index - stretch.steps.start))
            .transpose()
    }

    fn row(&self, rows: &Storage, row: usize) -> Result<Tensor> {
        let values = rows.read::<f32>(&[row as u32], self.waypoints.size)?;
        Ok(Tensor::new(values, &Device::Cpu)?)
    }

    /// Where to go on from to have the step at `index` again.
    pub(super) fn waypoint(&self, index: usize) -> Result<Waypoint> {
        let steps = self.waypoints.stretch(index);
        let row = 2 * (steps.start / self.waypoints.stride);
        Ok(Waypoint {
            parameters: self.row(&self.rows, row)?,
            velocities: match steps.start {
                0 => None,
                _ => Some(self.row(&self.rows, row + 1)?),
            },
            steps,
        })
    }

    /// A stretch of these steps, which `parameters` gives one after the other.
    pub(super) fn stretch(
        &self,
        steps: Range<usize>,
        parameters: impl FnOnce(&mut dyn FnMut(&Tensor) -> Result<()>) -> Result<()>,
    ) -> Result<Stretch> {
        let beside = match self.rows.is_on_disk() {
            true => 0,
            false => self.waypoints.lasting_bytes(),
        };
        let keeping = Keeping {
            memory: self.keeping.memory.saturating_sub(beside),
            ..self.keeping.clone()
        };
        let mut rows = Storage::new(DType::F32, self.waypoints.stretch_bytes(), &keeping)?;
        parameters(&mut |values| rows.push(values, |_| 0))?;
        Ok(Stretch { steps, rows })
    }
}

/// Refuses `found`, parameters after `steps` steps that were taken once more, where they are not those that were `kept`.
///
/// # Errors
/// Says where.
pub(super) fn check_retraced(kept: &Tensor, found: &Tensor, steps: usize) -> Result<()> {
    if kept.to_vec1::<f32>()? == found.to_vec1::<f32>()? {
        return Ok(());
    }
    Err(Error::mismatch(
        "the repeated training",
        format!("the same parameters after step {steps} whenever it is repeated"),
        "others",
        "use --device cpu, or give --memory that holds those of all steps (--dry-run says how much they take)",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_kept_where_they_have_room_and_else_as_few_as_can_be() {
        let row = 4 * 10;
        let all = Waypoints::within(1000 * row, 1000, 10);
        assert_eq!((all.stride(), all.bytes()), (1, 1000 * row));
        let few = Waypoints::within(1000 * row - 1, 1000, 10);
        assert_eq!(few.stride(), 45);
        assert_eq!(few.bytes(), (2 * 23 + 45) * row);
        for other in 1..1000 {
            let other = Waypoints {
                stride: other,
                ..few
            };
            assert!(other.bytes() + 2 * row >= few.bytes(), "{other:?}");
        }
        assert_eq!(few.stretch(989), 945..990);
        assert_eq!(few.stretch(999), 990..1000);
        // Of two steps or one nothing is saved.
        assert_eq!(Waypoints::within(0, 2, 10).stride(), 1);
        assert_eq!(Waypoints::within(0, 1, 10).stride(), 1);
    }

    #[test]
    fn other_parameters_than_were_kept_are_refused() {
        let [one, other] = [[1f32, 2.0], [1.0, 3.0]].map(|it| Tensor::new(&it, &Device::Cpu));
        let (one, other) = (one.unwrap(), other.unwrap());
        check_retraced(&one, &one, 9).unwrap();
        let refused = check_retraced(&one, &other, 9).unwrap_err().to_string();
        assert!(refused.contains("after step 9"), "{refused}");
    }
}
