//! `index.html`: a template with the style and the program in it.

use super::record::Audit;
use crate::{Error, Result};
use minijinja::{AutoEscape, Environment, context, value::Value};
use std::path::Path;

const TEMPLATE: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
/// The program in the order it is read; one file for each view.
const PROGRAM: [&str; 13] = [
    include_str!("page/store.js"),
    include_str!("page/elements.js"),
    include_str!("page/route.js"),
    include_str!("page/decisions.js"),
    include_str!("page/overview.js"),
    include_str!("page/find.js"),
    include_str!("page/queries.js"),
    include_str!("page/query.js"),
    include_str!("page/training.js"),
    include_str!("page/image.js"),
    include_str!("page/confusions.js"),
    include_str!("page/keys.js"),
    include_str!("page/main.js"),
];

/// The page and what is embedded in it.
pub(super) struct Page<'a> {
    title: &'a str,
    scripts: String,
}

impl<'a> Page<'a> {
    pub(super) fn new(audit: &'a Audit) -> Self {
        let scripts = String::new();
        Self {
            title: &audit.title,
            scripts,
        }
    }

    pub(super) fn embed_script(&mut self, script: String) {
        self.scripts.push_str(&script);
    }

    /// `base64` of a PNG, to be known by `name`.
    pub(super) fn embed_image(&mut self, name: &str, base64: &str) {
        let script = format!("ascribe.image({name:?}, \"data:image/png;base64,{base64}\");\n");
        self.scripts.push_str(&script);
    }

    /// The page; `path` is where it is to go.
    pub(super) fn html(&self, path: &Path) -> Result<String> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment
            .render_str(
                TEMPLATE,
                context! {
                    title => self.title,
                    // Ours, and of data what is escaped already.
                    style => Value::from_safe_string(STYLE.to_owned()),
                    program => Value::from_safe_string(PROGRAM.join("\n")),
                    scripts => Value::from_safe_string(self.scripts.clone()),
                },
            )
            .map_err(|reason| Error::io(path, "make")(std::io::Error::other(reason)))
    }
}
