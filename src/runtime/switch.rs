//! Widths that change between runs: what they need is made once and then kept.

use super::engine::{Engine, EnginePiece};
use super::nodes::{Nodes, Widths};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{PackedId, PackedModel, Switching, Wiring};
use crate::index::Per;
use crate::kernels::blocked::conv::ConvWeights;
use crate::tensor::Shape;
use crate::threads;
use std::sync::Arc;

/// The places of the widths that a part of the engine depends on: of the layer before, its own, and of the reader of the
/// copy that it writes too.
type Key = [u8; 3];

/// A model that switches, and what has been made for its widths.
#[derive(Debug)]
pub(super) struct Switch {
    model: PackedModel,
    switching: Switching,
    shapes: Per<PackedId, Shape>,
    wiring: Wiring,
    /// The places of the widths, by node.
    places: Per<PackedId, u8>,
    /// Those that are wanted next.
    wanted: Per<PackedId, u8>,
    parts: Vec<SwitchPart>,
    /// Counts changes.
    turn: u64,
    /// Most bytes of weights that are kept without being in use.
    budget: usize,
}

/// A part of the engine that depends on widths.
#[derive(Debug)]
struct SwitchPart {
    /// Its node, and the copy that it writes too.
    node: PackedId,
    copy: Option<PackedId>,
    key: Key,
    kept: Vec<KeptPiece>,
    /// Weights by own width, laid out, of engines that lay them out apart.
    weights: Vec<Option<Arc<ConvWeights>>>,
}

/// What a part was at other widths.
#[derive(Debug)]
struct KeptPiece {
    key: Key,
    piece: EnginePiece,
    /// The last change in which it was in use.
    turn: u64,
}

impl Switch {
    /// Of a validated model, with its engine, made by `engine` for full widths.
    pub(super) fn new(
        model: &PackedModel,
        switching: &Switching,
        shapes: &Per<PackedId, Shape>,
        engine: impl FnOnce(&Nodes) -> Engine,
    ) -> (Self, Engine) {
        let wiring = Wiring::new(&model.nodes, switching);
        let mut places = Per::filled(0, model.nodes.len());
        wiring.switching().iter().for_each(|&node| places[node] = switching.widths.len() as u8 - 1);
        let widths = Widths { switching, wiring: &wiring, places: &places };
        let mut engine = engine(&Nodes { model, shapes, widths: Some(widths) });
        let parts = parts(&mut engine, widths);
        let this = Self {
            model: model.clone(),
            switching: switching.clone(),
            shapes: shapes.clone(),
            wanted: places.clone(),
            wiring,
            places,
            parts,
            turn: 0,
            budget: usize::MAX,
        };
        (this, engine)
    }

    /// What the model can switch between.
    pub(super) fn switching(&self) -> &Switching {
        &self.switching
    }

    /// The name and the width of every layer that switches.
    pub(super) fn layers(&self) -> impl Iterator<Item = (&str, u8)> {
        let width = |&node: &PackedId| self.switching.widths[usize::from(self.places[node])];
        self.wiring.switching().iter().map(move |node| (self.model.nodes[*node].name.as_str(), width(node)))
    }

    /// The most bytes of weights that are kept without being in use.
    pub(super) fn keep_at_most(&mut self, bytes: usize) {
        self.budget = bytes;
        self.forget();
    }

    /// Gives one layer, or all, another width.
    ///
    /// # Errors
    /// A width or a layer that there is not.
    pub(super) fn set(&mut self, engine: &mut Engine, layer: Option<&str>, width: u8) -> Result<()> {
        let place = self.switching.place(width)?;
        let nodes = &self.model.nodes;
        let chosen = |node: &&PackedId| layer.is_none_or(|layer| nodes[**node].name == layer);
        if !self.wiring.switching().iter().any(|node| chosen(&node)) {
            let message = format!("no layer '{}' switches", layer.unwrap_or_default());
            return Err(Error::new(ErrorKind::Argument, message));
        }
        self.wanted.clone_from(&self.places);
        self.wiring.switching().iter().filter(chosen).for_each(|&node| self.wanted[node] = place);
        self.turn(engine);
        Ok(())
    }

    /// Gives every layer a width of its own, in execution order.
    ///
    /// # Errors
    /// Widths that there are not.
    pub(super) fn set_all(&mut self, engine: &mut Engine, widths: &[u8]) -> Result<()> {
        self.wanted = self.switching.places(&self.wiring, widths, self.places.len())?;
        self.turn(engine);
        Ok(())
    }

