//! Error spreading against the closed form and against all codes there are.

use super::*;
use crate::graph::arbitrary::{Choices, noise};

/// The largest scale of eight bits.
pub(super) const LARGEST: f32 = 127.0;

pub(super) struct Case {
    pub hessian: Mat<f64>,
    pub target: Vec<f64>,
    pub run: usize,
    pub group: usize,
}

/// A random covariance of rank `samples`, damped by 1%, and targets of the size that `fit_row` gives.
pub(super) fn case(seed: u64, inputs: usize, run: usize, group: usize, samples: usize) -> Case {
    let values = noise(inputs * samples, seed);
    let common = noise(samples, seed + 1);
    let x = Mat::from_fn(inputs, samples, |i, s| f64::from(values[i * samples + s] + common[s]));
    let mut hessian = &x * x.transpose();
    let mean = (0..inputs).map(|i| hessian[(i, i)]).sum::<f64>() / inputs as f64;
    (0..inputs).for_each(|i| hessian[(i, i)] += 0.01 * mean);
    let target: Vec<f64> = noise(inputs, seed + 2).into_iter().map(f64::from).collect();
    let own = |group: &[f64]| closed_form_scale(group.iter().copied());
    let largest = groups(&target, run, group).map(own).fold(0.0, f64::max);
    let target = target.iter().map(|weight| weight / largest * 110.0).collect();
    Case { hessian, target, run, group }
}

fn identity(inputs: usize) -> Mat<f64> {
    Mat::from_fn(inputs, inputs, |i, j| f64::from(u8::from(i == j)))
}

fn groups(values: &[f64], run: usize, group: usize) -> impl Iterator<Item = &[f64]> {
    values.chunks(run).flat_map(move |run| run.chunks(group))
}

impl Case {
    fn solve(&self) -> ChannelSolution {
        LeastSquares::new(self.hessian.clone(), self.run, self.group)
            .unwrap()
            .solve(&[self.targets()], LARGEST)
            .remove(0)
    }

    fn targets(&self) -> Vec<f32> {
        self.target.iter().map(|&weight| weight as f32).collect()
    }

    fn group_of(&self, index: usize) -> usize {
        index / self.run * self.run.div_ceil(self.group) + index % self.run / self.group
    }

    pub(super) fn error(&self, value: impl Fn(usize) -> f64) -> f64 {
        let error: Vec<f64> = self.target.iter().enumerate().map(|(i, wanted)| wanted - value(i)).collect();
        let column = |j: usize| error.iter().enumerate().map(|(i, e)| e * self.hessian[(i, j)]).sum::<f64>();
        (0..error.len()).map(|j| error[j] * column(j)).sum()
    }

    /// The state of a row.
    pub(super) fn state<'a>(&self, problem: &'a LeastSquares, row: &ChannelSolution) -> State<'a> {
        let errors = problem.errors(&self.targets(), row);
        let gradient = times(&problem.hessian, std::slice::from_ref(&errors)).col_as_slice(0).to_vec();
        State::new(problem, row, &errors, gradient, LARGEST)
    }

    /// The state after rounding.
    pub(super) fn rounded<'a>(&self, problem: &'a LeastSquares) -> State<'a> {
        self.state(problem, &problem.round_all(&[self.targets()], LARGEST)[0])
    }

    pub(super) fn row_error(&self, row: &ChannelSolution) -> f64 {
        self.error(|index| f64::from(row.codes[index]) * f64::from(row.scales[self.group_of(index)]))
    }

    /// Every group on its own, its scale rounded to 8 bits.
    fn closed_form(&self) -> ChannelSolution {
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        for group in groups(&self.target, self.run, self.group) {
            let scale = closed_form_scale(group.iter().copied());
            scales.push(scale.round() as u8);
            codes.extend(group.iter().map(|w| (w / scale.max(1e-9)).round().clamp(-1.0, 1.0) as i8));
        }
        ChannelSolution { codes, scales }
    }

    /// The least error of all codes, each with its best real scales of any sign.
    fn brute_force(&self) -> f64 {
        let inputs = self.target.len();
        let mut least = self.error(|_| 0.0);
        for number in 1..3usize.pow(inputs as u32) {
            let codes: Vec<f64> =
                (0..inputs).map(|i| (number / 3usize.pow(i as u32) % 3) as f64 - 1.0).collect();
            least = least.min(self.error_of_codes(&codes));
        }
        least
    }

    fn error_of_codes(&self, codes: &[f64]) -> f64 {
        let count = self.target.len() / self.run * self.run.div_ceil(self.group);
        let basis =
            Mat::from_fn(codes.len(), count, |i, g| if self.group_of(i) == g { codes[i] } else { 0.0 });
        let mut normal = basis.transpose() * &self.hessian * &basis;
        let empty = (0..count).filter(|&g| basis.col(g).norm_l2() == 0.0);
        empty.for_each(|g| normal[(g, g)] = 1.0);
        let target = Mat::from_fn(codes.len(), 1, |i, _| self.target[i]);
        let wanted = basis.transpose() * &self.hessian * target;
        let scales = faer::linalg::solvers::Solve::solve(&normal.llt(Side::Lower).unwrap(), &wanted);
        self.error(|index| codes[index] * scales[(self.group_of(index), 0)])
    }
}

