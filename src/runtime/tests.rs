//! Whole models: the same bytes for every implementation, batch size and number of threads.

use super::*;
use crate::choices::Choices;
use crate::error::ErrorKind;
use crate::format::arbitrary::{model, models, packed_id, packed_ids, switching_model, switching_models};
use crate::format::{Multiplier, PackedModel, PackedNode, PackedOp, Quantizer, Rescale, Switching};
use crate::index::Per;
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
    fn a_session_that_switches_is_that_of_the_model_at_its_widths(model in switching_models(), seed: u64) {
        let mut choices = Choices(seed);
        let known = model.switching.as_ref().unwrap().widths.clone();
        let layers: Vec<String> = model.switching_layers().map(str::to_owned).collect();
        let mut sessions: Vec<Session> =
            Kernels::available().map(|kernels| Session::with_kernels(&model, kernels).unwrap()).collect();
        let pixels = pixels(seed, &sessions[0], 1);
        let mut widths = vec![*known.last().unwrap(); layers.len()];
        for _ in 0..8 {
            let (layer, width) = (choices.below(layers.len()), choices.pick(&known));
            let alone = choices.below(3) > 0;
            let (whole, budget) = (choices.below(3) == 0, choices.pick(&[0, 5000, usize::MAX]));
            if whole {
                widths.fill_with(|| choices.pick(&known));
            } else if alone {
                widths[layer] = width;
            } else {
                widths.fill(width);
            }
            let plain = Session::with_kernels(&model.at(&widths).unwrap(), Kernels::Reference).unwrap();
            let logits = plain.run(&pixels).unwrap();
            for session in &mut sessions {
                match whole {
                    true => session.set_widths(&widths).unwrap(),
                    false => session.set_bits(Some(layers[layer].as_str()).filter(|_| alone), width).unwrap(),
                }
                session.keep_at_most(budget);
                prop_assert!(session.layers().map(|(_, width)| width).eq(widths.iter().copied()));
                prop_assert_eq!(&logits, &session.run(&pixels).unwrap(), "{:?}", session.kernels());
            }
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
#[cfg_attr(miri, ignore = "about random models, and long")]
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
        |op, inputs: &[usize]| PackedNode { name: String::new(), op, inputs: packed_ids(inputs), quantizer };
    let narrow = || PackedOp::Narrow(Rescale { shift: 0, value: 1 });
    let by = Multiplier { shift: 0, value: 1 };
    let mut model = model(1);
    model.nodes = Per::from(vec![
        node(PackedOp::Input { pad: vec![0] }, &[]),
        node(PackedOp::Table { entries: vec![0; 256] }, &[0]),
        node(narrow(), &[1]),
        node(PackedOp::Mul(by), &[1, 1]),
        node(PackedOp::Flatten, &[3]),
        node(narrow(), &[3]),
        node(narrow(), &[3]),
        node(narrow(), &[5]),
    ]);
    let with = fuse::written_with(&model);
    assert_eq!(
        with.as_slice(),
        [None, None, None, None, None, Some(3), None, None].map(|id| id.map(packed_id))
    );
    assert_eq!([3, 5].map(|id| fuse::copy_of(&with, packed_id(id))), [Some(packed_id(5)), None]);
}

#[test]
fn settings_have_numbers_and_names() {
    let model = switching_model(5);
    let mut session = Session::new(&model).unwrap();
    let setting = session.settings()[0].clone();
    session.set(&setting.name).unwrap();
    assert!(session.layers().map(|(_, width)| width).eq(setting.widths.iter().copied()));
    let lowest = session.widths()[0];
    session.set(&lowest.to_string()).unwrap();
    assert!(session.layers().all(|(_, width)| width == lowest));
    let before: Vec<u8> = session.layers().map(|(_, width)| width).collect();
    for wrong in ["", "none", "9", "256"] {
        let error = session.set(wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument);
    }
    assert!(session.set_bits(Some("no layer"), lowest).is_err() && session.set_widths(&[]).is_err());
    assert!(session.layers().map(|(_, width)| width).eq(before));
    let mut plain = Session::new(&PackedModel { switching: None, ..model }).unwrap();
    assert!(plain.widths().is_empty() && plain.set("1").unwrap_err().to_string().contains("does not switch"));
}

/// Random models have every kind of part that depends on widths.
#[test]
#[cfg_attr(miri, ignore = "about random models, and long")]
fn random_models_switch_in_every_way() {
    let models: Vec<PackedModel> = (0..300).map(switching_model).collect();
    let count = |has: fn(&PackedModel, &Switching) -> bool| {
        models.iter().filter(|model| has(model, model.switching.as_ref().unwrap())).count()
    };
    let copies = count(|_, it| !it.copies.is_empty());
    let fused =
        count(|model, it| it.copies.iter().any(|copy| fuse::written_with(model)[copy.node].is_some()));
    let logits = count(|model, it| it.layers.iter().any(|layer| model.nodes.is_last(layer.node)));
    let followers = count(|_, it| it.layers.iter().any(|layer| !layer.own));
    let three = count(|_, it| it.widths.len() == 3 && it.layers.iter().any(|layer| layer.shifts.len() == 8));
    let counts = [copies, fused, logits, followers, three];
    assert!(counts.iter().all(|&count| count > 2), "{counts:?}");
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
    model.nodes[packed_id(1)].inputs = vec![packed_id(1)];
    let error = Session::new(&model).unwrap_err();
    assert_eq!(error.node(), Some(model.nodes[packed_id(1)].name.as_str()));
}
