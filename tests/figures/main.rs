//! Figures: drawn from records, in both styles, and by `ascribe figure`.

mod command;
mod drawn;
mod styles;