    /// Makes the engine that of the wanted widths. What is kept is exchanged without an allocation.
    fn turn(&mut self, engine: &mut Engine) {
        self.turn += 1;
        let mut missing: Vec<(usize, Key)> = Vec::new();
        for (place, part) in self.parts.iter_mut().enumerate() {
            let key = key(&self.wiring, &self.wanted, part.node, part.copy);
            if key == part.key {
                continue;
            }
            match part.kept.iter_mut().find(|kept| kept.key == key) {
                Some(kept) => {
                    engine.exchange(part.node, &mut kept.piece);
                    std::mem::swap(&mut kept.key, &mut part.key);
                    kept.turn = self.turn;
                }
                None => missing.push((place, key)),
            }
        }
        if !missing.is_empty() {
            self.make(engine, &missing);
        }
        std::mem::swap(&mut self.places, &mut self.wanted);
        self.forget();
    }

    /// Makes what is missing, on all threads.
    fn make(&mut self, engine: &mut Engine, missing: &[(usize, Key)]) {
        let widths = Widths { switching: &self.switching, wiring: &self.wiring, places: &self.wanted };
        let nodes = Nodes { model: &self.model, shapes: &self.shapes, widths: Some(widths) };
        let (parts, from) = (&self.parts, &*engine);
        let made = threads::map(0..missing.len(), |index| {
            let (place, key) = missing[index];
            from.piece(&nodes, parts[place].node, parts[place].weights[usize::from(key[1])].clone())
        });
        for (&(place, key), made) in missing.iter().zip(made) {
            let Some((mut piece, weights)) = made else { continue };
            let part = &mut self.parts[place];
            engine.exchange(part.node, &mut piece);
            part.kept.push(KeptPiece { key: std::mem::replace(&mut part.key, key), piece, turn: self.turn });
            part.weights[usize::from(key[1])] = weights;
        }
    }

    /// Forgets the weights that were not in use for longest until the others are within the budget.
    fn forget(&mut self) {
        if self.budget == usize::MAX {
            return;
        }
        while self.parts.iter().map(SwitchPart::idle_bytes).sum::<usize>() > self.budget {
            let oldest = self.parts.iter_mut().filter_map(|part| Some((part.oldest()?, part)));
            let Some(((_, own), part)) = oldest.min_by_key(|((turn, _), _)| *turn) else { return };
            part.kept.retain(|kept| kept.key[1] != own);
            part.weights[usize::from(own)] = None;
        }
    }
}

impl SwitchPart {
    /// Bytes of weights of widths that are not in use.
    fn idle_bytes(&self) -> usize {
        let apart = self.weights.iter().enumerate().filter(|(own, _)| *own != usize::from(self.key[1]));
        let apart: usize =
            apart.filter_map(|(_, weights)| weights.as_ref()).map(|weights| weights.bytes()).sum();
        let idle = self.kept.iter().filter(|kept| kept.key[1] != self.key[1]);
        apart + idle.map(|kept| kept.piece.bytes()).sum::<usize>()
    }

    /// The own width that was not in use for longest, and since which change.
    fn oldest(&self) -> Option<(u64, u8)> {
        let idle = self.kept.iter().filter(|kept| kept.key[1] != self.key[1]);
        let latest = |own: u8| self.kept.iter().filter(|kept| kept.key[1] == own).map(|kept| kept.turn).max();
        idle.filter_map(|kept| Some((latest(kept.key[1])?, kept.key[1]))).min()
    }
}

fn key(wiring: &Wiring, places: &Per<PackedId, u8>, node: PackedId, copy: Option<PackedId>) -> Key {
    let [before, own] = wiring.key(node, places);
    [before, own, copy.map_or(0, |copy| wiring.key(copy, places)[1])]
}

/// The parts of an engine that depend on widths.
fn parts(engine: &mut Engine, widths: Widths) -> Vec<SwitchPart> {
    let varying: Vec<PackedId> = widths.places.ids().filter(|&id| widths.wiring.varies(id)).collect();
    let mut nodes: Vec<PackedId> = varying.iter().map(|&id| engine.maker(id)).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let part = |node: PackedId| {
        let copy = varying.iter().copied().find(|&id| id != node && engine.maker(id) == node);
        let key = key(widths.wiring, widths.places, node, copy);
        let mut weights = vec![None; widths.switching.widths.len()];
        weights[usize::from(key[1])] = engine.take_weights(node);
        SwitchPart { node, copy, key, kept: Vec::new(), weights }
    };
    nodes.into_iter().map(part).collect()
}
