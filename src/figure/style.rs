//! For paper or for screens: how large a figure is drawn relative to its type.
//!
//! Both styles set type of the same sizes, in points, on sheets measured in millimetres, and print 300 dots an inch. What
//! differs is the sheet: for paper as wide as a page, for screens three quarters of that, so that type, lines and markers take
//! a third more of its width; lines and markers are heavier on top. A full screen sheet is 1600 pixels wide (1776 with ten
//! columns of images), and 1280 as an SVG: its smallest type is of 23 pixels there, of 14 where a page shows the figure 770
//! pixels wide.
//!
//! The screen's sheet is white and opaque as paper is. The colours are told apart, and text is read, by their contrast to
//! white, which no dark page behind them can then take away; an SVG that asked for the reader's preference would ask the
//! system, not the page it stands on.

use crate::{Error, Result};
use serde::Serialize;
use std::fmt::{Display, Formatter};
use std::str::FromStr;

/// Pixels of a PNG in an inch of the sheet.
pub(super) const PIXELS_PER_INCH: f64 = 300.0;
/// A full page.
const PAPER_WIDTH: f64 = 180.0;
/// 1600 pixels.
const SCREEN_WIDTH: f64 = 1600.0 / PIXELS_PER_INCH * 25.4;
/// Pixels of a web page for a pixel of the PNG.
const SCREEN_SCALE: f64 = 0.8;

/// What a figure is drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// Print: thin lines on a sheet of at most 180 mm, for a page's width or a column's.
    #[default]
    Paper,
    /// Slides and web pages: the same on a sheet three quarters as wide, with heavier lines and markers.
    Screen,
}

impl Display for Style {
    fn fmt(&self, formatter: &mut Formatter) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Paper => "paper",
            Self::Screen => "screen",
        })
    }
}

impl FromStr for Style {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "paper" => Ok(Self::Paper),
            "screen" => Ok(Self::Screen),
            _ => Err(Error::config(
                "style",
                format!("expected paper or screen, found {name}"),
            )),
        }
    }
}

impl Style {
    /// Width of a full sheet in millimetres.
    pub(super) fn full_width(self) -> f64 {
        match self {
            Self::Paper => PAPER_WIDTH,
            Self::Screen => SCREEN_WIDTH,
        }
    }

    /// What lengths of a layout `width` millimetres wide on paper are to be multiplied by so that it fits the sheet.
    pub(super) fn shrink(self, width: f64) -> f64 {
        match self {
            Self::Paper => 1.0,
            Self::Screen => (SCREEN_WIDTH / width).min(1.0),
        }
    }

    /// How much wider than on paper lines are.
    pub(super) fn line(self) -> f64 {
        match self {
            Self::Paper => 1.0,
            Self::Screen => 1.15,
        }
    }

    /// How much larger than on paper markers are.
    pub(super) fn marker(self) -> f64 {
        match self {
            Self::Paper => 1.0,
            Self::Screen => 1.1,
        }
    }

    /// A length of the sheet as an SVG says it: millimetres in print, pixels of a page on screens.
    pub(super) fn said(self, millimetres: f64) -> String {
        match self {
            Self::Paper => format!("{millimetres:.2}mm"),
            Self::Screen => {
                let pixels = millimetres / 25.4 * PIXELS_PER_INCH * SCREEN_SCALE;
                format!("{pixels:.0}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_screen_sheet_is_1280_pixels_and_a_narrow_one_keeps_its_width() {
        assert_eq!(Style::Screen.said(SCREEN_WIDTH), "1280");
        assert_eq!(Style::Paper.said(180.0), "180.00mm");
        assert!((Style::Screen.shrink(180.0) * 180.0 - SCREEN_WIDTH).abs() < 1e-9);
        assert_eq!(
            [Style::Paper, Style::Screen].map(|style| style.shrink(90.0)),
            [1.0; 2]
        );
    }

    #[test]
    fn names_are_read_back_and_others_refused() {
        for style in [Style::Paper, Style::Screen] {
            assert_eq!(style.to_string().parse::<Style>().unwrap(), style);
        }
        let message = "slides".parse::<Style>().unwrap_err().to_string();
        assert!(
            message.contains("paper or screen") && message.contains("slides"),
            "{message}"
        );
    }
}
