//! Indicators turned upside down: a control, whose plan should be worse than a uniform one if indicators say anything.

use super::indicators::{Indicators, LayerIndicators};
use crate::error::{Error, ErrorKind, Result};
use std::collections::BTreeMap;

type Figures = BTreeMap<String, f64>;

impl Indicators {
    /// The same with the figures of the most important layer given to the least important and so on, for weights and for
    /// activations: under the same budgets, important layers get few bits.
    ///
    /// # Errors
    /// `Argument`: layers with different candidates.
    pub fn reversed(&self) -> Result<Self> {
        let mut indicators = self.clone();
        exchange(&mut indicators.layers, |layer| &mut layer.weight)?;
        exchange(&mut indicators.layers, |layer| &mut layer.activation)?;
        indicators.method.push_str(", reversed");
        Ok(indicators)
    }
}

fn exchange(layers: &mut [LayerIndicators], of: impl Fn(&mut LayerIndicators) -> &mut Figures) -> Result<()> {
    let figures: Vec<Figures> = layers.iter_mut().map(|layer| of(layer).clone()).collect();
    let mut order: Vec<usize> = (0..layers.len()).collect();
    let importance = |place: &usize| figures[*place].values().sum::<f64>();
    order.sort_by(|a, b| importance(a).total_cmp(&importance(b)));
    for (&place, &opposite) in order.iter().zip(order.iter().rev()) {
        if !figures[place].keys().eq(figures[opposite].keys()) {
            let message =
                "reversed indicators need the same candidates in every layer; learned ones have them";
            return Err(Error::new(ErrorKind::Argument, message).at_node(&layers[place].name));
        }
        of(&mut layers[place]).clone_from(&figures[opposite]);
    }
    Ok(())
}
