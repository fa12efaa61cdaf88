//! The options of adversaries: the one a source is trained against, and the attacks under which a model is measured.

use crate::train::{
    AdversarialTraining, Adversary, Attack, Fast, Free, Norm, Performance, Start, read_radius,
};
use crate::{Error, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::fmt;

/// How to train against an adversary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum RobustTraining {
    /// Several steps of projected gradient descent for each batch (Madry et al. 2018)
    Pgd,
    /// One step from a random start, with a guard against catastrophic overfitting (Wong et al. 2020)
    Fast,
    /// Each batch several times, image and weight gradients from one pass (Shafahi et al. 2019)
    Free,
}

/// The adversary of training.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct AdversaryOptions {
    /// Train on adversarial images within this norm (default: natural training)
    #[arg(long, value_enum, requires = "epsilon")]
    adversary: Option<Norm>,
    /// Radius of the perturbation in pixel units of [0, 1]: of l2 its length, of linf the largest change of a pixel, as in 8/255
    #[arg(long, value_name = "EPS", value_parser = read_radius, allow_hyphen_values = true)]
    epsilon: Option<f64>,
    /// How the adversary is used, from the dearest to the cheapest
    #[arg(long, value_enum, default_value_t = RobustTraining::Pgd)]
    robust_training: RobustTraining,
    /// Steps of projected gradient descent in training [default: 7]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Length of a step (default: 2.5·ε/steps; fast: 1.25·ε)
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true)]
    step_size: Option<f64>,
    /// Start the adversary at a random point of the ball (fast always does)
    #[arg(long)]
    random_start: bool,
    /// Fast: look every N batches, and after each epoch, whether ten steps fool the model where one does not [default: 50]
    #[arg(long, value_name = "N")]
    guard_every: Option<usize>,
    /// Free: train on each batch so often before the next; give as many times fewer epochs [default: 4]
    #[arg(long, value_name = "M")]
    replays: Option<usize>,
}

impl AdversaryOptions {
    pub(super) fn norm(&self) -> Option<Norm> {
        self.adversary
    }

    pub(super) fn epsilon(&self) -> Option<f64> {
        self.epsilon
    }

    /// What to train against; sets the steps where they go without saying.
    pub(super) fn training(&mut self) -> Result<Option<AdversarialTraining>> {
        let (Some(norm), Some(epsilon)) = (self.adversary, self.epsilon) else {
            return self.refuse_without_adversary();
        };
        self.refuse_of_others()?;
        Ok(Some(match self.robust_training {
            RobustTraining::Pgd => self.projected(norm, epsilon)?.into(),
            RobustTraining::Fast => {
                self.refuse_steps("takes one step")?;
                let mut fast = Fast::new(norm, epsilon, *self.guard_every.get_or_insert(50))?;
                fast.adversary.step_size = self.step_size(fast.adversary.step_size)?;
                AdversarialTraining::Fast(fast)
            }
            RobustTraining::Free => {
                self.refuse_steps("takes one step of length ε for each of its --replays")?;
                if self.step_size.is_some() || self.random_start {
                    let reason = "free takes steps of length ε from the perturbation before: leave out --step-size and \
                                  --random-start";
                    return Err(Error::config("robust-training", reason));
                }
                let replays = *self.replays.get_or_insert(4);
                AdversarialTraining::Free(Free::new(norm, epsilon, replays)?)
            }
        }))
    }

    /// Natural training, where nothing was given that is for robust training alone.
    fn refuse_without_adversary(&self) -> Result<Option<AdversarialTraining>> {
        let given = [
            ("epsilon", self.epsilon.is_some()),
            (
                "robust-training",
                self.robust_training != RobustTraining::Pgd,
            ),
            ("steps", self.steps.is_some()),
            ("step-size", self.step_size.is_some()),
            ("random-start", self.random_start),
            ("guard-every", self.guard_every.is_some()),
            ("replays", self.replays.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(None),
            Some((option, _)) => {
                let reason = "is for training against an adversary: give --adversary and --epsilon, or leave it out";
                Err(Error::config(option, reason))
            }
        }
    }

    /// Refuses what another way of robust training alone takes.
    fn refuse_of_others(&self) -> Result<()> {
        let way = self.robust_training;
        let idle = [
            (
                "guard-every",
                self.guard_every.is_some() && way != RobustTraining::Fast,
                "fast",
            ),
            (
                "replays",
                self.replays.is_some() && way != RobustTraining::Free,
                "free",
            ),
        ];
        match idle.iter().find(|(_, idle, _)| *idle) {
            None => Ok(()),
            Some((option, _, of)) => {
                let reason =
                    format!("is for --robust-training {of}: give that, or leave the option out");
                Err(Error::config(option, reason))
            }
        }
    }

    fn projected(&mut self, norm: Norm, epsilon: f64) -> Result<Adversary> {
        let mut adversary = Adversary::new(norm, epsilon, *self.steps.get_or_insert(7))?;
        adversary.step_size = self.step_size(adversary.step_size)?;
        if self.random_start {
            adversary.start = Start::Random;
        }
        Ok(adversary)
    }

    fn refuse_steps(&self, what: &str) -> Result<()> {
        match self.steps {
            None => Ok(()),
            Some(_) => {
                let reason = format!("this --robust-training {what}: leave it out");
                Err(Error::config("steps", reason))
            }
        }
    }

    fn step_size(&self, usual: f64) -> Result<f64> {
        match self.step_size {
            None => Ok(usual),
            Some(length) if length > 0.0 && (length as f32).is_finite() => Ok(length),
            Some(length) => {
                let reason =
                    format!("expected a positive number of at most 3.4e38, found {length:e}");
                Err(Error::config("step-size", reason))
            }
        }
    }
}

/// The attacks under which a finished model is measured.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct AttackOptions {
    /// Norm of the attack on the finished model (default: l2; of ascribe train the norm of training)
    #[arg(long, value_enum)]
    eval_adversary: Option<Norm>,
    /// Radii of the attack, one accuracy for each (default: none; of ascribe train the radius of training)
    #[arg(
        long,
        value_name = "EPS",
        value_delimiter = ',',
        value_parser = read_radius,
        allow_hyphen_values = true
    )]
    eval_epsilon: Vec<f64>,
    /// Steps of projected gradient descent, of length 2.5·ε/steps [default: 20]
    #[arg(long, value_name = "N")]
    eval_steps: Option<usize>,
    /// Starts, the first at the image, others at random; an image counts as right where all of them leave it right [default: 1]
    #[arg(long, value_name = "N")]
    eval_restarts: Option<usize>,
}

