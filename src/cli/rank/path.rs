//! What `--damping-path` leaves and says.

use crate::Result;
use crate::figure::{Format, Style, write};
use crate::influence::{CONVERGED, DampingPath};
use std::path::Path;

/// Draws the path, where there is one, beside its numbers, and says what its solves missed.
pub(super) fn leave(path: Option<&DampingPath>, folder: &Path, style: Style) -> Result<()> {
    if let Some(path) = path {
        let formats = [Format::Svg, Format::Png];
        write(path, folder, "damping_path", &formats, style)?;
        warn(path);
    }
    Ok(())
}

/// Prints the suggestion.
pub(super) fn print(path: Option<&DampingPath>) {
    if let Some(DampingPath { suggestion, .. }) = path {
        let damping = suggestion.brief();
        say!("suggested --damping {damping}: {}", suggestion.reason);
    }
}

/// Says on standard error at which dampings the solves missed their tolerance.
fn warn(path: &DampingPath) {
    let missed = (path.points.iter()).filter(|point| point.converged < CONVERGED);
    if let Some(damping) = missed.map(|point| point.damping).reduce(f64::max) {
        note!(
            "ascribe: damping path: solves missed the tolerance at dampings up to {damping:.1e}, which are not compared; \
             raise --iterations or loosen --tolerance"
        );
    }
}