/// Runs of inputs and group sizes, with short last groups and groups longer than a run.
const SHAPES: [(usize, usize); 8] = [(4, 1), (6, 2), (7, 4), (16, 4), (12, 8), (19, 8), (16, 16), (40, 16)];

#[test]
fn independent_inputs_give_the_closed_form() {
    for (seed, (run, group)) in (0..).zip(SHAPES) {
        let case = Case { hessian: identity(3 * run), ..case(seed, 3 * run, run, group, 8) };
        let (ours, closed) = (case.solve(), case.closed_form());
        let (error, bound) = (case.row_error(&ours), case.row_error(&closed));
        assert!(error <= bound * (1.0 + 1e-6), "N={group}: {error} > {bound}");
        for (ours, closed) in ours.scales.iter().zip(&closed.scales) {
            assert!(ours.abs_diff(*closed) <= 1, "N={group}: scales {ours} and {closed}");
        }
        let differ = ours.codes.iter().zip(&closed.codes).filter(|(a, b)| a != b).count();
        assert!(differ <= run / 6, "N={group}: {differ} of {} codes differ", closed.codes.len());
    }
}

/// Halving is the rule; a problem of few inputs may come out somewhat worse, as spreading looks ahead greedily.
#[test]
fn correlated_inputs_are_fitted_better_than_by_the_closed_form() {
    for (run, group) in SHAPES {
        let share = |seed: u64| {
            let case = case(seed * 7, 3 * run, run, group, 4 * run);
            case.row_error(&case.solve()) / case.row_error(&case.closed_form())
        };
        let shares: Vec<f64> = (0..40).map(share).collect();
        let (mean, worst) = (shares.iter().sum::<f64>() / 40.0, shares.iter().copied().fold(0.0, f64::max));
        assert!(mean < 0.65, "runs of {run}, N={group}: {mean} of the closed form's error");
        let most = if run < 40 { 1.25 } else { 1.0 };
        assert!(worst < most, "runs of {run}, N={group}: {worst} of the closed form's error");
    }
}

#[test]
fn tiny_problems_are_solved_nearly_as_well_as_by_trying_all_codes() {
    for (run, group) in [(6, 1), (6, 2), (6, 3), (7, 4), (3, 2), (7, 7)] {
        let inputs = run * (7 / run);
        let excess = |seed: u64| {
            let case = case(seed * 13, inputs, run, group, 4 * inputs);
            let excess = case.row_error(&case.solve()) - case.brute_force();
            excess / case.error(|_| 0.0)
        };
        let excesses: Vec<f64> = (0..30).map(excess).collect();
        let worst = excesses.iter().copied().fold(0.0, f64::max);
        assert!(excesses.iter().all(|&excess| excess > -1e-6), "N={group}: better than the best");
        assert!(worst < 0.03, "N={group}: {worst} of the signal lost to greed");
        assert!(excesses.iter().sum::<f64>() / 30.0 < 0.005, "N={group}");
    }
}

