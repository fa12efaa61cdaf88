//! How a solve ended, and what to do about it.

use super::Method;
use candle_core::DType;

/// How a solve ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The true residual reached the tolerance.
    Converged,
    /// Solved by a factorisation, the true residual at rounding level.
    Direct,
    /// Iterated until rounding allowed no smaller residual, which is above the tolerance but small enough where none was asked for.
    AtRounding,
    /// Not solved but approximated, as the method does by design; the residual says how far.
    Approximate,
    /// Stopped at the iteration limit; the solution is what it came to.
    LimitReached,
    /// Stopped where rounding allows no smaller residual, which is too large; the solution is what it came to.
    Stalled,
    /// A direction d with dᵀA d ≤ 0 was met; the solution is what was reached before it.
    NegativeCurvature,
    /// A number was not finite or the residual grew without bound; there is no solution.
    Diverged,
}

impl Outcome {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Converged,
        Self::Direct,
        Self::AtRounding,
        Self::Approximate,
        Self::LimitReached,
        Self::Stalled,
        Self::NegativeCurvature,
        Self::Diverged,
    ];

    /// Whether the solution is as good as was asked for.
    pub fn is_success(self) -> bool {
        matches!(
            self,
            Self::Converged | Self::Direct | Self::AtRounding | Self::Approximate
        )
    }

    /// The name that files use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Converged => "converged",
            Self::Direct => "direct",
            Self::AtRounding => "at rounding",
            Self::Approximate => "approximate",
            Self::LimitReached => "limit reached",
            Self::Stalled => "stalled by rounding",
            Self::NegativeCurvature => "negative curvature",
            Self::Diverged => "diverged",
        }
    }

    /// What to do where the solve did not succeed, for whichever method it was.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Converged | Self::Direct | Self::AtRounding | Self::Approximate => {
                "nothing to do"
            }
            Self::LimitReached => {
                "raise --iterations (lissa: --depth, astra: --steps or --batch-size) or --damping, or loosen --tolerance"
            }
            Self::Stalled => {
                "raise --damping, loosen --tolerance, or use --precision f64 where it was f32"
            }
            Self::NegativeCurvature => "raise --damping: the curvature is not positive definite",
            Self::Diverged => {
                "raise --damping (lissa: or --scale, astra: or lower --step-size), use --precision f64 where it was f32, and look for extreme features"
            }
        }
    }
    /// What to do where a solve by `method` did not succeed, with the options that this takes.
    pub fn remedy_of(self, method: Method) -> &'static str {
        match (self, method) {
            (Self::LimitReached, Method::Arnoldi) => {
                "lower --rank: fewer eigenpairs than that are known to be the largest"
            }
            (Self::LimitReached, Method::Lissa) => {
                "raise --depth or --damping, or loosen --tolerance"
            }
            (Self::LimitReached, Method::Astra) => {
                "raise --steps, --batch-size or --damping, or loosen --tolerance"
            }
            (Self::LimitReached, _) => "raise --iterations or --damping, or loosen --tolerance",
            _ => self.remedy(),
        }
    }
}

/// The largest residual that is rounding and no more, accepted where no tolerance was asked for; above it the matrix is too close to
/// singular for its precision.
///
/// In f32 a few images with large losses are enough that ‖b − A x‖ / ‖b‖ stays above the usual 1e-5 for every x of that precision.
pub(super) fn acceptable(dtype: DType) -> f64 {
    if dtype == DType::F32 { 1e-3 } else { 1e-8 }
}
