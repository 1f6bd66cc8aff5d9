use super::super::tests::{Case, LARGEST, case};
use super::super::{ChannelSolution, LeastSquares};
use super::*;

fn problem(case: &Case) -> LeastSquares {
    LeastSquares::new(case.hessian.clone(), case.run, case.group).unwrap()
}

/// Codes that descent alone cannot improve.
fn descended<'a>(problem: &'a LeastSquares, case: &Case) -> State<'a> {
    let mut states = [case.rounded(problem)];
    problem.descend(&mut states);
    let [state] = states;
    state
}

#[track_caller]
fn near(ours: f64, expected: f64, size: f64) {
    assert!((ours - expected).abs() <= 1e-5 * size, "{ours} {expected}");
}

/// Error and gradient are kept up to date by every change.
fn check(state: &State, case: &Case) {
    let row = state.row();
    near(state.error, case.row_error(&row), case.error(|_| 0.0));
    let gradient = case.state(state.problem, &row).gradient;
    let largest =
        case.state(state.problem, &ChannelSolution { codes: vec![0; row.codes.len()], ..row }).gradient;
    let largest = largest.iter().fold(1.0, |most: f32, value| most.max(value.abs()));
    for (ours, expected) in state.gradient.iter().zip(gradient) {
        near(f64::from(*ours), f64::from(expected), f64::from(largest));
    }
}

#[test]
fn errors_and_gradients_are_those_of_the_codes() {
    for (run, group) in [(6, 1), (20, 4), (19, 8), (32, 16)] {
        let case = case(5, 2 * run, run, group, 90);
        let problem = problem(&case);
        let mut state = descended(&problem, &case);
        check(&state, &case);
        for (place, block) in problem.blocks.iter().enumerate() {
            state.kick(block, KICKS[place % KICKS.len()]);
            check(&state, &case);
            state.change_codes();
            check(&state, &case);
            state.fit_scale(block);
            check(&state, &case);
        }
    }
}

#[test]
fn the_cheapest_change_is_the_one_that_trying_finds() {
    for inputs in [5, 16, 24, 37, 48] {
        let case = case(9, inputs, inputs, 4, 60);
        let problem = problem(&case);
        let mut state = descended(&problem, &case);
        let zero = |&scale: &f32| if scale == 0.0 { f32::INFINITY } else { 0.0 };
        let mut barrier: Vec<f32> = state.scales.iter().map(zero).collect();
        let mut changes = 0;
        for _ in 0..inputs {
            let mut tried = (f64::INFINITY, 0, 0.0);
            for index in (0..inputs).filter(|&index| barrier[index] == 0.0 && state.scales[index] > 0.0) {
                for code in [-1.0, 0.0, 1.0].into_iter().filter(|&code| code != state.codes[index]) {
                    let mut other = state.clone();
                    other.set_code(index, code);
                    if other.error < tried.0 {
                        tried = (other.error, index, code);
                    }
                }
            }
            let Some(index) = state.cheapest(&barrier) else {
                assert_eq!(tried.0, f64::INFINITY);
                break;
            };
            assert_eq!((index, state.best_change(index)), (tried.1, tried.2));
            state.set_code(index, tried.2);
            barrier[index] = f32::INFINITY;
            changes += 1;
        }
        assert!(changes > inputs / 2);
    }
}

/// Among equal ones the first is taken, whether lanes or what is left over holds it.
#[test]
fn the_first_of_equal_changes_is_taken() {
    for inputs in [1, 15, 16, 17, 40] {
        let hessian = faer::Mat::from_fn(inputs, inputs, |i, j| f64::from(u8::from(i == j)));
        let problem = LeastSquares::new(hessian, 1, 1).unwrap();
        let row = ChannelSolution { codes: vec![1; inputs], scales: vec![100; inputs] };
        let gradient = vec![-10.0; inputs];
        let state = State::new(&problem, &row, &gradient, gradient.clone(), LARGEST);
        let mut barrier = vec![0.0; inputs];
        for index in 0..inputs {
            assert_eq!(state.cheapest(&barrier), Some(index));
            barrier[index] = f32::INFINITY;
        }
        assert_eq!(state.cheapest(&barrier), None);
    }
}

/// What is undone leaves no trace, and nothing gets worse.
#[test]
fn chains_of_changes_end_where_the_error_was_least() {
    for seed in 0..20 {
        let case = case(60 + seed, 30, 15, 5, 80);
        let problem = problem(&case);
        let mut state = case.rounded(&problem);
        let before = state.error;
        let moved = state.change_codes();
        assert!(state.error <= before);
        assert_eq!(moved.is_empty(), state.error == before);
        assert!(state.codes.iter().all(|code| [-1.0, 0.0, 1.0].contains(code)));
    }
}

#[test]
fn searching_leaves_less_error_than_descent() {
    for (group, most) in [(4, 0.98), (16, 0.97), (64, 0.97)] {
        let (mut before, mut after) = (0.0, 0.0);
        for seed in 0..10 {
            let case = case(300 + seed, 128, 64, group, 260);
            let problem = problem(&case);
            let mut state = descended(&problem, &case);
            let error = case.row_error(&state.row());
            state.search();
            assert!(case.row_error(&state.row()) <= error * (1.0 + 1e-5));
            before += error;
            after += case.row_error(&state.row());
        }
        assert!(after < most * before, "N={group}: {}", after / before);
    }
}

/// There is nothing to kick where all is zero or one weight is exact.
#[test]
fn zeros_stay_zeros() {
    let case = Case { target: vec![0.0; 12], ..case(3, 12, 12, 4, 30) };
    let problem = problem(&case);
    let mut state = case.rounded(&problem);
    state.search();
    let ChannelSolution { codes, scales } = state.row();
    assert_eq!((codes, scales), (vec![0; 12], vec![0; 3]));
}
