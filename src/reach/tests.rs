use super::*;
use crate::data::PixelImages;
use crate::format::arbitrary::preprocess;
use crate::graph::Op;
use crate::graph::arbitrary::{Choices, classifier};

const IMAGES: usize = 24;

/// A random network with layers that there is a choice for, and images.
fn scene(seed: u64) -> (Graph, PixelImages) {
    let graph = classifier(seed);
    let mut choices = Choices(seed);
    let mut image = || (0..graph.input.len()).map(|_| choices.next() as u8).collect();
    let pixels = (0..IMAGES).map(|_| image()).collect();
    (graph, PixelImages { pixels, labels: Vec::new() })
}

fn reach(graph: &Graph, images: &PixelImages, goal: Goal) -> Result<Reached> {
    let options = ConvertOptions::default();
    convert_to(graph, &preprocess(graph.input), images, &options, &goal, &())
}

/// Networks with at least three convolutions that convert.
fn scenes() -> Vec<(Graph, PixelImages)> {
    let convolutions =
        |graph: &Graph| graph.nodes.iter().filter(|node| matches!(node.op, Op::Conv(_))).count();
    let all = (0..60).map(scene).filter(|(graph, _)| convolutions(graph) >= 3);
    all.filter(|(graph, images)| reach(graph, images, Goal::default()).is_ok()).take(3).collect()
}

#[test]
fn goals_bound_what_is_made() {
    let scenes = scenes();
    assert_eq!(scenes.len(), 3);
    for (graph, images) in &scenes {
        let usual = reach(graph, images, Goal::default()).unwrap();
        assert!(usual.is_reached && usual.trials.len() == 1);
        assert_eq!(usual.conversion.held_back, IMAGES / SHARE);
        let bytes = usual.conversion.model.to_bytes().unwrap().len() as u64;
        assert!(bytes <= usual.trials[0].max_size, "{bytes}");

        // Anything will do: the smallest plan is taken.
        let any = reach(graph, images, Goal { agreement: Some(1e-9), ..Goal::default() }).unwrap();
        let least = any.trials.iter().map(|trial| trial.max_size).min().unwrap();
        assert!(any.is_reached && any.plan.uses.bytes <= least);

        // A drop that no model has: the best one is handed back, and said not to be it.
        let labelled = PixelImages { labels: vec![0; IMAGES], ..images.clone() };
        let goal = Goal { agreement: Some(100.0), max_drop: Some(-100.0), ..Goal::default() };
        let none = reach(graph, &labelled, goal).unwrap();
        assert!(!none.is_reached);
        let most = none.trials.iter().map(|trial| trial.judgement.agreeing).max().unwrap();
        assert_eq!(none.conversion.model.fidelity.unwrap().judgement.unwrap().agreeing, most);
    }
}

#[test]
fn the_same_goal_gives_the_same_file() {
    let (graph, images) = scenes().remove(0);
    let goal = Goal { agreement: Some(90.0), ..Goal::default() };
    let files = [1, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| reach(&graph, &images, goal).unwrap().conversion.model.to_bytes().unwrap())
    });
    assert_eq!(files[0], files[1]);
}

#[test]
fn what_cannot_be_judged_is_refused() {
    let (graph, mut images) = scenes().remove(0);
    for agreement in [0.0, -3.0, 100.5, f64::NAN] {
        let error =
            reach(&graph, &images, Goal { agreement: Some(agreement), ..Goal::default() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument);
    }
    let goal = Goal { max_drop: Some(1.0), ..Goal::default() };
    let error = reach(&graph, &images, goal).unwrap_err().to_string();
    assert!(error.contains("without a label"), "{error}");
    images.pixels.truncate(3);
    let error = reach(&graph, &images, Goal::default()).unwrap_err().to_string();
    assert!(error.contains("at least 4"), "{error}");
}
