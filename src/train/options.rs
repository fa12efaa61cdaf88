//! The options of training: typed on the command line, keys of a study's spec, values in `run.json`; one name, one default
//! and one check in all three.

use super::{AdversarialTraining, FrozenStatistics, Recipe, Schedule};
use crate::artefact::{GIB, effective, machine_memory_bytes};
use crate::data::Augmentation;
use crate::device::{DeviceChoice, allow_tf32, allow_unordered_sums};
use crate::model::{Blocks, ResNet};
use crate::{Error, Result};
use candle_core::DType;
use clap::{Args, Parser, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Standard deviation of a new head's weights where nothing is said of it: the paper's.
pub(super) const USUAL_HEAD_DEVIATION: f32 = 1.0;

/// Beyond this every output is a number that no training comes back from.
const MOST_HEAD_DEVIATION: f32 = 1000.0;

/// A named augmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AugmentationName {
    /// No change
    None,
    /// Horizontal flip alone
    Mirror,
    /// Random crop with 4 pixels of padding and horizontal flip
    Flip,
    /// The paper's: crop, flip, colour jitter 0.25, rotation by up to 2 degrees
    Standard,
}

impl AugmentationName {
    fn augmentation(self) -> Augmentation {
        match self {
            Self::None => Augmentation::none(),
            Self::Mirror => Augmentation::mirror(),
            Self::Flip => Augmentation::crop_and_flip(),
            Self::Standard => Augmentation::standard(),
        }
    }
}

/// How to optimise: what `ascribe train` and `ascribe transfer` share.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RecipeOptions {
    /// Passes over the training images
    #[arg(long, value_name = "N")]
    pub epochs: usize,
    /// Images a step
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub batch_size: usize,
    /// Learning rate of the first epoch
    #[arg(
        long,
        value_name = "RATE",
        default_value_t = 0.1,
        allow_hyphen_values = true
    )]
    pub learning_rate: f64,
    /// Momentum
    #[arg(
        long,
        value_name = "M",
        default_value_t = 0.9,
        allow_hyphen_values = true
    )]
    pub momentum: f64,
    /// Weight of the L2 term l2/2·‖θ‖², over weights and biases alike
    #[arg(
        long,
        value_name = "L2",
        default_value_t = 5e-4,
        allow_hyphen_values = true
    )]
    pub l2: f64,
    /// How the learning rate falls; step: times 0.1 after each third of the epochs
    #[arg(long, value_enum, default_value_t = Schedule::Step)]
    pub schedule: Schedule,
    /// Random changes of the training images
    #[arg(long, value_enum, default_value_t = AugmentationName::Standard)]
    pub augmentation: AugmentationName,
    /// Measure the test images after every N epochs and after the last; 0: after the last alone
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub evaluate_every: usize,
    /// Most memory for decoded images and for what frozen blocks give, in GiB; images beyond it are decoded again in each
    /// epoch, the rest goes to a scratch file in the output folder (default: a quarter of the machine's)
    #[arg(long, value_name = "GIB", allow_hyphen_values = true)]
    pub memory: Option<f64>,
    /// Where the model is trained: cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    #[serde(default)]
    pub device: DeviceChoice,
    /// What activations are computed in; but for f32, on a CUDA device alone
    #[arg(long, value_enum, default_value_t = TrainingPrecision::F32)]
    #[serde(default)]
    pub precision: TrainingPrecision,
    /// Let cuDNN sum in any order, on a CUDA device: faster in places, but the same command no longer leaves the same bytes
    #[arg(long)]
    #[serde(default)]
    pub nondeterministic: bool,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// How to fine-tune a source model.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TransferOptions {
    /// Residual blocks fine-tuned besides the head: 0, 1, 3, 9 … or all
    #[arg(long, value_name = "K", default_value = "3")]
    pub blocks: Blocks,
    /// Standard deviation of the new head's weights (above 0, at most 1000; the paper's: 1)
    #[arg(
        long,
        value_name = "S",
        default_value_t = USUAL_HEAD_DEVIATION,
        allow_hyphen_values = true
    )]
    pub head_deviation: f32,
    /// Batch norm of the frozen blocks: statistics that follow the batches (the paper's), or the source model's; with the
    /// latter frozen blocks run once for each image, where --augmentation none or mirror allows, instead of in every epoch
    #[arg(long, value_enum, default_value_t = FrozenStatistics::Moving)]
    pub frozen_statistics: FrozenStatistics,
    /// How to optimise.
    #[command(flatten)]
    #[serde(flatten)]
    pub recipe: RecipeOptions,
}