/// The metric of a block whose error the later ones make up for: the inverse of its block of the inverse.
fn free_metric(case: &Case, problem: &LeastSquares, block: &Block) -> Mat<f64> {
    let order = &problem.order;
    let covariance = Mat::from_fn(order.len(), order.len(), |i, j| case.hessian[(order[i], order[j])]);
    let later = order.len() - block.start;
    let part = covariance.submatrix(block.start, block.start, later, later).to_owned();
    let inverse = part.llt(Side::Lower).unwrap().inverse();
    inverse.submatrix(0, 0, block.len, block.len).to_owned().llt(Side::Lower).unwrap().inverse()
}

fn form(metric: &Mat<f64>, values: &[f64]) -> f64 {
    let pairs = (0..values.len()).flat_map(|i| (0..values.len()).map(move |j| (i, j)));
    pairs.map(|(i, j)| values[i] * metric[(i, j)] * values[j]).sum()
}

/// The first group sees no errors of others: its code and scale are the best there are under its metric.
#[test]
fn first_groups_of_up_to_four_are_exact() {
    for seed in 0..20 {
        for group in 1..=4 {
            let case = case(seed * 5, 12, 6, group, 40);
            let problem = LeastSquares::new(case.hessian.clone(), 6, group).unwrap();
            let block = &problem.blocks[0];
            let metric = free_metric(&case, &problem, block);
            let weights: Vec<f64> = problem.order[..block.len].iter().map(|&i| case.target[i]).collect();
            let error = |signs: &[f32], scale: f64| {
                let off = weights.iter().zip(signs).map(|(w, &s)| w - scale * f64::from(s));
                form(&metric, &off.collect::<Vec<_>>())
            };
            let narrow: Vec<f32> = weights.iter().map(|&weight| weight as f32).collect();
            let found = block.round(&narrow, &problem.factor, LARGEST).unwrap_or_else(|| block.zeros());
            let ours = error(&found.signs, f64::from(found.scale));
            for number in 0..3usize.pow(block.len as u32) {
                let signs: Vec<f32> =
                    (0..block.len).map(|i| (number / 3usize.pow(i as u32) % 3) as f32 - 1.0).collect();
                for scale in 0..=127u8 {
                    assert!(ours <= error(&signs, f64::from(scale)) + 1e-5 * form(&metric, &weights));
                }
            }
        }
    }
}

/// What many weights gain is what their metric says, with the later blocks free and with all else fixed.
#[test]
fn trials_know_their_products_and_squares() {
    let case = case(3, 12, 12, 12, 40);
    for (run, start) in [(12, 0), (6, 6)] {
        let problem = LeastSquares::new(case.hessian.clone(), run, 12).unwrap();
        let block = problem.blocks.iter().find(|block| block.start == start).unwrap();
        let metric = free_metric(&case, &problem, block);
        let weights: Vec<f32> = (0..block.len).map(|i| (i as f32 - 4.3) / 3.0).collect();
        let found = block.round(&weights, &problem.factor, LARGEST).unwrap();
        let error = |scale: f32| {
            let off = weights.iter().zip(&found.signs).map(|(w, s)| f64::from(w - scale * s));
            form(&metric, &off.collect::<Vec<_>>())
        };
        assert!(
            error(found.scale) <= error(found.scale + 1.0) && error(found.scale) <= error(found.scale - 1.0)
        );
    }
}

#[test]
fn the_factor_is_that_of_the_inverse() {
    let case = case(4, 18, 6, 4, 60);
    let order: Vec<usize> = (0..18).map(|i| i * 5 % 18).collect();
    let factor = inverse_factor(&case.hessian, &order).unwrap();
    let permuted = Mat::from_fn(18, 18, |i, j| case.hessian[(order[i], order[j])]);
    let identity = &permuted * &factor * factor.transpose();
    for (i, j) in (0..18).flat_map(|i| (0..18).map(move |j| (i, j))) {
        assert!((identity[(i, j)] - f64::from(u8::from(i == j))).abs() < 1e-9);
        assert!(j <= i || factor[(i, j)] == 0.0);
    }
}

#[test]
fn zero_targets_give_zero_codes() {
    for (run, group) in SHAPES {
        let case = Case { target: vec![0.0; 2 * run], ..case(1, 2 * run, run, group, 50) };
        let row = case.solve();
        assert!(row.codes.iter().all(|&code| code == 0), "N={group}");
        assert!(row.scales.iter().all(|&scale| scale == 0), "N={group}");
    }
}

