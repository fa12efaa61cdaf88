//! Text as all figures set it: the font, how it looks, and how wide it is.

use super::palette::INK;
use super::sheet::{DOTS_PER_MM, DOTS_PER_POINT};
use epaint_default_fonts::UBUNTU_LIGHT;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::collections::BTreeSet;
use std::sync::Once;

/// The family under which our font is registered; in an SVG the reader's own font of that kind stands in.
const FAMILY: &str = "sans-serif";

/// Where a text's given point lies within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Centre,
    Right,
}

/// How text looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text {
    /// Font size, in 1/72 inch.
    pub(super) points: f64,
    pub(super) colour: RGBColor,
    pub(super) align: Align,
}

impl Text {
    pub(super) fn new(points: f64, colour: RGBColor, align: Align) -> Self {
        Self {
            points,
            colour,
            align,
        }
    }

    /// The same for plotters, vertically centred.
    pub(super) fn style(self) -> TextStyle<'static> {
        static REGISTERED: Once = Once::new();
        // A font that the library refused would be reported by the first text drawn.
        REGISTERED.call_once(|| drop(register_font(FAMILY, FontStyle::Normal, UBUNTU_LIGHT)));
        let horizontal = match self.align {
            Align::Left => HPos::Left,
            Align::Centre => HPos::Center,
            Align::Right => HPos::Right,
        };
        // The library takes line heights; 1.24 is its ratio of line height to font size.
        let size = (self.points * DOTS_PER_POINT * 1.24).round();
        let style = (FAMILY, size).into_font().color(&self.colour);
        style.pos(Pos::new(horizontal, VPos::Center))
    }
}

/// How wide a text of `points` is, in millimetres.
pub(super) fn text_width(content: &str, points: f64) -> f64 {
    let style = Text::new(points, INK, Align::Left).style();
    let corners = style.font.layout_box(content);
    corners.map_or(0.0, |((left, _), (right, _))| {
        f64::from(right - left) / DOTS_PER_MM
    })
}

/// The text, cut short with an ellipsis where it is wider than `width` millimetres.
pub(super) fn fit(content: &str, points: f64, width: f64) -> String {
    if text_width(content, points) <= width {
        return content.to_owned();
    }
    let mut kept: Vec<char> = content.chars().collect();
    while kept.pop().is_some() {
        let shortened = format!("{}…", kept.iter().collect::<String>().trim_end());
        if text_width(&shortened, points) <= width {
            return shortened;
        }
    }
    String::new()
}

/// Names that are to be told apart within `width`: whole, or without the words that all begin or all end with, cut short where they
/// are still too wide; in the middle where that would make some alike.
pub(super) fn distinct(names: &[&str], points: f64, width: f64) -> Vec<String> {
    let fits = |name: &&str| text_width(name, points) <= width;
    let own = match names.iter().all(fits) {
        true => names.to_vec(),
        false => without_common_words(names),
    };
    let cut: Vec<String> = own.iter().map(|name| fit(name, points, width)).collect();
    let different = |names: &[String]| names.iter().collect::<BTreeSet<_>>().len();
    match different(&cut) == cut.len() {
        true => cut,
        false => (own.iter())
            .map(|name| fit_middle(name, points, width))
            .collect(),
    }
}

/// The text, without some of its middle where it is wider than `width` millimetres.
fn fit_middle(content: &str, points: f64, width: f64) -> String {
    let letters: Vec<char> = content.chars().collect();
    let cut = |left_out: usize| {
        let kept = letters.len() - left_out;
        let (start, end) = letters.split_at(kept.div_ceil(2));
        let [start, end] = [start, &end[left_out..]].map(|part| part.iter().collect::<String>());
        format!("{start}…{end}")
    };
    let all = content.to_owned();
    (std::iter::once(all).chain((1..=letters.len()).map(cut)))
        .find(|text| text_width(text, points) <= width)
        .unwrap_or_default()
}

