//! Channels between layers may be scaled or change places without changing what a network computes, if everything that
//! reads them follows.

mod axes;
mod equalise;
mod grouping;
mod reorder;

pub(crate) use equalise::equalise;
pub(crate) use reorder::reorder;

#[cfg(test)]
mod tests;
