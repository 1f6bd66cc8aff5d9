//! Reads a pickle as data: knows the instructions that describe a state dict, and runs nothing.

use super::super::{malformed, unsupported};
use super::globals::{Global, global};
use super::objects::{Id, Object, Objects};
use super::tensor::{TensorPlace, TorchStorage};
use crate::error::{Error, Result};
use std::collections::HashMap;

/// Most instructions.
const MAX_INSTRUCTIONS: usize = 1 << 22;
/// Most remembered objects.
const MAX_REMEMBERED: usize = 1 << 20;
/// Most lists and tuples that are open at once.
const MAX_DEPTH: usize = 1 << 10;
/// Most characters of a name that an error shows.
const SHOWN: usize = 200;

/// What a pickle describes.
#[derive(Debug)]
pub(super) struct Pickle {
    pub objects: Objects,
    pub root: Id,
    /// Bytes that the pickle has.
    pub length: usize,
}

/// Reads the pickle that `bytes` start with.
///
/// # Errors
/// Anything but data: names that no state dict needs, instructions that none consists of; more than any has.
pub(super) fn unpickle(bytes: &[u8]) -> Result<Pickle> {
    let mut machine = Machine { bytes, ..Machine::default() };
    for _ in 0..MAX_INSTRUCTIONS {
        if machine.step()? == Next::Stop {
            let root = machine.pop()?;
            return Ok(Pickle { objects: machine.objects, root, length: machine.at });
        }
    }
    Err(malformed(format!("its pickle has more than {MAX_INSTRUCTIONS} instructions")))
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Go,
    Stop,
}

/// The state of a pickle being read.
#[derive(Debug, Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    /// Bytes already read.
    at: usize,
    objects: Objects,
    stack: Vec<Id>,
    /// Where on the stack the open lists and tuples start.
    marks: Vec<usize>,
    remembered: HashMap<u32, Id>,
    /// Entries of dictionaries that were made of lists.
    copied: usize,
}