/// The options alone, as they would be typed.
#[derive(Parser)]
struct Typed {
    #[command(flatten)]
    options: TransferOptions,
}

impl TransferOptions {
    /// What holds where nothing but the epochs is typed.
    ///
    /// # Errors
    /// None that a user could cause.
    pub fn with_defaults(epochs: usize) -> Result<Self> {
        let words = ["transfer".to_owned(), format!("--epochs={epochs}")];
        match Typed::try_parse_from(words) {
            Ok(typed) => Ok(typed.options),
            Err(reason) => Err(Error::mismatch(
                "options",
                "a table",
                reason,
                "this is a bug",
            )),
        }
    }

    /// The same with another value of the option `name`.
    ///
    /// # Errors
    /// No such option, or a value that it does not take.
    pub fn with(&self, name: &str, value: &Value) -> Result<Self> {
        let mut all = effective(self)?;
        let refused =
            |expected: String, remedy: &str| Error::mismatch(name, expected, value, remedy);
        if !all.contains_key(name) {
            let names = all.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(refused(format!("one of {names}"), "correct the name"));
        }
        all.insert(name.to_owned(), value.clone());
        let all = Value::Object(all.into_iter().collect());
        let options: Self = serde_json::from_value(all).map_err(|reason| {
            refused(format!("a value of this option ({reason})"), "correct it")
        })?;
        options.check()?;
        Ok(options)
    }

    /// Whether all values make sense.
    ///
    /// # Errors
    /// Names the option that does not.
    pub fn check(&self) -> Result<()> {
        let found = self.head_deviation;
        if !(found > 0.0 && found <= MOST_HEAD_DEVIATION) {
            let reason = format!(
                "expected a positive number of at most {MOST_HEAD_DEVIATION}, found {found}"
            );
            return Err(Error::config("head-deviation", reason));
        }
        self.recipe.check_device()?;
        self.recipe().check()
    }

    /// The recipe of natural fine-tuning.
    #[must_use]
    pub fn recipe(&self) -> Recipe {
        self.recipe.recipe(None, self.frozen_statistics)
    }

    /// The same in f32 with sums in a fixed order, and test images measured at the end alone.
    #[must_use]
    pub(crate) fn repeatable(&self) -> Self {
        let recipe = RecipeOptions {
            precision: TrainingPrecision::F32,
            nondeterministic: false,
            evaluate_every: 0,
            ..self.recipe.clone()
        };
        Self {
            recipe,
            ..self.clone()
        }
    }
}

/// What activations are computed in while a model is trained; weights and optimiser are f32 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TrainingPrecision {
    /// f32
    #[default]
    F32,
    /// f32, but products and convolutions round their factors to 10 bits and are several times faster
    Tf32,
    /// bf16, with sums in f32
    Bf16,
}

impl RecipeOptions {
    /// The model on the chosen device, computing in the chosen precision; TF32 and sums in any order are then allowed in the whole
    /// process.
    ///
    /// # Errors
    /// A device that is not there or does not have that precision.
    pub fn place(&self, model: &ResNet) -> Result<ResNet> {
        self.check_device()?;
        let model = model.to_device(&self.device.open()?)?;
        if self.nondeterministic {
            allow_unordered_sums();
        }
        match self.precision {
            TrainingPrecision::F32 => Ok(model),
            TrainingPrecision::Tf32 => {
                allow_tf32();
                Ok(model)
            }
            TrainingPrecision::Bf16 => Ok(model.with_activations(DType::BF16)),
        }
    }

    /// Refuses a precision or an order of sums that the device does not have.
    ///
    /// # Errors
    /// Names the option.
    pub fn check_device(&self) -> Result<()> {
        if self.device == DeviceChoice::Cpu && self.precision != TrainingPrecision::F32 {
            let reason = "tf32 and bf16 are for CUDA devices: add --device cuda, or leave it out";
            return Err(Error::config("precision", reason));
        }
        let has_cudnn = self.device != DeviceChoice::Cpu && cfg!(feature = "cudnn");
        if self.nondeterministic && !has_cudnn {
            let reason = "it is for CUDA devices and an ascribe with cuDNN (ascribe --version): leave it out, or add --device cuda there";
            return Err(Error::config("nondeterministic", reason));
        }
        Ok(())
    }

