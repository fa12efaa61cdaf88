//! From the paths that are typed to what is scored.

use super::Rank;
use super::damping::Training;
use super::material::Material;
use super::transferred::{self, Transferred};
use crate::cli::output::note_same_images;
use crate::influence::Measurement;
use crate::{Error, Result};
use candle_core::Device;
use std::path::Path;

impl Rank {
    /// What is to be scored, and how it was trained; features of more than `resident` bytes are mapped, those of a
    /// model computed on `device`.
    pub(super) fn open(
        &self,
        resident: Option<u64>,
        device: &Device,
    ) -> Result<(Material, Training)> {
        let (material, training, _) = self.open_with_model(resident, device)?;
        Ok((material, training))
    }

    /// The same with the model and the images, where there are such.
    pub(super) fn open_with_model(
        &self,
        resident: Option<u64>,
        device: &Device,
    ) -> Result<(Material, Training, Option<Transferred>)> {
        match (&self.model, &self.train, &self.test) {
            (Some(folder), ..) => {
                let opened = self.open_transferred(folder, device)?;
                let mut material = opened.material(self.precision.dtype())?;
                self.measure_predictions(&mut material)?;
                note_same_images(&material.inputs);
                Ok((material, opened.training, Some(opened)))
            }
            (None, Some(train), Some(test)) => {
                let sides = (&**train, &**test, self.measurement);
                let mut material = Material::open(sides, self.head.as_deref(), resident)?;
                if let Some(queries) = self.queries {
                    material.keep_queries(queries)?;
                }
                self.measure_predictions(&mut material)?;
                note_same_images(&material.inputs);
                let training = Training {
                    l2: self.effective_l2()?,
                    time: None,
                    of_head: true,
                };
                Ok((material, training, None))
            }
            _ => Err(Error::config(
                "model",
                "give --model, or --train and --test",
            )),
        }
    }

    /// A model with its training images and the queries, which are measured as is asked for.
    pub(super) fn open_transferred(&self, folder: &Path, device: &Device) -> Result<Transferred> {
        let test = (self.test.as_deref(), self.measurement);
        transferred::open(folder, test, self.queries, device)
    }

    /// Gives the queries the classes that the head predicts, where it is known and that is asked for.
    fn measure_predictions(&self, material: &mut Material) -> Result<()> {
        match (self.measurement, &material.head) {
            (Measurement::Prediction, Some(head)) => {
                (material.test).label_by_prediction(head, self.precision.dtype())
            }
            _ => Ok(()),
        }
    }
}
