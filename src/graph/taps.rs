//! Which inputs the windows of convolutions and pools touch, along one axis.

use crate::tensor::Window;
use std::ops::Range;

/// The part of one window that lies inside the input, along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WindowSpan {
    /// Input index of the first tap inside.
    pub first: usize,
    /// Number of taps inside; they are `dilation` apart.
    pub taps: usize,
    /// Number of taps inside the input or its padding.
    pub padded_taps: usize,
}

/// The span of each of `outputs` windows along `axis` (0 rows, 1 columns) of an input of `size`.
pub(crate) fn spans(window: &Window, axis: usize, size: usize, outputs: usize) -> Vec<WindowSpan> {
    let (kernel, stride, dilation) = (window.kernel[axis], window.stride[axis], window.dilation[axis]);
    let (before, after) = (window.pads[axis], window.pads[axis + 2]);
    let span = |output: usize| {
        // Number of taps at padded coordinates below `limit`.
        let below = |limit: usize| limit.saturating_sub(output * stride).div_ceil(dilation).min(kernel);
        let skipped = below(before);
        let first = (output * stride + skipped * dilation).saturating_sub(before);
        WindowSpan { first, taps: below(before + size) - skipped, padded_taps: below(before + size + after) }
    };
    (0..outputs).map(span).collect()
}

/// The outputs along `axis` for which kernel position `tap` lies inside an input of `size`.
pub(crate) fn outputs_reading(
    window: &Window,
    axis: usize,
    tap: usize,
    size: usize,
    outputs: usize,
) -> Range<usize> {
    let (stride, before) = (window.stride[axis], window.pads[axis]);
    let offset = tap * window.dilation[axis];
    // Number of outputs whose tap is at a padded coordinate below `limit`.
    let below = |limit: usize| limit.saturating_sub(offset).div_ceil(stride).min(outputs);
    below(before)..below(before + size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_ranges_agree_with_counting() {
        for (kernel, stride, dilation, before, after, size) in [
            (3, 2, 1, 1, 1, 7),
            (5, 1, 2, 4, 3, 6),
            (2, 3, 4, 0, 0, 9),
            (7, 2, 1, 3, 0, 4),
            (1, 4, 1, 2, 2, 5),
        ] {
            let window = Window {
                kernel: [1, kernel],
                stride: [1, stride],
                dilation: [1, dilation],
                pads: [0, before, 0, after],
                ceil: true,
            };
            let outputs = window.output(1, size).unwrap()[1];
            let inside = |output: usize, tap: usize| {
                (output * stride + tap * dilation).checked_sub(before).filter(|&position| position < size)
            };
            for (output, span) in spans(&window, 1, size, outputs).into_iter().enumerate() {
                let taps = (0..kernel).filter_map(|tap| inside(output, tap)).collect::<Vec<_>>();
                assert_eq!(span.taps, taps.len());
                assert!(taps.is_empty() || span.first == taps[0]);
                let padded =
                    (0..kernel).filter(|tap| output * stride + tap * dilation < before + size + after);
                assert_eq!(span.padded_taps, padded.count());
            }
            for tap in 0..kernel {
                let expected =
                    (0..outputs).filter(|&output| inside(output, tap).is_some()).collect::<Vec<_>>();
                assert_eq!(outputs_reading(&window, 1, tap, size, outputs).collect::<Vec<_>>(), expected);
            }
        }
    }
}