    /// The recipe, with what is no option of its own.
    #[must_use]
    pub fn recipe(
        &self,
        adversary: Option<AdversarialTraining>,
        frozen_statistics: FrozenStatistics,
    ) -> Recipe {
        Recipe {
            epochs: self.epochs,
            batch_size: self.batch_size,
            learning_rate: self.learning_rate,
            momentum: self.momentum,
            l2: self.l2,
            schedule: self.schedule,
            augmentation: self.augmentation.augmentation(),
            adversary,
            frozen_statistics,
            evaluate_every: self.evaluate_every,
            seed: self.seed,
            memory: self.memory_bytes(),
        }
    }

    /// The most bytes of [`RecipeOptions::memory`].
    pub(crate) fn memory_bytes(&self) -> u64 {
        match self.memory {
            Some(gib) => (gib * GIB) as u64,
            None => usual_memory_bytes(),
        }
    }

    /// For one of so many runs side by side, which share the memory.
    pub(crate) fn share_memory(&mut self, runs: usize) {
        let bytes = self.memory_bytes() / runs as u64;
        self.memory = Some(bytes.max(1) as f64 / GIB);
    }
}

/// The most bytes of images where nothing is said of it: a quarter of the machine's memory.
pub(crate) fn usual_memory_bytes() -> u64 {
    machine_memory_bytes() / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_typed_is_as_in_the_paper() {
        let options = TransferOptions::with_defaults(150).unwrap();
        assert_eq!(options.blocks, Blocks::Last(3));
        assert_eq!(options.head_deviation, 1.0);
        let recipe = options.recipe();
        assert_eq!((recipe.batch_size, recipe.learning_rate), (128, 0.1));
        assert_eq!((recipe.momentum, recipe.l2), (0.9, 5e-4));
        assert_eq!(recipe.schedule, Schedule::Step);
        assert_eq!(recipe.frozen_statistics, FrozenStatistics::Moving);
        assert_eq!(recipe.adversary, None);
        let paper = Augmentation {
            crop_padding: 4,
            flip: true,
            jitter: 0.25,
            rotation_degrees: 2.0,
        };
        assert_eq!(recipe.augmentation, paper);
    }

    #[test]
    fn a_repeated_transfer_is_in_full_precision_and_measures_nothing_on_its_way() {
        let mut options = TransferOptions::with_defaults(7).unwrap();
        options.recipe.device = DeviceChoice::Cuda(0);
        options.recipe.precision = TrainingPrecision::Bf16;
        options.recipe.nondeterministic = true;
        options.recipe.evaluate_every = 2;
        let mut expected = TransferOptions::with_defaults(7).unwrap();
        expected.recipe.evaluate_every = 0;
        expected.recipe.device = DeviceChoice::Cuda(0);
        assert_eq!(options.repeatable(), expected);
        options.recipe.device = DeviceChoice::Cpu;
        assert!(options.repeatable().recipe.check_device().is_ok());
    }

    #[test]
    fn defaults_are_recorded_as_they_would_be_typed() {
        let recorded = effective(&TransferOptions::with_defaults(150).unwrap()).unwrap();
        for (name, value) in [
            ("epochs", Value::from(150)),
            ("blocks", "3".into()),
            ("head-deviation", 1.0.into()),
            ("momentum", 0.9.into()),
            ("schedule", "step".into()),
            ("augmentation", "standard".into()),
            ("frozen-statistics", "moving".into()),
        ] {
            assert_eq!(recorded[name], value, "{name}");
        }
    }

    #[test]
    fn an_option_has_one_name_and_one_check_wherever_it_stands() {
        let options = TransferOptions::with_defaults(7).unwrap();
        assert_eq!((options.recipe.epochs, options.recipe.batch_size), (7, 128));
        let changed = options.with("learning-rate", &0.5.into()).unwrap();
        assert_eq!(changed.recipe.learning_rate, 0.5);
        assert_eq!(changed.with("learning-rate", &0.1.into()).unwrap(), options);
        let all = options.with("blocks", &"all".into()).unwrap();
        assert_eq!(all.blocks, Blocks::All);
        for (name, value, part) in [
            ("learning-rat", Value::from(1), "learning-rate"),
            ("learning-rate", (-1).into(), "--learning-rate"),
            ("momentum", "much".into(), "momentum"),
            ("head-deviation", 0.into(), "--head-deviation"),
            (
                "head-deviation",
                1e16.into(),
                "at most 1000, found 10000000000000000",
            ),
            ("augmentation", "flop".into(), "standard"),
        ] {
            let message = options.with(name, &value).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
