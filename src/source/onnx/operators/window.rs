//! Attributes of sliding windows, shared by convolutions and pools.

use crate::error::Result;
use crate::source::onnx::context::{Context, Lowered};
use crate::source::onnx::{malformed, misshapen, unsupported};
use crate::tensor::{Shape, Window};

/// Longest kernel, stride, dilation or padding.
const MAX_EXTENT: i64 = 1 << 16;

/// A window whose padding may still depend on the size of the input.
pub(super) struct Windowing {
    kernel: Option<[usize; 2]>,
    stride: [usize; 2],
    dilation: [usize; 2],
    pads: [usize; 4],
    same: Option<Same>,
    ceil: bool,
}

/// Padding that makes the output as large as the input, divided by the stride.
#[derive(Clone, Copy, PartialEq)]
enum Same {
    /// An odd element goes to the end.
    Upper,
    /// An odd element goes to the beginning.
    Lower,
}

/// Reads kernel, strides, dilations, padding and ceil mode.
pub(super) fn read(cx: &mut Context<'_>) -> Lowered<Windowing> {
    let kernel = list::<2>(cx, "kernel_shape", 1)?;
    let stride = list::<2>(cx, "strides", 1)?.unwrap_or([1; 2]);
    let dilation = list::<2>(cx, "dilations", 1)?.unwrap_or([1; 2]);
    let pads = list::<4>(cx, "pads", 0)?;
    let ceil = cx.attributes.flag("ceil_mode")?;
    let auto = cx.attributes.string("auto_pad")?;
    let same = match auto.as_deref() {
        None | Some("NOTSET" | "" | "VALID") => None,
        Some("SAME_UPPER") => Some(Same::Upper),
        Some("SAME_LOWER") => Some(Same::Lower),
        Some(other) => return Err(malformed(format!("auto_pad '{other}'")).into()),
    };
    let automatic = same.is_some() || auto.as_deref() == Some("VALID");
    if automatic && (ceil || pads.is_some_and(|pads| pads != [0; 4])) {
        return Err(unsupported("auto_pad together with pads or ceil_mode; export with explicit pads").into());
    }
    Ok(Windowing { kernel, stride, dilation, pads: pads.unwrap_or([0; 4]), same, ceil })
}

fn list<const N: usize>(cx: &mut Context<'_>, name: &str, least: i64) -> Lowered<Option<[usize; N]>> {
    let Some(values) = cx.attributes.ints(name)? else { return Ok(None) };
    if values.len() != N {
        let axes = values.len() * 2 / N;
        let message = format!("{name} {values:?} is for {axes} spatial axes; fgq has images with two");
        return Err(unsupported(message).into());
    }
    if values.iter().any(|&value| value < least || value > MAX_EXTENT) {
        return Err(unsupported(format!("{name} {values:?} outside {least} to {MAX_EXTENT}")).into());
    }
    Ok(Some(std::array::from_fn(|index| values[index] as usize)))
}

impl Windowing {
    /// The window over an input of `shape`, and the output's height and width.
    pub(super) fn over(&self, shape: Shape, weights: Option<[usize; 2]>) -> Result<(Window, [usize; 2])> {
        let kernel = weights.or(self.kernel).ok_or_else(|| malformed("kernel_shape is missing"))?;
        if self.kernel.is_some_and(|stated| stated != kernel) {
            return Err(misshapen(format!("kernel_shape {:?}, but weights of {kernel:?}", self.kernel)));
        }
        let mut window = Window::new(kernel).with_stride(self.stride).with_pads(self.pads);
        window.dilation = self.dilation;
        window.ceil = self.ceil;
        if let Some(same) = self.same {
            window.pads = same_pads(&window, shape, same);
        }
        let output = window.output(shape.height, shape.width)?;
        Ok((window, output))
    }
}

fn same_pads(window: &Window, shape: Shape, same: Same) -> [usize; 4] {
    let side = |axis: usize, extent: usize| {
        let reach = (window.kernel[axis] - 1).saturating_mul(window.dilation[axis]).saturating_add(1);
        let steps = extent.div_ceil(window.stride[axis]) - 1;
        let total = (steps * window.stride[axis]).saturating_add(reach).saturating_sub(extent);
        let (less, more) = (total / 2, total - total / 2);
        if same == Same::Upper { [less, more] } else { [more, less] }
    };
    let ([top, bottom], [left, right]) = (side(0, shape.height), side(1, shape.width));
    [top, left, bottom, right]
}