impl<'a> Machine<'a> {
    fn step(&mut self) -> Result<Next> {
        let place = self.at;
        let [instruction] = self.array()?;
        match instruction {
            b'.' => return Ok(Next::Stop),
            0x80 => self.take(1).map(|_| ())?,
            0x95 => self.take(8).map(|_| ())?,
            b'(' => self.mark()?,
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memory(instruction)?,
            b'N' | 0x88 | 0x89 | b'G' | b'J' | b'K' | b'M' | 0x8a => self.number(instruction)?,
            b'X' | 0x8c | b'T' | b'U' | b'B' | b'C' => self.string(instruction)?,
            b')' | b't' | 0x85..=0x87 | b']' | b'}' => self.container(instruction)?,
            b'a' | b'e' | b's' | b'u' => self.fill(instruction)?,
            b'c' | 0x93 => self.name(instruction)?,
            b'R' => self.call()?,
            b'b' => self.attributes()?,
            b'Q' => self.storage()?,
            other => {
                let message = format!(
                    "its pickle has instruction {other:#04x} at byte {place}, which no state dict needs"
                );
                return Err(unsupported(message));
            }
        }
        Ok(Next::Go)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length).ok_or_else(truncated)?;
        let bytes = self.bytes.get(self.at..end).ok_or_else(truncated)?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| truncated())
    }

    fn line(&mut self) -> Result<&'a str> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or_else(truncated)?;
        let line = self.take(length + 1)?;
        std::str::from_utf8(&line[..length])
            .map_err(|error| malformed("a name that is no text").because(error))
    }

    fn push(&mut self, object: Object) {
        let id = self.objects.push(object);
        self.stack.push(id);
    }

    fn pop(&mut self) -> Result<Id> {
        let open = self.marks.last().copied().unwrap_or(0);
        self.stack.pop().filter(|_| self.stack.len() >= open).ok_or_else(unbalanced)
    }

    fn mark(&mut self) -> Result<()> {
        self.marks.push(self.stack.len());
        if self.marks.len() > MAX_DEPTH {
            return Err(malformed(format!("its pickle is nested more than {MAX_DEPTH} deep")));
        }
        Ok(())
    }

    /// What was pushed since the last mark.
    fn since_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(unbalanced)?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn memory(&mut self, instruction: u8) -> Result<()> {
        let index = match instruction {
            0x94 => self.remembered.len() as u32,
            b'q' | b'h' => u32::from(self.array::<1>()?[0]),
            _ => u32::from_le_bytes(self.array()?),
        };
        if matches!(instruction, b'h' | b'j') {
            let id =
                self.remembered.get(&index).ok_or_else(|| malformed("it recalls what it never noted"))?;
            self.stack.push(*id);
            return Ok(());
        }
        let top = self.stack.last().ok_or_else(unbalanced)?;
        self.remembered.insert(index, *top);
        if self.remembered.len() > MAX_REMEMBERED {
            return Err(malformed(format!("its pickle remembers more than {MAX_REMEMBERED} objects")));
        }
        Ok(())
    }

    fn number(&mut self, instruction: u8) -> Result<()> {
        let object = match instruction {
            b'J' => Object::Integer(i32::from_le_bytes(self.array()?).into()),
            b'K' => Object::Integer(self.array::<1>()?[0].into()),
            b'M' => Object::Integer(u16::from_le_bytes(self.array()?).into()),
            b'G' => self.take(8).map(|_| Object::Opaque)?,
            0x8a => {
                let length = self.array::<1>()?[0].into();
                integer(self.take(length)?).map_or(Object::Opaque, Object::Integer)
            }
            0x88 | 0x89 => Object::Integer((instruction == 0x88).into()),
            _ => Object::Opaque,
        };
        self.push(object);
        Ok(())
    }

    /// Text, or bytes, whose value does not matter. Old versions of Python wrote text as bytes.
    fn string(&mut self, instruction: u8) -> Result<()> {
        let length = match instruction {
            b'X' | b'T' | b'B' => u32::from_le_bytes(self.array()?) as usize,
            _ => self.array::<1>()?[0].into(),
        };
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).ok().filter(|_| !matches!(instruction, b'B' | b'C'));
        self.push(text.map_or(Object::Opaque, |text| Object::Text(text.to_owned())));
        Ok(())
    }

    fn container(&mut self, instruction: u8) -> Result<()> {
        let object = match instruction {
            b'}' => Object::Dictionary(Vec::new()),
            b't' => Object::Sequence(self.since_mark()?),
            0x85..=0x87 => {
                let mut items = (0x85..=instruction).map(|_| self.pop()).collect::<Result<Vec<Id>>>()?;
                items.reverse();
                Object::Sequence(items)
            }
            _ => Object::Sequence(Vec::new()),
        };
        self.push(object);
        Ok(())
    }

    fn fill(&mut self, instruction: u8) -> Result<()> {
        let mut items = match instruction {
            b'a' => vec![self.pop()?],
            b's' => vec![self.pop()?, self.pop()?],
            _ => self.since_mark()?,
        };
        if instruction == b's' {
            items.reverse();
        }
        let top = self.stack.last().ok_or_else(unbalanced)?;
        match self.objects.get_mut(*top) {
            Some(Object::Sequence(list)) if matches!(instruction, b'a' | b'e') => list.extend(items),
            Some(Object::Dictionary(entries)) if matches!(instruction, b's' | b'u') => {
                entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            _ => return Err(unbalanced()),
        }
        Ok(())
    }

    fn name(&mut self, instruction: u8) -> Result<()> {
        let (module, name) = if instruction == b'c' {
            (self.line()?.to_owned(), self.line()?.to_owned())
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            let text = |id| self.objects.text(id).map(str::to_owned).ok_or_else(unbalanced);
            (text(module)?, text(name)?)
        };
        let meaning = global(&module, &name).ok_or_else(|| foreign(&module, &name))?;
        self.push(Object::Global(meaning));
        Ok(())
    }

    /// What a function of some arguments would yield.
    fn call(&mut self) -> Result<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Object::Global(function) = *self.objects.get(function) else {
            return Err(malformed("its pickle calls what is no function"));
        };
        let object = match (function, self.objects.sequence(arguments).ok_or_else(unbalanced)?) {
            (Global::Opaque, _) => Object::Opaque,
            (Global::Dictionary, &[]) => Object::Dictionary(Vec::new()),
            (Global::Dictionary, &[pairs]) => Object::Dictionary(self.pairs(pairs)?),
            (Global::Tensor, arguments) => Object::Tensor(TensorPlace::new(&self.objects, arguments)?),
            (Global::Wrapper, &[first, ..]) => {
                self.stack.push(first);
                return Ok(());
            }
            _ => return Err(malformed("its pickle calls a function without arguments that it needs")),
        };
        self.push(object);
        Ok(())
    }

    fn pairs(&mut self, list: Id) -> Result<Vec<(Id, Id)>> {
        let pair = |&item: &Id| match self.objects.sequence(item) {
            Some(&[key, value]) => Ok((key, value)),
            _ => Err(unbalanced()),
        };
        let list = self.objects.sequence(list).ok_or_else(unbalanced)?;
        self.copied = self.copied.saturating_add(list.len());
        if self.copied > MAX_INSTRUCTIONS {
            return Err(malformed("its dictionaries have more entries than its pickle could list"));
        }
        list.iter().map(pair).collect()
    }

    /// Attributes of a dictionary, or the state of what does not matter: forgotten.
    fn attributes(&mut self) -> Result<()> {
        self.pop()?;
        let target = self.stack.last().map(|&id| self.objects.get(id));
        match target {
            Some(Object::Dictionary(_) | Object::Opaque) => Ok(()),
            _ => Err(malformed("its pickle changes what cannot be changed")),
        }
    }

    fn storage(&mut self) -> Result<()> {
        let record = self.pop()?;
        let storage = TorchStorage::new(&self.objects, record)?;
        self.push(Object::Storage(storage));
        Ok(())
    }
}

/// A signed number, lowest byte first, if 64 bits hold it.
fn integer(bytes: &[u8]) -> Option<i64> {
    let mut whole = [if bytes.last().is_some_and(|&byte| byte > 127) { 0xFF } else { 0 }; 8];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(whole))
}

fn foreign(module: &str, name: &str) -> Error {
    let name: String = format!("{module}.{name}").chars().take(SHOWN).collect();
    let message = format!(
        "its pickle refers to '{name}', which no state dict needs, and fgq runs nothing that a file names; \
         where the file comes from, write the weights alone: torch.save(model.state_dict(), 'weights.pth')"
    );
    unsupported(message)
}

fn truncated() -> Error {
    malformed("its pickle ends too early; was it downloaded completely?")
}

fn unbalanced() -> Error {
    malformed("its pickle is damaged: an instruction lacks what it works on")
}