/// What is left of names without their common beginning and end, whole words of both; the names where nothing would be left of one.
fn without_common_words<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let Some((first, others)) = names.split_first().filter(|(_, others)| !others.is_empty()) else {
        return names.to_vec();
    };
    let is_break = |letter: &char| !letter.is_alphanumeric();
    let begins = |length: &usize| {
        others
            .iter()
            .all(|name| name.starts_with(&first[..*length]))
    };
    let ends = |start: &usize| others.iter().all(|name| name.ends_with(&first[*start..]));
    let breaks = || first.char_indices().filter(|(_, letter)| is_break(letter));
    let prefix = breaks()
        .map(|(at, letter)| at + letter.len_utf8())
        .filter(begins)
        .max();
    let suffix = breaks().map(|(at, _)| at).filter(ends).min();
    let (prefix, suffix) = (prefix.unwrap_or(0), suffix.map_or(0, |at| first.len() - at));
    let own = |name: &&'a str| name.get(prefix..name.len().checked_sub(suffix)?);
    let own: Option<Vec<&str>> = names.iter().map(own).collect();
    own.filter(|own| own.iter().all(|name| !name.is_empty()))
        .unwrap_or_else(|| names.to_vec())
}

/// The text in lines of at most `width` millimetres; a word that is wider alone is cut short.
pub(super) fn wrap(content: &str, points: f64, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in content.split_whitespace() {
        let longer = lines.last().map(|line| format!("{line} {word}"));
        match (longer, lines.last_mut()) {
            (Some(longer), Some(line)) if text_width(&longer, points) <= width => *line = longer,
            _ => lines.push(fit(word, points, width)),
        }
    }
    lines
}

/// A whole number with commas between thousands.
pub(super) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_measured_cut_and_wrapped() {
        // Ten digits of 7 pt, each about half an em of 2.47 mm.
        let width = text_width("0123456789", 7.0);
        assert!((12.0..16.0).contains(&width), "{width}");
        assert_eq!(fit("cat", 7.0, 20.0), "cat");
        let cut = fit("aquarium fish", 7.0, 10.0);
        assert!(
            cut.starts_with("aqu") && cut.ends_with('…') && text_width(&cut, 7.0) <= 10.0,
            "{cut}"
        );
        assert_eq!(fit("cat", 7.0, 0.1), "");
        let runs = ["transfer-natural-blocks3", "transfer-robust-blocks3"];
        assert_eq!(distinct(&runs, 7.0, 90.0), runs);
        assert_eq!(distinct(&runs, 7.0, 12.0), ["natural", "robust"]);
        let runs = ["a long-winded name", "a long-winded name with more"];
        let names = distinct(&runs, 7.0, 12.0);
        assert!(names[0] == "name" && names[1].ends_with('…'), "{names:?}");
        assert_eq!(distinct(&["naïve-é", "naïve-ö"], 7.0, 3.0), ["é", "ö"]);
        let cut = distinct(
            &[
                "natural-imagenet-first",
                "natural-imagenet-second",
                "robust",
            ],
            7.0,
            16.0,
        );
        assert!(
            cut[0].starts_with("nat") && cut[0].ends_with("st"),
            "{cut:?}"
        );
        assert!(cut[1].ends_with("nd") && cut.iter().all(|name| text_width(name, 7.0) <= 16.0));
        let lines = wrap(&"one two three ".repeat(20), 7.0, 60.0);
        assert!(lines.len() > 3 && lines.iter().all(|line| text_width(line, 7.0) <= 60.0));
        assert_eq!(lines.join(" ").split(' ').count(), 60);
    }

    #[test]
    fn thousands_are_grouped() {
        let numbers = [0, 999, 1000, 50_000, 1_234_567].map(thousands);
        assert_eq!(numbers, ["0", "999", "1,000", "50,000", "1,234,567"]);
    }
}