impl AttackOptions {
    /// The first of the options that is given.
    pub(super) fn given(&self) -> Option<&'static str> {
        let given = [
            ("eval-epsilon", !self.eval_epsilon.is_empty()),
            ("eval-adversary", self.eval_adversary.is_some()),
            ("eval-steps", self.eval_steps.is_some()),
            ("eval-restarts", self.eval_restarts.is_some()),
        ];
        let first = given.into_iter().find(|(_, given)| *given);
        first.map(|(option, _)| option)
    }

    /// One attack for each radius; norm and radius are those of training where not given. Sets what goes without saying.
    pub(super) fn attacks(
        &mut self,
        norm: Option<Norm>,
        epsilon: Option<f64>,
    ) -> Result<Vec<Attack>> {
        let trained = norm.zip(epsilon);
        let norm = self.eval_adversary.or(norm).unwrap_or(Norm::L2);
        // A radius means nothing in another norm.
        let trained = trained.filter(|(trained, _)| *trained == norm);
        if self.eval_epsilon.is_empty() {
            self.eval_epsilon
                .extend(trained.map(|(_, epsilon)| epsilon));
        }
        if self.eval_epsilon.is_empty() {
            let needed = |option| Err(Error::config(option, "needs --eval-epsilon, the radius"));
            return self.given().map_or(Ok(Vec::new()), needed);
        }
        self.eval_adversary = Some(norm);
        let steps = *self.eval_steps.get_or_insert(20);
        if steps == 0 {
            return Err(Error::config("eval-steps", "expected at least 1"));
        }
        let restarts = *self.eval_restarts.get_or_insert(1);
        let attack =
            |&epsilon: &f64| Attack::new(norm, epsilon, steps, restarts).map_err(of_evaluation);
        self.eval_epsilon.iter().map(attack).collect()
    }
}

/// The radius of an attack on a finished model has an option of its own.
fn of_evaluation(error: Error) -> Error {
    match error {
        Error::Config {
            option: "epsilon",
            reason,
        } => Error::config("eval-epsilon", reason),
        other => other,
    }
}

/// A model's performance under one attack, as it is recorded and printed.
#[derive(Debug, Serialize)]
pub(super) struct AttackedPerformance {
    attack: Attack,
    #[serde(flatten)]
    performance: Performance,
}

impl AttackedPerformance {
    pub(super) fn new(attack: Attack, performance: Performance) -> Self {
        Self {
            attack,
            performance,
        }
    }

    pub(super) fn performance(&self) -> Performance {
        self.performance
    }

    /// "PGD-20 × 3, L2 ε = 0.25".
    pub(super) fn name(&self) -> String {
        let Adversary {
            norm,
            epsilon,
            steps,
            ..
        } = self.attack.adversary;
        let times = match self.attack.restarts {
            1 => String::new(),
            restarts => format!(" × {restarts}"),
        };
        format!("PGD-{steps}{times}, {norm} ε = {epsilon}")
    }
}

impl fmt::Display for AttackedPerformance {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Performance { accuracy, loss } = self.performance;
        write!(
            f,
            "under {}: test accuracy {:.2} %, loss {loss:.4}",
            self.name(),
            100.0 * accuracy
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn radii_of_attacks_are_those_of_training_and_none_in_255ths() {
        let options = |eval_epsilon| AttackOptions {
            eval_adversary: Some(Norm::Linf),
            eval_epsilon,
            eval_steps: None,
            eval_restarts: None,
        };
        assert_eq!(options(vec![0.1]).attacks(None, None).unwrap().len(), 1);
        let trained = |norm| options(Vec::new()).attacks(Some(norm), Some(0.5));
        assert_eq!(trained(Norm::Linf).unwrap().len(), 1);
        let message = trained(Norm::L2).unwrap_err().to_string();
        assert!(message.contains("needs --eval-epsilon"), "{message}");
        for wrong in [8.0, 0.0, f64::NAN, f64::INFINITY] {
            let refused = options(vec![0.1, wrong]).attacks(None, None);
            let message = refused.unwrap_err().to_string();
            assert!(message.contains("--eval-epsilon"), "{message}");
        }
    }
}
