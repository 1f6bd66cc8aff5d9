//! What a pickle describes, as data.

use super::globals::Global;
use super::tensor::{TensorPlace, TorchStorage};
use safetensors::Dtype;

/// Index of an object. Objects name others by it, so that one that contains itself does no harm.
pub(super) type Id = usize;

/// One object of a pickle.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Object {
    /// Something whose value does not matter here: nothing, a real number, bytes, a NumPy scalar.
    Opaque,
    Integer(i64),
    Text(String),
    /// A list or a tuple.
    Sequence(Vec<Id>),
    Dictionary(Vec<(Id, Id)>),
    Global(Global),
    Storage(TorchStorage),
    Tensor(TensorPlace),
}

/// All objects of a pickle.
#[derive(Debug, Default)]
pub(super) struct Objects(Vec<Object>);

impl Objects {
    pub(super) fn push(&mut self, object: Object) -> Id {
        self.0.push(object);
        self.0.len() - 1
    }

    pub(super) fn get(&self, id: Id) -> &Object {
        self.0.get(id).unwrap_or(&Object::Opaque)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Object> {
        self.0.get_mut(id)
    }

    /// All mentions of storages.
    pub(super) fn storages(&self) -> impl Iterator<Item = TorchStorage> {
        self.0
            .iter()
            .filter_map(|object| if let Object::Storage(storage) = object { Some(*storage) } else { None })
    }

    pub(super) fn is_opaque(&self, id: Id) -> bool {
        *self.get(id) == Object::Opaque
    }

    pub(super) fn text(&self, id: Id) -> Option<&str> {
        if let Object::Text(text) = self.get(id) { Some(text) } else { None }
    }

    pub(super) fn sequence(&self, id: Id) -> Option<&[Id]> {
        if let Object::Sequence(items) = self.get(id) { Some(items) } else { None }
    }

    pub(super) fn dictionary(&self, id: Id) -> Option<&[(Id, Id)]> {
        if let Object::Dictionary(items) = self.get(id) { Some(items) } else { None }
    }

    pub(super) fn tensor(&self, id: Id) -> Option<&TensorPlace> {
        if let Object::Tensor(tensor) = self.get(id) { Some(tensor) } else { None }
    }

    pub(super) fn storage(&self, id: Id) -> Option<TorchStorage> {
        if let Object::Storage(storage) = self.get(id) { Some(*storage) } else { None }
    }

    pub(super) fn storage_type(&self, id: Id) -> Option<Dtype> {
        if let Object::Global(Global::Storage(dtype)) = self.get(id) { Some(*dtype) } else { None }
    }

    /// A whole number that is not negative.
    pub(super) fn count(&self, id: Id) -> Option<usize> {
        if let Object::Integer(number) = self.get(id) { usize::try_from(*number).ok() } else { None }
    }

    /// At most `limit` such numbers.
    pub(super) fn counts(&self, id: Id, limit: usize) -> Option<Vec<usize>> {
        let items = self.sequence(id).filter(|items| items.len() <= limit)?;
        items.iter().map(|&item| self.count(item)).collect()
    }
}
