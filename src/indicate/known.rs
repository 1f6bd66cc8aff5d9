//! Indicators that an earlier, perhaps interrupted call had found.

use super::IndicatorOptions;
use super::plannable::Plannable;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Indicators;

/// Refuses figures found otherwise, and layers that the network has not, or not so.
pub(super) fn check(known: &Indicators, options: &IndicatorOptions, layers: &[Plannable]) -> Result<()> {
    if !known.layers.is_empty() && known.method != options.method() {
        return Err(found_otherwise(known));
    }
    for (index, layer) in known.layers.iter().enumerate() {
        let twice = known.layers[..index].iter().any(|other| other.name == layer.name);
        if twice || !layers.iter().any(|own| own.is(layer)) {
            let message = "the indicators that are there do not fit this layer of the network; \
                           choose another file or delete this one";
            return Err(Error::new(ErrorKind::Format, message).at_node(&layer.name));
        }
    }
    Ok(())
}

/// What is known already, if it was found on as many images.
pub(super) fn started(known: Indicators, options: &IndicatorOptions, images: usize) -> Result<Indicators> {
    if !known.layers.is_empty() && known.images != Some(images as u64) {
        return Err(found_otherwise(&known));
    }
    let method = options.method();
    let images = Some(images as u64);
    Ok(Indicators {
        method,
        images,
        alpha: 1.0,
        learned: options.indicator.is_learned(),
        complete: false,
        ..known
    })
}

fn found_otherwise(known: &Indicators) -> Error {
    let message = format!(
        "the indicators that are there were found otherwise ({} on {} images); choose another file or delete this one",
        known.method,
        known.images.unwrap_or(0)
    );
    Error::new(ErrorKind::Argument, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::LayerIndicators;

    #[test]
    fn indicators_found_otherwise_are_not_continued() {
        let options = IndicatorOptions::default();
        let begun = started(Indicators::default(), &options, 10).unwrap();
        assert!(!begun.complete && begun.images == Some(10));
        let known = Indicators { layers: vec![LayerIndicators::default()], ..begun };
        assert!(started(known.clone(), &options, 10).is_ok());
        assert!(started(known.clone(), &options, 11).is_err());
        let other = IndicatorOptions { measured: 5, ..options };
        assert!(check(&known, &other, &[]).unwrap_err().to_string().contains("found otherwise"));
    }
}
