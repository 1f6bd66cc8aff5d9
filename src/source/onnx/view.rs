//! How the axes of an ONNX tensor lie over the channels, rows and columns of a graph node.
//!
//! Reshapes and transposes that move no data change only the view; so a channel shuffle, a network that keeps
//! channels last, or a squeeze and unsqueeze around a classifier need no operator of their own.

use super::tensor::element_count;
use crate::graph::NodeId;
use crate::tensor::Shape;
use std::ops::Range;

/// The value of a graph node as the ONNX file sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Activation {
    /// The node that produces the elements.
    pub(super) node: NodeId,
    /// Its shape; elements are counted channel by channel, row by row.
    pub(super) shape: Shape,
    /// The axes of the ONNX tensor, one of which is the batch.
    pub(super) axes: Vec<Axis>,
}

/// One axis of an ONNX tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Axis {
    /// The images.
    Batch(usize),
    /// Elements of one image, `stride` apart; axes of extent 1 have stride 0.
    Strided {
        /// Number of elements.
        extent: usize,
        /// Distance between them.
        stride: usize,
    },
}

/// What an axis means for the graph node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Role {
    /// The images.
    Batch,
    /// All channels.
    Channel,
    /// All rows.
    Row,
    /// All columns.
    Column,
    /// An axis of extent 1 that the graph node does not have.
    Unit,
}

/// Batch, channels, rows, columns.
pub(super) const IMAGE: [Role; 4] = [Role::Batch, Role::Channel, Role::Row, Role::Column];
/// Batch, channels.
pub(super) const FLAT: [Role; 2] = [Role::Batch, Role::Channel];
/// Batch, rows, columns, channels.
pub(super) const IMAGE_CHANNELS_LAST: [Role; 4] = [Role::Batch, Role::Row, Role::Column, Role::Channel];
/// The axes of one image in the order of its elements.
const SPATIAL: [Role; 3] = [Role::Channel, Role::Row, Role::Column];

impl Axis {
    /// An axis of extent 1.
    pub(super) const UNIT: Self = Self::Strided { extent: 1, stride: 0 };

    /// An axis of `extent` elements, `stride` apart.
    pub(super) fn strided(extent: usize, stride: usize) -> Self {
        Self::Strided { extent, stride: if extent == 1 { 0 } else { stride } }
    }

    /// Whether the axis shows the same elements again and again.
    pub(super) fn repeats(self) -> bool {
        matches!(self, Self::Strided { extent: 2.., stride: 0 })
    }

    /// Number of elements along the axis.
    pub(super) fn extent(self) -> usize {
        match self {
            Self::Batch(extent) | Self::Strided { extent, .. } => extent,
        }
    }
}

impl Role {
    /// The axis of an image of `shape`, in batches of `batch`, that plays this role.
    fn axis(self, shape: Shape, batch: usize) -> Axis {
        match self {
            Self::Batch => Axis::Batch(batch),
            Self::Channel => Axis::strided(shape.channels, shape.positions()),
            Self::Row => Axis::strided(shape.height, shape.width),
            Self::Column => Axis::strided(shape.width, 1),
            Self::Unit => Axis::UNIT,
        }
    }

    /// Place among channel, row and column, for the roles that an image has.
    pub(super) fn place(self) -> Option<usize> {
        SPATIAL.iter().position(|&role| role == self)
    }
}

/// Extents of channels, rows and columns.
pub(super) fn extents(shape: Shape) -> [usize; 3] {
    [shape.channels, shape.height, shape.width]
}

impl Activation {
    /// The value of `node` with axes in the given roles.
    pub(super) fn new(node: NodeId, shape: Shape, batch: usize, roles: &[Role]) -> Self {
        Self { node, shape, axes: roles.iter().map(|role| role.axis(shape, batch)).collect() }
    }

    /// The same view of another node of the same shape.
    pub(super) fn of(&self, node: NodeId) -> Self {
        Self { node, ..self.clone() }
    }

    /// Extents of the ONNX tensor.
    pub(super) fn dims(&self) -> Vec<usize> {
        self.axes.iter().map(|axis| axis.extent()).collect()
    }

