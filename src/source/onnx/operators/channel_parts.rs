//! Axes that are parts of the channels: their elements one by one, as nodes with fewer channels.

use crate::graph::{NodeId, Op, Slice};
use crate::source::onnx::context::{Context, Lowered};
use crate::source::onnx::unsupported;
use crate::source::onnx::view::{Activation, Axis, extents};
use crate::tensor::Shape;

/// Most parts that are taken one by one.
const MAX_PARTS: usize = 16;

/// An axis that cuts the channels into parts of neighbours, or into every n-th channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ChannelParts {
    axis: usize,
    /// How many.
    pub count: usize,
    /// Whether a part's channels are neighbours.
    neighbours: bool,
}

impl ChannelParts {
    /// The parts along `axis`, if it is the first or the last of several axes that together are the channels.
    pub fn along(input: &Activation, axis: usize) -> Option<Self> {
        let positions = input.shape.positions();
        let Axis::Strided { extent: count @ 2.., stride } = input.axes[axis] else { return None };
        let far = stride.checked_mul(count) == Some(input.shape.len());
        let near = stride == positions && input.shape.channels.is_multiple_of(count);
        (far != near).then_some(Self { axis, count, neighbours: far })
    }

    /// Channels, rows and columns of one part.
    pub fn shape(self, input: &Activation) -> Shape {
        Shape { channels: input.shape.channels / self.count, ..input.shape }
    }

    /// The part of each index.
    pub fn nodes(self, cx: &mut Context<'_>, input: &Activation) -> Lowered<Vec<NodeId>> {
        if self.count > MAX_PARTS {
            let message =
                format!("works on {} parts of the channels one by one; {MAX_PARTS} are the most", self.count);
            return Err(unsupported(message).into());
        }
        let size = input.shape.channels / self.count;
        let part = |index: usize| {
            let (mut slice, all) =
                (Slice { start: [0; 3], end: extents(input.shape), step: [1; 3] }, input.shape.channels);
            (slice.start[0], slice.end[0], slice.step[0]) = match self.neighbours {
                true => (index * size, (index + 1) * size, 1),
                false => (index, all - self.count + index + 1, self.count),
            };
            cx.emit_part(&format!("part{index}"), Op::Slice(slice), vec![input.node])
        };
        (0..self.count).map(part).collect()
    }

    /// `node`, which has the channels of one part, with the other axes of `input`.
    pub fn view_of_one(self, input: &Activation, node: NodeId) -> Activation {
        let shape = self.shape(input);
        Activation { node, shape, axes: self.axes(input, Axis::UNIT) }
    }

    /// `node`, which has the channels of all parts, part after part, with the axes of `input`.
    pub fn view_of_all(self, input: &Activation, node: NodeId) -> Activation {
        let shape = input.shape;
        let along = Axis::strided(self.count, self.shape(input).len());
        Activation { node, shape, axes: self.axes(input, along) }
    }

    /// The axes of `input` with `along` in the place of this one, where the parts' channels are neighbours.
    fn axes(self, input: &Activation, along: Axis) -> Vec<Axis> {
        let positions = input.shape.positions();
        let axes = input.axes.iter().enumerate().map(|(place, &axis)| match axis {
            _ if place == self.axis => along,
            Axis::Strided { extent, stride } if !self.neighbours && stride > positions => {
                Axis::strided(extent, stride / self.count)
            }
            axis => axis,
        });
        axes.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::arbitrary::node_id;
    use crate::source::onnx::view::IMAGE;

    fn cut(dims: &[usize]) -> Activation {
        Activation::new(node_id(0), Shape::new(6, 4, 5), 1, &IMAGE).reshaped(dims).unwrap()
    }

    #[test]
    fn parts_are_the_outer_or_the_inner_axis_of_the_channels() {
        let view = cut(&[1, 2, 3, 4, 5]);
        let parts = |axis| ChannelParts::along(&view, axis).map(|parts| (parts.count, parts.neighbours));
        assert_eq!([0, 1, 2, 3, 4].map(parts), [None, Some((2, true)), Some((3, false)), None, None]);
        assert_eq!(ChannelParts::along(&cut(&[1, 6, 4, 5]), 1), None);
    }

    #[test]
    fn views_keep_the_other_axes() {
        let view = cut(&[1, 2, 3, 4, 5]);
        let outer = ChannelParts::along(&view, 1).unwrap();
        assert_eq!(outer.view_of_one(&view, node_id(7)).dims(), [1, 1, 3, 4, 5]);
        assert_eq!(outer.view_of_all(&view, node_id(0)), view);
        let inner = ChannelParts::along(&view, 2).unwrap();
        assert_eq!(inner.view_of_one(&view, node_id(7)).axes[1], Axis::strided(2, 20));
        assert_eq!(
            inner.view_of_all(&view, node_id(7)).axes[1..3],
            [Axis::strided(2, 20), Axis::strided(3, 40)]
        );
    }
}
