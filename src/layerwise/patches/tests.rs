use super::*;

fn patches(kernel: [usize; 2], stride: usize, pads: [usize; 4]) -> Patches {
    let window = Window::new(kernel).with_stride([stride, stride]).with_pads(pads);
    of(window, [9, 7])
}

fn of(window: Window, [height, width]: [usize; 2]) -> Patches {
    let output = window.output(height, width).unwrap();
    Patches { input: OperatorId::from_index(3), window, groups: 2, group_inputs: 5, output }
}

/// Windows that differ in everything on the second axis, and a little on the first.
fn windows() -> Vec<Window> {
    let mut windows = Vec::new();
    for kernel in 1..=4 {
        for (stride, dilation) in [(1, 1), (1, 2), (2, 1), (2, 3)] {
            for (before, after) in [(0, 0), (1, 0), (1, 1), (2, 1), (3, 4)] {
                for (rows, pads) in [(1, 0), (3, 1)] {
                    windows.push(Window {
                        kernel: [rows, kernel],
                        stride: [1, stride],
                        dilation: [1, dilation],
                        pads: [pads, before, pads, after],
                        ceil: false,
                    });
                }
            }
        }
    }
    windows
}

/// Place that a tap reads, in the input or in its padding.
fn place(window: &Window, position: usize, tap: usize, axis: usize) -> isize {
    (position * window.stride[axis] + tap * window.dilation[axis]) as isize - window.pads[axis] as isize
}

/// The taps of `wider` that read what `own` reads at all positions, found by trying.
fn tried(own: &Patches, wider: &Patches) -> Option<Vec<usize>> {
    if own.output != wider.output {
        return None;
    }
    let [own_width, wide_width] = [own, wider].map(|patches| patches.window.kernel[1]);
    let agree = |tap: usize, other: usize| {
        (0..own.positions()).all(|position| {
            let at = [position / own.output[1], position % own.output[1]];
            let own_taps = [tap / own_width, tap % own_width];
            let wide_taps = [other / wide_width, other % wide_width];
            (0..2).all(|axis| {
                place(&own.window, at[axis], own_taps[axis], axis)
                    == place(&wider.window, at[axis], wide_taps[axis], axis)
            })
        })
    };
    let of = |tap| (0..wider.window.area()).find(|&other| agree(tap, other));
    (0..own.window.area()).map(of).collect()
}

#[test]
fn patches_within_others_are_those_that_trying_finds() {
    let all: Vec<Patches> =
        windows().into_iter().filter(|w| w.output(9, 7).is_ok()).map(|w| of(w, [9, 7])).collect();
    let mut found = 0;
    for own in &all {
        for wider in &all {
            // Strides cannot be told apart from one position alone.
            if own.window.stride != wider.window.stride {
                assert_eq!(own.within(wider), None);
                continue;
            }
            let expected = tried(own, wider)
                .map(|taps| taps.iter().flat_map(|tap| tap * 5..tap * 5 + 5).collect::<Vec<_>>());
            assert_eq!(own.within(wider), expected, "{own:?} {wider:?}");
            found += usize::from(expected.is_some() && own != wider);
        }
    }
    assert!(found > 200, "{found}");
}

#[test]
fn other_inputs_and_channel_groups_are_other_patches() {
    let own = patches([1, 1], 1, [0; 4]);
    assert!(own.within(&patches([3, 3], 1, [1; 4])).is_some());
    assert_eq!(own.within(&Patches { input: OperatorId::from_index(4), ..patches([3, 3], 1, [1; 4]) }), None);
    assert_eq!(own.within(&Patches { groups: 1, ..patches([3, 3], 1, [1; 4]) }), None);
}

fn hosts(layers: &[Option<Patches>]) -> Vec<Option<usize>> {
    let hosts = super::hosts(&layers.iter().copied().collect());
    hosts.into_iter().map(|host| host.map(OperatorId::index)).collect()
}

#[test]
fn the_host_is_the_first_of_the_largest() {
    let fire = [Some(patches([1, 1], 1, [0; 4])), Some(patches([3, 3], 1, [1; 4]))];
    assert_eq!(hosts(&fire), [Some(1), Some(1)]);
    let equal = [fire[0], None, fire[0]];
    assert_eq!(hosts(&equal), [Some(0), None, Some(0)]);
    let downsample = [Some(patches([3, 3], 2, [1; 4])), fire[1], Some(patches([1, 1], 2, [0; 4]))];
    assert_eq!(hosts(&downsample), [Some(0), Some(1), Some(0)]);
    // A strided downsample beside an unstrided convolution reads fewer positions.
    let bottleneck = [fire[0], Some(patches([1, 1], 2, [0; 4]))];
    assert_eq!(hosts(&bottleneck), [Some(0), Some(1)]);
    let crossed = [[1, 3], [1, 1], [3, 1], [5, 5]].map(|kernel: [usize; 2]| {
        let pads = [kernel[0] / 2, kernel[1] / 2, kernel[0] / 2, kernel[1] / 2];
        Some(patches(kernel, 1, pads))
    });
    assert_eq!(hosts(&crossed), [Some(3); 4]);
    assert_eq!(hosts(&crossed[..3]), [Some(0), Some(0), Some(2)]);
}