    /// Number of images.
    pub(super) fn batch(&self) -> usize {
        let batch = self.axes.iter().find(|axis| matches!(axis, Axis::Batch(_)));
        batch.map_or(1, |axis| axis.extent())
    }

    /// The role of each axis, or `None` if one is a part or a mixture of channels, rows and columns.
    ///
    /// Axes of extent 1 take the roles that are left over, in the order channel, row, column.
    pub(super) fn roles(&self) -> Option<Vec<Role>> {
        let mut roles: Vec<Role> = self.axes.iter().map(|&axis| self.role(axis)).collect::<Option<_>>()?;
        let left: Vec<Role> = SPATIAL.into_iter().filter(|role| !roles.contains(role)).collect();
        let units = roles.iter_mut().filter(|role| **role == Role::Unit);
        units.zip(left).for_each(|(unit, role)| *unit = role);
        Some(roles)
    }

    fn role(&self, axis: Axis) -> Option<Role> {
        match axis {
            Axis::Batch(_) => Some(Role::Batch),
            Axis::UNIT => Some(Role::Unit),
            _ => SPATIAL.into_iter().find(|role| role.axis(self.shape, 1) == axis),
        }
    }

    /// Runs of elements at equal distance, outermost first, without the batch and axes of extent 1.
    fn runs(&self) -> Vec<(usize, usize)> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for axis in &self.axes {
            let &Axis::Strided { extent: extent @ 2.., stride } = axis else { continue };
            match runs.last_mut() {
                Some(last) if last.1 == extent * stride => *last = (last.0 * extent, stride),
                _ => runs.push((extent, stride)),
            }
        }
        runs
    }

    /// Whether the elements are in the order of the graph node.
    pub(super) fn is_contiguous(&self) -> bool {
        self.runs().iter().all(|&(extent, stride)| extent == self.shape.len() && stride == 1)
    }

    /// Whether the batch is the first axis.
    pub(super) fn is_batch_first(&self) -> bool {
        matches!(self.axes.first(), Some(Axis::Batch(_)))
    }

    /// Whether the last axis is that of all channels, and another one that of the images.
    pub(super) fn ends_with_channels(&self) -> bool {
        let channels = Role::Channel.axis(self.shape, 1);
        self.axes.last() == Some(&channels) && self.axes.iter().any(|axis| matches!(axis, Axis::Batch(_)))
    }

    /// The same elements with extent 1 where an axis repeats them.
    pub(super) fn unrepeated(&self) -> Self {
        let once = |&axis: &Axis| if axis.repeats() { Axis::UNIT } else { axis };
        Self { axes: self.axes.iter().map(once).collect(), ..self.clone() }
    }

    /// The same elements, repeated along axes of extent 1 until the extents are `dims`, which they broadcast to.
    pub(super) fn repeated(&self, dims: &[usize]) -> Self {
        let lead = std::iter::repeat_n(Axis::UNIT, dims.len().saturating_sub(self.axes.len()));
        let axes = lead.chain(self.axes.iter().copied()).zip(dims);
        let axes = axes.map(|(axis, &extent)| match axis {
            Axis::Strided { extent: 1, .. } => Axis::Strided { extent, stride: 0 },
            axis => axis,
        });
        Self { axes: axes.collect(), ..self.clone() }
    }

    /// The neighbouring axes that together are all channels in order, if there are such axes.
    pub(super) fn channel_axes(&self) -> Option<Range<usize>> {
        let positions = self.shape.positions();
        let of_channels = |axis: &Axis| matches!(*axis, Axis::Strided { extent: 2.., stride } if stride >= positions && stride.is_multiple_of(positions));
        let first = self.axes.iter().position(of_channels)?;
        let last = self.axes.iter().rposition(of_channels)?;
        let mut extent_left = self.shape.channels;
        for axis in &self.axes[first..=last] {
            let &Axis::Strided { extent, stride } = axis else { return None };
            extent_left = extent_left.checked_div(extent)?;
            if extent > 1 && stride != extent_left * positions {
                return None;
            }
        }
        (extent_left == 1).then_some(first..last + 1)
    }

    /// The same elements with one axis for all channels, which takes the place of several.
    pub(super) fn with_channels_joined(&self) -> Option<Self> {
        let parts = self.channel_axes()?;
        let mut axes = self.axes.clone();
        axes.splice(parts, [Role::Channel.axis(self.shape, 1)]);
        Some(Self { axes, ..self.clone() })
    }

    /// The same elements with the axis of the channels cut into `extents`, whose product is their number.
    pub(super) fn with_channels_cut(&self, extents: &[usize]) -> Option<Self> {
        let channels = Role::Channel.axis(self.shape, 1);
        let place = self.axes.iter().position(|&axis| axis == channels)?;
        let mut stride = self.shape.len();
        let cut = extents.iter().map(|&extent| {
            stride /= extent.max(1);
            Axis::strided(extent, stride)
        });
        let cut: Vec<Axis> = cut.collect();
        let mut axes = self.axes.clone();
        axes.splice(place..=place, cut);
        Some(Self { axes, ..self.clone() })
    }

    /// The same elements with other extents, if no element has to move and the batch stays the first axis.
    ///
    /// A single image may lose its batch axis in a list of its elements, and get it back.
    pub(super) fn reshaped(&self, dims: &[usize]) -> Option<Self> {
        let is_list = self.axes.len() == 1 && !self.is_batch_first();
        if dims == [self.shape.len()] && self.batch() == 1 && (self.is_batch_first() || is_list) {
            return self.cut(&[], dims);
        }
        let (&batch, inner) = dims.split_first()?;
        if !(self.is_batch_first() || is_list) || batch != self.batch() {
            return None;
        }
        self.cut(&[Axis::Batch(batch)], inner)
    }

    /// The axes `first`, and after them all elements in their order cut into `extents`, if no element has to move.
    fn cut(&self, first: &[Axis], extents: &[usize]) -> Option<Self> {
        let whole = element_count(extents).ok() == Some(self.shape.len());
        if !whole || self.axes.iter().any(|axis| axis.repeats()) {
            return None;
        }
        let mut axes = first.to_vec();
        let mut runs = self.runs().into_iter();
        let mut left = (1, 0);
        for &extent in extents {
            if extent > 1 && left.0 == 1 {
                left = runs.next()?;
            }
            if left.0 % extent != 0 {
                return None;
            }
            left.0 /= extent;
            axes.push(Axis::strided(extent, left.0 * left.1));
        }
        Some(Self { axes, ..self.clone() })
    }

    /// If two neighbouring axes are the channels with group and member exchanged: the number of groups, and the
    /// view after the shuffle that puts the members of a group side by side.
    pub(super) fn unshuffled(&self) -> Option<(usize, Self)> {
        let positions = self.shape.positions();
        let runs: Vec<usize> = (0..self.axes.len()).filter(|&axis| self.axes[axis].extent() > 1).collect();
        for pair in runs.windows(2) {
            let (Axis::Strided { extent: members, stride }, Axis::Strided { extent: groups, stride: far }) =
                (self.axes[pair[0]], self.axes[pair[1]])
            else {
                continue;
            };
            if stride == positions && far == members * stride && members * groups == self.shape.channels {
                let mut axes = self.axes.clone();
                axes[pair[0]] = Axis::strided(members, groups * positions);
                axes[pair[1]] = Axis::strided(groups, positions);
                return Some((groups, Self { axes, ..self.clone() }));
            }
        }
        None
    }

    /// The axes in another order.
    pub(super) fn permuted(&self, order: &[usize]) -> Option<Self> {
        let axes = order.iter().map(|&axis| self.axes.get(axis).copied()).collect::<Option<_>>()?;
        Some(Self { axes, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(channels: usize, height: usize, width: usize) -> Activation {
        Activation::new(NodeId::INPUT, Shape::new(channels, height, width), 2, &IMAGE)
    }

    #[test]
    fn channels_last_and_back() {
        let last = image(3, 4, 5).permuted(&[0, 2, 3, 1]).unwrap();
        assert_eq!(last.roles().unwrap(), IMAGE_CHANNELS_LAST);
        assert!(last.reshaped(&[2, 60]).is_none());
        assert_eq!(last.permuted(&[0, 3, 1, 2]).unwrap(), image(3, 4, 5));
        let small = image(3, 1, 1).permuted(&[0, 2, 3, 1]).unwrap();
        assert_eq!(small.roles().unwrap(), IMAGE_CHANNELS_LAST);
        assert_eq!(small.reshaped(&[2, 3]).unwrap().roles().unwrap(), FLAT);
    }

    #[test]
    fn a_shuffle_is_recognized_and_nothing_else() {
        let split = image(6, 4, 5).reshaped(&[2, 2, 3, 4, 5]).unwrap();
        assert!(split.unshuffled().is_none());
        let shuffled = split.permuted(&[0, 2, 1, 3, 4]).unwrap();
        assert!(shuffled.reshaped(&[2, 6, 4, 5]).is_none());
        let (groups, view) = shuffled.unshuffled().unwrap();
        assert_eq!(groups, 2);
        assert_eq!(view.reshaped(&[2, 6, 4, 5]).unwrap(), image(6, 4, 5));
        let mixed = split.permuted(&[0, 3, 1, 2, 4]).unwrap();
        assert!(mixed.unshuffled().is_none());
    }

    #[test]
    fn channels_are_cut_and_joined() {
        let cut = image(6, 4, 5).reshaped(&[2, 2, 1, 3, 4, 5]).unwrap();
        assert_eq!(cut.channel_axes(), Some(1..4));
        assert_eq!(cut.with_channels_joined().unwrap(), image(6, 4, 5));
        assert_eq!(image(6, 4, 5).with_channels_cut(&[2, 1, 3]).unwrap(), cut);
        assert!(cut.permuted(&[0, 3, 2, 1, 4, 5]).unwrap().channel_axes().is_none());
        assert!(image(6, 4, 5).reshaped(&[2, 120]).unwrap().channel_axes().is_none());
        assert!(image(1, 4, 5).channel_axes().is_none());
    }

    #[test]
    fn repeated_elements_stay_where_they_are() {
        let gate = image(6, 1, 1);
        let wide = gate.repeated(&[2, 6, 4, 5]);
        assert_eq!(wide.dims(), [2, 6, 4, 5]);
        assert_eq!(wide.unrepeated(), gate);
        assert!(wide.reshaped(&[2, 120]).is_none() && wide.roles().is_none());
    }

    #[test]
    fn one_image_becomes_a_list_and_comes_back() {
        let one = Activation::new(NodeId::INPUT, Shape::new(6, 1, 1), 1, &IMAGE);
        let list = one.reshaped(&[6]).unwrap();
        assert!(!list.is_batch_first());
        assert_eq!(list.reshaped(&[1, 6, 1, 1]).unwrap(), one);
        assert!(image(6, 1, 1).reshaped(&[12]).is_none());
        assert!(list.reshaped(&[2, 3]).is_none());
    }

    #[test]
    fn reshapes_keep_the_batch() {
        assert!(image(3, 4, 5).reshaped(&[1, 120]).is_none());
        assert!(image(3, 4, 5).reshaped(&[]).is_none());
        assert!(image(3, 4, 5).reshaped(&[2, 7, 9]).is_none());
        let merged = image(3, 4, 5).reshaped(&[2, 3, 20]).unwrap();
        assert!(merged.roles().is_none() && merged.is_contiguous());
        assert_eq!(merged.reshaped(&[2, 3, 4, 5]).unwrap(), image(3, 4, 5));
    }

    #[test]
    fn unit_axes_take_the_roles_left_over() {
        let map = image(1, 4, 5);
        assert_eq!(map.roles().unwrap(), IMAGE);
        assert_eq!(map.permuted(&[0, 2, 3, 1]).unwrap().roles().unwrap(), IMAGE_CHANNELS_LAST);
    }
}
