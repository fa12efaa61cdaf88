//! What comes from outside: images, features and weights in all formats, sound or not, and what is fetched.

mod bad_data;
mod bad_models;
mod brought_source;
mod checkpoints;
mod fetch;
mod sources;
