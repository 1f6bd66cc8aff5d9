//! The file format: what is written, what is read, what is refused.

mod attacks;
mod layout;
mod refusals;
mod sample;
mod switching;