#[test]
fn a_scale_is_zero_exactly_where_all_codes_are() {
    for seed in 0..60 {
        let (run, group) = SHAPES[seed as usize % SHAPES.len()];
        let mut case = case(seed, 3 * run, run, group, run);
        let mut choices = Choices(seed);
        case.target.iter_mut().for_each(|w| *w *= [1.0, 0.01, 0.003][choices.below(3)]);
        let row = case.solve();
        for (id, &scale) in row.scales.iter().enumerate() {
            let zero = (0..case.target.len()).filter(|&i| case.group_of(i) == id).all(|i| row.codes[i] == 0);
            assert_eq!(zero, scale == 0, "N={group}, seed {seed}");
        }
    }
}

#[test]
fn indefinite_covariances_are_refused() {
    let mut hessian = identity(3);
    hessian[(1, 1)] = -1.0;
    assert!(LeastSquares::new(hessian, 3, 2).is_none());
}

/// No pattern of any one group, with any scale, is better when all others stay.
#[test]
fn no_group_of_up_to_four_can_be_improved_alone() {
    for seed in 0..6 {
        for (inputs, run, group) in [(12, 12, 4), (18, 6, 3), (10, 5, 2)] {
            let case = case(40 + seed, inputs, run, group, 30);
            let row = case.solve();
            let error = case.row_error(&row);
            for number in 0..row.scales.len() {
                let members: Vec<usize> =
                    (0..inputs).filter(|&index| case.group_of(index) == number).collect();
                for pattern in 0..3usize.pow(members.len() as u32) {
                    let mut other = row.clone();
                    let codes = members.iter().enumerate();
                    codes.for_each(|(at, &i)| {
                        other.codes[i] = (pattern / 3usize.pow(at as u32) % 3) as i8 - 1
                    });
                    for scale in 0..=127 {
                        other.scales[number] = scale;
                        assert!(case.row_error(&other) >= error * (1.0 - 1e-4), "{seed} {number} {pattern}");
                    }
                }
            }
        }
    }
}

/// Decoding a whole group leaves fewer errors than single columns and scales do.
#[test]
fn descent_by_blocks_improves_on_descent_by_columns() {
    for (group, least) in [(16, 0.997), (32, 0.997)] {
        let (mut blocks, mut columns) = (0.0, 0.0);
        for seed in 0..8 {
            let case = case(80 + seed, 96, 96, group, 200);
            let problem = LeastSquares::new(case.hessian.clone(), case.run, case.group).unwrap();
            let rounded = case.rounded(&problem);
            let mut state = rounded.clone();
            for block in problem.blocks.iter().cycle().take(20 * problem.blocks.len()) {
                state.improve_codes(block);
            }
            columns += case.row_error(&state.row());
            let mut states = [rounded];
            problem.descend(&mut states);
            blocks += case.row_error(&states[0].row());
        }
        assert!(blocks < least * columns, "{group}: {}", blocks / columns);
    }
}

#[test]
fn decoding_solves_its_triangle() {
    let case = case(7, 12, 12, 12, 30);
    let problem = LeastSquares::new(case.hessian.clone(), 12, 12).unwrap();
    let Metric::Many(lower) = &problem.blocks[0].metric else { panic!("a block of twelve") };
    let truth: Vec<f32> = noise(12, 3);
    let image_of = |values: &[f32]| -> Vec<f32> {
        (0..12).map(|i| (i..12).map(|j| lower[(j, i)] * values[j]).sum()).collect()
    };
    for (found, wanted) in descend::free_solution(lower, &image_of(&truth)).iter().zip(&truth) {
        assert!((found - wanted).abs() < 1e-3);
    }
    let signs: Vec<f32> = truth.iter().map(|value| value.signum()).collect();
    let image: Vec<f32> = image_of(&signs).iter().map(|value| value * 5.0).collect();
    let trials = Trials::decoded(lower, &image, [5.0; LANES]);
    assert!((0..LANES).all(|lane| trials.signs(lane) == signs));
    let best = trials.best(LARGEST, 0.0).unwrap();
    assert_eq!((best.signs, best.scale), (signs, 5.0));
}
