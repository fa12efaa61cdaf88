//! Text in pixels, each letter where its font puts it.
//!
//! plotters 0.3.7 begins every letter at the pen, without the room that the font leaves before it (its left side bearing), so that
//! words run together after letters that end without any, as y, w and ). Widths are those of plotters.

use ab_glyph::{Font, FontRef, ScaleFont, point};
use epaint_default_fonts::UBUNTU_LIGHT;
use plotters_backend::{
    BackendColor, BackendCoord, BackendTextStyle, FontFamily, FontStyle, FontTransform,
    text_anchor::Pos,
};

/// A style of text in our font.
pub(super) struct Letters<'a, S>(pub(super) &'a S);

impl<S: BackendTextStyle> BackendTextStyle for Letters<'_, S> {
    type FontError = S::FontError;

    fn color(&self) -> BackendColor {
        self.0.color()
    }

    fn size(&self) -> f64 {
        self.0.size()
    }

    fn transform(&self) -> FontTransform {
        self.0.transform()
    }

    fn style(&self) -> FontStyle {
        self.0.style()
    }

    fn anchor(&self) -> Pos {
        self.0.anchor()
    }

    fn family(&self) -> FontFamily<'_> {
        self.0.family()
    }

    fn layout_box(&self, text: &str) -> Result<((i32, i32), (i32, i32)), Self::FontError> {
        self.0.layout_box(text)
    }

    fn draw<E, DrawFunc: FnMut(i32, i32, BackendColor) -> Result<(), E>>(
        &self,
        text: &str,
        (left, top): BackendCoord,
        mut draw: DrawFunc,
    ) -> Result<Result<(), E>, Self::FontError> {
        let Ok(font) = FontRef::try_from_slice(UBUNTU_LIGHT) else {
            return self.0.draw(text, (left, top), draw);
        };
        let size = self.size() as f32;
        let font = font.as_scaled(size);
        let mut pen = 0.0;
        let mut last = None;
        for letter in text.chars().map(|letter| font.glyph_id(letter)) {
            pen += last.map_or(0.0, |last| font.kern(last, letter));
            last = Some(letter);
            let placed = letter.with_scale_and_position(size, point(pen, 0.0));
            pen += font.h_advance(letter);
            let Some(outline) = font.outline_glyph(placed) else {
                continue;
            };
            let corner = outline.px_bounds().min;
            // The baseline lies half a line below the top, as plotters has it.
            let (x, y) = (
                left + corner.x as i32,
                top + (size / 2.0) as i32 + corner.y as i32,
            );
            let mut inked = Vec::new();
            outline.draw(|column, row, ink| inked.push((column as i32, row as i32, ink)));
            for (column, row, ink) in inked {
                let color = self.color().mix(f64::from(ink));
                if let Err(error) = draw(x + column, y + row, color) {
                    return Ok(Err(error));
                }
            }
        }
        Ok(Ok(()))
    }
}

/// The words of a text of which our font lacks a letter, in whose place it has a box.
pub(super) fn boxed(text: &str) -> Vec<&str> {
    let Ok(font) = FontRef::try_from_slice(UBUNTU_LIGHT) else {
        return Vec::new();
    };
    let is_boxed = |word: &&str| word.chars().any(|letter| font.glyph_id(letter).0 == 0);
    // Other spaces may be letters that the font lacks.
    let words = text.split([' ', '\t', '\n']).filter(is_boxed);
    let punctuation = |letter: char| letter.is_ascii_punctuation();
    words.map(|word| word.trim_matches(punctuation)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::palette::INK;
    use crate::figure::text::{Align, Text};

    /// The columns in which a text has ink.
    fn inked(text: &str) -> Vec<bool> {
        let style = Text::new(30.0, INK, Align::Left).style();
        let mut columns = vec![false; 2000];
        let mut ink = |x: i32, _: i32, color: BackendColor| {
            columns[x as usize] |= color.alpha > 0.2;
            Ok::<(), ()>(())
        };
        Letters(&style)
            .draw(text, (0, 0), &mut ink)
            .unwrap()
            .unwrap();
        columns
    }

    /// The widest gap between two inked columns.
    fn gap(text: &str) -> usize {
        let columns = inked(text);
        let places: Vec<usize> = (0..columns.len()).filter(|&at| columns[at]).collect();
        places
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn a_space_is_as_wide_after_one_letter_as_after_another() {
        let (after_y, after_n) = (gap("y h"), gap("n h"));
        // What n has of room behind it, and y has not, is no more than a third of the gap.
        assert!(3 * after_y > 2 * after_n, "{after_y} {after_n}");
        let bearing = inked("h").iter().position(|&ink| ink).unwrap();
        assert!(bearing > 0, "h begins at the pen");
    }

    #[test]
    fn words_with_letters_that_the_font_lacks_are_named() {
        let note =
            "Images of 柴犬, (猫) and naïve Žižek; −3 ≤ λ, ε ≥ 2 · L∞ in %… a’ ±0.1 × 10 – Собака";
        assert_eq!(boxed(note), ["柴犬", "猫"]);
        let spaces = "shiba\u{3000}inu, 3\u{2009}200\tor\n9\u{202f}%";
        assert_eq!(
            boxed(spaces),
            ["shiba\u{3000}inu", "3\u{2009}200", "9\u{202f}"]
        );
        let shown = inked("柴犬").into_iter().filter(|ink| *ink);
        assert!(shown.count() > 0, "boxes have ink");
    }
}
