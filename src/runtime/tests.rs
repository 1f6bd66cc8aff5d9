//! Whole models: the same bytes for every implementation, batch size and number of threads.

use super::*;
use crate::choices::Choices;
use crate::error::ErrorKind;
use crate::format::arbitrary::{model, models};
use crate::format::{Multiplier, PackedNode, PackedOp, Quantizer, Rescale};
use proptest::prelude::*;

#[cfg(feature = "threads")]
static POOLS: std::sync::LazyLock<[rayon::ThreadPool; 3]> = std::sync::LazyLock::new(|| {
    [1, 2, 5].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
});

fn pixels(seed: u64, session: &Session, images: usize) -> Vec<u8> {
    let mut choices = Choices(seed);
    (0..images * session.input().len()).map(|_| choices.next() as u8).collect()
}

proptest! {
    #[test]
    fn all_kernels_agree(model in models(), seed: u64) {
        let slow = Session::with_kernels(&model, Kernels::Reference).unwrap();
        let pixels = pixels(seed, &slow, 2);
        let logits = slow.run(&pixels).unwrap();
        for kernels in Kernels::available() {
            let fast = Session::with_kernels(&model, kernels).unwrap();
            prop_assert_eq!(&logits, &fast.run(&pixels).unwrap(), "{:?}", kernels);
        }
    }

    #[test]
    fn a_batch_is_its_images(model in models(), seed: u64, images in 1usize..6) {
        let session = Session::new(&model).unwrap();
        let pixels = pixels(seed, &session, images);
        let whole = session.run(&pixels).unwrap();
        prop_assert_eq!(whole.data.len(), images * whole.classes);
        for (index, image) in pixels.chunks_exact(session.input().len()).enumerate() {
            let alone = session.run(image).unwrap();
            prop_assert_eq!(alone.data.as_slice(), whole.image(index));
        }
    }

    #[cfg(feature = "threads")]
    #[test]
    fn threads_change_nothing(model in models(), seed: u64) {
        let session = Session::new(&model).unwrap();
        let pixels = pixels(seed, &session, 3);
        let [one, two, five] = POOLS.each_ref().map(|pool| pool.install(|| session.run(&pixels).unwrap()));
        prop_assert_eq!(&one, &two);
        prop_assert_eq!(&one, &five);
    }

    #[test]
    fn top_is_a_stable_sort(data in prop::collection::vec(-3i32..3, 1..9), count in 0usize..10) {
        let logits = Logits { classes: data.len(), data };
        let top = logits.top(0, count);
        prop_assert_eq!(top.len(), count.min(logits.classes));
        let better = |a: usize, b: usize| {
            logits.data[a] > logits.data[b] || (logits.data[a] == logits.data[b] && a < b)
        };
        prop_assert!(top.windows(2).all(|pair| better(pair[0], pair[1])));
        let rest = (0..logits.classes).filter(|class| !top.contains(class));
        prop_assert!(rest.into_iter().all(|class| top.iter().all(|&best| better(best, class))));
    }
}

/// Random models, whose kernels are compared above, have every kind of stage that writes two values.
#[test]
fn narrowed_copies_are_written_with_what_they_copy() {
    let mut makers = std::collections::BTreeSet::new();
    for model in (0..600).map(model) {
        for (node, maker) in model.nodes.iter().zip(fuse::written_with(&model)) {
            let Some(maker) = maker else { continue };
            assert_eq!((node.op.name(), node.inputs.as_slice()), ("narrow", &[maker][..]));
            makers.insert(model.nodes[maker].op.name());
        }
    }
    let all = ["add", "average_pool", "conv", "global_average_pool", "max_pool", "mul"];
    assert!(makers.iter().copied().eq(all), "{makers:?}");
}

#[test]
fn only_the_first_copy_is_written_with_its_source() {
    let quantizer = Quantizer { scale: 1.0, zero_point: 3, max: 15 };
    let node =
        |op, inputs: &[usize]| PackedNode { name: String::new(), op, inputs: inputs.to_vec(), quantizer };
    let narrow = || PackedOp::Narrow(Rescale { shift: 0, value: 1 });
    let by = Multiplier { shift: 0, value: 1 };
    let mut model = model(1);
    model.nodes = vec![
        node(PackedOp::Input { pad: vec![0] }, &[]),
        node(PackedOp::Table { entries: vec![0; 256] }, &[0]),
        node(narrow(), &[1]),
        node(PackedOp::Mul(by), &[1, 1]),
        node(PackedOp::Flatten, &[3]),
        node(narrow(), &[3]),
        node(narrow(), &[3]),
        node(narrow(), &[5]),
    ];
    let with = fuse::written_with(&model);
    assert_eq!(with, [None, None, None, None, None, Some(3), None, None]);
    assert_eq!([3, 5].map(|id| fuse::copy_of(&with, id)), [Some(5), None]);
}

#[test]
fn the_smaller_class_wins_a_tie() {
    let logits = Logits { classes: 4, data: vec![0, 0, 0, 0, 1, 7, 7, i32::MIN] };
    assert_eq!(logits.top(0, 2), [0, 1]);
    assert_eq!(logits.top(1, 9), [1, 2, 0, 3]);
}

#[test]
fn pixels_must_be_whole_images() {
    let session = Session::new(&model(1)).unwrap();
    let error = session.run(&vec![0; session.input().len() + 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    assert!(error.to_string().contains(&session.input().to_string()), "{error}");
    assert!(session.run(&[]).unwrap().data.is_empty());
}

#[test]
fn invalid_models_are_refused() {
    let mut model = model(2);
    model.nodes[1].inputs = vec![1];
    let error = Session::new(&model).unwrap_err();
    assert_eq!(error.node(), Some(model.nodes[1].name.as_str()));
}
