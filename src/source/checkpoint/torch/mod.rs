//! Files of `torch.save`: a state dict, pickled, with its tensors' numbers beside it.
//!
//! A pickle is a program; this one is only read. [`unpickle`] knows the few instructions and names that a state dict
//! consists of, makes data of them, and refuses everything else. Nothing is executed and nothing imported.

mod file;
mod globals;
mod legacy;
mod objects;
mod state;
mod tensor;
#[cfg(test)]
mod tests;
mod unpickle;

pub(super) use file::Torch;
